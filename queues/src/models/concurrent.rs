//! A concurrent queue with its mailbox: turns of a serial queue that targets it against barriers, a
//! turn that enters beside another one, and suspension against the open gate.
//!
//! In place of the pool, the thread that submits something there runs it at once. The model uses
//! the mailboxes, the gate, the state and the list of held lanes in the order of `queue/concurrent`
//! and its drain, and of `queue/entry`.

use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::mailbox::Mailbox;
use crate::base::state::{Resumed, State};
use crate::base::sync::OwnerCell;
use crate::pool::suspended::Suspended;
use crate::queue::concurrent::gate::{Gate, UNLIMITED};

/// The kinds of work that enter the queue besides barriers.
#[derive(Clone, Copy)]
enum Runs {
    Turns,
    Block,
}

struct Place {
    gate: Gate,
    mail: Mailbox,
    state: State,
    held: Suspended,
    /// The queue's own node.
    lane: Item,
    runs: Runs,
    barrier: Item,
    /// A turn of the serial queue, or a block; one entry for each thread that submits.
    entries: [Item; 2],
    /// The serial queue that targets it.
    serial: Mailbox,
    blocks: [Item; 2],
    /// Written only under exclusion: by blocks of the serial queue, and by barriers.
    table: OwnerCell<u32>,
    /// Written before the queue is resumed; its block reads it.
    before: OwnerCell<bool>,
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn new(runs: Runs, state: State) -> Arc<Self> {
        let place = Self {
            gate: Gate::new(UNLIMITED),
            mail: Mailbox::new(),
            state,
            held: Suspended::default(),
            lane: Item::new(),
            runs,
            barrier: Item::new(),
            entries: std::array::from_fn(|_| Item::new()),
            serial: Mailbox::new(),
            blocks: std::array::from_fn(|_| Item::new()),
            table: OwnerCell::new(0),
            before: OwnerCell::new(false),
        };
        if !place.state.is_clear() {
            place.gate.list();
        }
        Arc::new(place)
    }

    fn write(&self) {
        // SAFETY: the caller has exclusive access.
        unsafe { self.table.set(self.table.get() + 1) };
    }

    /// `Queue::submit` to the serial queue.
    fn submit_to_serial(&self, who: usize) {
        // SAFETY: each block is pushed once.
        if unsafe { self.serial.push(self.blocks[who].node(), || ()) } {
            self.enter(who);
        }
    }

    /// `Level::push` of a `Body`.
    fn enter(&self, who: usize) {
        if self.gate.try_read() { self.run() } else { self.list(&self.entries[who]) }
    }

    /// `Body::list`.
    fn list(&self, item: &Item) {
        self.gate.list();
        // SAFETY: each item is in the mailbox once.
        if unsafe { self.mail.push(item.node(), || ()) } {
            self.drain();
        }
    }

    /// Runs what was let in: a turn of the serial queue, or a block of the concurrent one.
    fn run(&self) {
        match self.runs {
            Runs::Turns => self.turn(),
            // SAFETY: written before the resume that let this block in.
            Runs::Block => assert!(unsafe { self.before.get() }, "it ran before it was resumed"),
        }
        if self.gate.read_ends() {
            self.drain();
        }
    }

    /// `QueueCore::drain`.
    fn turn(&self) {
        // SAFETY: the thread that runs the turn has the drain right of the serial queue.
        unsafe {
            let mut node = self.serial.front();
            loop {
                self.write();
                match self.serial.unlink(node) {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    /// `Body::drain`, without turns.
    fn drain(&self) {
        // SAFETY: every caller has the drain right.
        unsafe {
            let mut node = self.mail.front();
            loop {
                self.mail.set_front(node);
                if !self.state.is_clear() && self.held.enter(self.lane.node(), |_| 1, || self.state.hold()) {
                    return;
                }
                let barrier = node == self.barrier.node();
                if !(if barrier { self.gate.admit_barrier() } else { self.gate.admit_reader() }) {
                    return;
                }
                let front = self.mail.detach(node, self.lane.node());
                if barrier {
                    self.write();
                    self.gate.unlist();
                } else {
                    self.run();
                }
                node = front;
                if front == self.lane.node() {
                    match self.mail.unlink(front) {
                        Some(next) => node = next,
                        None => return,
                    }
                }
            }
        }
    }

    /// `Body::resumed`.
    fn resumed(&self, how: Resumed) {
        self.gate.unlist();
        if how == Resumed::Schedule && self.held.take(self.lane.node()) {
            self.drain();
        }
    }

    fn ends_with(&self, writes: u32) {
        assert!(self.gate.try_write(), "the queue is empty, nothing is listed");
        // SAFETY: all threads were joined.
        assert_eq!(unsafe { self.table.get() }, writes);
    }
}

/// Blocks of a serial queue, from one or two threads, and a barrier of its target.
fn turns_against_a_barrier(submitters: usize) {
    let place = Place::new(Runs::Turns, State::new());
    let others: Vec<_> = (0..submitters)
        .map(|who| {
            let place = place.clone();
            thread::spawn(move || place.submit_to_serial(who))
        })
        .collect();
    begin();
    place.list(&place.barrier);
    for other in others {
        other.join().expect("it does not panic");
    }
    place.ends_with(1 + submitters as u32);
}

/// A turn that is in lets another one in while a barrier waits: both end before the barrier runs.
fn one_joins_another() {
    let place = Place::new(Runs::Turns, State::new());
    assert!(place.gate.try_read());
    let joins = {
        let place = place.clone();
        thread::spawn(move || {
            if place.gate.try_join() {
                // SAFETY: the other turn does not touch it, and no barrier runs.
                unsafe { place.table.get() };
                if place.gate.read_ends() {
                    place.drain();
                }
            }
        })
    };
    begin();
    place.list(&place.barrier);
    if place.gate.read_ends() {
        place.drain();
    }
    joins.join().expect("it does not panic");
    place.ends_with(1);
}

/// A block arrives at a queue that is suspended or inactive while that state ends.
fn a_block_against(state: State, end: fn(&State) -> Resumed) {
    let place = Place::new(Runs::Block, state);
    let submits = {
        let place = place.clone();
        thread::spawn(move || place.enter(0))
    };
    begin();
    // SAFETY: the block reads it, and the next step lets the block in.
    unsafe { place.before.set(true) };
    place.resumed(end(&place.state));
    submits.join().expect("it does not panic");
    place.ends_with(0);
}

fn suspended() -> State {
    let state = State::new();
    assert!(state.suspend());
    state
}

#[test]
fn a_turn_in_a_concurrent_queue_against_its_barrier() {
    check(3, || turns_against_a_barrier(1));
    check(2, || turns_against_a_barrier(2));
}

#[test]
fn joining_against_a_barrier() {
    check(4, one_joins_another);
}

#[test]
fn resume_against_the_gate() {
    check(4, || a_block_against(suspended(), State::resume));
}

#[test]
fn activate_against_the_gate() {
    check(4, || a_block_against(State::inactive(), State::activate));
}
