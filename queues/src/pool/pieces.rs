//! Pieces of a running block: what it leaves to others while it goes on, and waits for before it ends (`scope`, above).
//!
//! A piece is no runnable: it belongs to a block that has begun. It stands in a deque of the thread that left it, which takes
//! it back if nobody else did. So nobody depends on a wake-up for it, and leaving one costs a push and a look at who sleeps,
//! without a fence.
//! Not for: counting and waiting (`scope`).

use super::worker::{self, Local};
use super::{Pool, find::Own};
use crate::block::Runnable;

/// More than that are enough for everybody who may come, and whatever is left beyond it only takes memory.
const PLENTY: usize = 1024;

/// The pieces that this thread, a worker, left to others.
#[derive(Clone, Copy)]
pub(crate) struct Pieces(&'static Local);

impl Pieces {
    /// If this thread is a worker.
    #[inline]
    pub(crate) fn here() -> Option<Self> {
        worker::local().map(Self)
    }

    /// If this thread is a worker of `pool`.
    pub(crate) fn of(pool: &Pool) -> Option<Self> {
        Self::here().filter(|pieces| pieces.0.belongs_to(pool))
    }

    /// Is it this thread that left them?
    #[inline]
    pub(crate) fn are_here(self) -> bool {
        worker::local().is_some_and(|local| std::ptr::eq(local, self.0))
    }

    #[inline]
    fn own(self) -> &'static Own {
        &self.0.own
    }

    /// Has it left so many that one more is better done at once?
    #[inline]
    pub(crate) fn are_plenty(self) -> bool {
        self.own().pieces() >= PLENTY
    }

    /// Leaves one: anybody who has nothing else to do may run it.
    #[inline]
    pub(crate) fn leave(self, piece: Runnable) {
        self.own().leave_piece(piece);
        let pool = self.0.pool();
        // Who sleeps in a copy of the process sleeps in the other one: no lock of theirs is taken, and nobody woken.
        if let Some(parker) = pool.sleep.hint(|| !pool.is_forked()) {
            pool.unpark(parker);
        }
    }

    /// Takes back the one that was left last, unless all were taken.
    #[inline]
    pub(crate) fn take_back(self) -> Option<Runnable> {
        self.own().take_piece_back()
    }

    /// What was [taken back](Self::take_back) is somebody else's business on this thread.
    #[cold]
    pub(crate) fn put_back(self, piece: Runnable) {
        self.own().leave_piece(piece);
    }
}
