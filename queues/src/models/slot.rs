//! A parker has one holder: its worker, or the thread that replaced that worker. No runnable stays
//! hidden on a thread that was replaced. Threads are at rest only if nothing is left to run.

use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::block::Runnable;
use crate::base::sync::OwnerCell;
use crate::base::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::pool::Place;
use crate::pool::slot::{Slot, are_at_rest};

struct Desk {
    slot: Slot,
    /// Only the holder of the parker may touch this.
    parker: OwnerCell<u32>,
}

// SAFETY: the model checks that this is sound.
unsafe impl Sync for Desk {}

impl Desk {
    fn wait_at_the_parker(&self) {
        // SAFETY: this thread holds the parker.
        unsafe { self.parker.set(self.parker.get() + 1) };
    }
}

/// A worker goes to sleep and wakes, again and again, while the monitor considers it stuck.
fn a_worker_is_replaced() {
    let place = Arc::new(Desk { slot: Slot::new(), parker: OwnerCell::new(0) });
    let worker = {
        let place = place.clone();
        thread::spawn(move || {
            place.slot.run_with(Some(5));
            for _ in 0..2 {
                // `Worker::sleep`
                let Some(parker) = place.slot.park() else { return 1 };
                assert_eq!(parker, 5);
                place.wait_at_the_parker();
                place.slot.run_with(Some(parker));
            }
            0
        })
    };
    begin();
    let replaced = place.slot.leave_parker().inspect(|&parker| {
        assert_eq!(parker, 5);
        // The thread that replaces it.
        place.wait_at_the_parker();
    });
    let left = worker.join().expect("it does not panic");
    assert!(left == 0 || replaced.is_some());
}

#[test]
fn replace_against_park() {
    check(4, a_worker_is_replaced);
}

/// The monitor sees a worker in one block for long, and the worker hides a runnable just when it is
/// replaced. Its block does not end, so the monitor or the thread itself must expose what is
/// hidden.
fn a_worker_hides_a_runnable_while_it_is_replaced(place: Place) {
    let (own, slot) = Slot::with_own();
    let slot = Arc::new(slot);
    slot.run_with(Some(5));
    let item = Arc::new(Item::new());
    let runnable = Runnable(item.node());
    let worker = {
        let (slot, item) = (slot.clone(), item.clone());
        thread::spawn(move || {
            // SAFETY: nobody else has it yet.
            unsafe { item.fill(7) };
            let runnable = Runnable(item.node());
            // `Pool::submit`, then `Pool::push`
            if place != Place::Next || !slot.push_next(runnable) {
                slot.push(&own, runnable, place);
            }
            own
        })
    };
    begin();
    // `Pool::replace`; afterwards the monitor may sleep for ever.
    slot.replace().expect("the thread runs");
    let taken = slot.exposed.take_hidden().inspect(|_| {
        // SAFETY: taken out, it is ours.
        assert_eq!(unsafe { item.content() }, 7);
    });
    let own = worker.join().expect("it does not panic");
    assert!(!slot.exposed.has_own(), "it is hidden, and no thread looks for it");
    let found: Vec<_> = taken.into_iter().chain(own.pop(&slot.exposed)).collect();
    assert_eq!(found, [runnable], "it is there once");
}

#[test]
fn replace_against_hiding() {
    check(4, || a_worker_hides_a_runnable_while_it_is_replaced(Place::Next));
    check(4, || a_worker_hides_a_runnable_while_it_is_replaced(Place::Deferred));
}

/// One thread, and one runnable that it does not hide.
struct Rest {
    slot: Slot,
    work: AtomicBool,
    ran: AtomicBool,
}

fn rest(work: bool) -> Arc<Rest> {
    Arc::new(Rest { slot: Slot::new(), work: AtomicBool::new(work), ran: AtomicBool::new(false) })
}

fn is_at_rest(place: &Rest) -> bool {
    are_at_rest(|| std::iter::once(&place.slot), || place.work.load(Acquire))
}

/// A worker wakes up and takes the last runnable.
fn a_worker_wakes_up_while_all_seem_to_rest() {
    let place = rest(true);
    place.slot.run_with(Some(5));
    place.slot.park().expect("it is not replaced");
    let worker = {
        let place = place.clone();
        thread::spawn(move || {
            place.slot.run_with(Some(5));
            place.work.swap(false, AcqRel);
            place.slot.block(Location::caller());
            place.ran.store(true, Relaxed);
            place.slot.park();
        })
    };
    begin();
    if is_at_rest(&place) {
        assert!(place.ran.load(Relaxed), "it was about to run");
    }
    worker.join().expect("it does not panic");
}

/// A worker submits, and then rests.
fn a_worker_submits_while_all_seem_to_rest() {
    let place = rest(false);
    place.slot.run_with(Some(5));
    place.slot.block(Location::caller());
    let worker = {
        let place = place.clone();
        thread::spawn(move || {
            place.work.store(true, Release);
            place.slot.park();
        })
    };
    begin();
    assert!(!is_at_rest(&place), "it runs, or there is something to run");
    worker.join().expect("it does not panic");
}

#[test]
fn at_rest_against_a_worker() {
    check(4, a_worker_wakes_up_while_all_seem_to_rest);
    check(4, a_worker_submits_while_all_seem_to_rest);
}
