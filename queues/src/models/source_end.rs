//! A suspended source loses nothing that is merged meanwhile, and is queued once when it is
//! resumed. A cancelled source ends once, in its queue, and its handler does not run afterwards.
//! Values are merged whole.
//!
//! As in `source`, with the blocks that [`Source::cancel`](crate::source::Source::cancel) submits.

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::block::Node;
use crate::base::mailbox::Mailbox;
use crate::base::state::Resumed;
use crate::base::sync::OwnerCell;
use crate::source::pending::{Begin, Merge, Pending};

struct Place {
    merge: Merge,
    mail: Mailbox,
    stub: Item,
    source: Item,
    /// The block of each thread that cancels.
    ends: [Item; 2],
    pending: Pending,
    /// The values that the handler received, and how often the cancel handler ran; only the drainer
    /// of the queue touches it.
    handled: OwnerCell<(u64, u32)>,
}

// SAFETY: the models check that this is sound.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    fn new(merge: Merge) -> Arc<Self> {
        Arc::new(Self {
            merge,
            mail: Mailbox::new(),
            stub: Item::new(),
            source: Item::new(),
            ends: [Item::new(), Item::new()],
            pending: Pending::new(merge),
            handled: OwnerCell::new((0, 0)),
        })
    }

    /// The thread that turns the queue on drains it.
    fn push(&self, item: &Item) {
        // SAFETY: the models push only what is in no list; with `push` the drain right is ours.
        unsafe {
            if self.mail.push(item.node(), || ()) {
                self.drain();
            }
        }
    }

    /// `Source::merge`.
    fn merge(&self, value: u64) {
        if self.pending.add(value) {
            self.push(&self.source);
        }
    }

    /// `Source::resume`.
    fn resume(&self) {
        match self.pending.resume() {
            Resumed::NotSuspended => panic!("suspended before"),
            Resumed::Nothing => {}
            Resumed::Schedule => self.push(&self.source),
        }
    }

    /// `Source::cancel`, by thread number `who`.
    fn cancel(&self, who: usize) {
        if self.pending.cancel() {
            self.push(&self.ends[who]);
        }
    }

    unsafe fn drain(&self) {
        // SAFETY: the caller has the drain right.
        unsafe {
            let mut node = self.mail.front();
            loop {
                let front = self.mail.detach(node, self.stub.node());
                self.handle(node);
                if front != self.stub.node() {
                    node = front;
                    continue;
                }
                match self.mail.unlink(front) {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    unsafe fn handle(&self, node: NonNull<Node>) {
        // SAFETY: only the drainer touches it.
        let (all, ends) = unsafe { self.handled.get() };
        let now = if node != self.source.node() {
            (all, ends + 1)
        } else if let Begin::Run(value) = self.pending.begin() {
            assert_eq!(ends, 0, "an event after the end");
            assert_ne!(value, 0, "a run for nothing");
            (if self.merge == Merge::Replace { value } else { all + value }, ends)
        } else {
            return;
        };
        // SAFETY: as above.
        unsafe { self.handled.set(now) };
    }

    /// The values that the handler received, and how often the source ended; the other threads were
    /// joined.
    fn outcome(&self) -> (u64, u32) {
        // SAFETY: no other thread is left.
        unsafe { self.handled.get() }
    }
}

fn with_other(place: &Arc<Place>, other: fn(&Place), own: fn(&Place)) {
    let thread = {
        let place = place.clone();
        thread::spawn(move || other(&place))
    };
    begin();
    own(place);
    thread.join().expect("it does not panic");
}

fn suspend_against_merge() {
    let place = Place::new(Merge::Add);
    let other = |place: &Place| {
        place.merge(1);
        place.merge(2);
    };
    with_other(&place, other, |place| {
        assert!(place.pending.suspend());
        place.merge(4);
        place.resume();
    });
    assert_eq!(place.outcome(), (7, 0), "a merge was lost");
    assert!(place.pending.add(1), "it ends with nothing pending");
}

fn two_suspend() {
    let place = Place::new(Merge::Add);
    let hold = |place: &Place| {
        assert!(place.pending.suspend());
        place.merge(1);
        place.resume();
    };
    with_other(&place, hold, hold);
    assert_eq!(place.outcome(), (2, 0), "a merge was lost");
}

fn two_cancel() {
    let place = Place::new(Merge::Or);
    let other = |place: &Place| {
        place.merge(1);
        place.cancel(1);
    };
    with_other(&place, other, |place| {
        place.merge(2);
        place.cancel(0);
    });
    assert_eq!(place.outcome().1, 1, "it ends once");
    assert!(!place.pending.add(1), "nothing is merged afterwards");
}

fn cancelled_while_suspended() {
    let place = Place::new(Merge::Or);
    with_other(
        &place,
        |place| place.merge(1),
        |place| {
            assert!(place.pending.suspend());
            place.cancel(0);
            place.resume();
        },
    );
    assert_eq!(place.outcome().1, 1, "it ends once");
}

fn sums() {
    let place = Place::new(Merge::Add);
    let other = |place: &Place| {
        place.merge(1);
        place.merge(2);
    };
    with_other(&place, other, |place| place.merge(4));
    assert_eq!(place.outcome().0, 7, "the sum is exact");
}

fn the_last_wins() {
    let place = Place::new(Merge::Replace);
    let other = |place: &Place| {
        place.merge(1);
        place.merge(2);
    };
    with_other(&place, other, |place| place.merge(4));
    let last = place.outcome().0;
    assert!([2, 4].contains(&last), "{last} was replaced");
}

#[test]
fn merge_against_suspend() {
    check(3, suspend_against_merge);
    check(3, two_suspend);
}

#[test]
fn cancel_against_cancel() {
    check(3, two_cancel);
    check(3, cancelled_while_suspended);
}

#[test]
fn values_against_run() {
    check(3, sums);
    check(3, the_last_wins);
}
