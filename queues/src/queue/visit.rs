//! A serial queue that targets a concurrent one has its turns there: each is a visit, which leaves when it ends.
//!
//! The visit is a node of its own, because the queue's node serves the own mailbox while the queue drains, and a visit may
//! still be listed then: a thread that is in a block of the target and waits for the queue must not wait behind a barrier that
//! waits for that very thread, nor for room that the thread itself takes. So it is counted as a guest, and while there is one
//! a *token* goes in beside the entry, past what is listed and beyond the width. Whoever comes first, entry or token, drains:
//! the [`Ticket`](super::ticket::Ticket) tells, as for the lines of the pool. The token comes in only while somebody is in,
//! and so never beside a barrier.
//!
//! | guests | entry | a guest comes | the entry is pushed |
//! |---|---|---|---|
//! | none | none: the queue runs, or is idle | counted; its closure is pushed, and with that perhaps the entry | alone |
//! | none | waits | counted; sends a token | |
//! | some | none | counted | with a token |
//! | some | waits, with a token | counted | |

use std::ptr::NonNull;

use super::Queue;
use super::concurrent::{Handle, LaneTurn};
use super::core::QueueCore;
use super::current;
use super::target::Target;
use super::ticket::{Overtook, Scheduled};
use crate::block::{self, Kind, Node, VTable};
use crate::catch::Payload;
use crate::pool::Place;
use crate::qos::Qos;

/// The class of an entry, and of a token: any two of which one is higher.
const ENTRY: Qos = Qos::Background;
const TOKEN: Qos = Qos::UserInteractive;

/// See the module.
#[repr(C)]
struct Visit {
    node: Node,
    queue: NonNull<QueueCore>,
    /// Of a token. An entry has the drain right, or what the ticket says.
    handle: Option<Queue>,
    /// Dropped last of all that may touch the queue.
    turn: LaneTurn,
}

impl Visit {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: block::no_label,
    };

    fn node(core: &QueueCore, handle: Option<Queue>, target: &Handle) -> NonNull<Node> {
        let (node, turn) = (Node::new(&Self::VTABLE, core.site()), target.lane_turn());
        NonNull::from(Box::leak(Box::new(Self { node, queue: NonNull::from(core), handle, turn }))).cast()
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: made by `node`, met once.
        let Self { queue, handle, turn, .. } = *unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) };
        match &handle {
            // SAFETY: the entry, as if the queue's own node were met; it keeps the queue.
            None => drop(unsafe { QueueCore::run(queue.cast()) }),
            Some(handle) => handle.core().run_token(TOKEN),
        }
        drop(handle);
        drop(turn);
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`.
        let Self { queue, handle, turn, .. } = *unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) };
        // SAFETY: as in `run`.
        let count = if handle.is_some() { 0 } else { unsafe { QueueCore::discard(queue.cast()) } };
        drop(handle);
        drop(turn);
        count
    }
}

impl QueueCore {
    /// As [`schedule`](Self::schedule), in a concurrent target.
    // Not inlined, so that a queue on the pool has a short path.
    #[inline(never)]
    pub(super) fn schedule_in(&self, target: &Handle, place: Place) {
        // A stale entry holds a handle, and may be met, run and dropped as soon as it has the drain right again.
        let kept = self.ticket.is_stale().then(|| self.try_handle()).flatten();
        match self.ticket.schedule(ENTRY) {
            // Before its entry is in the target the queue lives: a token that overtakes it gives the entry a handle.
            Scheduled::Push => {
                let guests = self.has_guests().then(|| self.try_handle()).flatten();
                let entry = Visit::node(self, None, target);
                match guests {
                    // SAFETY: a fresh node that leaves when it was run or dropped. The queue may be gone afterwards.
                    None => unsafe { target.enter(entry, place, self.qos) },
                    Some(queue) => {
                        // SAFETY: as above; the handle keeps the queue, and with it the target.
                        unsafe { queue.core().target.push(entry, place, queue.core().qos) };
                        queue.core().send_visit();
                    }
                }
            }
            Scheduled::Revived => {
                if let Some(kept) = kept.filter(|kept| kept.core().has_guests()) {
                    kept.core().send_visit();
                }
            }
        }
    }

    /// Ordered by the fences of the ticket: whoever schedules sees the guest, or the guest sees that the queue waits.
    fn has_guests(&self) -> bool {
        self.lifts.highest().is_some()
    }

    /// Sends a token if the queue waits in its target, and somebody is in there.
    fn send_visit(&self) {
        let Target::Concurrent(target) = &self.target else { return };
        if !target.try_join() {
            return;
        }
        if self.ticket.send_token(TOKEN) {
            let token = Visit::node(self, Some(self.handle()), target);
            // SAFETY: a fresh node that is in already, and leaves when it was run or dropped.
            unsafe { target.push_up(token, Place::Next, self.qos) };
        } else {
            target.reader_leaves();
        }
    }

    /// The token of a class is met; the caller has a handle.
    pub(super) fn run_token(&self, qos: Qos) {
        // For the entry, should it be overtaken: it outlives this token.
        let for_entry = self.handle();
        match self.ticket.overtake(qos) {
            Overtook::Nothing => return,
            Overtook::First => std::mem::forget(for_entry),
            Overtook::Revived => drop(for_entry),
        }
        // SAFETY: the ticket gave us the drain right, and the caller's handle keeps the queue.
        unsafe { Self::drain(NonNull::from(self)) };
    }
}

/// This thread is in a block of the concurrent target of a queue that it waits for.
pub(super) struct Guest<'a>(&'a QueueCore);

impl<'a> Guest<'a> {
    /// Before what it waits for is pushed.
    pub(super) fn here(core: &'a QueueCore) -> Option<Self> {
        let root = core.root();
        let Target::Concurrent(target) = &root.target else { return None };
        let is_in = current::entered(target) == Some(false);
        // Relaxed inside: see `has_guests`. A full count lifts without this one.
        (is_in && root.lifts.add(TOKEN)).then(|| Self(root))
    }

    /// To be called when what is waited for stands in the queue.
    pub(super) fn hurry(&self) {
        self.0.send_visit();
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        self.0.lifts.remove(TOKEN);
    }
}
