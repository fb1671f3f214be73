//! The timekeeper sleeps no longer than until the earliest deadline, even if a thread adds that
//! deadline while the timekeeper falls asleep.
//!
//! Loom's clock stands still: a timed wait never ends by itself, so every timer that is added after
//! the sleeper's check must wake it. [`Office::keep`] is `Worker::sleep` of `pool/worker`, in that
//! order of steps.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::{begin, check};
use crate::base::park::{Parker, ThreadParker};
use crate::base::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::base::sync::{OwnerCell, now};
use crate::pool::sleep::Sleep;
use crate::time::timer::{Fire, Leeway, Timers};

const HOUR: Duration = Duration::from_secs(3600);

struct Office {
    timers: Timers,
    sleep: Sleep,
    parkers: Vec<ThreadParker>,
    known: AtomicBool,
}

impl Office {
    fn new(workers: usize) -> Arc<Self> {
        let parkers = (0..workers).map(|_| ThreadParker::default()).collect();
        Arc::new(Self { timers: Timers::new(), sleep: Sleep::default(), parkers, known: AtomicBool::new(false) })
    }

    /// `Pool::add_timer`.
    fn add(&self, delay: Duration) {
        let fire = Fire::Once(Box::new(|| {}));
        match self.timers.add_at(now().checked_add(delay), Leeway::NONE, fire).1 {
            Some(Some(keeper)) => self.parkers[keeper].unpark(),
            Some(None) => {
                if let Some(parker) = self.sleep.take(true) {
                    self.parkers[parker].unpark();
                }
            }
            None => {}
        }
    }

    /// The worker at parker 0 sleeps as the timekeeper, without any timer.
    fn begin_as_keeper(&self) {
        self.sleep.begin_search();
        self.sleep.fall_asleep(0);
        assert_eq!(self.timers.keep(0), None);
    }

    /// It wakes up and runs for ever.
    fn wake(&self) {
        self.timers.release(0);
        self.sleep.wake_up(0);
    }

    /// A worker sleeps, again and again, until some sleeper would wake within `delay`.
    fn keep(&self, parker: usize, delay: Duration) {
        self.sleep.begin_search();
        loop {
            self.sleep.fall_asleep(parker);
            let mut awake = || {
                self.timers.release(parker);
                self.sleep.wake_up(parker);
            };
            let timeout = self.timers.keep(parker);
            if timeout.is_some_and(|timeout| timeout <= delay) || self.known.load(Acquire) {
                // One sleeper is enough: the others may end.
                self.known.store(true, Release);
                self.parkers.iter().for_each(Parker::unpark);
                return;
            }
            self.parkers[parker].park(None, &mut awake);
        }
    }
}

fn added_while_falling_asleep() {
    let office = Office::new(1);
    let other = {
        let office = office.clone();
        thread::spawn(move || office.add(HOUR))
    };
    begin();
    office.keep(0, HOUR);
    other.join().expect("it does not panic");
}

fn an_earlier_one_comes_second() {
    let office = Office::new(1);
    let others = [2 * HOUR, HOUR].map(|delay| {
        let office = office.clone();
        thread::spawn(move || office.add(delay))
    });
    begin();
    office.keep(0, HOUR);
    for other in others {
        other.join().expect("it does not panic");
    }
}

/// The keeper wakes for another reason and adds a timer itself: another sleeper must take the role
/// over, because a running worker may run for long.
fn the_keeper_adds_one() {
    let office = Office::new(2);
    office.begin_as_keeper();
    let other = {
        let office = office.clone();
        thread::spawn(move || office.keep(1, HOUR))
    };
    begin();
    office.wake();
    office.add(HOUR);
    other.join().expect("it does not panic");
}

/// The keeper wakes for another reason and soon sleeps again; meanwhile another worker falls
/// asleep, and a third thread adds a timer. The timekeeper in the end must know of it.
fn the_role_passes_on() {
    let office = Office::new(2);
    office.begin_as_keeper();
    let before = {
        let office = office.clone();
        thread::spawn(move || {
            office.wake();
            office.keep(0, HOUR);
        })
    };
    let after = {
        let office = office.clone();
        thread::spawn(move || office.keep(1, HOUR))
    };
    begin();
    office.add(HOUR);
    before.join().expect("it does not panic");
    after.join().expect("it does not panic");
}

/// The data that the entries of a model touch without a lock, because they fire one after the
/// other.
struct Fired(OwnerCell<(usize, [usize; 2])>);

// SAFETY: the models check that this is sound.
unsafe impl Send for Fired {}
// SAFETY: as above.
unsafe impl Sync for Fired {}

/// Two threads check at the same time whether a timer is due: each fires once, in order, and the
/// second entry sees what the first one did.
fn two_fire() {
    let timers = Arc::new(Timers::new());
    let fired = Arc::new(Fired(OwnerCell::new((0, [9; 2]))));
    for number in 0..2 {
        let fired = fired.clone();
        let fire = Fire::Once(Box::new(move || {
            // SAFETY: one thread fires at a time, which loom checks.
            let (count, mut order) = unsafe { fired.0.get() };
            order[count] = number;
            // SAFETY: as above.
            unsafe { fired.0.set((count + 1, order)) };
        }));
        timers.add_at(Some(now()), Leeway::NONE, fire);
    }
    let other = {
        let timers = timers.clone();
        thread::spawn(move || timers.fire_due())
    };
    begin();
    timers.fire_due();
    other.join().expect("it does not panic");
    // SAFETY: the thread was joined, so no entry fires any more.
    assert_eq!(unsafe { fired.0.get() }, (2, [0, 1]));
}

#[test]
fn fire_against_fire() {
    check(3, two_fire);
}

#[test]
fn add_against_keep() {
    check(4, added_while_falling_asleep);
}

#[test]
fn two_adds_against_keep() {
    check(2, an_earlier_one_comes_second);
}

#[test]
fn the_keeper_adds() {
    check(3, the_keeper_adds_one);
}

#[test]
fn add_against_a_change_of_keepers() {
    check(2, the_role_passes_on);
}

/// A thread submits by itself what is due, unless something that is due before has not been fired:
/// then it sees what that did.
fn one_looks_whether_it_is_behind() {
    let timers = Arc::new(Timers::new());
    let fired = Arc::new(Fired(OwnerCell::new((0, [9; 2]))));
    let fire = {
        let fired = fired.clone();
        // SAFETY: it fires once, and others look when they are not behind it; loom checks it.
        Fire::Once(Box::new(move || unsafe { fired.0.set((1, [0, 9])) }))
    };
    timers.add_at(Some(now()), Leeway::NONE, fire);
    let other = {
        let timers = timers.clone();
        thread::spawn(move || timers.fire_due())
    };
    begin();
    if !timers.is_behind(now()) {
        // SAFETY: it was fired before.
        assert_eq!(unsafe { fired.0.get() }.0, 1);
    }
    other.join().expect("it does not panic");
}

#[test]
fn behind_against_fire() {
    check(4, one_looks_whether_it_is_behind);
}
