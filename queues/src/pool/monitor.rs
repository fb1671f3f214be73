//! The monitor: one thread that, while anything runs, looks once a millisecond whether a worker is stuck in one block.
//!
//! A stuck worker that is blocked in the kernel gets a stand-in at the second look; one that computes after a few more,
//! and no more than one per worker. While runnables wait and most threads are blocked it calls hands, too. The monitor also
//! frees what only a stuck thread could take, fires timers that nobody looks at, and counts the pulse, by which
//! drains measure their turn without reading a clock.
//! When nothing ran for a few looks it sleeps for good; the first worker that wakes wakes it. An idle runtime is silent, and so
//! is one whose blocks all wait for something: each of them was stood in for by a thread that sleeps at the parker.

use std::sync::Arc;
use std::time::Duration;

use super::pulse::PULSE_HALTED;
use super::slot::Slot;
use super::{MAX_THREADS, Pool};
use crate::catch;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{Condvar, Mutex, lock, order_unless, planted, wait, wait_timeout};

/// Between two looks.
const TICK: Duration = Duration::from_millis(1);
/// Quiet looks before it sleeps for good.
const QUIET: u32 = 3;
/// Looks that a computing block may take before others get a stand-in.
const COMPUTING: u32 = 4;

/// Looks after which a blocked block gets a stand-in though nothing waits: then the stand-in sleeps, and this thread may, too.
const SETTLED: u32 = 50;

/// See the module.
pub(crate) struct Monitor {
    /// It sleeps, or is about to, without a timeout.
    asleep: AtomicBool,
    bell: Mutex<bool>,
    rung: Condvar,
    /// Somebody reads lanes that other threads run; see `inspect`.
    inspecting: AtomicBool,
    inspection: Mutex<()>,
    /// Held while a runnable is moved from a slot to where all can see it, and by who asks whether there is any.
    uncovering: Mutex<()>,
}

/// What the last look saw of one slot.
#[derive(Clone, Copy, Default)]
struct Seen {
    beat: u64,
    looks: u32,
}

impl Monitor {
    pub(crate) fn new() -> Self {
        Self {
            asleep: AtomicBool::new(false),
            bell: Mutex::new(false),
            rung: Condvar::new(),
            inspecting: AtomicBool::new(false),
            inspection: Mutex::new(()),
            uncovering: Mutex::new(()),
        }
    }

    /// A worker woke up: the monitor must look from now on.
    pub(crate) fn running(&self) {
        // Dekker: the worker stored its state, then looks at `asleep`; the monitor stores `asleep`, then looks at the
        // states. With a SeqCst fence on both sides at least one sees the other.
        if !planted("monitor: running has no fence") {
            fence(SeqCst);
        }
        if self.asleep.load(Relaxed) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        *lock(&self.bell) = true;
        self.rung.notify_one();
    }

    /// Sleeps until the next worker wakes up, unless `look` sees one that runs.
    pub(crate) fn sleep(&self, look: impl FnOnce() -> bool) {
        self.asleep.store(true, Relaxed);
        // See `running`.
        if !planted("monitor: sleep has no fence") {
            fence(SeqCst);
        }
        if !look() {
            self.rest(None);
        }
        self.asleep.store(false, Relaxed);
    }

    fn rest(&self, timeout: Option<Duration>) {
        let mut bell = lock(&self.bell);
        match timeout {
            Some(timeout) if !*bell => bell = wait_timeout(&self.rung, bell, timeout),
            Some(_) => {}
            None => {
                while !*bell {
                    bell = wait(&self.rung, bell);
                }
            }
        }
        *bell = false;
    }

    /// Runs `f` while nothing is on its way from a slot to where all can see it.
    pub(crate) fn at_rest<R>(&self, f: impl FnOnce() -> R) -> R {
        let _none = lock(&self.uncovering);
        f()
    }

    /// Runs `read`, which may look at the lanes that threads run now: none of them is freed meanwhile.
    pub(crate) fn inspect<R>(&self, read: impl FnOnce() -> R) -> R {
        let _one = lock(&self.inspection);
        self.inspecting.store(true, Relaxed);
        // Partner: the fence in `wait_for_inspection`. Either the one who frees sees the inspection and waits, or we see
        // that its lane is in no slot any more.
        if !planted("monitor: inspect has no fence") {
            fence(SeqCst);
        }
        let result = read();
        // Release: what was read was read before it is freed; partner: the Acquire in `wait_for_inspection`.
        self.inspecting.store(false, order_unless("monitor: inspect does not release", Release));
        result
    }

    /// See [`Pool::before_free`].
    #[inline]
    pub(crate) fn wait_for_inspection(&self) {
        fence(SeqCst);
        if self.inspecting.load(Acquire) && !planted("monitor: nobody waits for an inspection") {
            drop(lock(&self.inspection));
        }
    }
}

impl Pool {
    pub(super) fn monitor_start(self: &Arc<Self>) -> std::io::Result<()> {
        let pool = self.clone();
        let name = format!("{}-monitor", self.name);
        std::thread::Builder::new().name(name).spawn(move || catch::never_unwinds(|| pool.monitor_run())).map(drop)
    }

    fn monitor_run(self: &Arc<Self>) {
        let mut seen = vec![Seen::default(); self.slots.len().min(MAX_THREADS)];
        let (mut quiet, mut starved) = (0, false);
        while !self.is_stopped() {
            if quiet < QUIET {
                self.monitor.rest(Some(TICK));
            } else {
                self.monitor.sleep(|| self.look(&mut seen, &mut starved));
                quiet = 0;
            }
            // Only this thread counts; a halt is final.
            let pulse = self.pulse.load(Relaxed);
            if pulse != PULSE_HALTED {
                let _ = self.pulse.compare_exchange(pulse, pulse + 1, Relaxed, Relaxed);
            }
            quiet = if self.look(&mut seen, &mut starved) { 0 } else { quiet + 1 };
        }
    }

    /// Looks at every thread; `true` if anything moved or runs.
    fn look(self: &Arc<Self>, seen: &mut [Seen], starved: &mut bool) -> bool {
        let mut alive = false;
        // With more threads than workers all of them are looked at closely, not only those that seem stuck.
        let many = self.crew.busy() > self.workers();
        let (mut at_work, mut asleep) = (0, 0);
        for (slot, seen) in self.slots().zip(seen) {
            let beat = slot.blocks();
            let moved = beat != seen.beat;
            let running = slot.is_running();
            alive |= moved || running;
            *seen = Seen { beat, looks: if moved || !running && !slot.is_relieved() { 0 } else { seen.looks + 1 } };
            let blocked = (seen.looks > 0 || many && running) && slot.is_blocked();
            if blocked {
                asleep += 1;
            } else if running || seen.looks > 0 {
                at_work += 1;
            }
            if seen.looks == 0 {
                continue;
            }
            self.uncover(slot);
            let Some(parker) = slot.parker() else { continue };
            // What a block left to others it comes back to, if it computes: that is no reason for one more thread.
            let waits = self.parkers[parker].watches() || self.has_runnables() || blocked && self.has_pieces();
            if running && (waits || blocked && seen.looks >= SETTLED) {
                // A batch on its way from one deque to another is in neither for a moment: a worker that looked just then
                // may sleep beside visible work.
                self.notify();
                let computing = seen.looks >= COMPUTING && self.crew.busy() < 2 * self.workers();
                if !((blocked || computing) && self.relieve(slot)) {
                    // Nobody stands in, yet or at all: what its parker watches is not forgotten.
                    self.parkers[parker].poll();
                }
            }
        }
        // Who leaves a piece does not fence: a worker that fell asleep just then may have missed it.
        if self.has_pieces() {
            self.notify();
        }
        self.crowded.store(at_work > self.workers(), Relaxed);
        // Twice in a row: once, it may be that a woken worker is on its way.
        let starves = asleep > 0 && at_work < self.workers() && self.has_work();
        if std::mem::replace(starved, starves) && starves {
            // As many as are blocked: doubling reaches any cap within a few looks.
            self.call_hands(asleep);
        }
        for parker in self.crew.unattended() {
            // Nobody else looks at it: the monitor must not sleep.
            alive = true;
            self.parkers[parker].poll();
        }
        self.attend_again();
        if alive {
            self.timers.fire_due();
        }
        alive
    }

    /// Moves what only a stuck thread could take to where all can. Its block may end meanwhile, and the thread find nothing and
    /// rest: `is_quiet` must see the runnable nevertheless, in the one place or the other.
    fn uncover(&self, slot: &Slot) {
        let moved = self.monitor.at_rest(|| {
            let hidden = || slot.exposed.take_next().or_else(|| slot.exposed.take_later());
            std::iter::from_fn(hidden).map(|runnable| self.shared.push(runnable)).count()
        });
        if moved > 0 {
            self.shared_grew();
        }
    }
}
