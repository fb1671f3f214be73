//! The monitor does not sleep while a worker runs, and nothing is freed while a thread inspects it.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::sync::OwnerCell;
use crate::base::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Release},
};
use crate::pool::monitor::Monitor;

/// A worker wakes up while the monitor falls asleep: a monitor that sleeps on is a deadlock.
fn a_worker_wakes_up() {
    let monitor = Arc::new((Monitor::default(), AtomicBool::new(false)));
    let worker = {
        let monitor = monitor.clone();
        thread::spawn(move || {
            let (monitor, runs) = &*monitor;
            // `Slot::run_with`
            runs.store(true, Release);
            monitor.running();
        })
    };
    begin();
    let (it, runs) = &*monitor;
    it.sleep(|| runs.load(Acquire));
    worker.join().expect("it does not panic");
}

/// A lane that a worker ran is freed while another thread asks which lanes run.
fn a_lane_is_freed() {
    struct Place {
        monitor: Monitor,
        /// The lane is in the slot of its thread.
        marked: AtomicBool,
        label: OwnerCell<u32>,
    }
    // SAFETY: the model checks that this is sound.
    unsafe impl Sync for Place {}

    let place =
        Arc::new(Place { monitor: Monitor::default(), marked: AtomicBool::new(true), label: OwnerCell::new(7) });
    let worker = {
        let place = place.clone();
        thread::spawn(move || {
            // `Mark::lane`, then `QueueCore::free`
            place.marked.store(false, Release);
            place.monitor.wait_for_inspection();
            // SAFETY: no thread reads it any more.
            unsafe { place.label.set(0) };
        })
    };
    begin();
    place.monitor.inspect(|| {
        if place.marked.load(Acquire) {
            // SAFETY: it is not freed while this thread inspects it.
            assert_eq!(unsafe { place.label.get() }, 7);
        }
    });
    worker.join().expect("it does not panic");
}

#[test]
fn running_against_sleep() {
    check(4, a_worker_wakes_up);
}

#[test]
fn inspect_against_free() {
    check(4, a_lane_is_freed);
}
