//! A thread that waits for a block of a queue runs the queue itself, if no worker has begun.
//!
//! A wait for a worker costs two wake-ups across cores. Running a short block on the waiting thread
//! costs none. A thread can do this if it is in no block and waits without a time limit. It takes
//! the queue from its place in the pool (by the [`Ticket`](super::ticket::Ticket)) and runs its
//! blocks, up to the one that it waits for. Then it schedules the queue again, if blocks are left.
//! Nothing depends on this help: a worker was woken as for any block.
//!
//! A queue has a ticket only if it was scheduled by a thread outside the pool, or if classes are
//! used. Not for: the pool's record of such threads (`pool/help`).

use super::core::QueueCore;
use super::current;
use super::level::Kept;
use crate::base::block::{Kind, Node};
use crate::base::qos::Qos;
use crate::pool::{Helper, Place};

impl QueueCore {
    /// A reference, if the queue waits in the pool and this thread may run it.
    pub(super) fn to_help(&self) -> Option<Kept<Self>> {
        if self.is_to_be_helped() { Kept::try_new(self) } else { None }
    }

    fn is_to_be_helped(&self) -> bool {
        self.target.is_pool() && self.ticket.is_waiting() && current::is_free() && !self.pool().is_forked()
    }

    /// Runs blocks of this queue until `over` says that the wait is over, if the queue waits in the
    /// pool and this thread may run it. The caller keeps the queue.
    pub(super) fn help_until(&self, over: impl Fn() -> bool) {
        if self.is_to_be_helped() && self.takes_over(Qos::Default) {
            // SAFETY: the ticket gave us the drain right, and the caller keeps the queue.
            self.pool().helps(self.label(), |helper| self.class().run(|| unsafe { self.drain_until(over, helper) }));
        }
    }

    /// Returns the number of blocks that it ran.
    ///
    /// # Safety
    /// The caller has the drain right, and the front is in place.
    unsafe fn drain_until(&self, over: impl Fn() -> bool, helper: &Helper) -> u64 {
        let frame = self.frame();
        let inside = frame.enter();
        let mut ran = 0;
        // SAFETY: the drain right is ours until the mailbox closes, or the queue is scheduled.
        unsafe {
            let mut node = self.mail.front();
            // Suspended queues, blocks to be dropped, lanes and the end of the queue are left to a
            // worker.
            while !over() && self.state.is_clear() && !self.pool().is_halted() {
                let Node { vtable, site, .. } = *node.as_ref();
                if matches!(vtable.kind, Kind::Lane | Kind::Last) {
                    break;
                }
                helper.block(site);
                let next = self.run_front(node);
                ran += 1;
                match next {
                    Some(next) => node = next,
                    None => return ran,
                }
            }
            self.mail.set_front(node);
        }
        drop(inside);
        self.schedule(Place::Next);
        ran
    }
}
