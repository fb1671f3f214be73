//! Every block that is submitted to a workloop runs once, in the order of its class, and the lane
//! is neither in its queue twice nor left out of it. The models use [`Classes`] and, in place of
//! the queue, a [`Mailbox`] whose drain is that of `queue/core`.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::mailbox::Mailbox;
use crate::base::sync::OwnerCell;
use crate::kinds::workloop::classes::Classes;

struct Place {
    queue: Mailbox,
    /// The node of the queue, which takes the place of the lane while that runs.
    stub: Item,
    lane: Item,
    classes: Classes,
    blocks: [Item; 3],
    /// Which block ran in which position; only the drainer of the queue touches it.
    order: OwnerCell<([usize; 3], usize)>,
    ran: [AtomicUsize; 3],
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}
// SAFETY: as above.
unsafe impl Send for Place {}

impl Place {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            queue: Mailbox::new(),
            stub: Item::new(),
            lane: Item::new(),
            classes: Classes::new(),
            blocks: std::array::from_fn(|_| Item::new()),
            order: OwnerCell::new(([0; 3], 0)),
            ran: std::array::from_fn(|_| AtomicUsize::new(0)),
        })
    }

    /// `Workloop::submit`; the thread that turns the queue on drains it.
    fn submit(&self, class: usize, block: usize) {
        // SAFETY: each block is pushed once; with `push` the lane was off, so that it is in no
        // list.
        unsafe {
            if self.classes.push(class, self.blocks[block].node()) && self.queue.push(self.lane.node(), || ()) {
                self.drain();
            }
        }
        let ran = || self.ran[block].load(Relaxed) == 1;
        assert!(!self.classes.is_idle() || ran(), "idle, but the block of this thread did not run");
    }

    unsafe fn drain(&self) {
        // SAFETY: the caller has the drain right.
        unsafe {
            let mut node = self.queue.front();
            loop {
                let front = self.queue.detach(node, self.stub.node());
                assert_eq!(node, self.lane.node(), "the stub never runs");
                self.run();
                if front != self.stub.node() {
                    node = front;
                    continue;
                }
                match self.queue.unlink(front) {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    unsafe fn run(&self) {
        // SAFETY: only the drainer runs the lane.
        unsafe {
            let (class, block) = self.classes.take().expect("the lane is on because something waits");
            let which = (0..3).find(|&which| self.blocks[which].node() == block).expect("it is one of ours");
            let (mut order, count) = self.order.get();
            order[count] = which;
            self.order.set((order, count + 1));
            self.ran[which].fetch_add(1, Relaxed);
            if self.classes.end(class, block) {
                assert!(!self.queue.push(self.lane.node(), || ()), "the drain right is ours");
            }
        }
    }
}

/// Each thread submits blocks of these classes; the blocks are numbered consecutively.
fn submitted(each: &'static [&'static [usize]]) {
    let place = Place::new();
    let mut first = each[0].len();
    let others: Vec<_> = each[1..]
        .iter()
        .map(|classes| {
            let (place, from) = (place.clone(), first);
            first += classes.len();
            thread::spawn(move || classes.iter().enumerate().for_each(|(i, &class)| place.submit(class, from + i)))
        })
        .collect();
    begin();
    each[0].iter().enumerate().for_each(|(i, &class)| place.submit(class, i));
    for other in others {
        other.join().expect("it does not panic");
    }
    // SAFETY: the threads were joined.
    let (order, count) = unsafe { place.order.get() };
    assert_eq!(count, first, "each runs once");
    assert!(place.classes.is_idle());
    let at = |block| order.iter().position(|&ran| ran == block).expect("it ran");
    if each[0].len() == 2 && each[0][0] == each[0][1] {
        assert!(at(0) < at(1), "one thread's blocks of a class keep their order");
    }
}

const SAME: &[&[usize]] = &[&[0, 0], &[0]];
const DIFFERENT: &[&[usize]] = &[&[0, 1], &[1]];

#[test]
fn submit_against_run_in_one_class() {
    check(3, || submitted(SAME));
}

#[test]
fn submit_against_run_in_two_classes() {
    check(2, || submitted(DIFFERENT));
}

#[test]
fn three_submitters() {
    check(2, || submitted(&[&[0], &[0], &[1]]));
}
