//! The loop of one thread.

use std::cell::Cell;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::cpu;
use super::find::Own;
use super::patience::Patience;
use super::slot::Slot;
use super::turns::Turns;
use super::{Place, Pool};
use crate::block::{self, Kind, Node, Runnable};
use crate::catch;
use crate::handoff::{Ended, Waiter};
use crate::qos::Qos;
use crate::sync::atomic::Ordering::{Acquire, Relaxed};

/// How many runnables between two looks at the injector and the parker.
const LOOK_AROUND: u32 = 61;

thread_local! {
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// What a worker thread has for itself.
pub(crate) struct Local {
    pool: Arc<Pool>,
    slot: usize,
    /// That slot.
    place: NonNull<Slot>,
    pub(super) own: Own,
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

/// The parker that this thread holds, if it is a worker.
#[inline]
pub(crate) fn current_parker() -> Option<usize> {
    local()?.slot().parker()
}

impl Local {
    pub(super) fn belongs_to(&self, pool: &Pool) -> bool {
        NonNull::from(&*self.pool) == pool.as_ptr()
    }

    #[inline]
    fn slot(&self) -> &Slot {
        // SAFETY: a slot of `pool`, whose slots stay where they are as long as it lives.
        unsafe { self.place.as_ref() }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Makes `runnable` the next, if this thread has none, and may hide one: `false` if not.
    #[inline]
    pub(super) fn push_next(&self, runnable: Runnable) -> bool {
        self.slot().is_running() && self.slot().exposed.set_next(runnable)
    }

    /// `true`: others can now see something more, and shall hear of it.
    pub(super) fn push(&self, runnable: Runnable, place: Place) -> bool {
        // Relieved it hides nothing: the monitor, which frees what only a stuck thread could take, may sleep meanwhile.
        let place = if self.slot().is_running() { place } else { Place::Back };
        match place {
            Place::Next => return self.own.push_next(&self.slot().exposed, runnable),
            Place::Back => self.own.push_back(runnable),
            Place::Later => self.own.push_later(runnable),
        }
        place == Place::Back
    }

    /// Moves everything that waits on this thread where all can take it.
    pub(super) fn give_away(&self) {
        if self.own.give_away(&self.slot().exposed, &self.pool.shared) {
            self.pool.shared_grew();
        }
    }
}

/// Tells the pool what a worker runs.
#[derive(Clone, Copy)]
pub(crate) struct Mark<'a>(&'a Slot);

impl<'a> Mark<'a> {
    /// For what runs on workers alone, such as a drain: with the pool of this one, which it keeps alive.
    ///
    /// # Panics
    /// On any other thread.
    #[inline]
    pub(crate) fn of_worker() -> (Self, &'a Pool) {
        let Some(local) = local() else { unreachable!("a lane is run by the workers of its pool") };
        (Self(local.slot()), &local.pool)
    }

    /// A block begins; nothing happens on a thread that is no worker.
    #[inline]
    pub(crate) fn block_here(site: &'static Location<'static>) {
        if let Some(local) = local() {
            local.slot().mark_block(site);
        }
    }

    /// The lane that was marked last.
    #[inline]
    pub(crate) fn marked(self) -> *const Node {
        self.0.marked_lane()
    }

    /// The lane whose blocks run from now on.
    #[inline]
    pub(crate) fn lane(self, lane: *const Node) {
        self.0.mark_lane(lane);
    }

    /// A block begins.
    #[inline]
    pub(crate) fn block(self, site: &'static Location<'static>) {
        self.0.mark_block(site);
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

/// Waits until `waiter` is told its end. It stands on this thread's stack, and must not go before.
pub(crate) fn wait_for(waiter: &Waiter) -> Ended {
    waiter.spin().unwrap_or_else(|| catch::never_unwinds(|| blocking(|| waiter.park())))
}

/// The life of one thread of the pool, which begins with `post`.
pub(super) fn run(pool: Arc<Pool>, slot: usize, post: Option<usize>) {
    cpu::be_punctual();
    let place = &*pool.slots[slot];
    let own = place.occupy(post);
    let local = Local { pool: pool.clone(), slot, place: place.into(), own };
    LOCAL.set(&local);
    pool.sleep.begin_search();
    // The monitor may have gone to sleep while this thread was being started.
    pool.monitor.running();
    let turns = Turns::default();
    let (around, class, patience, helps) = (false, Qos::Default, Patience::default(), None);
    Worker {
        local: &local,
        pool: &pool,
        place,
        searching: true,
        tick: 0,
        pulse: 0,
        turns,
        around,
        class,
        patience,
        helps,
    }
    .work();
    LOCAL.set(ptr::null());
    local.own.begin_round();
    while let Some(runnable) = local.own.pop(&place.exposed) {
        pool.discard(runnable);
    }
    place.vacate(local.own);
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
    turns: Turns,
    /// The injector's turn has come: kept until the default class has its own, which may be many turns later.
    around: bool,
    /// Of the runnable that it took last.
    class: Qos,
    patience: Patience,
    /// The thread whose pieces it took last.
    helps: Option<usize>,
}

impl Worker<'_> {
    fn work(&mut self) {
        loop {
            if !self.place.is_worker() && self.shall_stand_back() && !self.stand_back() {
                return;
            }
            if let Some(runnable) = self.take() {
                if self.searching {
                    self.found();
                }
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

    /// Relieved, or a hand too many: there is no parker to sleep at, and no need to run.
    #[cold]
    fn shall_stand_back(&self) -> bool {
        self.place.is_relieved() || self.place.is_hand() && self.pool.is_crowded()
    }

    #[inline(always)]
    fn take(&mut self) -> Option<Runnable> {
        self.tick += 1;
        let pulse = self.pool.pulse.load(Relaxed);
        if self.tick >= LOOK_AROUND || pulse != self.pulse {
            self.look_around(pulse);
        }
        if self.pool.is_graded() { self.take_graded() } else { self.take_default() }
    }

    // Not inlined: once in so many runnables.
    #[inline(never)]
    fn look_around(&mut self, pulse: u64) {
        (self.tick, self.pulse) = (0, pulse);
        self.around = true;
        // Runnables go first: as long as there are pieces, this is when those in other deques are looked for.
        self.helps = None;
        self.poll();
        if self.local.own.has_later() && self.patience.is_over(pulse) {
            self.begin_round();
        }
    }

    /// From the lines of all classes, in the order of this turn.
    // Not inlined, so that a runtime without classes has one short path.
    #[inline(never)]
    fn take_graded(&mut self) -> Option<Runnable> {
        let (qos, runnable) = self.turns.next().into_iter().find_map(|qos| {
            let found = if qos == Qos::Default { self.take_default() } else { self.pool.shared.pop_as(qos) };
            found.map(|runnable| (qos, runnable))
        })?;
        if self.class != qos {
            self.class = qos;
            qos.make_current();
        }
        Some(runnable)
    }

    /// From the line of the default class; now and then first what came from other threads.
    #[inline(always)]
    fn take_default(&mut self) -> Option<Runnable> {
        let (own, pool, exposed) = (&self.local.own, self.pool, &self.place.exposed);
        if self.around {
            self.around = false;
            if let Some(runnable) = own.pop_shared(&pool.shared) {
                return Some(runnable);
            }
        }
        if let Some(runnable) = own.pop(exposed) {
            return Some(runnable);
        }
        if let Some(victim) = self.helps {
            // There may be many more, and a search for each would cost more than a small piece.
            match pool.slots[victim].exposed.take_piece() {
                None => self.helps = None,
                piece => return piece,
            }
        }
        if !self.searching {
            self.searching = true;
            pool.sleep.begin_search();
        }
        let found = own.pop_shared(&pool.shared).or_else(|| {
            let others =
                |index: usize| (index != self.local.slot).then(|| &*pool.slots[index]).map(|slot| &slot.exposed);
            let used = pool.used.load(Acquire);
            own.steal(used, others).or_else(|| {
                let (victim, piece) = own.steal_piece(used, others)?;
                self.helps = Some(victim);
                Some(piece)
            })
        });
        if found.is_none() && own.has_later() { self.take_later() } else { found }
    }

    /// There is nothing but what this thread put off: that, unless something came meanwhile.
    #[inline(never)]
    fn take_later(&mut self) -> Option<Runnable> {
        let (own, pool, exposed) = (&self.local.own, self.pool, &self.place.exposed);
        if self.patience.looks_once_more() {
            self.tick = 0;
            self.poll();
            if let Some(runnable) = own.pop(exposed) {
                return Some(runnable);
            }
        }
        self.begin_round();
        let runnable = own.pop(exposed);
        if own.has_stealable() {
            pool.notify();
        }
        runnable
    }

    fn begin_round(&mut self) {
        self.patience = Patience::default();
        self.local.own.begin_round();
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
                block::run_lane(node);
            } else if self.pool.is_halted() {
                self.pool.discard(Runnable(node));
            } else {
                let site = node.as_ref().site;
                Mark(self.place).block(site);
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
    /// Runs a one-shot block straight on the pool, in the line of a class.
    pub(crate) fn spawn_as(&self, node: NonNull<Node>, qos: Qos) {
        self.submit_as(Runnable(node), Place::Back, qos);
    }
}
