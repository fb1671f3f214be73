//! The place of one thread of the pool: what others may take from it or know of it.

use std::panic::Location;
use std::ptr::{self, NonNull};

use super::cpu::ThreadState;
use super::find::{Exposed, Own};
use crate::block::Node;
use crate::sync::atomic::{
    AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{Mutex, lock, order_unless, planted};

/// No thread uses the slot.
const VACANT: usize = 0;
/// Its thread runs or searches; without a parker it is a hand.
const RUNNING: usize = 1;
/// Its thread sleeps at its parker.
const PARKED: usize = 2;
/// Its thread sits in a block; somebody else has its parker.
const RELIEVED: usize = 3;
/// Its thread waits to stand in for another.
const SPARE: usize = 4;
/// The bits of the state.
const STATE: usize = 7;
/// The lowest bit of the parker.
const PARKER: usize = 8;

/// The place of one thread: what others may take from it or know of it.
///
/// | state | set by | from |
/// |---|---|---|
/// | `RUNNING` | its thread | `VACANT`, `PARKED`, `SPARE` |
/// | `PARKED` | its thread | `RUNNING` |
/// | `RELIEVED` | the monitor, or its thread before it blocks | `RUNNING` |
/// | `SPARE` | its thread | `RELIEVED`, `RUNNING` as a hand |
/// | `VACANT` | its thread | any |
pub(crate) struct Slot {
    pub(super) exposed: Exposed,
    /// The state, and in the bits above it one more than the parker that its thread holds. One word, so that a parker
    /// and the right to it change hands in one step.
    word: AtomicUsize,
    /// Counts the blocks that its thread began. Written by its thread alone.
    beat: AtomicU64,
    /// The lane whose block runs; null in between, and for one-shot blocks. See [`Mark`](super::Mark).
    lane: AtomicPtr<Node>,
    /// Where the running block was submitted; null when none runs.
    site: AtomicPtr<Location<'static>>,
    /// What the next thread in this slot begins with.
    own: Mutex<Option<Own>>,
    kernel: Mutex<Option<ThreadState>>,
}

/// A thread that sits in a block, for reports.
#[derive(Clone, Debug)]
pub(crate) struct Stuck {
    pub(crate) label: String,
    pub(crate) site: Option<&'static Location<'static>>,
}

impl Slot {
    pub(crate) fn new(index: usize) -> Self {
        let (own, exposed) = Own::new(0x9E37_79B9_u32.wrapping_mul(index as u32 + 1));
        Self {
            exposed,
            word: AtomicUsize::new(VACANT),
            beat: AtomicU64::new(0),
            lane: AtomicPtr::new(ptr::null_mut()),
            site: AtomicPtr::new(ptr::null_mut()),
            own: Mutex::new(Some(own)),
            kernel: Mutex::new(None),
        }
    }

    pub(super) fn blocks(&self) -> u64 {
        self.beat.load(Relaxed)
    }

    fn state(&self) -> usize {
        self.word.load(Acquire) & STATE
    }

    pub(super) fn is_running(&self) -> bool {
        self.state() == RUNNING
    }

    pub(super) fn is_relieved(&self) -> bool {
        self.state() == RELIEVED
    }

    /// Runs, and holds a parker.
    #[inline]
    pub(super) fn is_worker(&self) -> bool {
        let word = self.word.load(Acquire);
        word & STATE == RUNNING && word != RUNNING
    }

    /// Runs without a parker.
    pub(super) fn is_hand(&self) -> bool {
        self.word.load(Acquire) == RUNNING
    }

    /// Neither runs nor searches.
    pub(super) fn is_resting(&self) -> bool {
        matches!(self.state(), VACANT | PARKED | SPARE)
    }

    /// The parker that its thread holds, if any.
    pub(super) fn parker(&self) -> Option<usize> {
        (self.word.load(Acquire) / PARKER).checked_sub(1)
    }

    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.kernel).as_ref().is_some_and(ThreadState::is_blocked)
    }

    /// Takes its parker away while its thread sits in a block.
    pub(crate) fn relieve(&self) -> Option<usize> {
        // AcqRel on these moves: the parker passes on like a lock.
        let step = |word: usize| {
            let free = word & STATE == RUNNING || planted("slot: a sleeper is relieved");
            free.then_some(RELIEVED)
        };
        let word =
            self.word.fetch_update(order_unless("slot: relieving does not acquire", AcqRel), Relaxed, step).ok()?;
        (word / PARKER).checked_sub(1)
    }

    /// Its thread begins to run with `parker`, or as a hand without one.
    pub(crate) fn run_with(&self, parker: Option<usize>) {
        self.word.store(parker.map_or(0, |parker| parker + 1) * PARKER + RUNNING, Release);
    }

    /// Its thread goes to sleep at its parker, which it learns; `None`: it was relieved.
    pub(crate) fn park(&self) -> Option<usize> {
        let step = |word: usize| (word & STATE == RUNNING && word >= PARKER).then_some(word - RUNNING + PARKED);
        (self.word.fetch_update(AcqRel, Relaxed, step).ok()? / PARKER).checked_sub(1)
    }

    pub(super) fn become_spare(&self) {
        self.word.store(SPARE, Release);
    }

    /// A thread moves in: what it works with.
    pub(super) fn occupy(&self, post: Option<usize>) -> Own {
        let own = lock(&self.own).take().expect("a slot is given to one thread at a time");
        *lock(&self.kernel) = Some(ThreadState::of_this_thread());
        self.run_with(post);
        own
    }

    /// The thread moves out.
    pub(super) fn vacate(&self, own: Own) {
        *lock(&self.own) = Some(own);
        *lock(&self.kernel) = None;
        self.word.store(VACANT, Release);
    }

    /// The lane that was marked last. By its thread alone.
    pub(super) fn marked_lane(&self) -> *const Node {
        self.lane.load(Relaxed)
    }

    /// The lane whose blocks run from now on. By its thread alone.
    pub(super) fn mark_lane(&self, lane: *const Node) {
        if lane.is_null() {
            // In no block any more, however long it takes to get from here to the next one.
            self.mark_site(ptr::null());
        }
        // Release: the lane's label is visible to an inspection.
        self.lane.store(lane.cast_mut(), Release);
    }

    /// A block begins. By its thread alone.
    pub(super) fn mark_block(&self, site: &'static Location<'static>) {
        self.mark_site(site);
        // Only this thread writes it: no read-modify-write needed. Relaxed: a count.
        self.beat.store(self.beat.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn mark_site(&self, site: *const Location<'static>) {
        self.site.store(site.cast_mut(), Relaxed);
    }

    /// What its thread is in, if anything.
    ///
    /// Called while the pool inspects: a lane that is in `lane` stays allocated until the inspection ends, see
    /// [`Pool::before_free`](super::Pool::before_free).
    pub(super) fn stuck(&self) -> Option<Stuck> {
        if !matches!(self.state(), RUNNING | RELIEVED) {
            return None;
        }
        // The lane first: whoever sees that it is gone sees that its last block is, too; partner: `mark_lane`.
        let lane = NonNull::new(self.lane.load(Acquire));
        // SAFETY: only `&'static Location`s, or null, are stored.
        let site = unsafe { self.site.load(Acquire).as_ref() };
        if site.is_none() && lane.is_none() {
            return None;
        }
        // SAFETY: a lane takes itself out of `lane` before its memory can end, and then waits for the inspection.
        let label =
            lane.map_or("(no queue)".into(), |lane| unsafe { (*(lane.as_ref().vtable.label)(lane)).to_owned() });
        Some(Stuck { label, site })
    }
}
