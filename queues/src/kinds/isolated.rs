//! State that only its queue can touch, as the compiler ensures.
//!
//! Handles are counted, blocks are not: a block that was submitted through a handle is in the queue
//! before that handle ends. So the thread that drops the last handle either finds the queue idle,
//! with all blocks done, or queues the end of the value behind them. A count that submitters raise
//! and a worker lowers would move its cache line from core to core with every block.
//!
//! Not for: order and exclusion (`queue`).

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::Location;
use std::ptr::NonNull;

use crate::base::block::{Node, VTable};
use crate::base::catch::{self, Payload};
use crate::base::counts::Counts;
use crate::pool::Mark;
use crate::queue::task::Task;
use crate::queue::{Queue, SyncError, Timer, TrySyncError, WeakQueue};
use crate::time::when::When;

/// A value that lives on a serial queue: the only way to it is a block of that queue, so no two
/// threads are ever in it.
///
/// A handle; cloning it does not clone the value. If the queue is idle, the value is dropped with
/// the last handle, on that thread; otherwise a block of its own, behind all submitted blocks,
/// drops it.
///
/// ```
/// use singletrack_queues::{Isolated, Queue};
///
/// let room = Isolated::new(&Queue::new("room.lobby"), Vec::new());
/// room.submit(|members| members.push("ada"));
/// assert_eq!(room.sync(|members| members.len()), 1);
/// ```
///
/// References to the value cannot leave the closure:
/// ```compile_fail
/// # let room = singletrack_queues::Isolated::new(&singletrack_queues::Queue::new("room"), Vec::<u8>::new());
/// let inside: &mut Vec<u8> = room.sync(|members| members);
/// ```
/// The value must be `Send`, because blocks run on the workers' threads:
/// ```compile_fail
/// # let queue = singletrack_queues::Queue::new("room");
/// singletrack_queues::Isolated::new(&queue, std::rc::Rc::new(1));
/// ```
#[doc(alias = "dispatch_get_context")]
#[doc(alias = "dispatch_set_context")]
#[doc(alias = "dispatch_set_finalizer_f")]
pub struct Isolated<T> {
    queue: Queue,
    state: NonNull<Confined<T>>,
    _owns: PhantomData<Confined<T>>,
}

// SAFETY: only blocks of one serial queue reach the value, each of which happens-after the one
// before, and its drop, which happens-after them all. So the value moves between threads, for which
// `T: Send` is needed and enough. `Counts` counts the handles.
unsafe impl<T: Send> Send for Isolated<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Isolated<T> {}

/// The value, on the heap.
#[repr(C)]
struct Confined<T> {
    /// The lane that drops the value, if a lane is needed.
    end: Node,
    counts: Counts,
    /// Dropped after the last handle; the memory stays for weak handles, which read the counts.
    value: UnsafeCell<ManuallyDrop<T>>,
}

/// A confined value, on its way to a block of its queue.
struct Reach<T>(NonNull<Confined<T>>);

// SAFETY: as for `Isolated`.
unsafe impl<T: Send> Send for Reach<T> {}

impl<T: Send + 'static> Isolated<T> {
    /// Puts `value` on `queue`. Several values may share a queue.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let queue = Queue::new("game");
    /// let (score, level) = (Isolated::new(&queue, 0_u64), Isolated::new(&queue, 1_u8));
    /// score.submit(|score| *score += 100);
    /// level.submit(|level| *level += 1); // after the score, on the same queue
    /// assert_eq!((score.sync(|score| *score), level.sync(|level| *level)), (100, 2));
    /// ```
    #[track_caller]
    pub fn new(queue: &Queue, value: T) -> Self {
        let end = Node::new(const { &Confined::<T>::END }, Location::caller());
        let value = UnsafeCell::new(ManuallyDrop::new(value));
        let state = Box::leak(Box::new(Confined { end, counts: Counts::new(), value }));
        Self { queue: queue.clone(), state: NonNull::from(state), _owns: PhantomData }
    }

    /// The queue that the value lives on.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let members = Isolated::new(&Queue::new("room.lobby"), vec!["ada"]);
    /// let same = Isolated::new(members.queue(), "a topic");
    /// assert_eq!(same.queue(), members.queue());
    /// ```
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// A handle that keeps neither the value nor its queue alive. The first one on a queue
    /// allocates.
    ///
    /// Use it for handles that the value itself holds: an [`Isolated`] inside its own value would
    /// never be dropped.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let room = Isolated::new(&Queue::new("room.lobby"), vec!["ada"]);
    /// let weak = room.downgrade();
    /// let same = weak.upgrade().expect("there is a handle");
    /// assert_eq!(same.sync(|members| members.len()), 1);
    /// drop((room, same));
    /// assert!(weak.upgrade().is_none());
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakIsolated<T> {
        // SAFETY: this handle keeps it.
        unsafe { self.state.as_ref() }.counts.add_weak();
        WeakIsolated { queue: self.queue.downgrade(), state: Knowing(self.state) }
    }

    /// Submits a block that gets the value; see [`Queue::submit`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let visits = Isolated::new(&Queue::new("visits"), 0);
    /// for _ in 0..10 {
    ///     visits.submit(|visits| *visits += 1);
    /// }
    /// assert_eq!(visits.sync(|visits| *visits), 10);
    /// ```
    #[track_caller]
    pub fn submit<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        self.queue.submit_at(self.with(f), Location::caller());
    }

    /// Submits a block that gets this value and another one of the same queue.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let queue = Queue::new("accounts");
    /// let (ada, bob) = (Isolated::new(&queue, 100), Isolated::new(&queue, 0));
    /// ada.submit_with(&bob, |ada, bob| {
    ///     *ada -= 10;
    ///     *bob += 10;
    /// });
    /// assert_eq!(ada.sync_with(&bob, |ada, bob| (*ada, *bob)), (90, 10));
    /// ```
    ///
    /// # Panics
    /// When `other` lives on another queue, or is this very value.
    #[track_caller]
    pub fn submit_with<U, F>(&self, other: &Isolated<U>, f: F)
    where
        U: Send + 'static,
        F: FnOnce(&mut T, &mut U) + Send + 'static,
    {
        self.queue.submit_at(self.with_both(other, f), Location::caller());
    }

    /// Runs `f` with this value and another one of the same queue, and returns its result; see
    /// [`Queue::sync`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let queue = Queue::new("stock");
    /// let (shelf, cart) = (Isolated::new(&queue, vec!["tea", "salt"]), Isolated::new(&queue, Vec::new()));
    /// let left = shelf.sync_with(&cart, |shelf, cart| {
    ///     cart.extend(shelf.pop());
    ///     shelf.len()
    /// });
    /// assert_eq!((left, cart.sync(|cart| cart.clone())), (1, vec!["salt"]));
    /// ```
    ///
    /// # Panics
    /// As [`Queue::sync`], and as [`submit_with`](Self::submit_with).
    #[track_caller]
    pub fn sync_with<U, R, F>(&self, other: &Isolated<U>, f: F) -> R
    where
        U: Send + 'static,
        R: Send,
        F: FnOnce(&mut T, &mut U) -> R + Send,
    {
        self.queue.sync(self.with_both(other, f))
    }

    /// Submits a block that gets the value, for a deferred turn that may collect more blocks; see
    /// [`Queue::submit_deferred`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let output = Isolated::new(&Queue::new("output"), String::new());
    /// for word in ["one ", "write"] {
    ///     output.submit_deferred(move |output| output.push_str(word));
    /// }
    /// assert_eq!(output.sync(|output| output.clone()), "one write");
    /// ```
    #[track_caller]
    pub fn submit_deferred<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        self.queue.submit_deferred(self.with(f));
    }

    /// Runs `f` with the value and returns its result; see [`Queue::sync`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::collections::HashMap;
    ///
    /// let ages = Isolated::new(&Queue::new("ages"), HashMap::from([("ada", 36)]));
    /// let name = String::from("ada");
    /// assert_eq!(ages.sync(|ages| ages.get(name.as_str()).copied()), Some(36));
    /// ```
    ///
    /// # Panics
    /// As [`Queue::sync`].
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> R {
        self.queue.sync(self.with(f))
    }

    /// Runs `f` with the value if that is possible without waiting; gives it back otherwise. See
    /// [`Queue::try_sync`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue, TrySyncError};
    ///
    /// let room = Isolated::new(&Queue::new("room"), vec!["ada"]);
    /// assert_eq!(room.try_sync(|members| members.len()).unwrap(), 1);
    /// room.queue().suspend();
    /// assert!(matches!(room.try_sync(|members| members.len()), Err(TrySyncError::Busy(_))));
    /// # room.queue().resume().unwrap();
    /// ```
    ///
    /// # Errors
    /// As [`Queue::try_sync`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        let mut f = Some(f);
        let run = |value: &mut T| f.take().expect("it is called once")(value);
        let tried = self.queue.try_sync(self.with(run)).map_err(|error| error.map(drop));
        tried.map_err(|error| error.map(|()| f.take().expect("it did not run")))
    }

    /// Like [`sync`](Self::sync), but waits at most until `timeout` for `f` to begin; see
    /// [`Queue::sync_timeout`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::time::Duration;
    ///
    /// let room = Isolated::new(&Queue::new("room"), vec!["ada"]);
    /// assert_eq!(room.sync_timeout(Duration::from_secs(60), |members| members.len()), Ok(1));
    /// ```
    ///
    /// # Errors
    /// As [`Queue::sync_timeout`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R, F>(&self, timeout: impl Into<When>, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce(&mut T) -> R + Send,
    {
        self.queue.sync_timeout(timeout, self.with(f))
    }

    /// Submits a block and returns a task for its result; see [`Queue::call`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let ids = Isolated::new(&Queue::new("ids"), 0);
    /// let task = ids.call(|next| {
    ///     *next += 1;
    ///     *next
    /// });
    /// assert_eq!(task.wait().unwrap(), 1);
    /// ```
    #[track_caller]
    pub fn call<R: Send + 'static, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        self.queue.call(self.with(f))
    }

    /// Submits a block after a delay, or at a point in time; see [`Queue::submit_after`].
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let cache = Isolated::new(&Queue::new("cache"), vec!["old"]);
    /// cache.submit_after(Duration::from_millis(1), move |cache| {
    ///     cache.clear();
    ///     tell.send(cache.len()).unwrap();
    /// });
    /// assert_eq!(told.recv(), Ok(0));
    /// ```
    #[track_caller]
    pub fn submit_after<F: FnOnce(&mut T) + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        self.queue.submit_after(delay, self.with_handle(f))
    }

    /// Wraps `f` for a block that is in the queue, or has ended, before this handle ends.
    #[inline]
    fn with<R, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> impl FnOnce() -> R + Send + use<T, R, F> {
        let reach = self.reach();
        // SAFETY: every caller in this file hands the closure to the queue, and keeps its handle
        // meanwhile.
        move || f(unsafe { reach.value() })
    }

    /// Like [`with`](Self::with), for a block that uses two values.
    #[track_caller]
    fn with_both<U, R, F>(&self, other: &Isolated<U>, f: F) -> impl FnOnce() -> R + Send + use<T, U, R, F>
    where
        U: Send + 'static,
        F: FnOnce(&mut T, &mut U) -> R + Send,
    {
        let (here, there) = (self.queue.label(), other.queue.label());
        assert!(
            self.queue == other.queue,
            "one block cannot have a value of queue \"{here}\" and one of queue \"{there}\"; put both values on one queue"
        );
        let same = self.state.addr() == other.state.addr();
        assert!(!same, "one block cannot have the same value of queue \"{here}\" twice; pass two values");
        let (one, two) = (self.reach(), other.reach());
        // SAFETY: as for `with`; they are two values of the queue.
        move || unsafe { f(one.value(), two.value()) }
    }

    /// Wraps `f` for a handler that blocks of the queue run repeatedly, and that borrows the value.
    /// The result keeps a handle.
    ///
    /// It is for libraries that call handlers on a queue. Programs use [`Source::on`] and
    /// [`Ticker::on`], which need no promise.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let sum = Isolated::new(&Queue::new("sum"), 0);
    /// // SAFETY: called in one block of the queue, which uses the value in no other way.
    /// let mut add = unsafe { sum.handler(|sum, number: u32| *sum += number) };
    /// sum.queue().sync(move || (1..=4).for_each(|number| add(number)));
    /// assert_eq!(sum.sync(|sum| *sum), 10);
    /// ```
    ///
    /// # Safety
    /// The result is called in blocks of the queue only. The block holds no reference to the value:
    /// it is not one that was lent the value, and the result is not called in the middle of itself.
    ///
    /// [`Source::on`]: crate::Source::on
    /// [`Ticker::on`]: crate::Ticker::on
    pub unsafe fn handler<A, R, F>(&self, mut f: F) -> impl FnMut(A) -> R + Send + use<T, A, R, F>
    where
        F: FnMut(&mut T, A) -> R + Send + 'static,
    {
        let handle = self.clone();
        // SAFETY: the caller's promise.
        move |argument| f(unsafe { handle.reach().value() }, argument)
    }

    /// Wraps `f` for a block that is queued later. The block keeps a handle until then.
    fn with_handle<R, F: FnOnce(&mut T) -> R + Send + 'static>(
        &self,
        f: F,
    ) -> impl FnOnce() -> R + Send + use<T, R, F> {
        let handle = self.clone();
        // SAFETY: every caller in this file hands the closure to the queue.
        move || f(unsafe { handle.reach().value() })
    }

    fn reach(&self) -> Reach<T> {
        Reach(self.state)
    }
}

impl<T> Reach<T> {
    /// # Safety
    /// The caller is in a block of the queue, and does not call this again before it drops the
    /// reference: blocks are not re-entrant, and `sync` inside a block of the queue is refused. The
    /// block was submitted while there was a handle.
    unsafe fn value<'a>(self) -> &'a mut T {
        // SAFETY: the caller's promise; the end of the value is queued behind the block.
        unsafe { &mut *self.0.as_ref().value.get() }
    }
}

impl<T> Confined<T> {
    const END: VTable = VTable::lane(Self::run, Self::discard);

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the last handle pushed the lane when it was dropped, so the lane is behind every
        // block, and it runs once.
        unsafe {
            Mark::block_here(node.as_ref().site);
            Self::end(node);
        }
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`; blocks that did not run are dropped already.
        unsafe { Self::end(node) };
        0
    }

    /// # Safety
    /// No handle is left, and no block that was submitted through one; called once.
    unsafe fn end(node: NonNull<Node>) {
        // The caller's promise is that of `Ended`; the node is the head of a `Self` (repr(C)).
        catch::drop_quietly(Ended(node.cast::<Self>()));
    }
}

/// A value that no handle and no block uses any more. Its drop drops the value, and then the weak
/// reference that all handles share.
struct Ended<T>(NonNull<Confined<T>>);

impl<T> Drop for Ended<T> {
    fn drop(&mut self) {
        // Dropped after the value, even if that panics.
        let _memory = Knowing(self.0);
        // SAFETY: made once, by the thread that removed the last handle, when no block is in the
        // value; `_memory` keeps the memory.
        unsafe { ManuallyDrop::drop(&mut *self.0.as_ref().value.get()) };
    }
}

/// A weak reference, which reads only the counts. The last one frees the memory.
struct Knowing<T>(NonNull<Confined<T>>);

impl<T> Knowing<T> {
    fn counts(&self) -> &Counts {
        // SAFETY: a weak reference keeps the memory. No reference to the value is made.
        unsafe { &(*self.0.as_ptr()).counts }
    }
}

impl<T> Clone for Knowing<T> {
    fn clone(&self) -> Self {
        self.counts().add_weak();
        Self(self.0)
    }
}

impl<T> Drop for Knowing<T> {
    fn drop(&mut self) {
        if self.counts().remove_weak() {
            // SAFETY: made by `Box` in `Isolated::new`, and this is the last weak reference. The
            // value is dropped already: `MaybeUninit` frees the memory only.
            drop(unsafe { Box::from_raw(self.0.as_ptr().cast::<MaybeUninit<Confined<T>>>()) });
        }
    }
}

/// An [`Isolated`] value that may be gone; made by [`Isolated::downgrade`].
///
/// ```
/// use singletrack_queues::{Isolated, Queue, WeakIsolated};
///
/// /// A room that its members refer to, without keeping it.
/// struct Member {
///     room: WeakIsolated<Vec<&'static str>>,
/// }
/// let room = Isolated::new(&Queue::new("room.lobby"), vec!["ada"]);
/// let ada = Member { room: room.downgrade() };
/// assert!(ada.room.upgrade().is_some());
/// drop(room);
/// assert!(ada.room.upgrade().is_none());
/// ```
pub struct WeakIsolated<T> {
    queue: WeakQueue,
    state: Knowing<T>,
}

// SAFETY: it gives out only handles of type `Isolated`, which all threads may use; the rest are
// counts.
unsafe impl<T: Send> Send for WeakIsolated<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for WeakIsolated<T> {}

impl<T> WeakIsolated<T> {
    /// Returns a handle like any other, or `None` if the last handle was dropped, even if blocks of
    /// the value still run.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let room = Isolated::new(&Queue::new("room.lobby"), vec!["ada"]);
    /// let weak = room.downgrade();
    /// if let Some(room) = weak.upgrade() {
    ///     room.submit(|members| members.push("bob"));
    /// }
    /// assert_eq!(room.sync(|members| members.len()), 2);
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<Isolated<T>> {
        // The queue comes first: every handle of the value holds a handle of the queue, and ends
        // before that.
        let queue = self.queue.upgrade()?;
        // The handle is made only if it was counted: dropping an uncounted one would release
        // another handle's count.
        let becomes = self.state.counts().become_handle();
        becomes.then(|| Isolated { queue, state: self.state.0, _owns: PhantomData })
    }
}

impl<T> Clone for WeakIsolated<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), state: self.state.clone() }
    }
}

impl<T> fmt::Debug for WeakIsolated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakIsolated").finish_non_exhaustive()
    }
}

impl<T> Clone for Isolated<T> {
    fn clone(&self) -> Self {
        // SAFETY: this handle keeps it.
        unsafe { self.state.as_ref() }.counts.add_handle();
        Self { queue: self.queue.clone(), state: self.state, _owns: PhantomData }
    }
}

impl<T> Drop for Isolated<T> {
    fn drop(&mut self) {
        // SAFETY: this handle keeps it.
        if !unsafe { self.state.as_ref() }.counts.remove_handle() {
            return;
        }
        // No more blocks of the value are submitted, so an idle queue has run all of them, even if
        // other threads use it next.
        if self.queue.is_idle() {
            // No handle is left, and no block.
            drop(Ended(self.state));
        } else {
            // SAFETY: a fresh lane that stays until it is met. The value may be sent: `new` demands
            // it.
            unsafe { self.queue.push_node(self.state.cast()) };
        }
    }
}

impl<T> fmt::Debug for Isolated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated").field("queue", &self.queue).finish_non_exhaustive()
    }
}
