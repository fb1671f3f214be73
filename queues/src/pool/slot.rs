//! The place of one thread of the pool: what others may take from it or know of it.

use std::panic::Location;
use std::ptr::{self, NonNull};

use super::Place;
use super::choose;
use super::cpu::ThreadState;
use super::find::{Exposed, Own};
use crate::base::block::{Node, Runnable};
use crate::base::sync::atomic::{
    AtomicPtr, AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::base::sync::{Mutex, heavy_fence, light_fence, lock};

/// Its thread runs or searches; otherwise it sleeps, waits for a post, or there is none.
const RUNS: usize = 1;
/// The lowest bit of the parker.
const PARKER: usize = 2;

/// The place of one thread: what others may take from it or know of it.
///
/// | runs | parker | its thread |
/// |---|---|---|
/// | yes | yes | is a worker |
/// | yes | no | is an extra thread, such as one that was replaced while it sits in a block |
/// | no | yes | is a worker that sleeps at its parker |
/// | no | no | waits for a post, or there is none |
///
/// A thread moves itself from one state to another. The one exception: the monitor takes the parker
/// of a thread that runs.
pub(crate) struct Slot {
    pub(crate) exposed: Exposed,
    /// [`RUNS`], and in the bits above it one more than the parker that its thread holds. One word,
    /// so that a parker and the right to it change hands in one step.
    word: AtomicUsize,
    /// Counts the blocks that its thread began. Written by its thread alone.
    beat: AtomicU64,
    /// How many blocks a turn may have; see `choose`. For its thread alone.
    budget: AtomicU32,
    /// The lane whose block runs; null in between, and for one-shot blocks. See
    /// [`Mark`](super::Mark).
    lane: AtomicPtr<Node>,
    /// Where the running block was submitted; null when none runs.
    site: AtomicPtr<Location<'static>>,
    /// What the next thread in this slot begins with.
    own: Mutex<Option<Own>>,
    kernel: Mutex<Option<ThreadState>>,
}

/// A block that did not end in time.
///
/// ```
/// use singletrack_queues::Runtime;
/// use std::{sync::mpsc, time::Duration};
///
/// let (end, ends) = mpsc::channel::<()>();
/// let (begin, begun) = mpsc::channel();
/// let runtime = Runtime::builder().workers(1).build().unwrap();
/// runtime.queue("slow").submit(move || {
///     begin.send(()).unwrap();
///     ends.recv().unwrap_or_default()
/// });
/// begun.recv().unwrap();
/// let report = runtime.shutdown(Duration::from_millis(10));
/// assert_eq!(report.stuck[0].label, "slow");
/// drop(end);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stuck {
    /// The queue.
    pub label: String,
    /// Where the block was submitted.
    pub site: Option<&'static Location<'static>>,
}

impl Slot {
    pub(crate) fn new() -> Self {
        let (own, slot) = Self::with_own();
        *lock(&slot.own) = Some(own);
        slot
    }

    /// As [`new`](Self::new), with the part of its thread apart.
    pub(crate) fn with_own() -> (Own, Self) {
        let (own, exposed) = Own::new();
        let slot = Self {
            exposed,
            word: AtomicUsize::new(0),
            beat: AtomicU64::new(0),
            budget: AtomicU32::new(choose::BLOCKS),
            lane: AtomicPtr::new(ptr::null_mut()),
            site: AtomicPtr::new(ptr::null_mut()),
            own: Mutex::new(None),
            kernel: Mutex::new(None),
        };
        (own, slot)
    }

    pub(super) fn blocks(&self) -> u64 {
        self.beat.load(Relaxed)
    }

    /// Does its thread run or search?
    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.word.load(Acquire) & RUNS != 0
    }

    /// Does it run with a parker?
    #[inline]
    pub(super) fn is_worker(&self) -> bool {
        let word = self.word.load(Acquire);
        word & RUNS != 0 && word != RUNS
    }

    /// Does it run without a parker?
    #[inline]
    pub(super) fn is_extra(&self) -> bool {
        self.word.load(Acquire) == RUNS
    }

    /// The parker that its thread holds, if any.
    pub(super) fn parker(&self) -> Option<usize> {
        (self.word.load(Acquire) / PARKER).checked_sub(1)
    }

    pub(super) fn is_blocked(&self) -> bool {
        lock(&self.kernel).as_ref().is_some_and(ThreadState::is_blocked)
    }

    /// Takes the parker away from a thread that runs. By that thread, which hides nothing now, or
    /// by `replace`.
    pub(crate) fn leave_parker(&self) -> Option<usize> {
        // AcqRel on these moves: the parker passes on like a lock.
        let step = |word: usize| (word & RUNS != 0 && word != RUNS).then_some(RUNS);
        let word = self.word.fetch_update(AcqRel, Relaxed, step).ok()?;
        (word / PARKER).checked_sub(1)
    }

    /// As [`leave_parker`](Self::leave_parker), by the monitor, while its thread may be about to
    /// hide a runnable: from now on what the thread hides, it shows itself, and what it hid before,
    /// [`take_hidden`](Exposed::take_hidden) finds.
    pub(crate) fn replace(&self) -> Option<usize> {
        let parker = self.leave_parker()?;
        // Partner: the fence in `push`.
        heavy_fence();
        Some(parker)
    }

    /// Puts a runnable where its thread will find it. `true`: others can now see something more,
    /// and must hear of it. By its thread alone.
    pub(crate) fn push(&self, own: &Own, runnable: Runnable, place: Place) -> bool {
        let shown = match place {
            Place::Next if self.is_worker() => own.push_next(&self.exposed, runnable),
            Place::Deferred if self.is_worker() => {
                own.deferred.push(runnable);
                false
            }
            _ => {
                own.deque.push(runnable);
                return true;
            }
        };
        // Replaced in between: it shows what it has just hidden.
        if self.may_hide() { shown } else { own.show(&self.exposed) || shown }
    }

    /// Makes `runnable` the next, if its thread has none and may hide one: `false` if not. By its
    /// thread alone.
    #[inline]
    pub(crate) fn push_next(&self, runnable: Runnable) -> bool {
        // Taken back, unless the monitor was quicker.
        self.exposed.set_next(runnable) && (self.may_hide() || self.exposed.take_next().is_none())
    }

    /// Something was hidden: may it stay so? A thread without a parker hides nothing, because the
    /// monitor may sleep while its block goes on.
    #[inline]
    fn may_hide(&self) -> bool {
        // Partner: the fence in `replace`. Either this thread sees that it was replaced, or the
        // monitor, which looks after it, sees what is hidden.
        light_fence();
        self.is_worker()
    }

    /// Its thread begins to run with `parker`, or without one.
    pub(crate) fn run_with(&self, parker: Option<usize>) {
        self.word.store(parker.map_or(0, |parker| parker + 1) * PARKER + RUNS, Release);
    }

    /// Its thread goes to sleep at its parker, which is returned; `None`: it was replaced.
    pub(crate) fn park(&self) -> Option<usize> {
        let step = |word: usize| (word > RUNS).then_some(word & !RUNS);
        (self.word.fetch_update(AcqRel, Relaxed, step).ok()? / PARKER).checked_sub(1)
    }

    /// Its thread, which has no parker, waits for a post, or ends.
    pub(super) fn rest(&self) {
        self.word.store(0, Release);
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
        self.rest();
    }

    /// The lane that was marked last. By its thread alone.
    #[inline]
    pub(crate) fn marked(&self) -> *const Node {
        self.lane.load(Relaxed)
    }

    /// The lane whose blocks run from now on. By its thread alone.
    #[inline]
    pub(crate) fn lane(&self, lane: *const Node) {
        if lane.is_null() {
            // In no block any more, however long it takes to get from here to the next one.
            self.mark_site(ptr::null());
        }
        // Release: the lane's label is visible to an inspection.
        self.lane.store(lane.cast_mut(), Release);
    }

    /// How many blocks a turn may have: fewer if they are long. By its thread alone.
    #[inline]
    pub(crate) fn budget(&self) -> u32 {
        self.budget.load(Relaxed)
    }

    /// By its thread alone.
    pub(super) fn set_budget(&self, blocks: u32) {
        self.budget.store(blocks, Relaxed);
    }

    /// A block begins. By its thread alone.
    #[inline]
    pub(crate) fn block(&self, site: &'static Location<'static>) {
        self.mark_site(site);
        // Only this thread writes it: no read-modify-write needed. Relaxed: a count.
        self.beat.store(self.beat.load(Relaxed) + 1, Relaxed);
    }

    pub(super) fn mark_site(&self, site: *const Location<'static>) {
        self.site.store(site.cast_mut(), Relaxed);
    }

    /// What its thread is in, if anything.
    ///
    /// Called while the pool inspects: a lane that is in `lane` stays allocated until the
    /// inspection ends, see [`Pool::before_free`](super::Pool::before_free).
    pub(super) fn stuck(&self) -> Option<Stuck> {
        if !self.is_running() {
            return None;
        }
        // The lane first: if we see that it is gone, we see that its last block is, too; partner:
        // `lane`.
        let lane = NonNull::new(self.lane.load(Acquire));
        // SAFETY: only `&'static Location`s, or null, are stored.
        let site = unsafe { self.site.load(Acquire).as_ref() };
        if site.is_none() && lane.is_none() {
            return None;
        }
        // SAFETY: a lane takes itself out of `lane` before its memory can end, and then waits for
        // the inspection.
        let label =
            lane.map_or("(no queue)".into(), |lane| unsafe { (*(lane.as_ref().vtable.label)(lane)).to_owned() });
        Some(Stuck { label, site })
    }
}

/// Does none of the threads run, and is there nothing to run? Only meaningful once nobody else may
/// submit.
pub(crate) fn are_at_rest<'a, S>(slots: impl Fn() -> S, has_work: impl FnOnce() -> bool) -> bool
where
    S: Iterator<Item = &'a Slot>,
{
    let resting = || !slots().any(Slot::is_running);
    let blocks = || slots().map(Slot::blocks).sum::<u64>();
    let before = blocks();
    // Twice, with the work in between. A thread that runs at the first look may submit after the
    // look at the work, and then rest. One that wakes up after the first look and takes the last
    // runnable is seen by the second, or has counted it.
    resting() && !has_work() && !slots().any(|slot| slot.exposed.has_own()) && resting() && blocks() == before
}
