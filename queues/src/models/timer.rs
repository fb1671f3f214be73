//! Whoever keeps the time sleeps no longer than until the earliest deadline, also if that is added while it falls asleep.
//!
//! Loom's clock stands still, in that a timed wait never ends by itself: the sleeper must be woken for every timer that
//! came after its look. [`Office::keep`] is `Worker::sleep` of `pool/worker`, in that order of steps.

use std::sync::Arc;
use std::time::Duration;

use loom::thread;

use super::{begin, bites, check};
use crate::park::{Parker, ThreadParker};
use crate::pool::sleep::Sleep;
use crate::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::sync::{Mutex, lock, now};
use crate::timer::{Fire, Timers};

const HOUR: Duration = Duration::from_secs(3600);

struct Office {
    timers: Timers,
    sleep: Sleep,
    parkers: Vec<ThreadParker>,
    known: AtomicBool,
}

impl Office {
    fn new(workers: usize) -> Arc<Self> {
        let parkers = (0..workers).map(|_| ThreadParker::new()).collect();
        Arc::new(Self { timers: Timers::new(), sleep: Sleep::new(), parkers, known: AtomicBool::new(false) })
    }

    /// `Pool::add_timer`.
    fn add(&self, delay: Duration) {
        let fire = Fire::Once(Box::new(|| {}));
        match self.timers.add_at(now().checked_add(delay), Duration::ZERO, fire).1 {
            Some(Some(keeper)) => self.parkers[keeper].unpark(),
            Some(None) => {
                if let Some(parker) = self.sleep.take_any() {
                    self.parkers[parker].unpark();
                }
            }
            None => {}
        }
    }

    /// The worker at parker 0 sleeps, and keeps the time, of which there is none.
    fn begin_as_keeper(&self) {
        self.sleep.begin_search();
        self.sleep.fall_asleep(0);
        assert_eq!(self.timers.keep(0), None);
    }

    /// It wakes up, and runs for ever.
    fn wake(&self) {
        self.timers.release(0);
        self.sleep.wake_up(0);
    }

    /// A worker sleeps, again and again, until somebody would wake within `delay`.
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
                // One is enough: the others are let go.
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

/// The keeper wakes for something else and adds a timer itself: another sleeper must take the role over, because a worker
/// that runs may run for long.
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

/// The keeper wakes for something else and soon sleeps again; meanwhile another worker falls asleep, and a third thread
/// adds. Whoever keeps the time in the end must know of it.
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

/// Two threads look at the same time whether something is due: it is fired once, in its order.
fn two_fire() {
    let timers = Arc::new(Timers::new());
    let fired = Arc::new(Mutex::new(Vec::new()));
    for number in 0..2 {
        let fired = fired.clone();
        let fire = Fire::Once(Box::new(move || lock(&fired).push(number)));
        timers.add_at(Some(now()), Duration::ZERO, fire);
    }
    let other = {
        let timers = timers.clone();
        thread::spawn(move || timers.fire_due())
    };
    begin();
    timers.fire_due();
    other.join().expect("it does not panic");
    assert_eq!(*lock(&fired), [0, 1]);
}

#[test]
fn fire_against_fire() {
    check(3, two_fire);
}

#[test]
fn fire_against_fire_bites() {
    bites("timer: whoever looks fires", 3, two_fire);
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

#[test]
fn add_against_keep_bites() {
    bites("timer: add has no fence", 2, the_role_passes_on);
    bites("timer: the keeper has no fence", 2, the_role_passes_on);
    bites("timer: add tells nobody when nobody keeps", 3, the_keeper_adds_one);
    bites("timer: the keeper keeps on", 2, an_earlier_one_comes_second);
}
