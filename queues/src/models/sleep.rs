//! No wake-up is lost: once work is visible, a thread runs it. `pool/SLEEP.md` has the argument in
//! prose.
//!
//! Loom cannot see into crossbeam-deque. One flag per runnable replaces it: set with Release, like
//! the end of a push; read with a plain load, which may be stale, like `is_empty`; taken by a swap.
//! [`Office::work`] is `Worker::work`, `take`, `found` and `sleep` of `pool/worker`, in that order
//! of steps, without timers. A lost wake-up is a deadlock, which loom reports.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::park::{Parker, ThreadParker};
use crate::base::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::base::sync::{Condvar, Mutex, lock, wait};
use crate::pool::sleep::Sleep;

struct Office {
    sleep: Sleep,
    parkers: Vec<ThreadParker>,
    runnables: Vec<AtomicBool>,
    left: AtomicUsize,
    stopped: AtomicBool,
    /// Used by the model in which a runnable waits until another one runs elsewhere.
    ran: Option<(Mutex<usize>, Condvar)>,
}

impl Office {
    fn new(workers: usize, runnables: usize, wait_for_each_other: bool) -> Arc<Self> {
        Arc::new(Self {
            sleep: Sleep::default(),
            parkers: (0..workers).map(|_| ThreadParker::default()).collect(),
            runnables: (0..runnables).map(|_| AtomicBool::new(false)).collect(),
            left: AtomicUsize::new(runnables),
            stopped: AtomicBool::new(false),
            ran: wait_for_each_other.then(|| (Mutex::new(0), Condvar::new())),
        })
    }

    /// `Pool::submit_from_outside`.
    fn submit(&self, which: usize) {
        self.runnables[which].store(true, Release);
        self.notify();
    }

    fn notify(&self) {
        if let Some(parker) = self.sleep.notify() {
            self.parkers[parker].unpark();
        }
    }

    fn take(&self) -> bool {
        self.runnables.iter().any(|runnable| runnable.load(Relaxed) && runnable.swap(false, AcqRel))
    }

    fn has_work(&self) -> bool {
        self.runnables.iter().any(|runnable| runnable.load(Acquire))
    }

    /// The loop of a worker that begins as a searcher, like every new thread.
    fn work(&self, parker: usize) {
        let mut searching = true;
        self.sleep.begin_search();
        loop {
            // `take`
            let found = self.take() || {
                if !searching {
                    searching = true;
                    self.sleep.begin_search();
                }
                self.take()
            };
            if found {
                // `found`
                if std::mem::take(&mut searching) && self.sleep.end_search() && self.has_work() {
                    self.notify();
                }
                self.execute();
            } else if self.stopped.load(Acquire) {
                return;
            } else {
                // `sleep`
                self.sleep.fall_asleep(parker);
                let mut awake = || self.sleep.wake_up(parker);
                if self.has_work() || self.stopped.load(Acquire) {
                    awake();
                } else {
                    self.parkers[parker].park(None, &mut awake);
                }
            }
        }
    }

    fn execute(&self) {
        if let Some((ran, bell)) = &self.ran {
            let mut count = lock(ran);
            *count += 1;
            bell.notify_all();
            while *count < self.runnables.len() {
                count = wait(bell, count);
            }
        }
        // The last runnable ends the pool, like `Pool::stop`.
        if self.left.fetch_sub(1, AcqRel) == 1 {
            self.stopped.store(true, SeqCst);
            fence(SeqCst);
            self.parkers.iter().for_each(Parker::unpark);
        }
    }
}

/// Threads outside submit one runnable each; one worker falls asleep or does not.
fn submitters_and_a_worker(submitters: usize) {
    let office = Office::new(1, submitters, false);
    let others: Vec<_> = (0..submitters)
        .map(|which| {
            let office = office.clone();
            thread::spawn(move || office.submit(which))
        })
        .collect();
    begin();
    office.work(0);
    for other in others {
        other.join().expect("it does not panic");
    }
    assert_eq!(office.left.load(Relaxed), 0);
}

/// One thread submits two runnables that wait for each other, so both workers must get one. Only
/// one worker was woken, and it finds the first runnable; it must pass the wake-up on.
fn both_workers_are_needed() {
    let office = Office::new(2, 2, true);
    let workers: Vec<_> = (0..2)
        .map(|parker| {
            let office = office.clone();
            thread::spawn(move || office.work(parker))
        })
        .collect();
    begin();
    office.submit(0);
    office.submit(1);
    for worker in workers {
        worker.join().expect("it does not panic");
    }
}

#[test]
fn a_submitter_and_a_sleeper() {
    check(3, || submitters_and_a_worker(1));
}

#[test]
fn two_submitters_and_a_sleeper() {
    check(2, || submitters_and_a_worker(2));
}

#[test]
fn a_searcher_passes_the_wake_up_on() {
    check(2, both_workers_are_needed);
}
