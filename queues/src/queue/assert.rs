//! "This code runs on that queue": checked, with a panic that names the remedy.
//!
//! Not for: deciding what to do ([`Queue::is_current`] answers without a panic).

use std::panic::Location;

use super::level::Level;
use super::{Queue, current};

impl Queue {
    /// Checks that the calling thread is in a block of this queue, or of a queue that targets it. A
    /// block further out, in which this one is a `sync`, counts as well.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("model");
    /// let own = queue.clone();
    /// queue.sync(move || own.assert_on());
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is not.
    #[doc(alias = "dispatch_assert_queue")]
    #[doc(alias = "dispatch_assert_queue_debug")]
    #[track_caller]
    pub fn assert_on(&self) {
        assert_on(self.level(), Location::caller());
    }

    /// Checks that the calling thread is not in a block of this queue, or of a queue that targets
    /// it. For code that would wait for the queue.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("model");
    /// queue.assert_not_on();
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is.
    #[doc(alias = "dispatch_assert_queue_not")]
    #[doc(alias = "dispatch_assert_queue_not_debug")]
    #[track_caller]
    pub fn assert_not_on(&self) {
        assert_not_on(self.level(), Location::caller());
    }

    /// As [`assert_on`](Self::assert_on), because a block of a serial queue is always alone in it.
    /// For code that works with either kind of queue.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let log = Queue::new("log");
    /// log.sync(|| {
    ///     log.assert_barrier(); // nothing else of the queue runs now
    /// });
    /// ```
    ///
    /// # Panics
    /// As for `assert_on`.
    #[track_caller]
    pub fn assert_barrier(&self) {
        self.assert_on();
    }
}

pub(crate) fn assert_on(level: &dyn Level, site: &'static Location<'static>) {
    if current::entered(level).is_none() {
        not_on("assert_on", "a block", level.label(), site, "run it in a sync");
    }
}

pub(crate) fn assert_not_on(level: &dyn Level, site: &'static Location<'static>) {
    if current::entered(level).is_some() {
        panic!(
            "assert_not_on at {site}: this thread is in a block of {:?}, or of a queue that targets it; submit this to \
             another queue",
            level.label()
        )
    }
}

/// The same check for a concurrent queue.
pub(crate) fn assert_barrier(queue: &dyn Level, site: &'static Location<'static>) {
    if !current::is_barrier_of(queue) {
        not_on("assert_barrier", "a barrier", queue.label(), site, "run it in a barrier_sync");
    }
}

#[cold]
fn not_on(call: &str, what: &str, label: &str, site: &'static Location<'static>, remedy: &str) -> ! {
    let inside = current::with_current(|level| format!("in a block of {:?}", level.label()));
    let inside = inside.as_deref().unwrap_or("in no queue's block");
    panic!(
        "{call} at {site}: this thread is not in {what} of {label:?} but {inside}; submit this to {label:?} as {what}, \
         or {remedy}"
    )
}
