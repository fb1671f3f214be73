//! The nodes in which a serial queue waits, other than its own: the tokens that may overtake it,
//! and its entries in a concurrent target.
//!
//! A boosted queue that waits in a low line of the pool gets a *token* in a higher line. The first
//! of the two, entry or token, drains. The [`Ticket`](super::ticket::Ticket) decides which one it
//! is.
//!
//! A queue that targets a concurrent one has its turns there. Its entry is a node of its own: while
//! the queue drains, the queue's node is the stub of its mailbox, and an entry may still be listed
//! then. A thread in a block of the target may wait for the queue. It must not wait behind a
//! barrier that waits for this same thread, nor for room that the thread itself takes. So the
//! thread is counted as waiting *inside*. While one does, a token goes in beside the entry, past
//! the listed nodes and beyond the width. It comes in only while a block is in, so it never runs
//! beside a barrier.
//!
//! | waiting inside | entry | one more comes | the entry is pushed |
//! |---|---|---|---|
//! | none | none: the queue runs, or is idle | counted; its closure is pushed, and with that perhaps the entry | alone |
//! | none | waits | counted; sends a token | |
//! | some | none | counted | with a token |
//! | some | waits, with a token | counted | |

use std::ptr::NonNull;

use super::Queue;
use super::boost::Boost;
use super::core::QueueCore;
use super::current;
use super::level::{Kept, Level};
use super::ticket::{Overtook, Scheduled};
use crate::base::block::{Node, Runnable, VTable};
use crate::base::catch::Payload;
use crate::base::qos::Qos;
use crate::pool::Place;

/// The classes of an entry and of a token in a concurrent target. Any two classes serve if one is
/// higher than the other.
const ENTRY: Qos = Qos::Background;
const TOKEN: Qos = Qos::UserInteractive;

/// See the module.
#[repr(C)]
struct Entry {
    node: Node,
    queue: NonNull<QueueCore>,
    /// `Some` in the token of that class. An entry has the drain right, or what the ticket says.
    token: Option<(Kept<QueueCore>, Qos)>,
    /// In a concurrent target. Dropped after everything else that may touch the queue.
    turn: Option<Turn>,
}

/// A turn in a concurrent target. It leaves on drop.
struct Turn(Kept);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Entry {
    const VTABLE: VTable = VTable::lane(Self::run, Self::discard);

    fn node(core: &QueueCore, token: Option<Qos>, target: Option<&dyn Level>) -> NonNull<Node> {
        let entry = Self {
            node: Node::new(&Self::VTABLE, core.site()),
            queue: NonNull::from(core),
            token: token.map(|qos| (Kept::new(core), qos)),
            turn: target.map(|target| Turn(Kept::new(target))),
        };
        NonNull::from(Box::leak(Box::new(entry))).cast()
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: made by `node`, met once.
        let Self { queue, token, turn, .. } = *unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) };
        match &token {
            // SAFETY: the entry acts as the queue's own node would. It keeps the queue.
            None => drop(unsafe { QueueCore::run(queue.cast()) }),
            Some((queue, qos)) => queue.run_token(*qos),
        }
        drop(token);
        drop(turn);
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`.
        let Self { queue, token, turn, .. } = *unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) };
        // SAFETY: as in `run`.
        let count = if token.is_some() { 0 } else { unsafe { QueueCore::discard(queue.cast()) } };
        drop(token);
        drop(turn);
        count
    }
}

impl QueueCore {
    /// The boosted queue may wait in a lower line of the pool. If it does, a token goes into the
    /// higher one.
    pub(super) fn send_token(&self, qos: Qos) {
        let root = self.root();
        if root.target.is_pool() && root.ticket.send_token(qos) {
            root.pool().submit_as(Runnable(Entry::node(root, Some(qos), None)), Place::Back, qos);
        }
    }

    /// Runs the token of class `qos`. The caller keeps the queue.
    fn run_token(&self, qos: Qos) {
        if self.takes_over(qos) {
            // SAFETY: the ticket gave us the drain right, and the caller keeps the queue.
            unsafe { Self::drain(NonNull::from(self)) };
        }
    }

    /// Takes the drain right from the entry that waits. `false`: none does.
    pub(super) fn takes_over(&self, qos: Qos) -> bool {
        // For the entry, in case it is overtaken: it may outlive every other reference.
        let Some(for_entry) = Kept::try_new(self) else { return false };
        let overtook = self.ticket.overtake(qos);
        if overtook == Overtook::First {
            std::mem::forget(for_entry);
        }
        overtook != Overtook::Nothing
    }

    /// As [`schedule`](Self::schedule), in a concurrent target.
    pub(super) fn schedule_in(&self, target: &dyn Level, place: Place) {
        // A stale entry keeps the queue. Once it has the drain right again, it may be claimed, run
        // and dropped at any time.
        let kept = self.ticket.is_stale().then(|| Kept::try_new(self)).flatten();
        match self.ticket.schedule(ENTRY) {
            // The queue lives until its entry is in the target: a token that overtakes the entry
            // counts a reference for it.
            Scheduled::Push => {
                let waited_for = self.is_waited_for_inside().then(|| Kept::try_new(self)).flatten();
                let entry = Entry::node(self, None, Some(target));
                // SAFETY: a fresh node that leaves when it was run or dropped. The queue may be
                // gone afterwards, unless a thread waits inside.
                unsafe { target.push(entry, place, self.qos) };
                if let Some(queue) = waited_for {
                    queue.send_entry_token();
                }
            }
            Scheduled::Revived => {
                if let Some(kept) = kept.filter(|kept| kept.is_waited_for_inside()) {
                    kept.send_entry_token();
                }
            }
        }
    }

    /// The fences of the ticket order this: either the thread that schedules the queue sees the one
    /// that waits inside, or that one sees that the queue waits in its target.
    fn is_waited_for_inside(&self) -> bool {
        self.boosts.highest().is_some()
    }

    /// Sends a token if the queue waits in its target and a block is in there.
    fn send_entry_token(&self) {
        let Some(target) = self.target.level().filter(|target| target.try_join()) else { return };
        if self.ticket.send_token(TOKEN) {
            let token = Entry::node(self, Some(TOKEN), Some(target));
            // SAFETY: a fresh node that is in already, and leaves when it was run or dropped.
            unsafe { target.push_joined(token, Place::Next, self.qos) };
        } else {
            target.leave();
        }
    }

    /// Pushes the node of a thread that waits for it, and calls `wait`. Meanwhile, the queue is as
    /// urgent as this thread, and runs though this thread is in its concurrent target.
    ///
    /// # Safety
    /// As for [`push`](Self::push).
    pub(super) unsafe fn push_urgently<R>(&self, node: NonNull<Node>, wait: impl FnOnce() -> R) -> R {
        // Counted before the push: the thread that schedules the queue must see both.
        let boost = self.boost_here();
        let root = self.root();
        let inside = root.count_inside();
        // SAFETY: the caller's promise.
        unsafe { self.push(node) };
        if let Some(boost) = &boost {
            self.send_token(boost.qos());
        }
        if inside.is_some() {
            root.send_entry_token();
        }
        wait()
    }

    /// Counts the calling thread as waiting inside, if it is in a block of the concurrent target.
    fn count_inside(&self) -> Option<Boost<'_>> {
        let is_in = current::entered(self.target.level()?) == Some(false);
        // Relaxed inside: see `is_waited_for_inside`.
        is_in.then(|| Boost::count(&self.boosts, TOKEN)).flatten()
    }
}

impl Queue {
    /// Called once a block that boosts the queue to `qos` is in it.
    pub(crate) fn send_token(&self, qos: Qos) {
        self.core().send_token(qos);
    }
}
