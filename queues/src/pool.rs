//! The pool: as many workers as cores take runnables from each other's deques, and wait in parkers when there are none.
//!
//! A runnable is a lane with something to run (a queue, a source) or a one-shot block; the pool does not know which queue,
//! and never runs one runnable in the middle of another. Its parts: `submit` (how they come in), `find` (where they wait),
//! `turns` (which class goes first), `patience` (when what is put off has its round), `sleep` (who sleeps and whom to
//! wake), `worker` (the loop), `slot` (what others know of its thread), `pieces` (what a running block leaves to others),
//! `crew` (which thread holds which parker, stand-ins for blocked threads), `monitor` (notices the blocked), `cpu` (blocked
//! or computing?).
//!
//! A runtime with N workers has N parkers. A thread that holds one is a worker; a thread that is stuck in a block is
//! relieved of its parker by the monitor, a stand-in takes it over, and when the block ends the first thread waits as a
//! spare for a moment, then ends. So the number of threads is bounded by a cap, and a stuck block stops nobody's I/O.

mod cpu;
mod crew;
mod find;
mod fork;
pub(crate) mod held;
mod later;
pub(crate) mod monitor;
mod patience;
mod pieces;
mod pulse;
pub(crate) mod sleep;
pub(crate) mod slot;
mod submit;
mod turns;
pub(crate) mod worker;

use std::ptr::NonNull;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::block::{Discard, Node, Runnable};
use crate::catch;
use crate::park::Parker;
use crate::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::timer::Timers;

use crew::Crew;
use held::Held;
use monitor::Monitor;
pub(crate) use pieces::Pieces;
pub(crate) use pulse::Go;
use pulse::PULSE_HALTED;
use sleep::Sleep;
use slot::Slot;
pub(crate) use slot::Stuck;
use worker::Local;
pub use worker::blocking;
pub(crate) use worker::{Mark, current, current_parker, wait_for};

/// Everything runs.
const OPEN: u8 = 0;
/// `shutdown` began: threads outside are refused, running blocks may still submit.
const CLOSING: u8 = 1;
/// The deadline passed: what did not start is dropped.
const HALTED: u8 = 2;
/// The workers leave.
const STOPPED: u8 = 3;
/// The workers are threads of the process that this one was forked from.
const FORKED: u8 = 4;

/// A fixed limit of the monitor's book-keeping.
pub(crate) const MAX_THREADS: usize = 4096;

/// What a pool is made from.
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) parkers: Vec<Arc<dyn Parker>>,
    pub(crate) thread_cap: usize,
}

/// See the module.
pub(crate) struct Pool {
    name: String,
    shared: find::Shared,
    slots: Box<[CachePadded<Slot>]>,
    /// Slots at and above this were never used: where scans end.
    used: AtomicUsize,
    sleep: CachePadded<Sleep>,
    parkers: Box<[Arc<dyn Parker>]>,
    crew: Crew,
    monitor: Monitor,
    pub(crate) timers: Timers,
    pub(crate) held: Held,
    phase: AtomicU8,
    /// Lanes with blocks in them that wait for a thread which runs a `sync` itself: nothing of them is in the pool.
    outside: AtomicUsize,
    abandoned: AtomicBool,
    /// More threads are at work than there are workers: hands shall stand back.
    crowded: AtomicBool,
    /// Counts the monitor's ticks while anything runs: the time budget of drains, without reading a clock.
    pulse: CachePadded<AtomicU64>,
    pub(crate) counts: Counts,
}

/// Rare events, counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) panics: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) relieved: AtomicU64,
}

/// Where a runnable goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Next on this thread, if it is a worker: what was just submitted is warm.
    Next,
    /// Behind everything else: a queue that used up its budget.
    Back,
    /// When this thread has nothing else, if it is a worker; see [`patience`]. For what others may still add to, such as output.
    Later,
}

impl Pool {
    /// Makes the pool and starts its threads.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn start(plan: Plan) -> std::io::Result<Arc<Self>> {
        let slots = (0..plan.thread_cap).map(|index| CachePadded::new(Slot::new(index))).collect();
        let pool = Arc::new(Self {
            name: plan.name,
            shared: find::Shared::new(),
            slots,
            used: AtomicUsize::new(0),
            sleep: CachePadded::new(Sleep::new()),
            parkers: plan.parkers.into(),
            crew: Crew::new(plan.thread_cap),
            monitor: Monitor::new(),
            timers: Timers::new(),
            held: Held::new(),
            phase: AtomicU8::new(OPEN),
            outside: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            pulse: CachePadded::new(AtomicU64::new(0)),
            counts: Counts::default(),
        });
        fork::watch(&pool);
        for parker in 0..pool.parkers.len() {
            if let Err(error) = pool.crew_spawn(Some(parker)) {
                pool.stop();
                return Err(error);
            }
        }
        if let Err(error) = pool.monitor_start() {
            pool.stop();
            return Err(error);
        }
        Ok(pool)
    }

    pub(crate) fn parkers(&self) -> &[Arc<dyn Parker>] {
        &self.parkers
    }

    pub(crate) fn workers(&self) -> usize {
        self.parkers.len()
    }

    /// May the calling thread submit? After `shutdown` began only running blocks may, and after its deadline nobody.
    #[inline]
    pub(crate) fn accepts(&self) -> bool {
        self.is_open() || self.accepts_from_inside()
    }

    #[cold]
    fn accepts_from_inside(&self) -> bool {
        self.phase.load(Relaxed) == CLOSING && self.local().is_some()
    }

    fn local(&self) -> Option<&Local> {
        worker::local().filter(|local| local.belongs_to(self))
    }

    /// Is there something that some thread could take?
    fn has_work(&self) -> bool {
        self.has_runnables() || self.has_pieces()
    }

    /// Is there a runnable that some thread could take?
    fn has_runnables(&self) -> bool {
        self.shared.has_any() || self.slots().any(|slot| slot.exposed.has_stealable())
    }

    /// Has a running block left something to others?
    fn has_pieces(&self) -> bool {
        self.slots().any(|slot| slot.exposed.has_pieces())
    }

    /// The slots that threads have used so far.
    fn slots(&self) -> impl Iterator<Item = &CachePadded<Slot>> {
        self.slots[..self.used.load(Acquire)].iter()
    }

    /// Did no shutdown begin yet?
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: a submission that races with the beginning of a shutdown counts as earlier.
        self.phase.load(Relaxed) == OPEN
    }

    fn wake_any(&self) {
        if let Some(parker) = self.sleep.take_any() {
            self.unpark(parker);
        }
    }

    /// Has the deadline of a shutdown passed, so that blocks are dropped instead of run?
    #[inline]
    pub(crate) fn is_halted(&self) -> bool {
        self.phase.load(Relaxed) >= HALTED
    }

    /// The number of threads now, and the highest so far.
    pub(crate) fn threads(&self) -> (usize, usize) {
        self.crew.counts()
    }

    /// How many blocks the workers have run.
    pub(crate) fn blocks(&self) -> u64 {
        self.slots().map(|slot| slot.blocks()).sum()
    }

    /// A lane has blocks and waits for a thread that holds it in a `sync`.
    pub(crate) fn waits_outside(&self) {
        // Relaxed: whoever waits for quiet submitted before, or does not know of this submission.
        self.outside.fetch_add(1, Relaxed);
    }

    /// That lane was given to the pool, or is idle. Wraps around for a moment if this comes first.
    pub(crate) fn waited_outside(&self) {
        // Release: who sees it sees the lane in the pool; partner: the Acquire in `is_quiet`.
        self.outside.fetch_sub(1, Release);
    }

    /// From now on only running blocks may submit.
    pub(crate) fn close(&self) {
        // SeqCst with `accepts` being Relaxed: a shutdown needs no more than "soon".
        self.phase.fetch_max(CLOSING, SeqCst);
    }

    /// From now on drains drop what did not start.
    pub(crate) fn halt(&self) {
        self.phase.fetch_max(HALTED, SeqCst);
        self.pulse.store(PULSE_HALTED, Relaxed);
    }

    /// Does nothing run, and is there nothing to run? Only meaningful once nobody outside may submit.
    pub(crate) fn is_quiet(&self) -> bool {
        let resting = || self.slots().all(|slot| slot.is_resting());
        let before = self.blocks();
        // Twice, with the work in between: a worker that took the last runnable after the first look is seen by the second,
        // or has counted what it ran.
        self.monitor.at_rest(|| {
            self.outside.load(Acquire) == 0
                && resting()
                && !self.has_work()
                && !self.slots().any(|slot| slot.exposed.has_own())
                && resting()
                && self.blocks() == before
        })
    }

    /// The threads that sit in a block now.
    pub(crate) fn stuck(&self) -> Vec<Stuck> {
        self.monitor.inspect(|| self.slots().filter_map(|slot| slot.stuck()).collect())
    }

    /// A lane whose memory ends here was visible to [`stuck`](Self::stuck) until a moment ago: waits until nobody reads it.
    #[inline]
    pub(crate) fn before_free(&self) {
        self.monitor.wait_for_inspection();
    }

    /// Nobody can submit any more: the pool runs what it has, then ends by itself.
    pub(crate) fn abandon(&self) {
        if self.is_forked() {
            return;
        }
        self.close();
        self.abandoned.store(true, SeqCst);
        // Partner: the fence in `fall_asleep`. Either we see the sleeper, or it sees that the pool was abandoned.
        fence(SeqCst);
        self.wake_any();
    }

    fn is_abandoned(&self) -> bool {
        self.abandoned.load(Relaxed)
    }

    fn is_crowded(&self) -> bool {
        self.crowded.load(Relaxed)
    }

    /// Asked by each worker that falls asleep: the last one ends an abandoned pool.
    fn ends_if_abandoned(&self) -> bool {
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
        self.crew.wake_all();
        self.monitor.wake();
        self.discard_shared();
    }

    fn is_stopped(&self) -> bool {
        self.phase.load(Acquire) >= STOPPED
    }

    /// Waits for the threads that have left their blocks; `false` if some are still in one at `deadline`.
    pub(crate) fn join(&self, deadline: std::time::Instant) -> bool {
        self.crew.wait_for_end(deadline)
    }

    fn discard_shared(&self) {
        while let Some(runnable) = self.shared.pop() {
            self.discard(runnable);
        }
        self.counts.dropped.fetch_add(self.timers.clear(), Relaxed);
    }

    /// Drops what suspended lanes hold: the label of each, and how many blocks.
    pub(crate) fn discard_held(&self) -> Vec<(String, u64)> {
        let drop_lane = |(lane, discard): (NonNull<Node>, Discard)| {
            // SAFETY: taken out of the list, the lane and its drain right are ours; it is alive, because it holds blocks.
            unsafe {
                let label = (*(lane.as_ref().vtable.label)(lane)).to_owned();
                let count = discard(lane);
                self.count_dropped(count);
                (label, count)
            }
        };
        self.held.take_all().into_iter().map(drop_lane).collect()
    }

    fn discard(&self, Runnable(node): Runnable) {
        // SAFETY: we took it out of the pool, so we are its one holder; it never ran.
        let count = unsafe { (node.as_ref().vtable.discard)(node) };
        self.counts.dropped.fetch_add(count, Relaxed);
    }

    pub(crate) fn count_dropped(&self, blocks: u64) {
        self.counts.dropped.fetch_add(blocks, Relaxed);
    }

    pub(crate) fn count_rejected(&self) {
        self.counts.rejected.fetch_add(1, Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.counts.panics.fetch_add(1, Relaxed);
    }

    fn publish_used(&self, slot: usize) {
        // Release: the slot is complete since `start`; partner: the Acquire in `slots`.
        self.used.fetch_max(slot + 1, Release);
    }

    /// Identity, for comparing.
    fn as_ptr(&self) -> NonNull<Self> {
        NonNull::from(self)
    }
}
