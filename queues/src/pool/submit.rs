//! How a runnable comes in, and who hears of it.
//!
//! From a worker of the pool: into its next slot, its deque, or what it puts off. From any other thread, or in a class of
//! service: where all workers look. What others can see is told to one who sleeps, if nobody searches.
//! Not for: where runnables wait (`find`), who sleeps (`sleep`).

use super::worker::Local;
use super::{Place, Pool, STOPPED};
use crate::block::Runnable;
use crate::catch;
use crate::qos::Qos;
use crate::sync::atomic::Ordering::Relaxed;

impl Pool {
    /// Takes a runnable; some worker will run it, unless the pool ended: then it is discarded here and now, and counted.
    #[inline]
    pub(crate) fn submit(&self, runnable: Runnable, place: Place) {
        let Some(local) = self.local() else { return self.submit_from_outside(runnable) };
        if place != Place::Next || !local.push_next(runnable) {
            self.push(local, runnable, place);
        }
    }

    // Not inlined, so that a message that hops from queue to queue has a short path.
    #[inline(never)]
    fn push(&self, local: &Local, runnable: Runnable, place: Place) {
        if local.push(runnable, place) {
            self.notify();
        }
    }

    /// As [`submit`](Self::submit), in the line of a class. Only the default class puts off.
    pub(crate) fn submit_as(&self, runnable: Runnable, place: Place, qos: Qos) {
        if qos == Qos::Default {
            return self.submit(runnable, place);
        }
        self.grade();
        self.shared.push_as(runnable, qos);
        self.shared_grew();
    }

    /// Classes other than the default one are used from now on.
    pub(crate) fn grade(&self) {
        self.shared.grade();
    }

    /// Are classes other than the default one used? If not, nothing is paid for them.
    #[inline]
    pub(crate) fn is_graded(&self) -> bool {
        self.shared.is_graded()
    }

    // Not inlined: as `push`.
    #[inline(never)]
    pub(super) fn submit_from_outside(&self, runnable: Runnable) {
        if self.is_forked() {
            return self.discard(runnable);
        }
        self.shared.push(runnable);
        self.shared_grew();
    }

    /// The injector got something from a thread that may not look there again: some worker will, unless all have left.
    pub(super) fn shared_grew(&self) {
        // The fence inside also orders the push before the look at `phase`; partner: the fence in `stop`. Either we see
        // the end and take things out again, or whoever ends the pool sees the push.
        self.notify();
        if self.phase.load(Relaxed) == STOPPED {
            self.discard_shared();
        }
    }

    /// Work was made visible: wakes a sleeper if that is needed.
    #[inline]
    pub(super) fn notify(&self) {
        if let Some(parker) = self.sleep.notify() {
            self.unpark(parker);
        }
    }

    #[cold]
    pub(super) fn unpark(&self, parker: usize) {
        self.counts.wakes.fetch_add(1, Relaxed);
        // Who is woken is no sleeper any more: were the parker's panic to pass through here, nobody would wake that worker.
        catch::never_unwinds(|| self.parkers[parker].unpark());
    }
}
