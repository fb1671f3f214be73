//! A barrier runs alone, nothing passes it, and a drainer that had to leave is sent back once.
//!
//! For the mailbox and the pool: who is to send the drainer back drains at once, on its own thread.

use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::queue::concurrent::gate::{Gate, UNLIMITED};
use crate::sync::OwnerCell;
use crate::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Place {
    gate: Gate,
    /// What the queue guards: readers look, barriers write.
    table: OwnerCell<u32>,
    drains: AtomicUsize,
}

// SAFETY: that this is sound is what the models check.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Arc<Self> {
        Self::of_width(UNLIMITED)
    }

    fn of_width(width: u32) -> Arc<Self> {
        Arc::new(Self { gate: Gate::new(width), table: OwnerCell::new(0), drains: AtomicUsize::new(0) })
    }

    /// `ConcurrentQueue::sync`; `None`: it would have to wait in the mailbox.
    fn read(&self) -> Option<u32> {
        self.gate.try_read().then(|| {
            // SAFETY: in.
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
            // SAFETY: alone.
            unsafe { self.table.set(self.table.get() + 1) };
            self.gate.unlist();
        }
    }

    /// The drain, with one reader in the mailbox.
    fn drain_reader(&self) {
        if self.gate.admit_reader() {
            assert_eq!(self.drains.fetch_add(1, Relaxed), 0, "sent back twice");
            // SAFETY: in.
            unsafe { self.table.get() };
            assert!(!self.gate.read_ends(), "nobody waits");
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
    assert!(place.gate.try_write(), "nobody is in, nothing is listed");
}

/// A reader that comes after a barrier was listed sees what the barrier did, or waits.
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
                // SAFETY: alone.
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
    assert!(place.gate.try_write(), "nobody is in, nothing is listed");
}

/// A queue of width 1 guards a table that everybody writes: two threads that find room or not, and one block in the
/// mailbox that waits for it.
fn a_width_of_one() {
    fn write(place: &Place, drains: bool) {
        // SAFETY: the only one that is in.
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
    assert!(place.gate.try_write(), "nobody is in, nothing is listed");
}

/// Two are in a queue of width 2, and a third waits: it does not wait for both of them.
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
fn a_width_excludes_bites() {
    bites("gate: the width is not asked for", 3, a_width_of_one);
    bites("gate: the drainer leaves without a word", 3, a_width_of_one);
}

#[test]
fn one_that_leaves_lets_the_next_one_in_bites() {
    bites("gate: only the last reader sends the drainer back", 4, one_of_two_makes_room);
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

#[test]
fn readers_against_a_barrier_bites() {
    bites("gate: a reader leaves in two steps", 3, two_readers_and_a_barrier);
    bites("gate: the drainer leaves without a word", 3, two_readers_and_a_barrier);
    bites("gate: who comes in does not acquire", 3, two_readers_and_a_barrier);
    bites("gate: a reader does not release", 3, two_readers_and_a_barrier);
    bites("gate: who sends the drainer back leaves the note", 3, two_readers_and_a_barrier);
}

#[test]
fn nothing_passes_what_is_listed_bites() {
    bites("gate: a reader passes what is listed", 3, a_reader_after_a_barrier);
    bites("gate: a barrier does not release", 3, a_reader_after_a_barrier);
}

#[test]
fn a_writer_against_a_listed_reader_bites() {
    bites("gate: the drainer leaves without a word", 4, a_writer_and_a_listed_reader);
    bites("gate: a writer does not acquire", 4, a_writer_and_a_listed_reader);
    bites("gate: a writer does not release", 4, a_writer_and_a_listed_reader);
}
