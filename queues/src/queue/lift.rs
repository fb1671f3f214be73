//! The class of a queue: its own, or that of whoever waits for it, while they wait.
//!
//! Only the queue at the end of a target chain waits in the pool, so that one is lifted, whatever queue of the chain is waited
//! for. A lift is counted on it until it is dropped; a queue that waits in the pool already gets a token in the higher line
//! ([`Ticket`](super::ticket::Ticket)).
//!
//! Not for: the lines themselves (`pool/find`).

use std::ptr::NonNull;

use super::Queue;
use super::core::QueueCore;
use crate::block::{self, Kind, Node, Runnable, VTable};
use crate::catch::Payload;
use crate::pool::Place;
use crate::qos::Qos;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many wait for a queue, by their class: sixteen bits for each class but the lowest, which lifts nothing.
#[derive(Debug, Default)]
pub(crate) struct Lifts(AtomicU64);

/// The width of one count.
const BITS: u32 = 16;
/// A full one: so many work items of a class can wait in one queue, and more threads than any system has.
const FULL: u64 = (1 << BITS) - 1;

impl Lifts {
    fn one(qos: Qos) -> u64 {
        1 << (BITS * (qos as u32 - 1))
    }

    /// The highest class of those who wait.
    #[inline]
    pub(crate) fn highest(&self) -> Option<Qos> {
        // Relaxed: ordered by the fences in `Ticket::schedule` and `Ticket::send_token`.
        match self.0.load(Relaxed) {
            0 => None,
            counts => Some(Qos::ALL[1 + (counts.ilog2() / BITS) as usize]),
        }
    }

    /// Counts one more. `false`: the count is full, and its queue lifted without this one.
    pub(crate) fn add(&self, qos: Qos) -> bool {
        let one = Self::one(qos);
        let step = |counts: u64| ((counts / one) & FULL < FULL).then(|| counts + one);
        // Relaxed: as in `highest`.
        self.0.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    pub(super) fn remove(&self, qos: Qos) {
        // Relaxed: whoever misses it runs the queue too early.
        self.0.fetch_sub(Self::one(qos), Relaxed);
    }
}

impl QueueCore {
    /// The end of the chain of serial targets: what waits in the pool, or in a concurrent queue, which is not lifted.
    pub(super) fn root(&self) -> &Self {
        self.serial_chain().last().unwrap_or(self)
    }

    /// The class that it is scheduled in now, if it is the end of its chain.
    #[inline]
    pub(super) fn class(&self) -> Qos {
        self.lifts.highest().map_or(self.qos, |lifted| lifted.max(self.qos))
    }

    /// Counts a lift of the end of the chain to `qos`, if that is higher than its own class.
    pub(super) fn lift_root(&self, qos: Qos) -> bool {
        let root = self.root();
        // The lifts of a queue on a concurrent one count its guests, see `visit`.
        if qos <= root.qos || !root.target.is_pool() {
            return false;
        }
        // From now on: what waits already has no ticket, and is not lifted.
        self.pool().grade();
        root.lifts.add(qos)
    }

    /// Takes a lift back.
    pub(super) fn sink_root(&self, qos: Qos) {
        self.root().lifts.remove(qos);
    }

    /// What was lifted may wait in a lower line: then a token goes into the higher one.
    pub(super) fn send_token(&self, qos: Qos) {
        let root = self.root();
        if root.target.is_pool() && root.ticket.send_token(qos) {
            root.pool().submit_as(Runnable(Token::node(root.handle(), qos)), Place::Back, qos);
        }
    }
}

/// A thread waits for a queue, which it lifts to its own class.
pub(super) struct Lift<'a> {
    core: &'a QueueCore,
    qos: Qos,
}

impl<'a> Lift<'a> {
    /// By this thread, if its class is higher than the queue's.
    #[inline]
    pub(super) fn here(core: &'a QueueCore) -> Option<Self> {
        let qos = Qos::current();
        // Whatever is lower than the default lifts nothing that counts: the lowest class has no count.
        (qos > Qos::Background && core.lift_root(qos)).then(|| Self { core, qos })
    }

    /// To be called when what is waited for stands in the queue.
    pub(super) fn hurry(&self) {
        self.core.send_token(self.qos);
    }
}

impl Drop for Lift<'_> {
    fn drop(&mut self) {
        self.core.sink_root(self.qos);
    }
}

/// As [`Lift`], for what waits without a thread: a work item of a higher class than its queue.
pub(crate) struct OwnedLift {
    queue: Queue,
    qos: Qos,
}

impl OwnedLift {
    /// `None`: the queue is of that class, or a higher one.
    pub(crate) fn new(queue: &Queue, qos: Qos) -> Option<Self> {
        (qos > Qos::Background && queue.core().lift_root(qos)).then(|| Self { queue: queue.clone(), qos })
    }
}

impl Drop for OwnedLift {
    fn drop(&mut self) {
        self.queue.core().sink_root(self.qos);
    }
}

impl Queue {
    /// Something that lifts the queue to `qos` stands in it now.
    pub(crate) fn hurry(&self, qos: Qos) {
        self.core().send_token(qos);
    }
}

/// Stands in the line of a higher class for a queue that waits in a lower one.
#[repr(C)]
struct Token {
    node: Node,
    queue: Queue,
    qos: Qos,
}

impl Token {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: block::no_label,
    };

    fn node(queue: Queue, qos: Qos) -> NonNull<Node> {
        let site = queue.core().site();
        NonNull::from(Box::leak(Box::new(Self { node: Node::new(&Self::VTABLE, site), queue, qos }))).cast()
    }

    /// # Safety
    /// The pool had it.
    unsafe fn take(node: NonNull<Node>) -> Self {
        // SAFETY: made by `node`, met once.
        *unsafe { Box::from_raw(node.cast::<Self>().as_ptr()) }
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the pool had it.
        let Self { queue, qos, .. } = unsafe { Self::take(node) };
        queue.core().run_token(qos);
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: the pool had it.
        drop(unsafe { Self::take(node) });
        0
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_those_who_wait_counts() {
        let lifts = Lifts::default();
        assert_eq!(lifts.highest(), None);
        assert!(lifts.add(Qos::Utility) && lifts.add(Qos::UserInteractive) && lifts.add(Qos::UserInitiated));
        assert_eq!(lifts.highest(), Some(Qos::UserInteractive));
        lifts.remove(Qos::UserInteractive);
        assert_eq!(lifts.highest(), Some(Qos::UserInitiated));
        lifts.remove(Qos::UserInitiated);
        assert_eq!(lifts.highest(), Some(Qos::Utility));
        lifts.remove(Qos::Utility);
        assert_eq!(lifts.highest(), None);
    }

    #[test]
    fn a_full_count_is_left_alone() {
        let lifts = Lifts::default();
        for class in [Qos::Default, Qos::UserInitiated] {
            assert!((0..FULL).all(|_| lifts.add(class)));
            assert!(!lifts.add(class));
        }
        (0..FULL).for_each(|_| lifts.remove(Qos::UserInitiated));
        assert_eq!(lifts.highest(), Some(Qos::Default));
    }
}
