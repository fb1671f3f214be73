//! The loop of one thread, and what others may know about it.

use std::cell::Cell;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::cpu::ThreadState;
use super::find::{Exposed, Own};
use super::{Place, Pool};
use crate::block::{Kind, Node, Runnable};
use crate::catch::{self, AbortOnUnwind};
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

/// How many runnables between two looks at the injector and the parker.
const LOOK_AROUND: u32 = 61;

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
    /// The lane whose block runs; null in between, and for one-shot blocks. See [`Mark`].
    lane: AtomicPtr<Node>,
    /// Where the running block was submitted; null when none runs.
    site: AtomicPtr<Location<'static>>,
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

    pub(super) fn vacate(&self) {
        *lock(&self.kernel) = None;
        self.word.store(VACANT, Release);
    }

    fn mark_site(&self, site: *const Location<'static>) {
        self.site.store(site.cast_mut(), Relaxed);
    }

    /// What its thread is in, if anything.
    ///
    /// Called while the pool inspects: a lane that is in `lane` stays allocated until the inspection ends, see
    /// [`Pool::before_free`].
    pub(super) fn stuck(&self) -> Option<Stuck> {
        if !matches!(self.state(), RUNNING | RELIEVED) {
            return None;
        }
        // The lane first: whoever sees that it is gone sees that its last block is, too; partner: `Mark::lane`.
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

thread_local! {
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// What a worker thread has for itself.
pub(crate) struct Local {
    pool: Arc<Pool>,
    slot: usize,
    own: Own,
}

/// The worker that this thread is, if it is one.
#[inline]
pub(super) fn local() -> Option<&'static Local> {
    // SAFETY: `run` sets it to a `Local` on its own stack frame and clears it before the frame ends. The `'static` never
    // leaves code that this thread runs meanwhile.
    unsafe { LOCAL.get().as_ref() }
}

/// The pool whose worker this thread is, and the parker that it holds.
pub(crate) fn current() -> Option<(Arc<Pool>, Option<usize>)> {
    let local = local()?;
    Some((local.pool.clone(), local.slot().parker()))
}

impl Local {
    pub(super) fn belongs_to(&self, pool: &Pool) -> bool {
        NonNull::from(&*self.pool) == pool.as_ptr()
    }

    fn slot(&self) -> &Slot {
        &self.pool.slots[self.slot]
    }

    pub(super) fn push_next(&self, runnable: Runnable) -> bool {
        self.own.push_next(&self.slot().exposed, runnable)
    }

    pub(super) fn push_back(&self, runnable: Runnable) {
        self.own.push_back(runnable);
    }

    /// Moves everything that waits on this thread where all can take it.
    pub(super) fn give_away(&self) {
        if self.own.give_away(&self.slot().exposed, &self.pool.shared) {
            self.pool.shared_grew();
        }
    }
}

/// Tells the pool which lane's blocks a thread runs; does nothing on threads that are not workers.
#[derive(Clone, Copy)]
pub(crate) struct Mark<'a>(Option<&'a Slot>);

impl Mark<'_> {
    pub(crate) fn here() -> Self {
        Self(local().map(Local::slot))
    }

    /// The lane whose blocks run from now on; returns the one before.
    #[inline]
    pub(crate) fn lane(self, lane: *const Node) -> *const Node {
        match self.0 {
            Some(slot) => {
                let before = slot.lane.load(Relaxed);
                if lane.is_null() {
                    // In no block any more, however long it takes to get from here to the next one.
                    slot.mark_site(ptr::null());
                }
                // Release: the lane's label is visible to an inspection.
                slot.lane.store(lane.cast_mut(), Release);
                before
            }
            None => ptr::null(),
        }
    }

    /// A block begins.
    #[inline]
    pub(crate) fn block(self, site: &'static Location<'static>) {
        if let Some(slot) = self.0 {
            slot.mark_site(site);
            // Only this thread writes it: no read-modify-write needed. Relaxed: a count.
            slot.beat.store(slot.beat.load(Relaxed) + 1, Relaxed);
        }
    }
}

/// Runs `f`, which is going to block this thread (a file, a lock, a foreign call): if other blocks wait for a worker, a
/// stand-in takes over at once, up to the runtime's cap of threads.
///
/// Without it a blocked worker is noticed too, by the monitor, after a millisecond or two. On threads that are not workers
/// it just calls `f`.
///
/// ```
/// let queue = singletrack_queues::Queue::new("disk");
/// let length = queue.call(|| singletrack_queues::blocking(|| std::fs::read("Cargo.toml").map(|text| text.len())));
/// assert!(length.wait().unwrap().is_ok());
/// ```
pub fn blocking<R>(f: impl FnOnce() -> R) -> R {
    if let Some(local) = local() {
        local.give_away();
        if local.pool.has_work() && local.slot().is_running() {
            local.pool.relieve(local.slot());
        }
    }
    f()
}

/// The life of one thread of the pool, which begins with `post`.
pub(super) fn run(pool: Arc<Pool>, slot: usize, post: Option<usize>) {
    let _bug = AbortOnUnwind;
    let place = &*pool.slots[slot];
    let own = lock(&place.own).take().expect("a slot is given to one thread at a time");
    *lock(&place.kernel) = Some(ThreadState::of_this_thread());
    place.run_with(post);
    let local = Local { pool: pool.clone(), slot, own };
    LOCAL.set(&local);
    pool.sleep.begin_search();
    // The monitor may have gone to sleep while this thread was being started.
    pool.monitor.running();
    Worker { local: &local, pool: &pool, place, searching: true, tick: 0, pulse: 0 }.work();
    LOCAL.set(ptr::null());
    while let Some(runnable) = local.own.pop(&place.exposed) {
        pool.discard(runnable);
    }
    *lock(&place.own) = Some(local.own);
    place.vacate();
    pool.crew_left(slot);
}

struct Worker<'a> {
    local: &'a Local,
    pool: &'a Pool,
    place: &'a Slot,
    /// Counted in `sleep` as one who looks for work.
    searching: bool,
    tick: u32,
    pulse: u64,
}

impl Worker<'_> {
    fn work(&mut self) {
        loop {
            // Relieved, or a hand too many: there is no parker to sleep at, and no need to run.
            if (self.place.is_relieved() || self.place.is_hand() && self.pool.is_crowded()) && !self.stand_back() {
                return;
            }
            if let Some(runnable) = self.take() {
                self.found();
                self.execute(runnable);
                self.pool.timers.fire_due();
            } else if self.pool.is_stopped() {
                return self.found();
            } else if !self.place.is_hand() {
                self.sleep();
            } else if !self.stand_back() {
                return;
            }
        }
    }

    fn take(&mut self) -> Option<Runnable> {
        let (own, pool, exposed) = (&self.local.own, self.pool, &self.place.exposed);
        self.tick += 1;
        let pulse = pool.pulse.load(Relaxed);
        if self.tick >= LOOK_AROUND || pulse != self.pulse {
            (self.tick, self.pulse) = (0, pulse);
            self.poll();
            if let Some(runnable) = own.pop_shared(&pool.shared) {
                return Some(runnable);
            }
        }
        if let Some(runnable) = own.pop(exposed) {
            return Some(runnable);
        }
        if !self.searching {
            self.searching = true;
            pool.sleep.begin_search();
        }
        own.pop_shared(&pool.shared).or_else(|| {
            let others = |index: usize| (index != self.local.slot).then(|| &pool.slots[index].exposed);
            own.steal(pool.used.load(Acquire), others)
        })
    }

    fn poll(&self) {
        if let Some(parker) = self.place.parker() {
            self.pool.parkers[parker].poll();
        }
    }

    /// Ends the search, if this thread was searching; the last searcher passes the wake-up on.
    fn found(&mut self) {
        if std::mem::take(&mut self.searching) && self.pool.sleep.end_search() && self.pool.has_work() {
            self.pool.notify();
        }
    }

    fn execute(&self, Runnable(node): Runnable) {
        // SAFETY: taken out of the pool, so this thread is its one holder. A lane looks after itself; a one-shot block is
        // run and finished here, or discarded.
        unsafe {
            let vtable = node.as_ref().vtable;
            if vtable.kind == Kind::Lane {
                let none = (vtable.run)(node);
                debug_assert!(none.is_none(), "lanes report their panics themselves");
            } else if self.pool.is_halted() {
                self.pool.discard(Runnable(node));
            } else {
                let site = node.as_ref().site;
                Mark(Some(self.place)).block(site);
                if let Some(payload) = (vtable.run)(node) {
                    self.pool.counts.panics.fetch_add(1, Relaxed);
                    catch::report("(no queue)", site, payload);
                }
                (vtable.finish)(node);
            }
        }
        self.place.mark_site(ptr::null());
    }

    /// Sleeps at the parker until there may be something to do. The thread is searching before and after.
    fn sleep(&mut self) {
        let (pool, place) = (self.pool, self.place);
        // Otherwise relieved between two blocks, by a monitor that saw this thread without a processor for long.
        let Some(parker) = place.park() else { return };
        pool.sleep.fall_asleep(parker);
        let mut asleep = true;
        let mut awake = || {
            pool.timers.release(parker);
            pool.sleep.wake_up(parker);
            place.run_with(Some(parker));
            asleep = false;
        };
        // The look after `fall_asleep`, without which a wake-up could be lost; see SLEEP.md.
        if pool.has_work() || pool.is_stopped() || pool.ends_if_abandoned() {
            awake();
        } else {
            let timeout = pool.timers.keep(parker);
            if !timeout.is_some_and(|timeout| timeout.is_zero()) {
                pool.parkers[parker].park(timeout, &mut awake);
            }
            if asleep {
                pool.timers.release(parker);
                pool.sleep.wake_up(parker);
                place.run_with(Some(parker));
            }
        }
        pool.monitor.running();
        pool.timers.fire_due();
    }

    /// Becomes a spare, after a stand-in took over or as a hand that is not needed. `false`: the thread shall end.
    fn stand_back(&mut self) -> bool {
        self.found();
        self.local.give_away();
        let stays = self.pool.crew_stand_back(self.local.slot);
        if stays {
            self.searching = true;
            self.pool.sleep.begin_search();
            self.pool.monitor.running();
        }
        stays
    }
}

impl Pool {
    /// Runs one-shot blocks straight on the pool.
    pub(crate) fn spawn(&self, node: NonNull<Node>) {
        self.submit(Runnable(node), Place::Back);
    }
}
