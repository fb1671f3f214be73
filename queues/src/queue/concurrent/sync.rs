//! `sync` on a concurrent queue: level by level up to the pool. Each level is taken at once or
//! waited for.
//!
//! If the thread has to wait for its turn in the queue, it keeps its turn and goes on to the
//! target. At a serial queue on the way, this is a `sync` of that queue. There, as always, the
//! closure may run on another thread. A level in whose block this thread is already lets it pass,
//! because the thread keeps its place there. A wait for a block that waits for this thread would
//! never end.

use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;

use super::Body;
use crate::base::block::Kind;
use crate::base::catch;
use crate::base::handoff::Ended;
use crate::base::sync::spin;
use crate::queue::boost::Boost;
use crate::queue::current;
use crate::queue::waiting::Waiting;

/// The number of tries before the thread is listed: spins for about a microsecond, then some yields
/// to a thread that may have lost its core while it was in.
const TRIES: u32 = 72;

/// A thread that is in, as a barrier or not. It leaves on drop. The caller keeps the body.
pub(crate) struct Here<'a> {
    body: &'a Body,
    barrier: bool,
}

impl Drop for Here<'_> {
    #[inline]
    fn drop(&mut self) {
        let gate = &self.body.gate;
        self.body.leaves(if self.barrier { gate.write_ends() } else { gate.read_ends() });
    }
}

type Site = &'static Location<'static>;

impl Body {
    /// Comes in, if the queue is on the pool and there is room.
    #[inline]
    pub(crate) fn try_enter(&self, barrier: bool) -> Option<Here<'_>> {
        (self.target.is_pool() && self.takes(barrier)).then(|| Here { body: self, barrier })
    }

    /// Runs `f` in a block that came in.
    #[inline]
    pub(crate) fn run_here<R>(&self, here: Here<'_>, f: impl FnOnce() -> R) -> R {
        let frame = self.frame(here.barrier);
        let _entered = frame.enter();
        f()
    }

    #[inline]
    fn takes(&self, barrier: bool) -> bool {
        if barrier { self.gate.try_write() } else { self.gate.try_read() }
    }

    /// Does this thread keep a place in this queue, and in all levels above, until its block ends?
    fn lets_pass(&self, barrier: bool) -> bool {
        !barrier && current::entered(self) == Some(false)
    }

    /// Takes this queue and all levels above it, if all have room, and runs `f`.
    pub(super) fn hold_chain(&self, barrier: bool, site: Site, f: &mut dyn FnMut()) -> bool {
        if self.lets_pass(barrier) {
            f();
            return true;
        }
        self.takes(barrier) && {
            let _in = Here { body: self, barrier };
            self.target.hold(site, f)
        }
    }

    /// As [`hold_chain`](Self::hold_chain), but waits for each level. If a barrier has to be listed
    /// on the pool, the drain runs its closure.
    pub(super) fn wait_for_room(&self, barrier: bool, site: Site, f: &mut (dyn FnMut() + Send)) {
        if self.lets_pass(barrier) {
            return f();
        }
        let on_pool = self.target.is_pool();
        if !(self.takes(barrier) || on_pool && self.comes_in_soon(barrier)) {
            if barrier && on_pool {
                return self.wait_for_drain(site, f);
            }
            // SAFETY: there is nothing to keep.
            self.wait_for(&unsafe { Waiting::on_stack(None, barrier, site) });
        }
        let _in = Here { body: self, barrier };
        self.target.wait(site, f);
    }

    /// Waits until the drain has run `f`, alone.
    fn wait_for_drain(&self, site: Site, f: &mut (dyn FnMut() + Send)) {
        let mut panic = None;
        let mut run = || panic = catch::catch(&mut *f).err();
        // SAFETY: `run` stays until the wait has ended.
        self.wait_for(&unsafe { Waiting::on_stack(Some(&mut run), true, site) });
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Tries a few more times, while nothing is listed. The thread that is in is likely to leave
    /// sooner than this one could be listed, drained and woken. `true`: it came in.
    fn comes_in_soon(&self, barrier: bool) -> bool {
        for round in 0..TRIES {
            spin(round);
            if !self.gate.is_unlisted() {
                return false;
            }
            if self.takes(barrier) {
                return true;
            }
        }
        false
    }

    /// Waits in the mailbox until `waiting` ran, or may go on.
    fn wait_for(&self, waiting: &Waiting) {
        let _boost = Boost::here(self);
        let ended = catch::never_unwinds(|| {
            // SAFETY: the node stays on the stack until the wait has ended, and nothing unwinds
            // past the wait.
            unsafe { self.list(NonNull::from(waiting.node())) };
            if waiting.node().vtable.kind == Kind::SyncBarrier {
                self.barriers.list();
            }
            waiting.wait()
        });
        assert!(
            ended == Ended::Ran,
            "sync on {:?} at {}: the queue was busy, and its runtime was shut down before its turn came",
            self.label(),
            waiting.node().site
        );
    }
}
