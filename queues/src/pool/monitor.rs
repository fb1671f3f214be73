//! The monitor: one thread that, while anything runs, looks once a millisecond whether a worker is
//! stuck in one block.
//!
//! A stuck worker that is blocked in the kernel is replaced at the second look; one that computes
//! after a few more, and no more than one per worker. While runnables wait and most threads are
//! blocked the monitor also calls extra threads. It frees what only a stuck thread could take, and
//! fires timers that nobody else looks at. And it counts *ticks*: a drain compares them with those
//! at its beginning, so that its [time slice](super::TimeSlice) ends though it reads no clock.
//!
//! When nothing ran for a few looks it sleeps for good; the first worker that wakes up wakes it. An
//! idle runtime is silent, and so is one whose blocks all wait for something: each of their threads
//! was replaced by one that sleeps at the parker.

use std::sync::Arc;
use std::time::Duration;

use super::slot::Slot;
use super::{Pool, TICK_HALTED};
use crate::base::park::{Parker, ThreadParker};
use crate::base::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::base::sync::{Mutex, lock};

/// Between two looks.
const TICK: Duration = Duration::from_millis(1);
/// Quiet looks before it sleeps for good.
const QUIET: u32 = 3;
/// Looks that a computing block may take before its thread is replaced.
const COMPUTING: u32 = 4;

/// Looks after which a blocked thread is replaced though nothing waits: then the new one sleeps,
/// and the monitor may, too.
const SETTLED: u32 = 50;

/// Looks for which runnables wait at the cap of threads before that is reported: a second.
const LONG: u32 = 1_000;

/// See the module.
#[derive(Default)]
pub(crate) struct Monitor {
    /// It sleeps, or is about to, without a timeout.
    asleep: AtomicBool,
    /// Where it waits.
    bell: ThreadParker,
    /// Somebody reads lanes that other threads run; see `inspect`.
    inspecting: AtomicBool,
    inspection: Mutex<()>,
    /// Held while a runnable is moved from a slot to where all can see it, and while a thread asks
    /// whether there is any.
    uncovering: Mutex<()>,
}

/// One slot, as the last look saw it.
#[derive(Clone, Copy, Default)]
struct Seen {
    beat: u64,
    looks: u32,
}

/// For how many looks in a row runnables have waited while most threads are blocked.
#[derive(Default)]
struct Starved {
    looks: u32,
    /// It was said that the cap of threads is the reason. Once is enough.
    reported: bool,
}

/// The remedy for a worker that has been in one block for some looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Nothing,
    /// The monitor looks at its parker: what that watches is not forgotten.
    Poll,
    /// Another thread gets its parker.
    Replace,
}

/// Chooses the remedy. `needed`: something waits for this worker, or for any. `few`: there are not
/// yet two busy threads for each worker.
fn remedy(looks: u32, blocked: bool, needed: bool, few: bool) -> Remedy {
    if !needed && (!blocked || looks < SETTLED) {
        Remedy::Nothing
    } else if blocked || looks >= COMPUTING && few {
        Remedy::Replace
    } else {
        Remedy::Poll
    }
}

impl Monitor {
    /// A worker woke up: the monitor must look from now on.
    pub(crate) fn running(&self) {
        // Dekker: the worker stored its state, then looks at `asleep`; the monitor stores `asleep`,
        // then looks at the states. With a SeqCst fence on both sides at least one sees the other.
        fence(SeqCst);
        if self.asleep.load(Relaxed) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        self.bell.unpark();
    }

    /// Sleeps until the next worker wakes up, unless `look` sees one that runs.
    pub(crate) fn sleep(&self, look: impl FnOnce() -> bool) {
        self.asleep.store(true, Relaxed);
        // See `running`.
        fence(SeqCst);
        if !look() {
            self.rest(None);
        }
        self.asleep.store(false, Relaxed);
    }

    fn rest(&self, timeout: Option<Duration>) {
        self.bell.park(timeout, &mut || ());
    }

    /// Runs `f` while nothing is on its way from a slot to where all can see it.
    pub(crate) fn at_rest<R>(&self, f: impl FnOnce() -> R) -> R {
        let _none = lock(&self.uncovering);
        f()
    }

    /// Runs `read`, which may look at the lanes that threads run now: none of them is freed
    /// meanwhile.
    pub(crate) fn inspect<R>(&self, read: impl FnOnce() -> R) -> R {
        let _one = lock(&self.inspection);
        self.inspecting.store(true, Relaxed);
        // Partner: the fence in `wait_for_inspection`. Either the thread that frees sees the
        // inspection and waits, or we see that its lane is in no slot any more.
        fence(SeqCst);
        let result = read();
        // Release: what was read was read before it is freed; partner: the Acquire in
        // `wait_for_inspection`.
        self.inspecting.store(false, Release);
        result
    }

    /// See [`Pool::before_free`].
    #[inline]
    pub(crate) fn wait_for_inspection(&self) {
        fence(SeqCst);
        if self.inspecting.load(Acquire) {
            drop(lock(&self.inspection));
        }
    }
}

impl Pool {
    pub(super) fn monitor_start(self: &Arc<Self>) -> std::io::Result<()> {
        let pool = self.clone();
        self.spawn("monitor", move || pool.monitor_run())
    }

    fn monitor_run(self: &Arc<Self>) {
        let mut seen = vec![Seen::default(); self.slots.len()];
        let (mut quiet, mut starved) = (0, Starved::default());
        while !self.is_stopped() {
            if quiet < QUIET {
                self.monitor.rest(Some(TICK));
            } else {
                self.monitor.sleep(|| self.look(&mut seen, &mut starved));
                quiet = 0;
            }
            // Only this thread counts; a halt is final.
            let tick = self.tick.load(Relaxed);
            if tick != TICK_HALTED {
                let _ = self.tick.compare_exchange(tick, tick + 1, Relaxed, Relaxed);
            }
            quiet = if self.look(&mut seen, &mut starved) { 0 } else { quiet + 1 };
        }
    }

    /// Looks at every thread; `true` if anything moved or runs.
    fn look(self: &Arc<Self>, seen: &mut [Seen], starved: &mut Starved) -> bool {
        let mut alive = false;
        // With more threads than workers all of them are looked at closely, not only those that
        // seem stuck.
        let many = self.threads.roster().busy() > self.workers();
        let (mut at_work, mut asleep) = (0, 0);
        for (slot, seen) in self.slots().zip(seen) {
            let beat = slot.blocks();
            let moved = beat != seen.beat;
            let running = slot.is_running();
            // A thread without a parker hides nothing and keeps no time: nobody has to look after
            // it while its block goes on.
            alive |= moved || slot.is_worker();
            *seen = Seen { beat, looks: if moved || !running { 0 } else { seen.looks + 1 } };
            let blocked = (seen.looks > 0 || many && running) && slot.is_blocked();
            if blocked {
                asleep += 1;
            } else if running {
                at_work += 1;
            }
            if seen.looks == 0 {
                continue;
            }
            self.uncover(slot);
            let Some(parker) = slot.parker() else { continue };
            // What a block left to others it comes back to, if it computes: that is no reason for
            // one more thread.
            let needed = self.parkers[parker].watches() || self.has_runnables() || blocked && self.has_forked();
            let few = self.threads.roster().busy() < 2 * self.workers();
            let remedy = remedy(seen.looks, blocked, needed, few);
            if remedy == Remedy::Nothing {
                continue;
            }
            // A batch on its way from one deque to another is in neither for a moment: a worker
            // that looked just then may sleep beside visible work.
            self.notify();
            let take = || {
                let parker = slot.replace();
                self.uncover(slot);
                parker
            };
            if remedy == Remedy::Poll || !self.replace(take) {
                self.parkers[parker].poll();
            }
        }
        // A thread that leaves a forked task does not fence: a worker that fell asleep just then
        // may have missed it.
        if self.has_forked() {
            self.notify();
        }
        self.crowded.store(at_work > self.workers(), Relaxed);
        // Twice in a row: once, it may be that a woken worker is on its way.
        let starves = asleep > 0 && at_work < self.workers() && self.has_work();
        starved.looks = if starves { starved.looks + 1 } else { 0 };
        if starved.looks > 1 {
            // As many as are blocked: doubling reaches any cap within a few looks.
            let _refused = (0..asleep).try_for_each(|_| self.call(None));
        }
        if starved.looks > LONG && !starved.reported && !self.threads.roster().has_room() {
            starved.reported = true;
            self.report_cap();
        }
        for parker in self.unattended() {
            // Nobody else looks at it: the monitor must not sleep.
            alive = true;
            self.parkers[parker].poll();
        }
        if alive {
            self.timers.fire_due();
        }
        alive
    }

    /// Moves what only a stuck thread could take to where all can. Its block may end meanwhile, and
    /// the thread find nothing and rest: `is_quiet` must see the runnable nevertheless, in the one
    /// place or the other.
    pub(super) fn uncover(&self, slot: &Slot) {
        let moved = self.monitor.at_rest(|| {
            std::iter::from_fn(|| slot.exposed.take_hidden()).map(|runnable| self.shared.push(runnable)).count()
        });
        if moved > 0 {
            self.shared_grew();
        }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_blocked_worker_is_replaced_at_once_if_it_is_needed_and_otherwise_when_it_has_settled() {
        assert_eq!(remedy(1, true, true, false), Remedy::Replace);
        assert_eq!(remedy(SETTLED - 1, true, false, true), Remedy::Nothing);
        assert_eq!(remedy(SETTLED, true, false, false), Remedy::Replace);
    }

    #[test]
    fn a_computing_worker_is_replaced_after_some_looks_and_while_there_are_few_threads() {
        assert_eq!(remedy(COMPUTING - 1, false, true, true), Remedy::Poll);
        assert_eq!(remedy(COMPUTING, false, true, true), Remedy::Replace);
        assert_eq!(remedy(COMPUTING, false, true, false), Remedy::Poll);
        assert_eq!(remedy(u32::MAX, false, false, true), Remedy::Nothing);
    }
}
