//! How a queue with something to run is scheduled: it waits in its target, or in a line of the
//! pool.
//!
//! Not for: what a line is (`pool/find`), turns in a concurrent target (`entry`), the drain
//! (`core`).

use super::core::QueueCore;
use super::level::{Kept, Level, Target};
use super::ticket::Scheduled;
use crate::base::block::Runnable;
use crate::base::qos::Qos;
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::pool::{Place, Pool};

impl QueueCore {
    /// Hands the drain right to the target. Called by the holder of the right, with the front in
    /// place.
    // Not inlined: inlining saves no registers where it is quick, and a push to a busy queue would
    // save some for it.
    #[inline(never)]
    pub(super) fn schedule(&self, place: Place) {
        match &self.target {
            Target::Pool(owner) if owner.pool().is_graded() => self.schedule_graded(owner.pool(), place),
            // Its stale entry is still in the pool: there must be no second one.
            Target::Pool(owner) if !self.ticket.is_none() => self.schedule_from_outside(owner.pool()),
            Target::Pool(owner) if owner.pool().submit_from_worker(Runnable(self.lane()), place) => {}
            Target::Pool(owner) => self.schedule_from_outside(owner.pool()),
            Target::Queue(_) => self.schedule_above(place),
        }
    }

    /// As [`schedule`](Self::schedule), in another queue.
    // Not inlined, so that a queue on the pool has a short path.
    #[inline(never)]
    fn schedule_above(&self, place: Place) {
        match self.target.level() {
            Some(target) if target.is_serial() => self.schedule_on(target, place),
            Some(target) => self.schedule_in(target, place),
            None => unreachable!("the target is the pool"),
        }
    }

    /// As [`schedule`](Self::schedule), in a serial target.
    fn schedule_on(&self, target: &dyn Level, place: Place) {
        // The node may have been the stub of the queue's own mailbox, and then still points at the
        // node that came behind it there. Relaxed: the push publishes it.
        self.node.next.store(std::ptr::null_mut(), Relaxed);
        // A target of the same class, or of a higher one, boosts its root itself.
        if self.qos > target.head().qos && self.boost_root(self.qos) {
            // Cloned, because this queue may be drained and freed with the push, and it was what
            // kept the target.
            let (target, qos) = (Kept::new(target), self.qos);
            self.boosts_root.store(true, Relaxed);
            // SAFETY: with the drain right the own node is in no list.
            unsafe { target.push(self.lane(), place, qos) };
            if let Some(target) = target.downcast::<Self>() {
                target.send_token(qos);
            }
        } else {
            // SAFETY: as above.
            unsafe { target.push(self.lane(), place, self.qos) }
        }
    }

    /// As [`schedule`](Self::schedule), with a ticket: the thread that submits may soon wait for
    /// the queue, see `help`.
    #[inline(never)]
    fn schedule_from_outside(&self, pool: &Pool) {
        // As in `schedule_graded`.
        let _kept = self.ticket.is_stale().then(|| Kept::try_new(self)).flatten();
        if self.ticket.draw(Qos::Default) == Scheduled::Push {
            pool.submit_from_outside(Runnable(self.lane()));
        }
    }

    /// As [`schedule`](Self::schedule), in the line of its class.
    // Not inlined, so that a queue of a runtime without classes saves no registers for it.
    #[inline(never)]
    fn schedule_graded(&self, pool: &Pool, place: Place) {
        // A stale entry keeps the queue. Once it has the drain right again, it may be claimed, run
        // and dropped at any time.
        let kept = self.ticket.is_stale().then(|| Kept::try_new(self)).flatten();
        match self.ticket.schedule_as(|| self.class()) {
            // The queue lives until its entry is in a line: a token that overtakes the entry counts
            // a reference for it.
            (Scheduled::Push, class) => pool.submit_as(Runnable(self.lane()), place, class),
            (Scheduled::Revived, _) => {
                if let Some(kept) = &kept {
                    kept.send_token(kept.class());
                }
            }
        }
    }

    /// Does the queue boost the root of the target that it waits in?
    #[inline]
    pub(super) fn is_boosting_root(&self) -> bool {
        // Relaxed: guarded by the drain right.
        self.boosts_root.load(Relaxed)
    }

    /// The queue runs, or is dropped. It no longer boosts the target that it waited in.
    pub(super) fn leaves_target(&self) {
        if self.is_boosting_root() {
            self.boosts_root.store(false, Relaxed);
            self.unboost_root(self.qos);
        }
    }
}
