//! One thread at a time drains a queue that waits in the pool, overtaken or not, and no boost is
//! lost.
//!
//! Two flags replace the lines of the pool: the entry in the lower line, and a token in the higher
//! line. They are set with Release and taken by a swap, like a push and a pop.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::qos::Qos;
use crate::base::sync::OwnerCell;
use crate::base::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Relaxed, Release},
};
use crate::queue::boosts::Boosts;
use crate::queue::ticket::{Overtook, Scheduled, Ticket};

struct Waiting {
    ticket: Ticket,
    boosts: Boosts,
    entry: AtomicBool,
    token: AtomicBool,
    handles: AtomicUsize,
    /// How often it was drained, guarded by the drain right, and in `turns` how often it will be.
    drained: OwnerCell<usize>,
    turns: usize,
}

// SAFETY: the model checks that this is sound.
unsafe impl Sync for Waiting {}
// SAFETY: as above.
unsafe impl Send for Waiting {}

impl Waiting {
    fn new(turns: usize) -> Arc<Self> {
        Arc::new(Self {
            ticket: Ticket::new(),
            boosts: Boosts::default(),
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
            let claim = self.ticket.claim();
            if claim.drains {
                self.drain();
            }
            if claim.has_handle {
                self.handles.fetch_sub(1, Relaxed);
            }
        }
    }

    /// `QueueCore::send_token`, and `QueueCore::run_token` as soon as possible.
    fn boost(&self) {
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

/// A worker claims the entry while other threads boost the queue.
fn an_entry_is_overtaken(turns: usize, boosts: usize) {
    let waiting = Waiting::new(turns);
    let booster = {
        let waiting = waiting.clone();
        thread::spawn(move || (0..boosts).for_each(|_| waiting.boost()))
    };
    begin();
    waiting.schedule();
    waiting.meet_the_entry();
    booster.join().expect("it does not panic");
    while waiting.entry.load(Relaxed) {
        waiting.meet_the_entry();
    }
    // SAFETY: no other thread is left.
    assert_eq!(unsafe { waiting.drained.get() }, turns);
    assert_eq!(waiting.handles.load(Relaxed), 1, "each entry gave its handle back");
}

/// A queue is scheduled while another thread boosts it: in the end it stands in the higher line.
fn a_boost_meets_a_schedule() {
    let waiting = Waiting::new(1);
    let booster = {
        let waiting = waiting.clone();
        thread::spawn(move || {
            assert!(waiting.boosts.add(Qos::UserInitiated));
            if waiting.ticket.send_token(Qos::UserInitiated) {
                waiting.token.store(true, Relaxed);
            }
        })
    };
    begin();
    let class = || waiting.boosts.highest().map_or(Qos::Utility, |boosted| boosted.max(Qos::Utility));
    let (scheduled, line) = waiting.ticket.schedule_as(class);
    assert_eq!(scheduled, Scheduled::Push);
    booster.join().expect("it does not panic");
    assert!(line == Qos::UserInitiated || waiting.token.load(Relaxed), "it waits in the lower line alone");
}

/// A worker claims a token of an earlier boost while the queue is scheduled and boosted again: the
/// token serves, or another one is sent.
fn a_boost_meets_an_old_token() {
    let waiting = Waiting::new(2);
    waiting.ticket.schedule(Qos::Utility);
    assert!(waiting.ticket.send_token(Qos::UserInitiated));
    assert!(waiting.ticket.claim().drains, "the entry came first");
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
fn boost_against_schedule() {
    check(4, a_boost_meets_a_schedule);
    check(4, a_boost_meets_an_old_token);
}
