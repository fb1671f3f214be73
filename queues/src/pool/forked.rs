//! Forked tasks: what a running block leaves to others while it goes on, and waits for before it
//! ends (`scope`, above).
//!
//! A forked task is no runnable: it belongs to a block that has begun. It stands in a deque of the
//! thread that left it, which takes it back if nobody else did. So nobody depends on a wake-up for
//! it, and leaving one costs a push and a look at who sleeps, without a fence. Not for: counting
//! and waiting (`scope`).

use super::Pool;
use super::worker::{self, Local};
use crate::base::block::Runnable;

/// This many are enough for all threads that may come; more would only take memory.
const PLENTY: usize = 1024;

/// The forked tasks that this thread, a worker, left to others.
#[derive(Clone, Copy)]
pub(crate) struct Forked(&'static Local);

impl Forked {
    /// If this thread is a worker.
    #[inline]
    pub(crate) fn here() -> Option<Self> {
        worker::local().map(Self)
    }

    /// If this thread is a worker of `pool`.
    pub(crate) fn of(pool: &Pool) -> Option<Self> {
        Self::here().filter(|forked| forked.0.belongs_to(pool))
    }

    /// Is it this thread that left them?
    #[inline]
    pub(crate) fn are_here(self) -> bool {
        worker::local().is_some_and(|local| std::ptr::eq(local, self.0))
    }

    /// Has it left so many that one more is better done at once?
    #[inline]
    pub(crate) fn are_plenty(self) -> bool {
        self.0.own.forked.len() >= PLENTY
    }

    /// Leaves one: any thread that has nothing else to do may run it.
    #[inline]
    pub(crate) fn leave(self, task: Runnable) {
        self.0.own.forked.push(task);
        let pool = self.0.pool();
        // A sleeper of a fork child sleeps in the parent: none of its locks is taken, and nobody is
        // woken.
        if let Some(parker) = pool.sleep.hint(|| !pool.is_forked()) {
            pool.unpark(parker);
        }
    }

    /// Takes back the one that was left last, unless all were taken.
    #[inline]
    pub(crate) fn take_back(self) -> Option<Runnable> {
        self.0.own.forked.pop()
    }

    /// The one that was [taken back](Self::take_back) belongs to another scope of this thread.
    #[cold]
    pub(crate) fn put_back(self, task: Runnable) {
        self.0.own.forked.push(task);
    }
}
