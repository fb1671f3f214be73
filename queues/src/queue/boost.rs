//! Priority inheritance. The class of a queue is its own, or the higher class of a thread that
//! waits for it, while it waits.
//!
//! Only the queue at the end of a target chain waits in the pool. So that queue is boosted,
//! whichever queue of the chain is waited for. A boost is counted on it until the boost is dropped.
//! If the queue waits in the pool already, a token goes into the higher line
//! ([`Ticket`](super::ticket::Ticket)).
//!
//! Not for: the lines themselves (`pool/find`), tokens (`entry`).

use super::Queue;
use super::boosts::Boosts;
use super::core::QueueCore;
use super::level::{Head, Kept};
use crate::base::qos::Qos;

/// A boost that is counted until this is dropped.
pub(super) struct Boost<'a> {
    boosts: &'a Boosts,
    qos: Qos,
}

impl<'a> Boost<'a> {
    /// Counts a boost to `qos`. `None`: the count is full, so other waiters boost the queue.
    pub(super) fn count(boosts: &'a Boosts, qos: Qos) -> Option<Self> {
        boosts.add(qos).then(|| Self { boosts, qos })
    }

    /// A boost of this very queue by the calling thread, if the thread's class is higher.
    pub(super) fn here(head: &'a Head) -> Option<Self> {
        let qos = Qos::current();
        if qos <= head.qos {
            return None;
        }
        head.pool().grade();
        Self::count(&head.boosts, qos)
    }

    pub(super) fn qos(&self) -> Qos {
        self.qos
    }
}

impl Drop for Boost<'_> {
    fn drop(&mut self) {
        self.boosts.remove(self.qos);
    }
}

impl QueueCore {
    /// The end of the chain of serial targets. It waits in the pool, or in a concurrent queue,
    /// which is not boosted.
    pub(super) fn root(&self) -> &Self {
        self.serial_chain().last().unwrap_or(self)
    }

    /// Counts a boost of the end of the chain to `qos`, if that is higher than its own class.
    pub(super) fn boost_root(&self, qos: Qos) -> bool {
        let root = self.root();
        // The lowest class boosts nothing and has no count. The counts of a queue on a concurrent
        // one are for threads that are in there, see `entry`.
        if qos <= root.qos || !root.target.is_pool() {
            return false;
        }
        // This takes effect from now on: a queue that waits already has no ticket, and is not
        // boosted.
        self.pool().grade();
        root.boosts.add(qos)
    }

    /// Takes a boost back.
    pub(super) fn unboost_root(&self, qos: Qos) {
        self.root().boosts.remove(qos);
    }

    /// Boosts the end of the chain to the class of the calling thread, if that is higher.
    #[inline]
    pub(super) fn boost_here(&self) -> Option<Boost<'_>> {
        let qos = Qos::current();
        self.boost_root(qos).then(|| Boost { boosts: &self.root().boosts, qos })
    }
}

/// As [`Boost`], without a waiting thread: for a work item of a higher class than its queue.
pub(crate) struct OwnedBoost {
    queue: Kept<QueueCore>,
    qos: Qos,
}

impl OwnedBoost {
    /// `None`: the queue already has that class, or a higher one.
    pub(crate) fn new(queue: &Queue, qos: Qos) -> Option<Self> {
        queue.core().boost_root(qos).then(|| Self { queue: queue.kept(), qos })
    }
}

impl Drop for OwnedBoost {
    fn drop(&mut self) {
        self.queue.unboost_root(self.qos);
    }
}
