//! The pool: as many workers as cores take runnables from each other's deques, and wait in parkers
//! when there are none.
//!
//! A runnable is a lane with something to run (a queue, a source) or a one-shot block; the pool
//! does not know which queue, and never runs one runnable in the middle of another. It comes in
//! here; then: `find` (where they wait), `choose` (every scheduling choice), `sleep` (which workers
//! sleep), `worker` (the loop), `slot` (what others know of its thread), `forked` (what a running
//! block leaves to others), `threads` (which thread holds which parker), `monitor` (notices stuck
//! threads), `cpu` (blocked or computing?).
//!
//! A runtime with N workers has N parkers. A thread that holds one is a worker. The monitor takes
//! the parker of a thread that is stuck in a block and gives it to a replacement thread; when the
//! block ends, the first thread helps while it is needed, waits for a moment, then ends. So the
//! number of threads is bounded by a cap, and a stuck block stops nobody's I/O.

mod choose;
mod cpu;
mod end;
mod find;
pub(crate) mod fork;
mod forked;
mod help;
pub(crate) mod monitor;
pub(crate) mod runtime;
pub(crate) mod sleep;
pub(crate) mod slot;
pub(crate) mod suspended;
mod threads;
pub(crate) mod worker;

use std::fmt;
use std::ptr;
use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::base::block::Runnable;
use crate::base::park::Parker;
use crate::base::qos::Qos;
use crate::base::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use crate::base::sync::prepare_fences;
use crate::time::timer::Timers;

pub use end::Gone;
pub(crate) use forked::Forked;
pub(crate) use help::Helper;
use monitor::Monitor;
pub use runtime::{BuildError, Report, Runtime, RuntimeBuilder, Stats};
use sleep::Sleep;
use slot::Slot;
pub use slot::Stuck;
use suspended::Suspended;
use threads::Threads;
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

/// See the module.
pub(crate) struct Pool {
    name: String,
    shared: find::Shared,
    /// Something was ever put into the line of a class; never taken back.
    graded: AtomicBool,
    slots: Box<[CachePadded<Slot>]>,
    /// Slots at and above this were never used: where scans end.
    used: AtomicUsize,
    sleep: CachePadded<Sleep>,
    parkers: Box<[Arc<dyn Parker>]>,
    threads: Threads,
    monitor: Monitor,
    pub(crate) timers: Timers,
    pub(crate) suspended: Suspended,
    helpers: help::Helpers,
    phase: AtomicU8,
    /// Lanes with blocks in them that wait for a thread which runs a `sync` itself: nothing of them
    /// is in the pool.
    outside: AtomicUsize,
    abandoned: AtomicBool,
    /// More threads are at work than there are workers: extra threads should park.
    crowded: AtomicBool,
    /// Counts the monitor's looks while anything runs: time, without reading a clock.
    tick: CachePadded<AtomicU64>,
    pub(crate) counts: Counts,
}

/// Is this thread a worker, of whatever pool?
#[inline]
pub(crate) fn is_worker_here() -> bool {
    worker::local().is_some()
}

/// Rare events, counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) panics: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) wakes: AtomicU64,
    pub(crate) replaced: AtomicU64,
}

/// Where a runnable goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Next on this thread, if it is a worker: what was just submitted is warm.
    Next,
    /// Behind everything else: a queue that used up its budget.
    Back,
    /// When this thread has nothing else, if it is a worker; see [`find`]. For what others may
    /// still add to, such as output.
    Deferred,
}

/// The number of ticks that makes drains drop what is left.
const TICK_HALTED: u64 = u64::MAX;

/// The time that a drain may take, in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeSlice {
    /// The first tick that is too late.
    end: u64,
}

/// The step of a drain before its next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// Runs it.
    On,
    /// Leaves it in the queue, because others wait.
    Yield,
    /// Drops it and all behind it.
    Halt,
}

impl TimeSlice {
    /// The tick is read once per block: a shared line that changes once a millisecond at most.
    #[inline]
    pub(crate) fn go(self, pool: &Pool) -> Go {
        match pool.tick.load(Relaxed) {
            tick if tick < self.end => Go::On,
            TICK_HALTED => {
                // What is dropped now may ask whether the pool was halted; partner: the Release in
                // `halt`.
                fence(Acquire);
                Go::Halt
            }
            _ => Go::Yield,
        }
    }
}

/// Lets the pool end, once it ran all it has, when the last runtime handle and the last queue are
/// gone.
pub(crate) struct Owner {
    pool: Arc<Pool>,
}

impl Owner {
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("workers", &self.pool.workers()).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.pool.abandon();
    }
}

impl Pool {
    /// Makes the pool and starts its threads.
    ///
    /// # Errors
    /// The system refused a thread.
    pub(crate) fn start(name: String, parkers: Vec<Arc<dyn Parker>>, thread_cap: usize) -> std::io::Result<Arc<Self>> {
        let slots = (0..thread_cap).map(|_| CachePadded::new(Slot::new())).collect();
        let pool = Arc::new(Self {
            name,
            shared: find::Shared::default(),
            graded: AtomicBool::new(false),
            slots,
            used: AtomicUsize::new(0),
            sleep: CachePadded::new(Sleep::default()),
            parkers: parkers.into(),
            threads: Threads::new(thread_cap),
            monitor: Monitor::default(),
            timers: Timers::new(),
            suspended: Suspended::default(),
            helpers: help::Helpers::default(),
            phase: AtomicU8::new(OPEN),
            outside: AtomicUsize::new(0),
            abandoned: AtomicBool::new(false),
            crowded: AtomicBool::new(false),
            tick: CachePadded::new(AtomicU64::new(0)),
            counts: Counts::default(),
        });
        prepare_fences();
        fork::watch(&pool);
        let mut workers = 0..pool.parkers.len();
        let started = workers.try_for_each(|parker| pool.call(Some(parker))).and_then(|()| pool.monitor_start());
        started.inspect_err(|_| pool.stop()).map(|()| pool)
    }

    pub(crate) fn parkers(&self) -> &[Arc<dyn Parker>] {
        &self.parkers
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn workers(&self) -> usize {
        self.parkers.len()
    }

    /// May the calling thread submit? After `shutdown` began only running blocks may, and after its
    /// deadline nobody.
    #[inline]
    pub(crate) fn accepts(&self) -> bool {
        self.is_open() || self.accepts_from_inside()
    }

    #[cold]
    fn accepts_from_inside(&self) -> bool {
        self.phase.load(Relaxed) == CLOSING
            && (self.local().is_some() || help::helped().is_some_and(|pool| ptr::eq(&**pool, self)))
    }

    fn local(&self) -> Option<&Local> {
        worker::local().filter(|local| local.belongs_to(self))
    }

    /// Is there something that some thread could take?
    fn has_work(&self) -> bool {
        self.has_runnables() || self.has_forked()
    }

    /// Is there a runnable that some thread could take?
    fn has_runnables(&self) -> bool {
        self.shared.has_any() || self.slots().any(|slot| slot.exposed.has_stealable())
    }

    /// Has a running block left something to others?
    fn has_forked(&self) -> bool {
        self.slots().any(|slot| slot.exposed.has_forked())
    }

    /// The slots that threads have used so far.
    fn slots(&self) -> impl Iterator<Item = &CachePadded<Slot>> {
        self.slots[..self.used.load(Acquire)].iter()
    }

    /// A drain begins.
    #[inline]
    pub(crate) fn time_slice(&self) -> TimeSlice {
        // Halted, it is over at once: the sum wraps around, and the end lies before the tick.
        TimeSlice { end: self.tick.load(Relaxed).wrapping_add(2) }
    }

    /// Did no shutdown begin yet?
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed: a submission that races with the beginning of a shutdown counts as earlier.
        self.phase.load(Relaxed) == OPEN
    }

    /// Did this process come from a fork, and the pool with it?
    pub(crate) fn is_forked(&self) -> bool {
        self.phase.load(Relaxed) == FORKED
    }

    /// Has the deadline of a shutdown passed, so that blocks are dropped instead of run?
    #[inline]
    pub(crate) fn is_halted(&self) -> bool {
        self.phase.load(Relaxed) >= HALTED
    }

    /// Takes a runnable; some worker will run it, unless the pool ended: then it is discarded here
    /// and now, and counted.
    #[inline]
    pub(crate) fn submit(&self, runnable: Runnable, place: Place) {
        if !self.submit_from_worker(runnable, place) {
            self.submit_from_outside(runnable);
        }
    }

    /// As [`submit`](Self::submit), if this thread is a worker of this pool; `false`: it is not.
    #[inline]
    pub(crate) fn submit_from_worker(&self, runnable: Runnable, place: Place) -> bool {
        let Some(local) = self.local() else { return false };
        if place != Place::Next || !local.slot().push_next(runnable) {
            self.push(local, runnable, place);
        }
        true
    }

    // Not inlined, so that a message that hops from queue to queue has a short path.
    #[inline(never)]
    fn push(&self, local: &Local, runnable: Runnable, place: Place) {
        if local.slot().push(&local.own, runnable, place) {
            self.notify();
        }
    }

    /// As [`submit`](Self::submit), in the line of a class. Only the default class defers.
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
        // Relaxed, peek and all: a thread that misses it takes in the old order for a moment. That
        // work in a line is found at all does not depend on it, see `has_runnables`.
        if !self.graded.load(Relaxed) {
            self.graded.store(true, Relaxed);
        }
    }

    /// Are classes other than the default one used? If not, nothing is paid for them.
    #[inline]
    pub(crate) fn is_graded(&self) -> bool {
        self.graded.load(Relaxed)
    }

    // Not inlined: as `push`.
    #[inline(never)]
    pub(crate) fn submit_from_outside(&self, runnable: Runnable) {
        if self.is_forked() {
            return self.discard(runnable);
        }
        self.shared.push(runnable);
        self.shared_grew();
    }

    /// The injector got something from a thread that may not look there again: some worker will,
    /// unless all have left.
    pub(super) fn shared_grew(&self) {
        // The fence inside also orders the push before the look at `phase`; partner: the fence in
        // `stop`. Either we see the end and take things out again, or the thread that ends the pool
        // sees the push.
        self.notify();
        if self.phase.load(Relaxed) == STOPPED {
            self.discard_shared();
        }
    }

    /// How many blocks have run, on workers and on threads that waited for one of them.
    pub(crate) fn blocks(&self) -> u64 {
        self.slots().map(|slot| slot.blocks()).sum::<u64>() + self.helpers.ran()
    }

    /// About how many runnables wait for a thread.
    pub(crate) fn backlog(&self) -> usize {
        self.shared.len() + self.slots().map(|slot| slot.exposed.len()).sum::<usize>()
    }

    /// A lane has blocks and waits for a thread that holds it in a `sync`.
    pub(crate) fn waits_outside(&self) {
        // Relaxed: a thread that waits for quiet submitted before, or does not know of this
        // submission.
        self.outside.fetch_add(1, Relaxed);
    }

    /// That lane was given to the pool, or is idle. Wraps around for a moment if this comes first.
    pub(crate) fn waited_outside(&self) {
        // Release: a thread that sees it sees the lane in the pool; partner: the Acquire in
        // `is_quiet`.
        self.outside.fetch_sub(1, Release);
    }

    /// A lane whose memory ends here was visible to [`stuck`](Self::stuck) until a moment ago:
    /// waits until nobody reads it.
    #[inline]
    pub(crate) fn before_free(&self) {
        self.monitor.wait_for_inspection();
    }

    fn is_stopped(&self) -> bool {
        self.phase.load(Acquire) >= STOPPED
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
}
