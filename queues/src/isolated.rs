//! State that only its queue can touch: the compiler sees to it.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::queue::{Queue, Timer};
use crate::task::Task;
use crate::time::When;

/// A value that lives on a serial queue: the only way to it is a block of that queue, so no two threads are ever in it.
///
/// A handle; cloning it does not clone the value. The value is dropped with the last handle or block that can reach it, on
/// that thread.
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
    state: Arc<Confined<T>>,
}

struct Confined<T>(UnsafeCell<T>);

// SAFETY: the value is reached from blocks of one serial queue alone, each of which happens-after the one before: it moves
// between threads, for which `T: Send` is needed and enough.
unsafe impl<T: Send> Sync for Confined<T> {}

impl<T: Send + 'static> Isolated<T> {
    /// Puts `value` on `queue`. Several values may share a queue.
    pub fn new(queue: &Queue, value: T) -> Self {
        Self { queue: queue.clone(), state: Arc::new(Confined(UnsafeCell::new(value))) }
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
        let state = &self.state;
        // SAFETY: inside a block of the queue.
        self.queue.sync(move || f(unsafe { state.value() }))
    }

    /// Submits a block whose result is wanted; see [`Queue::call`].
    #[track_caller]
    pub fn call<R: Send + 'static, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> Task<R> {
        self.queue.call(self.with(f))
    }

    /// Submits a block once `delay` has passed; see [`Queue::submit_after`].
    #[track_caller]
    pub fn submit_after<F: FnOnce(&mut T) + Send + 'static>(&self, delay: Duration, f: F) -> Timer {
        self.queue.submit_after(delay, self.with(f))
    }

    /// Submits a block when the time has come; see [`Queue::submit_when`].
    #[track_caller]
    pub fn submit_when<F: FnOnce(&mut T) + Send + 'static>(&self, when: impl Into<When>, f: F) -> Timer {
        self.queue.submit_when(when, self.with(f))
    }

    fn with<R, F: FnOnce(&mut T) -> R + Send + 'static>(&self, f: F) -> impl FnOnce() -> R + Send + 'static {
        let state = self.state.clone();
        // SAFETY: every caller in this file hands the closure to the queue.
        move || f(unsafe { state.value() })
    }
}

impl<T> Confined<T> {
    /// # Safety
    /// The caller is in a block of the queue, and does not call this again before it dropped the reference: blocks are not
    /// re-entrant, and `sync` inside a block of the queue is refused.
    #[expect(clippy::mut_from_ref, reason = "the queue is the lock")]
    unsafe fn value(&self) -> &mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.0.get() }
    }
}

impl<T> Clone for Isolated<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), state: self.state.clone() }
    }
}

impl<T> fmt::Debug for Isolated<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Isolated").field("queue", &self.queue).finish_non_exhaustive()
    }
}
