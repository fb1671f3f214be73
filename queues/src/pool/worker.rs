//! The loop of one thread.

use std::cell::Cell;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use super::choose::Choices;
use super::cpu;
use super::find::Own;
use super::help::helped;
use super::slot::Slot;
use super::{Place, Pool};
use crate::base::block::{self, Kind, Node, Runnable};
use crate::base::catch;
use crate::base::handoff::{Ended, Waiter};
use crate::base::qos::Qos;
use crate::base::sync::atomic::Ordering::{Acquire, Relaxed};

thread_local! {
    static LOCAL: Cell<*const Local> = const { Cell::new(ptr::null()) };
}

/// The state of a worker thread, for itself alone.
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
    // SAFETY: `run` sets it to a `Local` on its own stack frame and clears it before the frame
    // ends. The `'static` never leaves code that this thread runs meanwhile.
    unsafe { LOCAL.get().as_ref() }
}

/// The pool whose blocks this thread runs, and the parker that it holds.
pub(crate) fn current() -> Option<(Arc<Pool>, Option<usize>)> {
    local().map(|local| (local.pool.clone(), local.slot().parker())).or_else(|| Some((helped()?.clone(), None)))
}

/// The parker that this thread holds, if it is a worker.
#[inline]
pub(crate) fn current_parker() -> Option<usize> {
    local()?.slot().parker()
}

impl Local {
    pub(super) fn belongs_to(&self, pool: &Pool) -> bool {
        ptr::eq(&*self.pool, pool)
    }

    #[inline]
    pub(super) fn slot(&self) -> &Slot {
        // SAFETY: a slot of `pool`, whose slots stay where they are as long as it lives.
        unsafe { self.place.as_ref() }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
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
    /// For what runs on workers alone, such as a drain: with the pool of this one, which it keeps
    /// alive.
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
            local.slot().block(site);
        }
    }
}

impl Deref for Mark<'_> {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        self.0
    }
}

/// Runs `f`, which is going to block this thread (a file, a lock, a foreign call): if other blocks
/// wait for a worker, another thread takes over at once, up to the runtime's cap of threads.
///
/// Without it a blocked worker is noticed too, by the monitor, after a millisecond or two. On
/// threads that are not workers it just calls `f`.
///
/// ```
/// let queue = singletrack_queues::Queue::new("disk");
/// let length = queue.call(|| singletrack_queues::blocking(|| std::fs::read("Cargo.toml").map(|text| text.len())));
/// assert!(length.wait().unwrap().is_ok());
/// ```
pub fn blocking<R>(f: impl FnOnce() -> R) -> R {
    if let Some(local) = local() {
        local.give_away();
        if local.pool.has_work() && local.slot().is_worker() {
            local.pool.replace(|| local.slot().leave_parker());
        }
    }
    f()
}

/// Waits until the end of `waiter`. It stands on this thread's stack, and must not go before.
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
    let choices = Choices::new(slot);
    Worker { local: &local, pool: &pool, place, searching: true, choices, class: Qos::Default, helps: None }.work();
    LOCAL.set(ptr::null());
    local.own.begin_round();
    while let Some(runnable) = local.own.pop(&place.exposed) {
        pool.discard(runnable);
    }
    place.vacate(local.own);
    pool.thread_ended(slot);
}

struct Worker<'a> {
    local: &'a Local,
    pool: &'a Pool,
    place: &'a Slot,
    /// Counted in `sleep` as a thread that looks for work.
    searching: bool,
    choices: Choices,
    /// Of the runnable that it took last.
    class: Qos,
    /// The thread whose forked task it took last.
    helps: Option<usize>,
}

impl Worker<'_> {
    fn work(&mut self) {
        loop {
            if self.place.is_extra() && self.pool.crowded.load(Relaxed) && !self.wait_for_post() {
                return;
            }
            if let Some(runnable) = self.take() {
                if self.searching {
                    self.found();
                }
                self.execute(runnable);
            } else if self.pool.is_stopped() {
                return self.found();
            } else if !self.place.is_extra() {
                self.sleep();
            } else if !self.wait_for_post() {
                return;
            }
        }
    }

    #[inline(always)]
    fn take(&mut self) -> Option<Runnable> {
        let tick = self.pool.tick.load(Relaxed);
        if self.choices.is_due(tick) {
            self.look_around(tick);
        }
        if self.pool.is_graded() { self.take_graded() } else { self.take_default() }
    }

    // Not inlined: once in so many runnables.
    #[inline(never)]
    fn look_around(&mut self, tick: u64) {
        self.choices.looks(tick);
        // Runnables go first: as long as there are forked tasks, this is when runnables in other
        // deques are looked for.
        self.helps = None;
        self.poll();
        self.pool.timers.fire_due();
        self.choices.has_looked(self.place.blocks());
        self.place.set_budget(self.choices.budget());
        if !self.local.own.deferred.is_empty() && self.choices.round_is_due() {
            self.begin_round();
        }
    }

    /// From the lines of all classes, in the order of this turn.
    // Not inlined, so that a runtime without classes has one short path.
    #[inline(never)]
    fn take_graded(&mut self) -> Option<Runnable> {
        let (qos, runnable) = self.choices.classes().into_iter().find_map(|qos| {
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
        if self.choices.injector_first()
            && let Some(runnable) = own.pop_shared(&pool.shared)
        {
            return Some(runnable);
        }
        if self.choices.slot_first()
            && let Some(runnable) = exposed.take_next()
        {
            return Some(runnable);
        }
        if let Some(runnable) = own.pop(exposed) {
            return Some(runnable);
        }
        if let Some(victim) = self.helps {
            // There may be many more, and a search for each would cost more than a small task.
            match pool.slots[victim].exposed.steal_forked() {
                None => self.helps = None,
                task => return task,
            }
        }
        if !self.searching {
            self.searching = true;
            pool.sleep.begin_search();
        }
        if let Some(runnable) = own.pop_shared(&pool.shared) {
            return Some(runnable);
        }
        let victims = self.choices.victims(pool.used.load(Acquire)).filter(|&index| index != self.local.slot);
        if let Some(runnable) = own.steal(victims.clone().map(|index| &pool.slots[index].exposed)) {
            return Some(runnable);
        }
        for victim in victims {
            if let Some(task) = pool.slots[victim].exposed.steal_forked() {
                self.helps = Some(victim);
                return Some(task);
            }
        }
        if own.deferred.is_empty() { None } else { self.take_deferred() }
    }

    /// There is nothing but what this thread deferred: that, behind what comes at the last moment.
    #[inline(never)]
    fn take_deferred(&mut self) -> Option<Runnable> {
        self.poll();
        self.begin_round();
        let runnable = self.local.own.pop(&self.place.exposed);
        if self.place.exposed.has_stealable() {
            self.pool.notify();
        }
        runnable
    }

    fn begin_round(&mut self) {
        self.choices.round_begins();
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
        // SAFETY: taken out of the pool, so this thread is its one holder. A lane looks after
        // itself; a one-shot block is run and finished here, or discarded.
        unsafe {
            let vtable = node.as_ref().vtable;
            if vtable.kind == Kind::Lane {
                block::run_lane(node);
            } else if self.pool.is_halted() {
                self.pool.discard(Runnable(node));
            } else {
                let site = node.as_ref().site;
                self.place.block(site);
                if let Some(payload) = (vtable.run)(node) {
                    self.pool.counts.panics.fetch_add(1, Relaxed);
                    catch::report_panic("(no queue)", site, payload);
                }
                (vtable.finish)(node);
            }
        }
        self.place.mark_site(ptr::null());
    }

    /// Sleeps at the parker until there may be something to do. The thread is searching before and
    /// after.
    fn sleep(&mut self) {
        let (pool, place) = (self.pool, self.place);
        // Otherwise it was replaced between two blocks, by a monitor that saw this thread without a
        // processor for long.
        let Some(parker) = place.park() else { return };
        pool.sleep.fall_asleep(parker);
        let mut asleep = true;
        let mut awake = || {
            if std::mem::take(&mut asleep) {
                pool.timers.release(parker);
                pool.sleep.wake_up(parker);
                place.run_with(Some(parker));
            }
        };
        // The look after `fall_asleep`, without which a wake-up could be lost; see SLEEP.md.
        if !(pool.has_work() || pool.is_stopped() || pool.ends_if_abandoned()) {
            let timeout = pool.timers.keep(parker);
            if timeout != Some(Duration::ZERO) {
                pool.parkers[parker].park(timeout, &mut awake);
            }
        }
        // Unless the parker has said so.
        awake();
        pool.monitor.running();
        pool.timers.fire_due();
        self.choices.wakes(place.blocks());
    }

    /// Without a parker and with nothing to do, or one thread too many. `false`: the thread must
    /// end.
    #[cold]
    fn wait_for_post(&mut self) -> bool {
        self.found();
        self.local.give_away();
        let stays = self.pool.wait_for_post(self.local.slot);
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
