//! An isolated value ends once, after the last block that was submitted through a handle, no matter
//! which thread drops the last handle.
//!
//! In place of the pool, the thread that gets the drain right drains at once itself. The model
//! repeats what a dropped handle does, with the mailbox in place of the queue.

use std::ptr::NonNull;
use std::sync::Arc;

use loom::thread;

use super::mailbox::Item;
use super::{begin, check};
use crate::base::block::Node;
use crate::base::counts::Counts;
use crate::base::mailbox::Mailbox;
use crate::base::sync::OwnerCell;

struct Place {
    mail: Mailbox,
    counts: Counts,
    blocks: [Item; 2],
    end: Item,
    /// How many blocks used the value; `None` once it has ended.
    value: OwnerCell<Option<usize>>,
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Self {
        Self {
            mail: Mailbox::new(),
            counts: Counts::new(),
            blocks: [Item::new(), Item::new()],
            end: Item::new(),
            value: OwnerCell::new(Some(0)),
        }
    }

    fn push(&self, item: &Item) {
        // SAFETY: each item is pushed once, and lives as long as the place.
        unsafe {
            if self.mail.push(item.node(), || ()) {
                self.drain(self.mail.front());
            }
        }
    }

    /// # Safety
    /// The caller has the drain right, and `node` is the front.
    unsafe fn drain(&self, mut node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        unsafe {
            loop {
                let value = self.value.get().expect("the value had not ended");
                self.value.set((node != self.end.node()).then_some(value + 1));
                match self.mail.unlink(node) {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    /// A thread with a handle submits its block and drops the handle.
    fn submit_and_drop(&self, block: usize) {
        self.push(&self.blocks[block]);
        if !self.counts.remove_handle() {
            return;
        }
        if self.mail.is_idle() {
            // SAFETY: no thread can reach the value any more, which loom checks.
            unsafe { self.value.set(None) };
        } else {
            self.push(&self.end);
        }
    }

    /// A thread without a handle has the drain right for a while, and then runs the blocks that
    /// arrived meanwhile.
    fn hold(&self) {
        let own = Item::new();
        // SAFETY: `own` stays until it is unlinked.
        unsafe {
            if self.mail.try_hold(own.node())
                && let Some(next) = self.mail.let_go(own.node())
            {
                self.drain(next);
            }
        }
    }
}

fn against(other: fn(&Place), place: Place) {
    let place = Arc::new(place);
    let thread = {
        let place = place.clone();
        thread::spawn(move || other(&place))
    };
    begin();
    place.submit_and_drop(0);
    thread.join().expect("it does not panic");
    // SAFETY: the thread was joined.
    assert_eq!(unsafe { place.value.get() }, None, "the value ended");
}

fn two_handles() {
    let place = Place::new();
    place.counts.add_handle();
    against(|place| place.submit_and_drop(1), place);
}

fn a_handle_and_a_drainer() {
    against(Place::hold, Place::new());
}

#[test]
fn the_last_handle_against_blocks() {
    check(3, two_handles);
}

#[test]
fn the_last_handle_against_a_drain() {
    check(3, a_handle_and_a_drainer);
}
