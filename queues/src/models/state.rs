//! Suspension: nothing runs while a queue is suspended, and its last resume, or a shutdown, gets
//! the drain right once.
//!
//! In place of the pool, the thread that schedules the queue drains it at once itself. The models
//! use [`State`] and [`Suspended`] in the order of `drain`, `leave_held` and `resume` in
//! `queue/core`.

use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::mailbox::Mailbox;
use crate::base::state::{Resumed, State};
use crate::base::sync::OwnerCell;
use crate::pool::suspended::Suspended;

struct Place {
    mail: Mailbox,
    state: State,
    held: Suspended,
    /// The queue's own node, which names it in `held`.
    lane: Item,
    block: Item,
    /// Written before each resume; the block reads it.
    before: [OwnerCell<bool>; 2],
    ran: OwnerCell<u32>,
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn suspended(times: usize) -> Arc<Self> {
        Self::with(State::new(), times)
    }

    fn with(state: State, times: usize) -> Arc<Self> {
        let place = Self {
            mail: Mailbox::new(),
            state,
            held: Suspended::default(),
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
            // SAFETY: this thread took it out of the list, so the drain right is ours.
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

/// An inactive queue is also suspended: one thread activates it, one resumes it.
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

/// A shutdown empties the list of held queues while one is resumed: exactly one of the two gets it.
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
        // SAFETY: the drain right is ours, and the content is dropped.
        unsafe { assert!(place.mail.unlink(place.mail.front()).is_none()) };
    }
    other.join().expect("it does not panic");
    // SAFETY: joined.
    let ran = unsafe { place.ran.get() } as usize;
    assert_eq!(ran + lanes.len(), 1, "either it ran or it was dropped");
}

/// The last handle is dropped while the drainer leaves because of a suspension.
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
fn resume_against_shutdown() {
    check(4, resumed_or_shut_down);
}
