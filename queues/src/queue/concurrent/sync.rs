//! `sync` on a concurrent queue: level by level up to the pool, each taken at once or waited for.
//!
//! First without waiting: if every level has room, the closure runs here. Otherwise the thread waits for its turn in the
//! queue, keeps it, and goes on to the target. A serial queue on the way is a `sync` of that queue: there, as always, the
//! closure may run on another thread. A level in whose block this thread is already lets it pass, because the thread keeps
//! its place there: waiting for what waits for it would never end.

use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;

use super::super::current::{self, Frame};
use super::super::error::{DeadlockError, SyncError, TrySyncError};
use super::super::sync::hold;
use super::super::target::{Level, Target};
use super::super::timed::{Timed, TimedBlock};
use super::grant::Grant;
use super::{Body, Handle};
use crate::catch;
use crate::handoff::Ended;
use crate::qos::Qos;
use crate::sync::spin;
use crate::time::When;

/// How often it is tried to come in before the thread is listed: about a microsecond of looking, then some turns of the
/// processor left to a thread that may have lost it while it was in.
const TRIES: u32 = 72;

/// Leaves on drop; the body is kept by the caller.
struct InReadHere<'a>(&'a Body);

impl Drop for InReadHere<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave(self.0.gate.read_ends());
    }
}

struct InWriteHere<'a>(&'a Body);

impl Drop for InWriteHere<'_> {
    fn drop(&mut self) {
        self.0.leave(self.0.gate.write_ends());
    }
}

type Site = &'static Location<'static>;

impl Handle {
    #[inline]
    pub(crate) fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: Site) -> R {
        let body = &**self;
        if body.target.is_pool() && body.gate.try_read() {
            let _in = InReadHere(body);
            let frame = Frame::concurrent(body, false);
            let _entered = frame.enter();
            return f();
        }
        body.sync_or_wait(f, false, site)
    }

    #[inline]
    pub(crate) fn barrier_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: Site) -> R {
        let body = &**self;
        if body.target.is_pool() && body.gate.try_write() {
            let _in = InWriteHere(body);
            let frame = Frame::concurrent(body, true);
            let _entered = frame.enter();
            return f();
        }
        body.sync_or_wait(f, true, site)
    }

    pub(crate) fn try_sync<R: Send, F: FnOnce() -> R + Send>(
        &self,
        f: F,
        barrier: bool,
        site: Site,
    ) -> Result<R, TrySyncError<F>> {
        self.try_at_once(f, barrier, site).map_err(|f| match self.deadlock(barrier, site) {
            Some(error) => TrySyncError::Deadlock(error, f),
            None => TrySyncError::Busy(f),
        })
    }

    /// Waits in the form of a block, which can be taken back.
    pub(crate) fn sync_within<R: Send, F: FnOnce() -> R + Send>(
        &self,
        when: When,
        f: F,
        barrier: bool,
        site: Site,
    ) -> Result<R, SyncError> {
        let f = match self.try_at_once(f, barrier, site) {
            Ok(value) => return Ok(value),
            Err(f) => f,
        };
        if let Some(error) = self.deadlock(barrier, site) {
            return Err(SyncError::Deadlock(error));
        }
        if !self.pool().accepts() {
            return Err(SyncError::Shutdown { label: self.label().to_owned() });
        }
        Timed::sync(f, when, self.label(), site, |timed| {
            let block = TimedBlock::new(timed);
            if barrier {
                self.barrier(move || block.run(), site);
            } else {
                self.submit(move || block.run(), Qos::current(), site);
            }
        })
    }
}

impl Body {
    fn deadlock(&self, barrier: bool, site: Site) -> Option<DeadlockError> {
        let inside = current::blocks_on(Level::Concurrent(self), barrier)?;
        Some(DeadlockError::named(&self.label, &inside, site))
    }

    #[cold]
    #[inline(never)]
    fn sync_or_wait<R: Send, F: FnOnce() -> R + Send>(&self, f: F, barrier: bool, site: Site) -> R {
        if self.target.is_pool() && current::entered(self).is_none() {
            // There is nothing else to be in, and it was tried already.
            return self.wait_on_pool(f, barrier, site);
        }
        let f = match self.try_at_once(f, barrier, site) {
            Ok(value) => return value,
            Err(f) => f,
        };
        if let Some(error) = self.deadlock(barrier, site) {
            panic!("{error}");
        }
        if self.pool().is_forked() {
            panic!("sync on \"{}\" at {site}: the queue is busy, and {}", self.label, self.pool().why_refused());
        }
        let mut body = Some(f);
        let mut result = None;
        self.wait_up(barrier, site, &mut || {
            let frame = Frame::concurrent(self, barrier);
            let _entered = frame.enter();
            result = body.take().map(|f| f());
        });
        match result {
            Some(value) => value,
            None => unreachable!("every level was taken, so it ran"),
        }
    }

    /// Waits for the gate alone. A barrier's closure is run by the drain, if it comes to that.
    fn wait_on_pool<R: Send, F: FnOnce() -> R + Send>(&self, f: F, barrier: bool, site: Site) -> R {
        let comes_in = self.comes_in_soon(barrier);
        if !barrier {
            if !comes_in {
                self.wait_for(&Grant::turn(false, site));
            }
            let _in = InReadHere(self);
            let frame = Frame::concurrent(self, false);
            let _entered = frame.enter();
            return f();
        }
        if comes_in {
            let _in = InWriteHere(self);
            let frame = Frame::concurrent(self, true);
            let _entered = frame.enter();
            return f();
        }
        let (mut body, mut result) = (Some(f), None);
        let mut run = || result = body.take().map(catch::catch);
        // SAFETY: `run` stays until the wait has ended.
        self.wait_for(&unsafe { Grant::closure(&mut run, site) });
        match result {
            Some(Ok(value)) => value,
            Some(Err(payload)) => resume_unwind(payload),
            None => unreachable!("the wait ended because it ran"),
        }
    }

    /// Tries a few times more, while nothing is listed: who is in is likely to leave within the time that it takes to be
    /// listed, drained and woken. `true`: it came in.
    fn comes_in_soon(&self, barrier: bool) -> bool {
        for round in 0..TRIES {
            spin(round);
            if !self.gate.is_unlisted() {
                return false;
            }
            if if barrier { self.gate.try_write() } else { self.gate.try_read() } {
                return true;
            }
        }
        false
    }

    /// Runs `f` here if this queue and all its targets have room.
    fn try_at_once<R, F: FnOnce() -> R>(&self, f: F, barrier: bool, site: Site) -> Result<R, F> {
        let mut body = Some(f);
        let mut result = None;
        let ran = self.hold(barrier, site, &mut || {
            let frame = Frame::concurrent(self, barrier);
            let _entered = frame.enter();
            result = body.take().map(|f| f());
        });
        match (ran, body, result) {
            (true, None, Some(value)) => Ok(value),
            (false, Some(f), None) => Err(f),
            _ => unreachable!("the closure runs if and only if every level was taken"),
        }
    }

    /// Takes this queue and all above it, if all have room, and runs `f`.
    pub(in crate::queue) fn hold(&self, barrier: bool, site: Site, f: &mut dyn FnMut()) -> bool {
        if barrier {
            self.gate.try_write() && {
                let _in = InWriteHere(self);
                hold(&self.target, site, f)
            }
        } else if current::entered(self) == Some(false) {
            // It is in already, and in all above, and stays until `f` has returned.
            f();
            true
        } else {
            self.gate.try_read() && {
                let _in = InReadHere(self);
                hold(&self.target, site, f)
            }
        }
    }

    /// As [`hold`](Self::hold), waiting for each level.
    fn wait_up(&self, barrier: bool, site: Site, f: &mut (dyn FnMut() + Send)) {
        if barrier {
            if !self.gate.try_write() {
                self.wait_for(&Grant::turn(true, site));
            }
            let _in = InWriteHere(self);
            return wait_up(&self.target, site, f);
        }
        if current::entered(self) == Some(false) {
            return f();
        }
        if !self.gate.try_read() {
            self.wait_for(&Grant::turn(false, site));
        }
        let _in = InReadHere(self);
        wait_up(&self.target, site, f);
    }

    /// Waits in the mailbox for `grant`'s turn.
    fn wait_for(&self, grant: &Grant) {
        let _lift = LiftHere::new(self);
        let ended = catch::never_unwinds(|| {
            // SAFETY: it stays on the stack until the wait has ended, which nothing passes by.
            unsafe { self.list(NonNull::from(grant.node())) };
            grant.wait()
        });
        assert!(
            ended == Ended::Ran,
            "sync on \"{}\" at {}: the queue was busy, and its runtime was shut down before its turn came",
            self.label,
            grant.node().site
        );
    }
}

/// While this thread waits for the queue, what that lets in goes in the class of this thread, if it is higher.
struct LiftHere<'a>(&'a Body, Qos);

impl<'a> LiftHere<'a> {
    fn new(body: &'a Body) -> Option<Self> {
        let qos = Qos::current();
        if qos <= body.qos {
            return None;
        }
        body.pool().grade();
        body.lifts.add(qos).then(|| Self(body, qos))
    }
}

impl Drop for LiftHere<'_> {
    fn drop(&mut self) {
        self.0.lifts.remove(self.1);
    }
}

fn wait_up(target: &Target, site: Site, f: &mut (dyn FnMut() + Send)) {
    match target {
        Target::Pool(_) => f(),
        Target::Queue(queue) => queue.sync_at(f, site),
        Target::Concurrent(queue) => queue.wait_up(false, site, f),
    }
}
