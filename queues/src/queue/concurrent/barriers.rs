//! Counts the barriers of a queue, to know whether one of them is ahead of a block.
//!
//! A barrier is counted as listed *after* its push. The count is read *before* the push of a block.
//! So every barrier that the block finds counted is ahead of it. The barriers begin in the order of
//! the mailbox. While fewer have begun than the block found counted, one of them is still ahead of
//! it.
//!
//! Not for: letting nodes in (`gate`).

use crate::base::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

/// Both counts wrap around: a queue never holds four billion barriers.
#[derive(Debug)]
pub(crate) struct Barriers {
    listed: AtomicU32,
    begun: AtomicU32,
}

impl Barriers {
    pub(super) fn new() -> Self {
        Self { listed: AtomicU32::new(0), begun: AtomicU32::new(0) }
    }

    /// A barrier was pushed.
    pub(super) fn list(&self) {
        // Release: the barrier's push comes before the push of a block whose submitter reads this;
        // partner: `last_waiting`.
        self.listed.fetch_add(1, Release);
    }

    /// The first waiting barrier begins, or is dropped. Called only by the drain.
    pub(super) fn begin(&self) {
        // Relaxed: a block that is let in after the barrier passes the gate, which orders this
        // store before it.
        self.begun.store(self.begun.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// The number of the last barrier pushed so far, unless all have begun.
    #[inline]
    pub(crate) fn last_waiting(&self) -> Option<u32> {
        // Acquire: see `list`.
        let listed = self.listed.load(Acquire);
        (!self.has_begun(listed)).then_some(listed)
    }

    /// Has the barrier of that number begun? It may have begun before it was counted.
    #[inline]
    pub(crate) fn has_begun(&self, number: u32) -> bool {
        // Relaxed: see `begin`.
        self.begun.load(Relaxed).wrapping_sub(number) as i32 >= 0
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_barrier_waits_from_its_push_until_it_begins() {
        let barriers = Barriers::new();
        assert_eq!(barriers.last_waiting(), None);
        barriers.list();
        barriers.list();
        assert_eq!(barriers.last_waiting(), Some(2));
        barriers.begin();
        assert!(barriers.has_begun(1) && !barriers.has_begun(2));
        barriers.begin();
        assert!(barriers.has_begun(2));
        assert_eq!(barriers.last_waiting(), None);
    }

    #[test]
    fn one_that_begins_before_it_is_counted_is_never_seen_to_wait() {
        let barriers = Barriers::new();
        barriers.begin();
        assert_eq!(barriers.last_waiting(), None);
        barriers.list();
        assert_eq!(barriers.last_waiting(), None);
    }
}
