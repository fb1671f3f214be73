//! A source is queued again while it runs: every merged bit is handled once, the handler never runs
//! on two threads, and the node is never in a list twice. The models use [`Pending`], and they use
//! [`Mailbox::detach`] as the drain of `queue/core` does.

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::block::Node;
use crate::base::mailbox::Mailbox;
use crate::base::sync::OwnerCell;
use crate::source::pending::{Begin, Merge, Pending};

struct Place {
    mail: Mailbox,
    /// The node of the queue, which takes the place of a source while that source runs.
    stub: Item,
    source: Item,
    pending: Pending,
    /// Written before the first bit is merged, read by the handler that gets it.
    written: OwnerCell<u32>,
    /// The bits that the handler received; only the drainer of the queue touches it.
    handled: OwnerCell<(u64, u32)>,
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Arc<Self> {
        Self::merging(Merge::Or)
    }

    fn merging(merge: Merge) -> Arc<Self> {
        Arc::new(Self {
            mail: Mailbox::new(),
            stub: Item::new(),
            source: Item::new(),
            pending: Pending::new(merge),
            written: OwnerCell::new(0),
            handled: OwnerCell::new((0, 0)),
        })
    }

    /// `Source::merge`; the thread that turns the queue on drains it.
    fn merge(&self, bits: u64) {
        // SAFETY: with `add` the node is in no list; with `push` the drain right is ours.
        unsafe {
            if self.pending.add(bits) && self.mail.push(self.source.node(), || ()) {
                self.drain();
            }
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
        assert_eq!(node, self.source.node(), "the stub never runs");
        let Begin::Run(bits) = self.pending.begin() else { return };
        // SAFETY: only the drainer touches it.
        unsafe {
            let (all, runs) = self.handled.get();
            assert_eq!(all & bits, 0, "handled twice");
            if bits & 1 == 1 {
                self.written.get();
            }
            self.handled.set((all | bits, runs + 1));
        }
    }
}

fn merges(each: &'static [&'static [u64]]) {
    let place = Place::new();
    let others: Vec<_> = each[1..]
        .iter()
        .map(|bits| {
            let place = place.clone();
            thread::spawn(move || bits.iter().for_each(|&bits| place.merge(bits)))
        })
        .collect();
    begin();
    each[0].iter().for_each(|&bits| place.merge(bits));
    for other in others {
        other.join().expect("it does not panic");
    }
    // SAFETY: the threads were joined.
    let (all, runs) = unsafe { place.handled.get() };
    assert_eq!(all, each.iter().copied().flatten().fold(0, |all, bits| all | bits), "bits were lost");
    assert!(runs >= 1);
    assert!(place.pending.add(1), "it ends with nothing pending");
}

/// The handler sees what happened before a merge, no matter which thread queued the source.
fn written_before(merge: Merge) {
    let place = Place::merging(merge);
    let other = {
        let place = place.clone();
        thread::spawn(move || {
            // SAFETY: read by the run that gets the bit.
            unsafe { place.written.set(7) };
            place.merge(1);
        })
    };
    begin();
    place.merge(2);
    other.join().expect("it does not panic");
    // SAFETY: joined.
    assert_eq!(unsafe { place.handled.get() }.0, 3);
}

#[test]
fn a_run_sees_what_happened_before_the_merge() {
    check(3, || written_before(Merge::Or));
    check(3, || written_before(Merge::Add));
}

#[test]
fn merge_against_run() {
    check(3, || merges(&[&[1, 2], &[4, 8]]));
}

#[test]
fn merges_of_three() {
    check(2, || merges(&[&[1], &[2], &[4]]));
}

/// Another lane is pushed while the first is being detached.
fn two_sources() {
    let place = Place::new();
    let other = Arc::new(Item::new());
    let thread = {
        let (place, other) = (place.clone(), other.clone());
        thread::spawn(move || {
            // SAFETY: pushed once; it is drained as a lane without a handler.
            unsafe {
                if place.mail.push(other.node(), || ()) {
                    drain_any(&place);
                }
            }
        })
    };
    begin();
    // SAFETY: as above.
    unsafe {
        if place.pending.add(1) && place.mail.push(place.source.node(), || ()) {
            drain_any(&place);
        }
    }
    thread.join().expect("it does not panic");
    // SAFETY: joined.
    assert_eq!(unsafe { place.handled.get() }.1, 2, "a lane was lost");
}

unsafe fn drain_any(place: &Place) {
    // SAFETY: the caller has the drain right.
    unsafe {
        let mut node = place.mail.front();
        loop {
            let front = place.mail.detach(node, place.stub.node());
            let (all, runs) = place.handled.get();
            place.handled.set((all, runs + 1));
            if front != place.stub.node() {
                node = front;
                continue;
            }
            match place.mail.unlink(front) {
                Some(next) => node = next,
                None => return,
            }
        }
    }
}

#[test]
fn detach_against_push() {
    check(3, two_sources);
}
