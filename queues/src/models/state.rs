//! Suspension: nothing runs while a queue is suspended, and its last resume, or a shutdown, gets the drain right, once.
//!
//! For the pool: who schedules the queue drains it at once, on its own thread. Uses [`State`] and [`Held`] in the order of
//! `drain`, `leave_held` and `resume` in `queue/core`.

use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, bites, check};
use crate::mailbox::Mailbox;
use crate::pool::held::Held;
use crate::state::{Resumed, State};
use crate::sync::OwnerCell;

struct Place {
    mail: Mailbox,
    state: State,
    held: Held,
    /// The queue's own node: its name in `held`.
    lane: Item,
    block: Item,
    /// Written before each resume; the block reads it.
    before: [OwnerCell<bool>; 2],
    ran: OwnerCell<u32>,
}

// SAFETY: that this is sound is what the models check.
unsafe impl Sync for Place {}

impl Place {
    fn suspended(times: usize) -> Arc<Self> {
        Self::with(State::new(), times)
    }

    fn with(state: State, times: usize) -> Arc<Self> {
        let place = Self {
            mail: Mailbox::new(),
            state,
            held: Held::new(),
            lane: Item::new(),
            block: Item::new(),
            before: std::array::from_fn(|_| OwnerCell::new(false)),
            ran: OwnerCell::new(0),
        };
        for _ in 0..times {
            assert!(place.state.suspend());
        }
        Arc::new(place)
    }

    fn submit(&self, resumes: usize) {
        // SAFETY: pushed once.
        unsafe {
            if self.mail.push(self.block.node(), || ()) {
                self.drain(resumes);
            }
        }
    }

    unsafe fn drain(&self, resumes: usize) {
        // SAFETY: the caller has the drain right.
        unsafe {
            let mut node = self.mail.front();
            loop {
                if !self.state.is_clear() {
                    self.mail.set_front(node);
                    if self.held.enter(self.lane.node(), |_| 1, || self.state.hold()) {
                        return;
                    }
                }
                for before in &self.before[..resumes] {
                    assert!(before.get(), "it ran before it was resumed");
                }
                self.ran.set(self.ran.get() + 1);
                match self.mail.unlink(node) {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    fn resume(&self, which: usize, resumes: usize) {
        // SAFETY: the block reads it after this resume.
        unsafe { self.before[which].set(true) };
        self.schedule_if(self.state.resume(), resumes);
    }

    fn activate(&self, which: usize, resumes: usize) {
        // SAFETY: as in `resume`.
        unsafe { self.before[which].set(true) };
        self.schedule_if(self.state.activate(), resumes);
    }

    fn schedule_if(&self, resumed: Resumed, resumes: usize) {
        if resumed == Resumed::Schedule && self.held.take(self.lane.node()) {
            // SAFETY: taken out of the list, the drain right is ours.
            unsafe { self.drain(resumes) };
        }
    }
}

fn resumed_by(resumes: usize) {
    let place = Place::suspended(resumes);
    let others: Vec<_> = (0..resumes)
        .map(|which| {
            let place = place.clone();
            thread::spawn(move || place.resume(which, resumes))
        })
        .collect();
    begin();
    place.submit(resumes);
    for other in others {
        other.join().expect("it does not panic");
    }
    // SAFETY: the threads were joined.
    assert_eq!(unsafe { place.ran.get() }, 1);
    assert!(place.state.is_clear());
}

/// An inactive queue that is suspended, too: one thread activates it, one resumes it.
fn activated_and_resumed() {
    let place = Place::with(State::inactive(), 1);
    let others = [false, true].map(|activates| {
        let place = place.clone();
        thread::spawn(move || if activates { place.activate(1, 2) } else { place.resume(0, 2) })
    });
    begin();
    place.submit(2);
    for other in others {
        other.join().expect("it does not panic");
    }
    // SAFETY: the threads were joined.
    assert_eq!(unsafe { place.ran.get() }, 1);
    assert!(place.state.is_clear());
}

/// A shutdown empties the list of held queues while one is resumed: one of them gets it.
fn resumed_or_shut_down() {
    let place = Place::suspended(1);
    place.submit(1);
    let other = {
        let place = place.clone();
        thread::spawn(move || place.resume(0, 1))
    };
    begin();
    let lanes = place.held.take_all();
    for (lane, _) in &lanes {
        assert_eq!(*lane, place.lane.node());
        // SAFETY: the drain right is ours: what is in it is dropped.
        unsafe { assert!(place.mail.unlink(place.mail.front()).is_none()) };
    }
    other.join().expect("it does not panic");
    // SAFETY: joined.
    let ran = unsafe { place.ran.get() } as usize;
    assert_eq!(ran + lanes.len(), 1, "either it ran or it was dropped");
}

/// The last handle goes while the drainer leaves because of a suspension.
fn abandoned() {
    let place = Place::suspended(1);
    let other = {
        let place = place.clone();
        thread::spawn(move || place.submit(0))
    };
    begin();
    if place.state.clear().drainer_left {
        place.schedule_if(Resumed::Schedule, 0);
    }
    other.join().expect("it does not panic");
    // SAFETY: joined.
    assert_eq!(unsafe { place.ran.get() }, 1);
}

#[test]
fn the_last_handle_against_hold() {
    check(4, abandoned);
}

#[test]
fn the_last_handle_against_hold_bites() {
    bites("state: clear takes two steps", 4, abandoned);
}

#[test]
fn resume_against_hold() {
    check(4, || resumed_by(1));
}

#[test]
fn two_resumes_against_hold() {
    check(2, || resumed_by(2));
}

#[test]
fn activate_against_resume_against_hold() {
    check(2, activated_and_resumed);
}

#[test]
fn activate_against_hold_bites() {
    bites("state: activate schedules nothing", 2, activated_and_resumed);
    bites("state: an activate orders nothing", 2, activated_and_resumed);
}

#[test]
fn resume_against_shutdown() {
    check(4, resumed_or_shut_down);
}

#[test]
fn resume_against_hold_bites() {
    bites("state: hold does not look again", 4, || resumed_by(1));
    bites("state: the drainer does not acquire", 4, || resumed_by(1));
    bites("state: a failed hold does not acquire", 4, || resumed_by(1));
    bites("state: a resume orders nothing", 4, || resumed_by(1));
    bites("state: the last resume schedules nothing", 2, || resumed_by(2));
}
