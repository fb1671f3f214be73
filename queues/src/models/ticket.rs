//! A queue that waits in the pool is drained by one at a time, overtaken or not, and no lift is lost.
//!
//! Two flags stand for the lines of the pool: the entry in the lower one, a token in the higher one; set with Release and
//! taken by a swap, like a push and a pop.

use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::qos::Qos;
use crate::queue::lift::Lifts;
use crate::queue::ticket::{Overtook, Scheduled, Ticket};
use crate::sync::OwnerCell;
use crate::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Relaxed, Release},
};

struct Waiting {
    ticket: Ticket,
    lifts: Lifts,
    entry: AtomicBool,
    token: AtomicBool,
    handles: AtomicUsize,
    /// How often it was drained, and how often it will be. Guarded by the drain right.
    drained: OwnerCell<usize>,
    turns: usize,
}

// SAFETY: that this is sound is what the model checks.
unsafe impl Sync for Waiting {}
// SAFETY: as above.
unsafe impl Send for Waiting {}

impl Waiting {
    fn new(turns: usize) -> Arc<Self> {
        Arc::new(Self {
            ticket: Ticket::new(),
            lifts: Lifts::default(),
            entry: AtomicBool::new(false),
            token: AtomicBool::new(false),
            handles: AtomicUsize::new(1),
            drained: OwnerCell::new(0),
            turns,
        })
    }

    /// `QueueCore::schedule_graded`, without the second look.
    fn schedule(&self) {
        if self.ticket.schedule(Qos::Utility) == Scheduled::Push {
            assert!(!self.entry.swap(true, Release), "one entry at a time");
        }
    }

    /// `QueueCore::drain`, with one block a turn.
    fn drain(&self) {
        // SAFETY: we have the drain right.
        let drained = unsafe { self.drained.get() } + 1;
        // SAFETY: as above.
        unsafe { self.drained.set(drained) };
        if drained < self.turns {
            self.schedule();
        }
    }

    /// `QueueCore::run`.
    fn meet_the_entry(&self) {
        if self.entry.swap(false, AcqRel) {
            let met = self.ticket.meet();
            if met.drains {
                self.drain();
            }
            if met.has_handle {
                self.handles.fetch_sub(1, Relaxed);
            }
        }
    }

    /// `QueueCore::send_token`, and `Token::run` as soon as may be.
    fn lift(&self) {
        if self.ticket.send_token(Qos::UserInitiated) {
            self.handles.fetch_add(1, Relaxed);
            match self.ticket.overtake(Qos::UserInitiated) {
                Overtook::First => return self.drain(),
                Overtook::Revived => self.drain(),
                Overtook::Nothing => {}
            }
            self.handles.fetch_sub(1, Relaxed);
        }
    }
}

/// A worker meets the entry, while others lift the queue.
fn an_entry_is_overtaken(turns: usize, lifts: usize) {
    let waiting = Waiting::new(turns);
    let lifter = {
        let waiting = waiting.clone();
        thread::spawn(move || (0..lifts).for_each(|_| waiting.lift()))
    };
    begin();
    waiting.schedule();
    waiting.meet_the_entry();
    lifter.join().expect("it does not panic");
    while waiting.entry.load(Relaxed) {
        waiting.meet_the_entry();
    }
    // SAFETY: nobody else is left.
    assert_eq!(unsafe { waiting.drained.get() }, turns);
    assert_eq!(waiting.handles.load(Relaxed), 1, "each entry gave its handle back");
}

/// A queue is scheduled while somebody lifts it: it stands in the higher line in the end.
fn a_lift_meets_a_schedule() {
    let waiting = Waiting::new(1);
    let lifter = {
        let waiting = waiting.clone();
        thread::spawn(move || {
            assert!(waiting.lifts.add(Qos::UserInitiated));
            if waiting.ticket.send_token(Qos::UserInitiated) {
                waiting.token.store(true, Relaxed);
            }
        })
    };
    begin();
    // `QueueCore::schedule_graded`
    let class = |waiting: &Waiting| waiting.lifts.highest().map_or(Qos::Utility, |lifted| lifted.max(Qos::Utility));
    let mut line = class(&waiting);
    assert_eq!(waiting.ticket.schedule(line), Scheduled::Push);
    let now = class(&waiting);
    if now > line {
        waiting.ticket.enter(now);
        line = now;
    }
    lifter.join().expect("it does not panic");
    assert!(line == Qos::UserInitiated || waiting.token.load(Relaxed), "it waits in the lower line alone");
}

/// A token of an earlier lift is met while the queue is scheduled and lifted anew: it serves, or another one is sent.
fn a_lift_meets_an_old_token() {
    let waiting = Waiting::new(2);
    waiting.ticket.schedule(Qos::Utility);
    assert!(waiting.ticket.send_token(Qos::UserInitiated));
    assert!(waiting.ticket.meet().drains, "the entry came first");
    let worker = {
        let waiting = waiting.clone();
        thread::spawn(move || waiting.ticket.overtake(Qos::UserInitiated) == Overtook::First)
    };
    begin();
    assert_eq!(waiting.ticket.schedule(Qos::Utility), Scheduled::Push);
    let sent = waiting.ticket.send_token(Qos::UserInitiated);
    let overtaken = worker.join().expect("it does not panic");
    assert!(overtaken || sent, "it waits in the lower line alone");
}

#[test]
fn entry_against_token() {
    check(3, || an_entry_is_overtaken(1, 1));
    check(3, || an_entry_is_overtaken(3, 2));
}

#[test]
fn lift_against_schedule() {
    check(4, a_lift_meets_a_schedule);
    check(4, a_lift_meets_an_old_token);
}

#[test]
fn entry_against_token_bites() {
    bites("ticket: an entry does not ask", 3, || an_entry_is_overtaken(1, 1));
    bites("ticket: scheduling does not release", 3, || an_entry_is_overtaken(3, 2));
    bites("ticket: a token does not acquire", 3, || an_entry_is_overtaken(3, 2));
    bites("ticket: an entry does not acquire", 3, || an_entry_is_overtaken(3, 2));
}

#[test]
fn lift_against_schedule_bites() {
    bites("ticket: scheduling has no fence", 4, a_lift_meets_a_schedule);
    bites("ticket: a lift has no fence", 4, a_lift_meets_a_schedule);
    bites("ticket: a token that was met stays noted", 4, a_lift_meets_an_old_token);
}
