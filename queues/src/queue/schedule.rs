//! How a queue that has something to run comes to run: it waits in its target, or in a line of the pool.
//!
//! Not for: what a line is (`pool/find`), turns in a concurrent target (`visit`), the drain (`core`).

use super::Queue;
use super::core::QueueCore;
use super::target::Target;
use super::ticket::Scheduled;
use crate::block::Runnable;
use crate::pool::{Place, Pool};
use crate::sync::atomic::Ordering::Relaxed;

impl QueueCore {
    /// Hands the drain right to the target. Called by its holder; the front is in place.
    // Not inlined: it saves no registers where it is quick, and whoever pushes to a busy queue need not save any for it.
    #[inline(never)]
    pub(super) fn schedule(&self, place: Place) {
        match &self.target {
            Target::Pool(owner) if owner.pool().is_graded() => self.schedule_graded(owner.pool(), place),
            Target::Pool(owner) => owner.pool().submit(Runnable(self.lane()), place),
            Target::Queue(target) => self.schedule_on(target),
            Target::Concurrent(target) => self.schedule_in(target, place),
        }
    }

    /// As [`schedule`](Self::schedule), in a serial target.
    // Not inlined, so that a queue on the pool has a short path.
    #[inline(never)]
    fn schedule_on(&self, target: &Queue) {
        // It may have served as the stub of the own mailbox: then it still points at what came behind it there. Relaxed: the
        // push publishes it.
        self.node.next.store(std::ptr::null_mut(), Relaxed);
        // A target of its class, or a higher one, sees to its root itself.
        if self.qos > target.core().qos && self.lift_root(self.qos) {
            // Kept: with the push this queue may be drained and freed, and it was what kept the target.
            let (target, qos) = (target.clone(), self.qos);
            self.lifts_root.store(true, Relaxed);
            // SAFETY: with the drain right the own node is in no list.
            unsafe { target.core().push(self.lane()) };
            target.core().send_token(qos);
        } else {
            // SAFETY: as above.
            unsafe { target.core().push(self.lane()) }
        }
    }

    /// The drainer had left it, held: it goes on.
    pub(super) fn schedule_held(&self) {
        // A shutdown may have taken it out of the list, and with it the drain right.
        if self.pool().held.take(self.lane()) {
            self.schedule(Place::Back);
        }
    }

    /// As [`schedule`](Self::schedule), in the line of its class.
    // Not inlined, so that a queue of a runtime without classes does not save registers for it.
    #[inline(never)]
    fn schedule_graded(&self, pool: &Pool, place: Place) {
        let class = self.class();
        // A stale entry holds a handle, and may be met, run and dropped as soon as it has the drain right again.
        let kept = self.ticket.is_stale().then(|| self.try_handle()).flatten();
        match self.ticket.schedule(class) {
            // Who was lifted after the look above, and before the ticket said that it waits, goes to the higher line itself.
            // Before its entry is in a line it lives: a token that overtakes it gives the entry a handle.
            Scheduled::Push => {
                let now = self.class();
                if now > class {
                    self.ticket.enter(now);
                }
                pool.submit_as(Runnable(self.lane()), place, now.max(class));
            }
            Scheduled::Revived => {
                if let Some(kept) = &kept {
                    kept.core().send_token(kept.core().class());
                }
            }
        }
    }

    /// Does it lift the root of the target that it waits in?
    #[inline]
    pub(super) fn is_lifting_root(&self) -> bool {
        // Relaxed: guarded by the drain right.
        self.lifts_root.load(Relaxed)
    }

    /// It runs, or is dropped: what it waited in is not lifted by it any more.
    pub(super) fn leaves_target(&self) {
        if self.is_lifting_root() {
            self.lifts_root.store(false, Relaxed);
            self.sink_root(self.qos);
        }
    }
}
