//! The waiters of a queue by class, in one word: sixteen bits for each class except the lowest,
//! which boosts nothing.
//!
//! Not for: which queue is boosted, and what follows (`boost`).

use crate::base::qos::Qos;
use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Boosts(AtomicU64);

/// The width of one count.
const BITS: u32 = 16;
/// A full count: so many work items of a class can wait in one queue. No system has as many
/// threads.
const FULL: u64 = (1 << BITS) - 1;

impl Boosts {
    fn one(qos: Qos) -> u64 {
        1 << (BITS * (qos as u32 - 1))
    }

    /// The highest class of the waiters.
    #[inline]
    pub(crate) fn highest(&self) -> Option<Qos> {
        // Relaxed: ordered by the fences in `Ticket::schedule` and `Ticket::send_token`.
        match self.0.load(Relaxed) {
            0 => None,
            counts => Some(Qos::ALL[1 + (counts.ilog2() / BITS) as usize]),
        }
    }

    /// Counts one more waiter. `false`: the count is full, and the queue is boosted without this
    /// one.
    pub(crate) fn add(&self, qos: Qos) -> bool {
        let one = Self::one(qos);
        let step = |counts: u64| ((counts / one) & FULL < FULL).then(|| counts + one);
        // Relaxed: as in `highest`.
        self.0.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    pub(super) fn remove(&self, qos: Qos) {
        // Relaxed: a worker that misses it runs the queue too early, which is harmless.
        self.0.fetch_sub(Self::one(qos), Relaxed);
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_those_who_wait_counts() {
        let boosts = Boosts::default();
        assert_eq!(boosts.highest(), None);
        assert!(boosts.add(Qos::Utility) && boosts.add(Qos::UserInteractive) && boosts.add(Qos::UserInitiated));
        assert_eq!(boosts.highest(), Some(Qos::UserInteractive));
        boosts.remove(Qos::UserInteractive);
        assert_eq!(boosts.highest(), Some(Qos::UserInitiated));
        boosts.remove(Qos::UserInitiated);
        assert_eq!(boosts.highest(), Some(Qos::Utility));
        boosts.remove(Qos::Utility);
        assert_eq!(boosts.highest(), None);
    }

    #[test]
    fn a_full_count_is_left_alone() {
        let boosts = Boosts::default();
        for class in [Qos::Default, Qos::UserInitiated] {
            assert!((0..FULL).all(|_| boosts.add(class)));
            assert!(!boosts.add(class));
        }
        (0..FULL).for_each(|_| boosts.remove(Qos::UserInitiated));
        assert_eq!(boosts.highest(), Some(Qos::Default));
    }
}
