//! What a workloop holds: a list for each class, and one word that says which of them began to have something.
//!
//! The lane is the workloop's node in its queue. While it is on, it is in that queue, about to be, or runs there; each run
//! takes one block.
//!
//! | word | lists | moves |
//! |---|---|---|
//! | 0 | empty, or somebody is about to announce | announce: on, and the announcer queues the lane |
//! | `LANE` | some are known to the lane, or a run is about to look | announce: adds a class; a run with none left: off |
//! | `LANE` + classes | these are not known to the lane yet | announce: adds one; the next run learns of all |
//!
//! A [`Mailbox`] for each class: who turns one on announces it here, after the front is in place, and nobody else does. The
//! lane alone lets go of it. So a class is announced once each time it turns on, and turning the lane off is an exchange
//! that fails when something was announced.
//!
//! Not for: which class goes next (`turns`), running (`workloop`).

use std::ptr::NonNull;

use super::turns::{CLASSES, Turns};
use crate::block::Node;
use crate::mailbox::Mailbox;
use crate::sync::atomic::{
    AtomicU8,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::sync::{OwnerCell, order_unless, planted};

const LANE: u8 = 1 << 7;
const _: () = assert!(CLASSES < 8);

/// See the module.
pub(crate) struct Classes {
    word: AtomicU8,
    lists: [Mailbox; CLASSES],
    /// Touched by runs of the lane alone.
    turns: OwnerCell<Turns>,
}

// SAFETY: `turns` is touched by the lane's runs, one after another; the rest is shared by design.
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
        if planted("workloop: a class is announced before its front is in place") {
            let on = self.announce(class);
            // SAFETY: the caller's promise.
            unsafe { self.lists[class].push(node, || ()) };
            return on;
        }
        // SAFETY: the caller's promise.
        let on = unsafe { self.lists[class].push(node, || ()) };
        on && self.announce(class)
    }

    /// The class has turned on. `true`: so has the lane.
    #[inline]
    fn announce(&self, class: usize) -> bool {
        // Release: the front of the list is visible to the run that learns of it; partner: the Acquire in `take`. What one
        // run of the lane leaves to the next one is passed on by the queue that they run in.
        let before =
            self.word.fetch_or(LANE | 1 << class, order_unless("workloop: announcing does not release", Release));
        before & LANE == 0
    }

    /// Does nothing wait, and runs nothing? What the calling thread pushed counts, also while another one is about to
    /// announce it.
    pub(crate) fn is_idle(&self) -> bool {
        let word_alone = planted("workloop: idleness asks the word alone");
        self.word.load(Acquire) == 0 && (word_alone || self.lists.iter().all(Mailbox::is_idle))
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

    /// Takes the block out of its list, after it ran. `true`: others wait, the lane must be queued again; `false`: the lane
    /// is off, and nothing of this may be touched any more.
    ///
    /// # Safety
    /// `class` and `node` are what [`take`](Self::take) said in this run.
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
        if planted("workloop: the lane goes off without a look") {
            self.word.store(0, Relaxed);
            return false;
        }
        // Relaxed: it decides who queues the lane next, and passes nothing on.
        self.word.compare_exchange(LANE, 0, Relaxed, Relaxed).is_err()
    }
}
