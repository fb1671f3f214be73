//! A value behind a concurrent queue: its blocks read the value together, its barriers change it
//! alone.
//!
//! Each waiting block holds a count of the value, as it holds one of its queue. Blocks that were
//! let in end in any order. So, unlike in a serial queue, there is no place in the queue behind
//! which no block uses the value.
//!
//! Not for: order and exclusion (`queue/concurrent`).

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};

use super::concurrent::{ConcurrentQueue, WeakConcurrentQueue};
use crate::queue::task::Task;
use crate::queue::{SyncError, Timer, TrySyncError};
use crate::time::when::When;

/// A value with many readers and few writers: blocks of a concurrent queue get `&T` and run
/// together, barriers get `&mut T` and run alone. The compiler ensures that there is no other way
/// to the value.
///
/// A handle; cloning it does not clone the value. The value is dropped with the last handle, or by
/// the last block that uses it, if that block ends later.
///
/// ```
/// use std::collections::HashMap;
/// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
///
/// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), HashMap::new());
/// cache.barrier(|pages| {
///     pages.insert("/", "<h1>Hello</h1>");
/// });
/// let found = cache.read_sync(|pages| pages.get("/").copied());
/// assert_eq!(found, Some("<h1>Hello</h1>"));
/// ```
///
/// Readers cannot change the value:
/// ```compile_fail,E0596
/// # use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
/// # let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), Vec::<u8>::new());
/// cache.read_sync(|bytes| bytes.push(1));
/// ```
/// References to the value cannot leave the closure:
/// ```compile_fail
/// # use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
/// # let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), Vec::<u8>::new());
/// let inside: &Vec<u8> = cache.read_sync(|bytes| bytes);
/// ```
/// The value must be one that several threads may read:
/// ```compile_fail,E0277
/// # use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
/// # let queue = ConcurrentQueue::new("cache");
/// ConcurrentIsolated::new(&queue, std::cell::Cell::new(1));
/// ```
pub struct ConcurrentIsolated<T> {
    queue: ConcurrentQueue,
    held: Arc<Held<T>>,
}

/// Handles count this `Arc`. Blocks count the one inside, so that the last handle is known as the
/// last, whichever blocks still run.
struct Held<T>(Arc<Guarded<T>>);

struct Guarded<T>(UnsafeCell<T>);

// SAFETY: references are made in blocks of one concurrent queue alone. Shared references exist
// beside others, which needs `T: Sync`. A unique reference exists in a barrier, which happens-after
// all blocks before it, and happens-before all behind it. For that, and because the last block may
// drop the value, `T: Send` is needed. (`Send` follows from `T: Send` by itself.)
unsafe impl<T: Send + Sync> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// # Safety
    /// The caller is in a block of the queue, or a `sync`, and does not keep the reference after
    /// that ends.
    unsafe fn shared(&self) -> &T {
        // SAFETY: the caller's promise: no barrier runs meanwhile.
        unsafe { &*self.0.get() }
    }

    /// # Safety
    /// The caller is in a barrier of the queue, does not keep the reference after that ends, and
    /// calls this once. A `sync` or a barrier inside the barrier is refused.
    #[expect(clippy::mut_from_ref, reason = "the queue excludes all others")]
    unsafe fn unique(&self) -> &mut T {
        // SAFETY: the caller's promise: nothing else of the queue runs meanwhile.
        unsafe { &mut *self.0.get() }
    }
}

impl<T: Send + Sync + 'static> ConcurrentIsolated<T> {
    /// Puts `value` behind `queue`. Several values may share a queue.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let queue = ConcurrentQueue::new("settings");
    /// let (theme, size) = (ConcurrentIsolated::new(&queue, "dark"), ConcurrentIsolated::new(&queue, 12));
    /// assert_eq!(theme.read_sync(|theme| theme.len()), 4);
    /// assert_eq!(size.read_sync(|size| *size), 12);
    /// ```
    pub fn new(queue: &ConcurrentQueue, value: T) -> Self {
        Self { queue: queue.clone(), held: Arc::new(Held(Arc::new(Guarded(UnsafeCell::new(value))))) }
    }

    /// The queue that the value is behind.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let settings = ConcurrentIsolated::new(&ConcurrentQueue::new("settings"), 12);
    /// assert_eq!(settings.queue().label(), "settings");
    /// ```
    #[must_use]
    pub fn queue(&self) -> &ConcurrentQueue {
        &self.queue
    }

    /// A handle that keeps neither the value nor its queue alive. Use it for handles that the value
    /// itself holds.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// let weak = cache.downgrade();
    /// assert_eq!(weak.upgrade().expect("there is a handle").read_sync(|all| all.len()), 1);
    /// drop(cache);
    /// assert!(weak.upgrade().is_none());
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakConcurrentIsolated<T> {
        WeakConcurrentIsolated { queue: self.queue.downgrade(), held: Arc::downgrade(&self.held) }
    }

    /// Submits a block that reads the value beside others, and does not wait; see
    /// [`ConcurrentQueue::submit`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let names = ConcurrentIsolated::new(&ConcurrentQueue::new("names"), vec!["ada", "bob"]);
    /// names.read(move |names| tell.send(names.len()).unwrap());
    /// assert_eq!(told.recv(), Ok(2));
    /// ```
    #[track_caller]
    pub fn read<F: FnOnce(&T) + Send + 'static>(&self, f: F) {
        self.queue.submit_at(self.reader(f), Location::caller());
    }

    /// Runs `f` with the value, beside others, and returns its result; see
    /// [`ConcurrentQueue::sync`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let ports = ConcurrentIsolated::new(&ConcurrentQueue::new("ports"), [("http", 80), ("https", 443)]);
    /// let wanted = String::from("https");
    /// let port = ports.read_sync(|ports| ports.iter().find(|(name, _)| *name == wanted).map(|(_, port)| *port));
    /// assert_eq!(port, Some(443));
    /// ```
    ///
    /// # Panics
    /// As [`ConcurrentQueue::sync`].
    #[track_caller]
    pub fn read_sync<R: Send, F: FnOnce(&T) -> R + Send>(&self, f: F) -> R {
        let value = &*self.held.0;
        // SAFETY: in a `sync` of the queue.
        self.queue.sync(move || f(unsafe { value.shared() }))
    }

    /// Like [`read_sync`](Self::read_sync), if that is possible without waiting. Gives
    /// `f` back otherwise; see [`ConcurrentQueue::try_sync`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue, TrySyncError};
    ///
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// assert_eq!(cache.try_read_sync(|all| all.len()).unwrap(), 1);
    /// cache.queue().suspend();
    /// assert!(matches!(cache.try_read_sync(|all| all.len()), Err(TrySyncError::Busy(_))));
    /// # cache.queue().resume().unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`ConcurrentQueue::try_sync`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_read_sync<R: Send, F: FnOnce(&T) -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        let mut f = Some(f);
        let run = |value: &T| f.take().expect("it is called once")(value);
        let tried = self.queue.try_sync(self.reader(run)).map_err(|error| error.map(drop));
        tried.map_err(|error| error.map(|()| f.take().expect("it did not run")))
    }

    /// Like [`read_sync`](Self::read_sync), but waits at most until `timeout` for `f` to begin; see
    /// [`ConcurrentQueue::sync_timeout`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    /// use std::time::Duration;
    ///
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// assert_eq!(cache.read_sync_timeout(Duration::from_secs(60), |all| all.len()), Ok(1));
    /// ```
    ///
    /// # Errors
    /// As [`ConcurrentQueue::sync_timeout`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn read_sync_timeout<R, F>(&self, timeout: impl Into<When>, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce(&T) -> R + Send,
    {
        self.queue.sync_timeout(timeout, self.reader(f))
    }

    /// Like [`read`](Self::read), after a delay, or at a point in time; see
    /// [`ConcurrentQueue::submit_after`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// cache.read_after(Duration::from_millis(1), move |all| tell.send(all.len()).unwrap());
    /// assert_eq!(told.recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn read_after<F: FnOnce(&T) + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        self.queue.submit_after(delay, self.reader(f))
    }

    /// Submits a block that reads the value beside others, and returns a task for its result; see
    /// [`ConcurrentQueue::call`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let text = ConcurrentIsolated::new(&ConcurrentQueue::new("text"), String::from("a b c"));
    /// let (words, letters) = (text.call(|text| text.split(' ').count()), text.call(|text| text.len()));
    /// assert_eq!((words.wait().unwrap(), letters.wait().unwrap()), (3, 5));
    /// ```
    #[track_caller]
    pub fn call<R: Send + 'static, F: FnOnce(&T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        self.queue.call(self.reader(f))
    }

    /// Submits a barrier that changes the value, alone, and does not wait; see
    /// [`ConcurrentQueue::barrier`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let names = ConcurrentIsolated::new(&ConcurrentQueue::new("names"), vec!["ada"]);
    /// names.barrier(|names| names.push("bob"));
    /// assert_eq!(names.read_sync(|names| names.len()), 2); // behind the barrier
    /// ```
    #[track_caller]
    pub fn barrier<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        self.queue.barrier_at(self.writer(f), Location::caller());
    }

    /// Runs `f` alone with the value and returns its result; see [`ConcurrentQueue::barrier_sync`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let tickets = ConcurrentIsolated::new(&ConcurrentQueue::new("tickets"), 100);
    /// let mine = tickets.barrier_sync(|next| std::mem::replace(next, *next + 1));
    /// assert_eq!((mine, tickets.read_sync(|next| *next)), (100, 101));
    /// ```
    ///
    /// # Panics
    /// As [`ConcurrentQueue::barrier_sync`].
    #[track_caller]
    pub fn barrier_sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> R {
        let value = &*self.held.0;
        // SAFETY: in a barrier of the queue, once.
        self.queue.barrier_sync(move || f(unsafe { value.unique() }))
    }

    /// Like [`barrier_sync`](Self::barrier_sync), if that is possible without waiting. Gives
    /// `f` back otherwise; see [`ConcurrentQueue::try_barrier_sync`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue, TrySyncError};
    ///
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// assert_eq!(cache.try_barrier_sync(|all| all.len()).unwrap(), 1);
    /// cache.queue().suspend();
    /// assert!(matches!(cache.try_barrier_sync(|all| all.len()), Err(TrySyncError::Busy(_))));
    /// # cache.queue().resume().unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`ConcurrentQueue::try_barrier_sync`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_barrier_sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        let mut f = Some(f);
        let run = |value: &mut T| f.take().expect("it is called once")(value);
        let tried = self.queue.try_barrier_sync(self.writer(run)).map_err(|error| error.map(drop));
        tried.map_err(|error| error.map(|()| f.take().expect("it did not run")))
    }

    /// Like [`barrier_sync`](Self::barrier_sync), but waits at most until `timeout` for `f` to
    /// begin; see [`ConcurrentQueue::barrier_sync_timeout`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    /// use std::time::Duration;
    ///
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// assert_eq!(cache.barrier_sync_timeout(Duration::from_secs(60), |all| all.len()), Ok(1));
    /// ```
    ///
    /// # Errors
    /// As [`ConcurrentQueue::barrier_sync_timeout`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn barrier_sync_timeout<R, F>(&self, timeout: impl Into<When>, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce(&mut T) -> R + Send,
    {
        self.queue.barrier_sync_timeout(timeout, self.writer(f))
    }

    /// Like [`barrier`](Self::barrier), after a delay, or at a point in time; see
    /// [`ConcurrentQueue::barrier_after`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let cache = ConcurrentIsolated::new(&ConcurrentQueue::new("cache"), vec![7]);
    /// cache.barrier_after(Duration::from_millis(1), move |all| tell.send(all.len()).unwrap());
    /// assert_eq!(told.recv(), Ok(1));
    /// ```
    #[track_caller]
    pub fn barrier_after<F: FnOnce(&mut T) + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        self.queue.barrier_after(delay, self.writer(f))
    }

    /// Submits a barrier that changes the value, and returns a task for its result; see
    /// [`ConcurrentQueue::barrier_call`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let names = ConcurrentIsolated::new(&ConcurrentQueue::new("names"), vec!["ada"]);
    /// let before = names.barrier_call(|names| std::mem::take(names));
    /// assert_eq!(before.wait().unwrap(), ["ada"]);
    /// assert_eq!(names.call(|names| names.len()).wait().unwrap(), 0);
    /// ```
    #[track_caller]
    pub fn barrier_call<R: Send + 'static, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        self.queue.barrier_call(self.writer(f))
    }

    /// Wraps `f` for a block.
    fn reader<R, F: FnOnce(&T) -> R + Send>(&self, f: F) -> impl FnOnce() -> R + Send + use<T, R, F> {
        let value = self.held.0.clone();
        // SAFETY: every caller in this file hands the closure to the queue.
        move || f(unsafe { value.shared() })
    }

    /// Wraps `f` for a barrier.
    fn writer<R, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> impl FnOnce() -> R + Send + use<T, R, F> {
        let value = self.held.0.clone();
        // SAFETY: every caller in this file hands the closure to the queue as a barrier.
        move || f(unsafe { value.unique() })
    }
}

impl<T> Clone for ConcurrentIsolated<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), held: self.held.clone() }
    }
}

impl<T> fmt::Debug for ConcurrentIsolated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentIsolated").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// A [`ConcurrentIsolated`] value that may be gone; made by [`ConcurrentIsolated::downgrade`].
///
/// ```
/// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue, WeakConcurrentIsolated};
///
/// let names = ConcurrentIsolated::new(&ConcurrentQueue::new("names"), vec!["ada"]);
/// let weak: WeakConcurrentIsolated<_> = names.downgrade();
/// drop(names);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct WeakConcurrentIsolated<T> {
    queue: WeakConcurrentQueue,
    held: Weak<Held<T>>,
}

impl<T> WeakConcurrentIsolated<T> {
    /// Returns a handle like any other, or `None` if the last handle was dropped, even if blocks
    /// still use the value.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue};
    ///
    /// let names = ConcurrentIsolated::new(&ConcurrentQueue::new("names"), vec!["ada"]);
    /// let weak = names.downgrade();
    /// let count = weak.upgrade().map(|names| names.read_sync(|names| names.len()));
    /// assert_eq!(count, Some(1));
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<ConcurrentIsolated<T>> {
        Some(ConcurrentIsolated { queue: self.queue.upgrade()?, held: self.held.upgrade()? })
    }
}

impl<T> Clone for WeakConcurrentIsolated<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), held: self.held.clone() }
    }
}

impl<T> fmt::Debug for WeakConcurrentIsolated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakConcurrentIsolated").finish_non_exhaustive()
    }
}
