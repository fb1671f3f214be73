//! State that only its queue can touch: the compiler sees to it.
//!
//! Handles are counted, blocks are not: a block that was submitted through a handle stands in the queue before that handle
//! ends. So whoever drops the last one finds the queue idle, and all blocks done, or puts the end of the value behind them.
//! A count that submitters raise and a worker lowers would move its cache line from core to core with every block.
//!
//! Not for: order and exclusion (`queue`).

use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::NonNull;
use std::time::Duration;

use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::pool::Mark;
use crate::queue::{Queue, Timer};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use crate::sync::{order_unless, planted};
use crate::task::Task;
use crate::time::When;

/// A value that lives on a serial queue: the only way to it is a block of that queue, so no two threads are ever in it.
///
/// A handle; cloning it does not clone the value. The value is dropped with the last handle, on that thread, if the queue is
/// idle; otherwise by a block of its own behind all that were submitted.
///
/// ```
/// use singletrack_queues::{Isolated, Queue};
///
/// let room = Isolated::new(&Queue::new("room.lobby"), Vec::new());
/// room.submit(|members| members.push("ada"));
/// assert_eq!(room.sync(|members| members.len()), 1);
/// ```
///
/// What is inside stays inside:
/// ```compile_fail
/// # let room = singletrack_queues::Isolated::new(&singletrack_queues::Queue::new("room"), Vec::<u8>::new());
/// let inside: &mut Vec<u8> = room.sync(|members| members);
/// ```
/// and must be able to visit the workers' threads:
/// ```compile_fail
/// # let queue = singletrack_queues::Queue::new("room");
/// singletrack_queues::Isolated::new(&queue, std::rc::Rc::new(1));
/// ```
pub struct Isolated<T> {
    queue: Queue,
    state: NonNull<Confined<T>>,
    _owns: PhantomData<Confined<T>>,
}

// SAFETY: the value is reached from blocks of one serial queue alone, each of which happens-after the one before, and from
// its drop, which happens-after them: it moves between threads, for which `T: Send` is needed and enough. `Handles` counts
// the handles.
unsafe impl<T: Send> Send for Isolated<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Isolated<T> {}

/// The value, on the heap.
#[repr(C)]
struct Confined<T> {
    /// The lane that drops all this, if it takes one.
    end: Node,
    handles: Handles,
    value: UnsafeCell<T>,
}

/// A confined value, on its way to a block of its queue.
struct Reach<T>(NonNull<Confined<T>>);

// SAFETY: as for `Isolated`.
unsafe impl<T: Send> Send for Reach<T> {}

impl<T: Send + 'static> Isolated<T> {
    /// Puts `value` on `queue`. Several values may share a queue.
    #[track_caller]
    pub fn new(queue: &Queue, value: T) -> Self {
        let end = Node::new(const { &Confined::<T>::END }, Location::caller());
        let state = Box::leak(Box::new(Confined { end, handles: Handles::one(), value: UnsafeCell::new(value) }));
        Self { queue: queue.clone(), state: NonNull::from(state), _owns: PhantomData }
    }

    /// The queue that the value lives on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Submits a block that gets the value; see [`Queue::submit`].
    #[track_caller]
    pub fn submit<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        self.queue.submit_at(self.with(f), Location::caller());
    }

    /// Submits a block that gets the value, to a turn that waits for more; see [`Queue::submit_later`].
    #[track_caller]
    pub fn submit_later<F: FnOnce(&mut T) + Send + 'static>(&self, f: F) {
        self.queue.submit_later(self.with(f));
    }

    /// Runs `f` with the value and returns what it returns; see [`Queue::sync`].
    ///
    /// # Panics
    /// As [`Queue::sync`].
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> R {
        self.queue.sync(self.with(f))
    }

    /// Submits a block whose result is wanted; see [`Queue::call`].
    #[track_caller]
    pub fn call<R: Send + 'static, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        self.queue.call(self.with(f))
    }

    /// Submits a block once `delay` has passed; see [`Queue::submit_after`].
    #[track_caller]
    pub fn submit_after<F: FnOnce(&mut T) + Send + 'static>(&self, delay: Duration, f: F) -> Timer {
        self.queue.submit_after(delay, self.with_handle(f))
    }

    /// Submits a block when the time has come; see [`Queue::submit_when`].
    #[track_caller]
    pub fn submit_when<F: FnOnce(&mut T) + Send + 'static>(&self, when: impl Into<When>, f: F) -> Timer {
        self.queue.submit_when(when, self.with_handle(f))
    }

    /// For a block that stands in the queue, or ended, before this handle ends.
    #[inline]
    fn with<R, F: FnOnce(&mut T) -> R + Send>(&self, f: F) -> impl FnOnce() -> R + Send + use<T, R, F> {
        let reach = self.reach();
        // SAFETY: every caller in this file hands the closure to the queue, and keeps its handle meanwhile.
        move || f(unsafe { reach.value() })
    }

    /// For a block that comes to the queue later: until then it has a handle.
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
    /// The caller is in a block of the queue, and does not call this again before it dropped the reference: blocks are not
    /// re-entrant, and `sync` inside a block of the queue is refused. The block was submitted while there was a handle.
    unsafe fn value<'a>(self) -> &'a mut T {
        // SAFETY: the caller's promise; the end comes behind the block.
        unsafe { &mut *self.0.as_ref().value.get() }
    }
}

impl<T> Confined<T> {
    const END: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: block::no_label,
    };

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: pushed by the last handle, so that it stands behind every block, and met once.
        unsafe {
            Mark::block_here(node.as_ref().site);
            Self::end(node);
        }
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`; blocks that did not run were dropped.
        unsafe { Self::end(node) };
        0
    }

    /// # Safety
    /// No handle is left, and no block that was submitted through one; called once.
    unsafe fn end(node: NonNull<Node>) {
        // SAFETY: the head of a `Self` (repr(C)), made by `Box` in `Isolated::new`, that nobody else has any more.
        catch::drop_quietly(unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) });
    }
}

/// How many handles there are.
#[derive(Debug)]
pub(crate) struct Handles(AtomicUsize);

impl Handles {
    pub(crate) fn one() -> Self {
        Self(AtomicUsize::new(1))
    }

    pub(crate) fn add(&self) {
        // Relaxed: a new handle is made from one that exists. The count cannot overflow before memory does.
        self.0.fetch_add(1, Relaxed);
    }

    /// One ends. `true`: it was the last; what was done through the others happened before.
    pub(crate) fn release(&self) -> bool {
        // Release: partner is the fence of the last one.
        if self.0.fetch_sub(1, order_unless("isolated: a handle's end does not release", Release)) != 1 {
            return false;
        }
        if !planted("isolated: the last handle does not acquire") {
            fence(Acquire);
        }
        true
    }
}

impl<T> Clone for Isolated<T> {
    fn clone(&self) -> Self {
        // SAFETY: this handle keeps it.
        unsafe { self.state.as_ref() }.handles.add();
        Self { queue: self.queue.clone(), state: self.state, _owns: PhantomData }
    }
}

impl<T> Drop for Isolated<T> {
    fn drop(&mut self) {
        // SAFETY: this handle keeps it.
        if !unsafe { self.state.as_ref() }.handles.release() {
            return;
        }
        // Nothing is submitted any more, so an idle queue has run all there was, whoever uses it next.
        if self.queue.is_idle() {
            // SAFETY: made by `Box` in `new`; no handle is left, and no block.
            drop(unsafe { Box::from_raw(self.state.as_ptr()) });
        } else {
            // SAFETY: a fresh lane that stays until it is met. The value may be sent: `new` demands it.
            unsafe { self.queue.push_node(self.state.cast()) };
        }
    }
}

impl<T> fmt::Debug for Isolated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated").field("queue", &self.queue).finish_non_exhaustive()
    }
}
