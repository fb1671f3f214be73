//! A concurrent queue: its blocks run together, a barrier runs alone, and nothing overtakes a
//! barrier.
//!
//! This is the handle that programs use, and its builder. The queue itself is in
//! `queue/concurrent`, below, because queues of both kinds may target one another. Not for: whether
//! a thread is in the queue, and the queue's values (`place`).

mod builder;
mod place;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;

use crate::base::qos::Qos;
use crate::pool::runtime::Runtime;
use crate::queue::concurrent::Body;
use crate::queue::concurrent::gate::UNLIMITED;
use crate::queue::current;
use crate::queue::level::Level;
use crate::queue::life::{Handle, Weak};
use crate::queue::origin::Origin;
use crate::queue::task::{Promise, Task};
use crate::queue::{DeadlockError, Kept, NotSuspended, Rejected, SyncError, Target, TargetQueue, Timer, TrySyncError};
use crate::time::when::When;
pub use builder::ConcurrentQueueBuilder;

/// A named queue whose blocks run together on all workers, except barriers, which run alone.
///
/// A barrier begins when everything before it has ended, and nothing behind it begins before it has
/// ended. Blocks between two barriers have no order among themselves. This is a handle; after the
/// last one is dropped, submitted blocks still run.
///
/// It may [target](ConcurrentQueueBuilder::target) a queue of either kind, be the target of queues
/// of either kind, and have a [width](ConcurrentQueueBuilder::width).
///
/// A [`sync`](Self::sync) inside a `sync` of the same queue is allowed. A barrier inside either is
/// reported, not a hang.
///
/// ```
/// use singletrack_queues::ConcurrentQueue;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
///
/// static TABLE: AtomicU32 = AtomicU32::new(1);
/// let table = ConcurrentQueue::new("table");
/// table.barrier(|| TABLE.store(2, Relaxed));
/// assert_eq!(table.sync(|| TABLE.load(Relaxed)), 2);
/// ```
#[doc(alias = "DISPATCH_QUEUE_CONCURRENT")]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ConcurrentQueue {
    body: Handle<Body>,
}

impl ConcurrentQueue {
    /// The largest [`width`](ConcurrentQueueBuilder::width) that can be given.
    pub const MAX_WIDTH: usize = 1 << 20;

    /// Makes a concurrent queue on the [default runtime](Runtime::global).
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let readers = ConcurrentQueue::new("readers");
    /// assert_eq!(readers.sync(|| readers.sync(|| 7)), 7); // two of its blocks at once
    /// ```
    ///
    /// # Panics
    /// If the default runtime cannot be started.
    #[doc(alias = "dispatch_queue_create")]
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Returns a builder for a concurrent queue.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(4).build();
    /// assert_eq!(disk.width(), Some(4));
    /// ```
    pub fn builder(label: impl Into<Cow<'static, str>>) -> ConcurrentQueueBuilder {
        ConcurrentQueueBuilder::new(label.into())
    }

    fn level(&self) -> &dyn Level {
        &*self.body
    }

    /// The queue's name.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// assert_eq!(ConcurrentQueue::new("table").label(), "table");
    /// ```
    #[doc(alias = "dispatch_queue_get_label")]
    #[must_use]
    pub fn label(&self) -> &str {
        self.body.label()
    }

    /// The queue's class; see [`ConcurrentQueueBuilder::qos`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Qos};
    ///
    /// let scan = ConcurrentQueue::builder("scan").qos(Qos::Background).build();
    /// assert_eq!(scan.qos(), Qos::Background);
    /// ```
    #[doc(alias = "dispatch_queue_get_qos_class")]
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.body.qos()
    }

    /// The runtime whose workers run its blocks.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Runtime};
    ///
    /// let disk = Runtime::builder().workers(2).build().unwrap();
    /// assert_eq!(ConcurrentQueue::builder("files").runtime(&disk).build().runtime(), disk);
    /// ```
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime { owner: self.body.owner().clone() }
    }

    /// The largest number of its blocks that run at once; `None`: the number of workers.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// assert_eq!(ConcurrentQueue::new("table").width(), None);
    /// assert_eq!(ConcurrentQueue::builder("disk").width(2).build().width(), Some(2));
    /// ```
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        let width = self.body.gate.width();
        (width != UNLIMITED).then_some(width as usize)
    }

    /// A handle that does not keep the queue alive. Use it for handles that the queue's own blocks
    /// or values hold.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// let own = table.downgrade();
    /// table.submit(move || {
    ///     if let Some(table) = own.upgrade() {
    ///         table.submit(|| println!("once more"));
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakConcurrentQueue {
        WeakConcurrentQueue(self.body.downgrade())
    }

    /// Submits a block that runs beside others, and does not wait. After a shutdown the block is
    /// dropped, logged and counted.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let workers = ConcurrentQueue::new("squares");
    /// for n in 1..=4 {
    ///     let tell = tell.clone();
    ///     workers.submit(move || tell.send(n * n).unwrap());
    /// }
    /// drop(tell);
    /// assert_eq!(told.iter().sum::<i32>(), 30); // in any order
    /// ```
    #[doc(alias = "dispatch_async")]
    #[doc(alias = "dispatch_async_f")]
    #[track_caller]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        self.submit_as(f, Qos::Background, site);
    }

    /// Like [`submit_at`](Self::submit_at), for a block that may be more urgent than the queue.
    pub(crate) fn submit_as<F: FnOnce() + Send + 'static>(&self, f: F, qos: Qos, site: &'static Location<'static>) {
        self.body.submit_or_drop(f, qos, site);
    }

    /// A reference that keeps the queue alive, and is no handle.
    pub(crate) fn kept(&self) -> Kept<Body> {
        self.body.kept()
    }

    /// Submits a block, or gives it back.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Runtime};
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    /// runtime.shutdown(Duration::from_secs(5));
    /// let rejected = table.try_submit(|| println!("look up")).unwrap_err();
    /// assert_eq!(rejected.label(), "table");
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the runtime was shut down.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        let f = self.body.admit(f)?;
        self.body.submit(f, Qos::Background, Location::caller());
        Ok(())
    }

    /// Submits a block after a delay, or at a point in time on either clock; see [`When`] and
    /// [`Queue::submit_after`](crate::Queue::submit_after).
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    /// use std::time::Duration;
    ///
    /// let cache = ConcurrentQueue::new("cache");
    /// let cleaning = cache.submit_after(Duration::from_secs(600), || println!("clean up"));
    /// assert!(cleaning.cancel());
    /// ```
    #[doc(alias = "dispatch_after")]
    #[doc(alias = "dispatch_after_f")]
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        let (queue, site) = (self.kept(), Location::caller());
        self.fire_when(delay.into(), site, move || queue.submit_or_drop(f, Qos::Background, site))
    }

    /// Calls `submits` when the time has come. `submits` is short, and submits what was given at
    /// `site`.
    fn fire_when<F>(&self, when: When, site: &'static Location<'static>, submits: F) -> Timer
    where
        F: FnOnce() + Send + 'static,
    {
        if self.body.refused(site) {
            return Timer::refused(self.runtime());
        }
        Timer::start(self.runtime(), when, submits)
    }

    /// Submits a barrier after a delay, or at a point in time; see
    /// [`submit_after`](Self::submit_after).
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let table = ConcurrentQueue::new("table");
    /// table.barrier_after(Duration::from_millis(1), move || tell.send("compacted").unwrap());
    /// assert_eq!(told.recv(), Ok("compacted"));
    /// ```
    #[track_caller]
    pub fn barrier_after<F: FnOnce() + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        let (queue, site) = (self.kept(), Location::caller());
        self.fire_when(delay.into(), site, move || queue.barrier_or_drop(f, site))
    }

    /// Submits a barrier, and does not wait. The barrier runs alone, after all blocks before it and
    /// before all behind it.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let table = ConcurrentQueue::new("table");
    /// for step in ["read", "read"] {
    ///     let tell = tell.clone();
    ///     table.submit(move || tell.send(step).unwrap());
    /// }
    /// table.barrier(move || tell.send("write").unwrap());
    /// assert_eq!(told.iter().collect::<Vec<_>>(), ["read", "read", "write"]);
    /// ```
    #[doc(alias = "dispatch_barrier_async")]
    #[doc(alias = "dispatch_barrier_async_f")]
    #[track_caller]
    pub fn barrier<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.barrier_at(f, Location::caller());
    }

    pub(crate) fn barrier_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        self.body.barrier_or_drop(f, site);
    }

    /// Runs `f` beside others and returns its value. `f` runs on this thread, at once if no barrier
    /// runs or waits and the width is not full.
    ///
    /// If it has to wait for a serial queue up the target chain, `f` may run on another thread.
    ///
    /// One deadlock is not reported: this thread is in a block of a concurrent queue that this one
    /// targets, and this queue is busy, and either a barrier of the target waits for that very
    /// block or the target's width is full. Do not wait for a queue that targets the one that you
    /// are in, or use [`try_sync`](Self::try_sync) or [`sync_timeout`](Self::sync_timeout).
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// let names = vec!["ada", "bob"];
    /// let longest = table.sync(|| names.iter().map(|name| name.len()).max()); // it may borrow
    /// assert_eq!(longest, Some(3));
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`. With a message, instead of a wait that never ends, if this thread is
    /// in a barrier of this queue, or in a block of a serial queue up its target chain. If it had
    /// to wait and the runtime was shut down.
    #[doc(alias = "dispatch_sync")]
    #[doc(alias = "dispatch_sync_f")]
    #[doc(alias = "dispatch_async_and_wait")]
    #[doc(alias = "dispatch_async_and_wait_f")]
    #[track_caller]
    #[inline]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        self.sync_at(f, Location::caller())
    }

    #[inline]
    pub(crate) fn sync_at<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: &'static Location<'static>) -> R {
        match self.body.try_enter(false) {
            Some(here) => self.body.run_here(here, f),
            None => self.level().sync("sync", false, f, site),
        }
    }

    /// The largest number of its blocks that may run at once, given its targets.
    pub(crate) fn room(&self) -> usize {
        self.body.room()
    }

    /// Runs `f` alone and returns its value. `f` runs on this thread if the queue is idle,
    /// otherwise on the thread where its turn comes.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// let mut rows = vec![1, 2];
    /// table.barrier_sync(|| rows.push(3)); // no reader is in the table now
    /// assert_eq!(rows.len(), 3);
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`. With a message, instead of a wait that never ends, if this thread is
    /// in a block of this queue or of one that targets it, which would have to end first, or in a
    /// block of a serial queue up its target chain. If it had to wait and the runtime was shut
    /// down.
    #[doc(alias = "dispatch_barrier_sync")]
    #[doc(alias = "dispatch_barrier_sync_f")]
    #[doc(alias = "dispatch_barrier_async_and_wait")]
    #[doc(alias = "dispatch_barrier_async_and_wait_f")]
    #[track_caller]
    #[inline]
    pub fn barrier_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        match self.body.try_enter(true) {
            Some(here) => self.body.run_here(here, f),
            None => self.level().sync("barrier_sync", true, f, Location::caller()),
        }
    }

    /// Runs `f` beside others if that is possible without waiting; gives it back otherwise.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, TrySyncError};
    ///
    /// let table = ConcurrentQueue::new("table");
    /// assert_eq!(table.try_sync(|| 7).ok(), Some(7));
    /// let inside = table.barrier_sync(|| table.try_sync(|| 7).err());
    /// assert!(matches!(inside, Some(TrySyncError::Deadlock(..))));
    /// ```
    ///
    /// # Errors
    /// [`TrySyncError::Busy`] if a barrier runs or waits, the width is full, the queue is
    /// suspended, or one of these holds for one of its targets; [`TrySyncError::Deadlock`] if it
    /// would wait for this very thread. Both hold the closure.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        self.level().try_sync("try_sync", false, f, Location::caller())
    }

    /// Like [`try_sync`](Self::try_sync), but runs `f` alone.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// assert!(table.try_barrier_sync(|| ()).is_ok(), "nobody reads");
    /// table.suspend();
    /// assert!(table.try_barrier_sync(|| ()).is_err());
    /// ```
    ///
    /// # Errors
    /// As for `try_sync`; the queue is also busy if it holds any block at all.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_barrier_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        self.level().try_sync("try_barrier_sync", true, f, Location::caller())
    }

    /// Like [`sync`](Self::sync), but waits at most until `timeout` for `f` to begin. `timeout` is
    /// a duration or a point in time, see [`When`]. Once `f` has begun, the call waits for its end.
    /// If `f` has to wait, it runs on a worker.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, SyncError};
    /// use std::time::Duration;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.suspend();
    /// let late = table.sync_timeout(Duration::from_millis(1), || 7);
    /// assert!(matches!(late, Err(SyncError::Timeout { .. })));
    /// ```
    ///
    /// # Errors
    /// [`SyncError`]: too late, a deadlock, or the runtime was shut down; `f` was dropped unrun in
    /// each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R: Send, F: FnOnce() -> R + Send>(
        &self,
        timeout: impl Into<When>,
        f: F,
    ) -> Result<R, SyncError> {
        self.level().sync_within(false, timeout.into(), f, Location::caller())
    }

    /// Like [`sync_timeout`](Self::sync_timeout), but runs `f` alone.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, SyncError};
    /// use std::time::Duration;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// // A reader that wants to write would wait for itself.
    /// let error = table.sync(|| table.barrier_sync_timeout(Duration::from_secs(60), || ()));
    /// assert!(matches!(error, Err(SyncError::Deadlock(_))));
    /// ```
    ///
    /// # Errors
    /// As for `sync_timeout`.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn barrier_sync_timeout<R: Send, F: FnOnce() -> R + Send>(
        &self,
        timeout: impl Into<When>,
        f: F,
    ) -> Result<R, SyncError> {
        self.level().sync_within(true, timeout.into(), f, Location::caller())
    }

    /// Submits a block that runs beside others, and returns a task for its result.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let pages = ConcurrentQueue::new("pages");
    /// let sizes: Vec<_> = ["index", "about"].map(|page| pages.call(move || page.len())).into();
    /// let total: usize = sizes.into_iter().map(|size| size.wait().unwrap()).sum();
    /// assert_eq!(total, 10);
    /// ```
    #[track_caller]
    pub fn call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(self.origin(false));
        self.submit_at(move || Promise::keep_as_part(promise, f), Location::caller());
        task
    }

    /// Submits a barrier, and returns a task for its result.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.submit(|| println!("a reader"));
    /// let saved = table.barrier_call(|| "saved, when all readers were done");
    /// assert!(saved.wait().unwrap().starts_with("saved"));
    /// ```
    #[track_caller]
    pub fn barrier_call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(self.origin(true));
        self.barrier_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Suspends the queue: blocks that it let in already run; all others wait for
    /// [`resume`](Self::resume). Calls are counted.
    ///
    /// `sync` waits until then, too. Dropping the last handle of a suspended queue resumes it, so
    /// submitted blocks run.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.suspend();
    /// let task = table.call(|| 7);
    /// assert!(!task.is_done());
    /// table.resume().unwrap();
    /// assert_eq!(task.wait().unwrap(), 7);
    /// ```
    ///
    /// # Panics
    /// If it is suspended 2^30 - 1 times already.
    #[doc(alias = "dispatch_suspend")]
    pub fn suspend(&self) {
        self.level().suspend();
    }

    /// Undoes one [`suspend`](Self::suspend).
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.suspend();
    /// assert!(table.resume().is_ok());
    /// assert!(table.resume().is_err(), "it is not suspended");
    /// ```
    ///
    /// # Errors
    /// [`NotSuspended`] if it was resumed as often as it was suspended.
    #[doc(alias = "dispatch_resume")]
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.level().resume()
    }

    /// Lets a queue that was built [inactive](ConcurrentQueueBuilder::inactive) run. A queue that
    /// is active already does not change.
    ///
    /// A suspended queue stays suspended, and a [`resume`](Self::resume) does not activate.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::builder("table").inactive().build();
    /// let task = table.call(|| 7);
    /// assert!(!task.is_done());
    /// table.activate();
    /// assert_eq!(task.wait().unwrap(), 7);
    /// ```
    #[doc(alias = "dispatch_activate")]
    pub fn activate(&self) {
        self.level().activate();
    }

    /// The origin of a block that is submitted next, if that must wait for the block that the
    /// calling thread is in.
    pub(crate) fn origin_if_held_up(&self) -> Option<Origin> {
        Origin::of_concurrent_if_held_up(&self.body)
    }

    /// The origin of a block that is submitted next, as a barrier or not.
    #[inline]
    pub(crate) fn origin(&self, barrier: bool) -> Origin {
        Origin::of_concurrent(&self.body, barrier)
    }

    /// The deadlock that `call` at `site` would cause, if any.
    pub(crate) fn deadlock(&self, call: &'static str, site: &'static Location<'static>) -> Option<DeadlockError> {
        // A thread in an ordinary block of the queue may enter it again.
        if current::entered(self.level()) == Some(false) { None } else { self.level().deadlock(call, false, site) }
    }
}

/// A [`ConcurrentQueue`] that may be gone; made by [`ConcurrentQueue::downgrade`].
///
/// ```
/// use singletrack_queues::ConcurrentQueue;
///
/// let queue = ConcurrentQueue::new("table");
/// let weak = queue.downgrade();
/// assert_eq!(weak.upgrade().as_ref(), Some(&queue));
/// drop(queue);
/// assert!(weak.upgrade().is_none());
/// ```
#[derive(Clone)]
pub struct WeakConcurrentQueue(Weak<Body>);

impl WeakConcurrentQueue {
    /// Returns a handle like any other, or `None` if the last handle was dropped, even if blocks of
    /// the queue still run.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// let weak = table.downgrade();
    /// let same = weak.upgrade().expect("there is a handle");
    /// drop((table, same));
    /// assert!(weak.upgrade().is_none());
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<ConcurrentQueue> {
        Some(ConcurrentQueue { body: self.0.upgrade()? })
    }
}

impl fmt::Debug for WeakConcurrentQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakConcurrentQueue").finish_non_exhaustive()
    }
}

impl From<&ConcurrentQueue> for TargetQueue {
    fn from(queue: &ConcurrentQueue) -> Self {
        Self(Target::Queue(queue.kept().erased()))
    }
}

impl fmt::Debug for ConcurrentQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentQueue").field("label", &self.label()).finish_non_exhaustive()
    }
}
