//! Checks of whether a thread is in a concurrent queue, and the values that belong to the queue.
//!
//! These work as for serial queues, except that a block may be a barrier or not.

use std::panic::Location;
use std::sync::Arc;

use super::ConcurrentQueue;
use crate::queue::{SpecificKey, assert, current};

impl ConcurrentQueue {
    /// Is the calling thread in a block of this queue, or of a queue that targets it?
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::new("table");
    /// assert!(table.sync(|| table.is_current()));
    /// assert!(!table.is_current());
    /// ```
    #[must_use]
    pub fn is_current(&self) -> bool {
        current::entered(self.level()).is_some()
    }

    /// Checks that the calling thread is in a block of this queue, barrier or not, or of a queue
    /// that targets it; a block further out, in which this one is a `sync`, counts as well.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// fn look_up(table: &ConcurrentQueue) -> u32 {
    ///     table.assert_on();
    ///     7
    /// }
    /// let table = ConcurrentQueue::new("table");
    /// assert_eq!(table.sync(|| look_up(&table)), 7);
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is not.
    #[doc(alias = "dispatch_assert_queue")]
    #[doc(alias = "dispatch_assert_queue_debug")]
    #[track_caller]
    pub fn assert_on(&self) {
        assert::assert_on(self.level(), Location::caller());
    }

    /// Checks that the calling thread is not in a block of this queue, or of a queue that targets
    /// it.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// fn rebuild(table: &ConcurrentQueue) {
    ///     table.assert_not_on(); // it takes long
    ///     table.barrier(|| println!("rebuilt"));
    /// }
    /// rebuild(&ConcurrentQueue::new("table"));
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is.
    #[doc(alias = "dispatch_assert_queue_not")]
    #[doc(alias = "dispatch_assert_queue_not_debug")]
    #[track_caller]
    pub fn assert_not_on(&self) {
        assert::assert_not_on(self.level(), Location::caller());
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
    #[doc(alias = "dispatch_assert_queue_barrier")]
    #[doc(alias = "dispatch_assert_queue_barrier_debug")]
    #[track_caller]
    pub fn assert_barrier(&self) {
        assert::assert_barrier(self.level(), Location::caller());
    }

    /// Sets the queue's value for `key`, and returns the previous one. The value is dropped with
    /// the queue.
    ///
    /// A value that holds a handle of its own queue keeps that queue for ever.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, SpecificKey};
    ///
    /// static SHARD: SpecificKey<u32> = SpecificKey::new();
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.set_specific(&SHARD, 3);
    /// assert_eq!(table.sync(|| SHARD.current()).as_deref(), Some(&3));
    /// ```
    pub fn set_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>, value: T) -> Option<Arc<T>> {
        key.put(&self.body, Some(value))
    }

    /// Removes and returns the queue's own value for `key`.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, SpecificKey};
    ///
    /// static SHARD: SpecificKey<u32> = SpecificKey::new();
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.set_specific(&SHARD, 3);
    /// assert_eq!(table.remove_specific(&SHARD).as_deref(), Some(&3));
    /// assert_eq!(table.remove_specific(&SHARD), None);
    /// ```
    pub fn remove_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.put(&self.body, None)
    }

    /// The value of this queue for `key`, or of the first up its target chain that has one; see
    /// [`SpecificKey::current`] for the queue that runs the calling block.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Queue, SpecificKey};
    ///
    /// static SHARD: SpecificKey<u32> = SpecificKey::new();
    ///
    /// let shard = Queue::new("shard");
    /// shard.set_specific(&SHARD, 3);
    /// let table = ConcurrentQueue::builder("table").target(&shard).build();
    /// assert_eq!(table.get_specific(&SHARD).as_deref(), Some(&3));
    /// ```
    #[must_use]
    pub fn get_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.find(self.level())
    }
}
