//! The end of a pool: by a shutdown, step by step, or by itself once nothing can be submitted any
//! more; and why a queue takes nothing then.
//!
//! Not for: how long a shutdown waits and what it reports (`runtime`), what a refusal says besides
//! (`queue/error`).

use std::cell::Cell;
use std::fmt;
use std::ptr::{self, NonNull};
use std::time::Instant;

use super::slot::Stuck;
use super::{CLOSING, HALTED, Pool, STOPPED, TICK_HALTED, fork, slot};
use crate::base::block::{Discard, Node, Runnable};
use crate::base::catch;
use crate::base::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};

/// Why a queue takes nothing any more.
///
/// ```
/// use singletrack_queues::{Gone, Runtime};
/// use std::time::Duration;
///
/// let runtime = Runtime::builder().workers(1).build().unwrap();
/// let queue = runtime.queue("late");
/// runtime.shutdown(Duration::from_secs(5));
/// let rejected = queue.try_submit(|| println!("too late")).unwrap_err();
/// assert_eq!(rejected.why(), Gone::ShutDown);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Gone {
    /// Its runtime was [shut down](crate::Runtime::shutdown).
    ShutDown,
    /// Its [`MainQueue`](crate::MainQueue) was dropped.
    MainQueueDropped,
    /// This process was forked, and its runtime is the parent's: none of its threads are here.
    ForkChild,
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShutDown => "its runtime was shut down",
            Self::MainQueueDropped => "its main queue was dropped",
            Self::ForkChild if fork::made_a_runtime() => {
                "this process is a fork child, and its runtime is the parent's; use a queue of the runtime that was made here"
            }
            Self::ForkChild => {
                "this process is a fork child, which has none of the runtime's threads; make a Runtime in the child, or exec"
            }
        })
    }
}

thread_local! {
    /// The pool that this thread shuts down.
    static ENDS: Cell<*const Pool> = const { Cell::new(ptr::null()) };
}

impl Pool {
    /// Why nothing is taken any more, for a caller that was refused.
    pub(crate) fn why_refused(&self) -> Gone {
        if self.is_forked() { Gone::ForkChild } else { Gone::ShutDown }
    }

    /// Why a wait for a busy queue that begins now would never end: what is in it will be dropped,
    /// perhaps by this very thread.
    pub(crate) fn ends_no_wait(&self) -> Option<Gone> {
        let drops = || ptr::eq(ENDS.get(), self) && !self.is_open();
        (self.is_halted() || drops()).then(|| self.why_refused())
    }

    /// Runs `f`, in which this thread shuts the pool down.
    pub(super) fn ends_here<R>(&self, f: impl FnOnce() -> R) -> R {
        let before = ENDS.replace(self);
        let result = f();
        ENDS.set(before);
        result
    }

    /// From now on only running blocks may submit.
    pub(crate) fn close(&self) {
        // SeqCst with `accepts` being Relaxed: a shutdown needs no more than "soon".
        self.phase.fetch_max(CLOSING, SeqCst);
    }

    /// From now on drains drop what did not start.
    pub(crate) fn halt(&self) {
        self.phase.fetch_max(HALTED, SeqCst);
        // Release: a drain that sees it sees the phase as well; partner: the fence in
        // `TimeSlice::go`.
        self.tick.store(TICK_HALTED, Release);
    }

    /// Does nothing run, and is there nothing to run? Only meaningful once nobody outside may
    /// submit.
    pub(crate) fn is_quiet(&self) -> bool {
        let at_rest = || slot::are_at_rest(|| self.slots().map(|slot| &**slot), || self.has_work());
        self.monitor.at_rest(|| self.outside.load(Acquire) == 0 && at_rest())
    }

    /// The threads that sit in a block now.
    pub(crate) fn stuck(&self) -> Vec<Stuck> {
        let workers = || self.slots().filter_map(|slot| slot.stuck()).chain(self.helpers.stuck()).collect();
        self.monitor.inspect(workers)
    }

    /// Nobody can submit any more: the pool runs what it has, then ends by itself.
    pub(crate) fn abandon(&self) {
        if self.is_forked() {
            return;
        }
        self.close();
        self.abandoned.store(true, SeqCst);
        // Partner: the fence in `fall_asleep`. Either we see the sleeper, or it sees that the pool
        // was abandoned.
        fence(SeqCst);
        self.wake_any();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    /// Asked by each worker that falls asleep: the last one ends an abandoned pool.
    pub(super) fn ends_if_abandoned(&self) -> bool {
        let ends = self.is_abandoned() && self.is_quiet();
        if ends {
            self.stop();
        }
        ends
    }

    /// Ends the pool: its threads leave as soon as they come out of their blocks. Does not wait.
    pub(crate) fn stop(&self) {
        self.halt();
        self.phase.store(STOPPED, SeqCst);
        // Partner: the fence in `notify`; see `submit_from_outside`.
        fence(SeqCst);
        catch::never_unwinds(|| self.parkers.iter().for_each(|parker| parker.unpark()));
        self.threads.wake_all();
        self.monitor.wake();
        self.discard_shared();
    }

    /// Waits for the threads that have left their blocks; `false` if some are still in one at
    /// `deadline`.
    pub(crate) fn join(&self, deadline: Instant) -> bool {
        self.threads.wait_for_end(deadline)
    }

    pub(super) fn discard_shared(&self) {
        while let Some(runnable) = self.shared.pop() {
            self.discard(runnable);
        }
        self.counts.dropped.fetch_add(self.timers.clear(), Relaxed);
    }

    /// Drops what suspended lanes hold: the label of each, and how many blocks.
    pub(crate) fn discard_suspended(&self) -> Vec<(String, u64)> {
        let drop_lane = |(lane, discard): (NonNull<Node>, Discard)| {
            // SAFETY: taken out of the list, the lane and its drain right are ours; it is alive,
            // because it holds blocks.
            unsafe {
                let label = (*(lane.as_ref().vtable.label)(lane)).to_owned();
                let count = discard(lane);
                self.count_dropped(count);
                (label, count)
            }
        };
        self.suspended.take_all().into_iter().map(drop_lane).collect()
    }

    pub(super) fn discard(&self, Runnable(node): Runnable) {
        // SAFETY: we took it out of the pool, so we are its one holder; it never ran.
        let count = unsafe { (node.as_ref().vtable.discard)(node) };
        self.counts.dropped.fetch_add(count, Relaxed);
    }
}
