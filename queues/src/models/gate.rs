//! A barrier runs alone, nothing overtakes it, and a drainer that had to leave is sent back once.
//!
//! In place of the mailbox and the pool, the thread that must send the drainer back drains at once
//! itself.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::sync::OwnerCell;
use crate::base::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use crate::queue::concurrent::gate::{Gate, UNLIMITED};

struct Place {
    gate: Gate,
    /// The data that the queue guards: readers read it, barriers write it.
    table: OwnerCell<u32>,
    drains: AtomicUsize,
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Arc<Self> {
        Self::of_width(UNLIMITED)
    }

    fn of_width(width: u32) -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(width), table: OwnerCell::new(0), drains: AtomicUsize::new(0) })
    }

    /// `ConcurrentQueue::sync`; `None` if it would have to wait in the mailbox.
    fn read(&self) -> Option<u32> {
        self.gate.try_read().then(|| {
            // SAFETY: this reader is in.
            let seen = unsafe { self.table.get() };
            if self.gate.read_ends() {
                self.drain_barrier();
            }
            seen
        })
    }

    /// The drain, with one barrier in the mailbox.
    fn drain_barrier(&self) {
        if self.gate.admit_barrier() {
            assert_eq!(self.drains.fetch_add(1, Relaxed), 0, "sent back twice");
            // SAFETY: the barrier is alone.
            unsafe { self.table.set(self.table.get() + 1) };
            self.gate.unlist();
        }
    }

    /// The drain, with one reader in the mailbox.
    fn drain_reader(&self) {
        if self.gate.admit_reader() {
            assert_eq!(self.drains.fetch_add(1, Relaxed), 0, "sent back twice");
            // SAFETY: this reader is in.
            unsafe { self.table.get() };
            assert!(!self.gate.read_ends(), "nothing waits");
        }
    }
}

fn two_readers_and_a_barrier() {
    let place = Place::new();
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let place = place.clone();
            thread::spawn(move || place.read())
        })
        .collect();
    begin();
    place.gate.list();
    place.drain_barrier();
    for reader in readers {
        reader.join().expect("it does not panic");
    }
    assert_eq!(place.drains.load(Relaxed), 1, "the barrier was lost");
    assert!(place.gate.try_write(), "the queue is empty, nothing is listed");
}

/// A reader that arrives after a barrier was listed sees what the barrier did, or waits.
fn a_reader_after_a_barrier() {
    let place = Place::new();
    let before = {
        let place = place.clone();
        thread::spawn(move || place.read())
    };
    begin();
    place.gate.list();
    let after = {
        let place = place.clone();
        thread::spawn(move || place.read())
    };
    place.drain_barrier();
    before.join().expect("it does not panic");
    let seen = after.join().expect("it does not panic");
    assert_ne!(seen, Some(0), "it passed the barrier");
}

fn a_writer_and_a_listed_reader() {
    let place = Place::new();
    let writer = {
        let place = place.clone();
        thread::spawn(move || {
            if place.gate.try_write() {
                // SAFETY: the barrier is alone.
                unsafe { place.table.set(1) };
                if place.gate.write_ends() {
                    place.drain_reader();
                }
            }
        })
    };
    begin();
    place.gate.list();
    place.drain_reader();
    writer.join().expect("it does not panic");
    assert_eq!(place.drains.load(Relaxed), 1, "the reader was lost");
    assert!(place.gate.try_write(), "the queue is empty, nothing is listed");
}

/// A queue of width 1 guards a table that every block writes: two threads find room or not, and one
/// block in the mailbox waits for room.
fn a_width_of_one() {
    fn write(place: &Place, drains: bool) {
        // SAFETY: no other block is in.
        unsafe { place.table.set(place.table.get() + 1) };
        if place.gate.read_ends() && drains {
            listed(place);
        }
    }
    /// The drain, with one block in the mailbox.
    fn listed(place: &Place) {
        if place.gate.admit_reader() {
            assert_eq!(place.drains.fetch_add(1, Relaxed), 0, "sent back twice");
            write(place, false);
        }
    }
    let place = Place::of_width(1);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let place = place.clone();
            thread::spawn(move || {
                if place.gate.try_read() {
                    write(&place, true);
                }
            })
        })
        .collect();
    begin();
    place.gate.list();
    listed(&place);
    for other in others {
        other.join().expect("it does not panic");
    }
    assert_eq!(place.drains.load(Relaxed), 1, "the listed block was lost");
    assert!(place.gate.try_write(), "the queue is empty, nothing is listed");
}

/// Two are in a queue of width 2, and a third waits: it must not wait for both of them.
fn one_of_two_makes_room() {
    let place = Place::of_width(2);
    assert!(place.gate.try_read() && place.gate.try_read());
    place.gate.list();
    let leaver = {
        let place = place.clone();
        thread::spawn(move || place.gate.read_ends())
    };
    begin();
    let admitted = place.gate.admit_reader();
    let sent_back = leaver.join().expect("it does not panic");
    assert_ne!(admitted, sent_back, "either there was room, or the drainer is sent back");
    assert!(admitted || place.gate.admit_reader());
}

#[test]
fn a_width_excludes() {
    check(3, a_width_of_one);
}

#[test]
fn one_that_leaves_lets_the_next_one_in() {
    check(4, one_of_two_makes_room);
}

#[test]
fn readers_against_a_barrier() {
    check(3, two_readers_and_a_barrier);
}

#[test]
fn nothing_passes_what_is_listed() {
    check(3, a_reader_after_a_barrier);
}

#[test]
fn a_writer_against_a_listed_reader() {
    check(4, a_writer_and_a_listed_reader);
}
