//! Where a thread is, as a concurrent queue sees it, and the values that belong to it.
//!
//! As for serial queues; what differs is that a block may be a barrier, or not.

use std::panic::Location;
use std::sync::Arc;

use super::ConcurrentQueue;
use crate::queue::{SpecificKey, assert};

impl ConcurrentQueue {
    /// Is the calling thread in a block of this queue, or of a queue that targets it?
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.body.entered().is_some()
    }

    /// Checks that the calling thread is in a block of this queue, barrier or not, or of a queue that targets it; a block
    /// further out, in which this one is a `sync`, counts as well.
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is not.
    #[track_caller]
    pub fn assert_on(&self) {
        assert::assert_on(self.body.level(), Location::caller());
    }

    /// Checks that the calling thread is not in a block of this queue, or of a queue that targets it.
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is.
    #[track_caller]
    pub fn assert_not_on(&self) {
        assert::assert_not_on(self.body.level(), Location::caller());
    }

    /// Checks that the calling thread is in a barrier of this very queue, and so alone in it.
    ///
    /// ```
    /// let table = singletrack_queues::ConcurrentQueue::new("table");
    /// let own = table.clone();
    /// table.barrier_sync(move || own.assert_barrier());
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is not.
    #[track_caller]
    pub fn assert_barrier(&self) {
        assert::assert_barrier(&self.body, Location::caller());
    }

    /// Gives the queue a value for `key`; the one before comes back. It is dropped with the queue.
    ///
    /// A value that holds a handle of its own queue keeps that queue for ever.
    pub fn set_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>, value: T) -> Option<Arc<T>> {
        key.put(self.body.level(), Some(value))
    }

    /// Takes the queue's own value for `key` away.
    pub fn remove_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.put(self.body.level(), None)
    }

    /// The value of this queue for `key`, or of the first up its target chain that has one; see [`SpecificKey::current`] for
    /// the queue that runs the calling block.
    #[must_use]
    pub fn get_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.find(self.body.level())
    }
}
