//! The blocks of a workloop: a list for each class, and one word that says which lists became
//! non-empty.
//!
//! The lane is the workloop's node in its queue. While the lane is on, it is in that queue, is
//! about to be, or runs there. Each run takes one block.
//!
//! | word | lists | moves |
//! |---|---|---|
//! | 0 | empty, or a pusher is about to announce | announce: on, and the announcer queues the lane |
//! | `LANE` | some are known to the lane, or a run is about to look | announce: adds a class; a run with none left: off |
//! | `LANE` + classes | these are not known to the lane yet | announce: adds one; the next run learns of all |
//!
//! Each class has a [`Mailbox`]. Only the pusher that turns a mailbox on announces it here, after
//! the front is in place. Only the lane turns a mailbox off. So a class is announced once each time
//! it turns on. The lane turns off by an exchange that fails if a class was announced.
//!
//! Not for: which class goes next (`turns`), running (`workloop`).

use std::ptr::NonNull;

use super::turns::{CLASSES, Turns};
use crate::base::block::Node;
use crate::base::mailbox::Mailbox;
use crate::base::sync::OwnerCell;
use crate::base::sync::atomic::{
    AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};

const LANE: u8 = 1 << 7;
const _: () = assert!(CLASSES < 8);

/// See the module.
pub(crate) struct Classes {
    word: AtomicU8,
    lists: [Mailbox; CLASSES],
    /// Only runs of the lane touch it.
    turns: OwnerCell<Turns>,
}

// SAFETY: only the lane's runs touch `turns`, one after another; the rest is shared by design.
unsafe impl Sync for Classes {}

impl Classes {
    pub(crate) fn new() -> Self {
        Self {
            word: AtomicU8::new(0),
            lists: std::array::from_fn(|_| Mailbox::new()),
            turns: OwnerCell::new(Turns::default()),
        }
    }

    /// Appends `node` to its class. `true`: the caller must queue the lane.
    ///
    /// # Safety
    /// As for [`Mailbox::push`].
    #[inline]
    pub(crate) unsafe fn push(&self, class: usize, node: NonNull<Node>) -> bool {
        // SAFETY: the caller's promise.
        let on = unsafe { self.lists[class].push(node, || ()) };
        on && self.announce(class)
    }

    /// Announces that the class has turned on. `true`: the lane has turned on too.
    #[inline]
    fn announce(&self, class: usize) -> bool {
        // Release: the front of the list is visible to the run that learns of it; partner: the
        // Acquire in `take`. The queue in which the lane runs makes the writes of one run visible
        // to the next.
        let before = self.word.fetch_or(LANE | 1 << class, Release);
        before & LANE == 0
    }

    /// Is no block waiting or running? Blocks that the calling thread pushed count, even while
    /// another thread is still about to announce them.
    pub(crate) fn is_idle(&self) -> bool {
        self.word.load(Acquire) == 0 && self.lists.iter().all(Mailbox::is_idle)
    }

    /// The block whose turn it is, and its class. It stays in its list until [`end`](Self::end).
    ///
    /// # Safety
    /// The lane is on, and this is its run.
    pub(crate) unsafe fn take(&self) -> Option<(usize, NonNull<Node>)> {
        // Acquire: the fronts of the lists that were announced; partner: the Release in `announce`.
        let announced = self.word.swap(LANE, Acquire) & !LANE;
        // SAFETY: the lane's runs own `turns` and, of each list that is on, the drain right.
        unsafe {
            let mut turns = self.turns.get();
            turns.arrive(announced);
            let class = turns.next();
            self.turns.set(turns);
            class.map(|class| (class, self.lists[class].front()))
        }
    }

    /// Takes the block out of its list, after it ran. `true`: other blocks wait, and the lane must
    /// be queued again. `false`: the lane is off, and the caller must not touch this value again.
    ///
    /// # Safety
    /// `class` and `node` are those that [`take`](Self::take) returned in this run.
    pub(crate) unsafe fn end(&self, class: usize, node: NonNull<Node>) -> bool {
        // SAFETY: as in `take`.
        unsafe {
            match self.lists[class].unlink(node) {
                Some(next) => self.lists[class].set_front(next),
                None => {
                    let mut turns = self.turns.get();
                    turns.leave(class);
                    self.turns.set(turns);
                }
            }
            if self.turns.get().any() {
                return true;
            }
        }
        // Relaxed: it decides which thread queues the lane next, and publishes nothing.
        self.word.compare_exchange(LANE, 0, Relaxed, Relaxed).is_err()
    }
}
