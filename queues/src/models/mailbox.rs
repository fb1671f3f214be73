//! Every pushed node is drained once, in order, by one drainer at a time, and the drain right is
//! never lost.
//!
//! In place of the pool, the thread that gets the drain right drains at once itself.

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use loom::thread;

use super::{begin, check};
use crate::base::block::{self, Kind, Node, VTable};
use crate::base::catch::Payload;
use crate::base::mailbox::Mailbox;
use crate::base::sync::OwnerCell;

/// A node whose content loom watches.
#[repr(C)]
pub(super) struct Item {
    node: Node,
    content: OwnerCell<u8>,
}

static VTABLE: VTable =
    VTable { kind: Kind::Once, run: unused_run, finish: unused, discard: unused_discard, label: block::no_label };

unsafe fn unused_run(_: NonNull<Node>) -> Option<Payload> {
    unreachable!("the model runs it")
}

unsafe fn unused(_: NonNull<Node>) {}

unsafe fn unused_discard(_: NonNull<Node>) -> u64 {
    unreachable!("the model runs it")
}

// SAFETY: the models check that this is sound.
unsafe impl Send for Item {}
// SAFETY: as above.
unsafe impl Sync for Item {}

impl Item {
    pub(super) fn new() -> Self {
        Self { node: Node::new(&VTABLE, Location::caller()), content: OwnerCell::new(0) }
    }

    pub(super) fn node(&self) -> NonNull<Node> {
        NonNull::from(self).cast()
    }

    /// # Safety
    /// The caller may write to it, as the maker of a block.
    pub(super) unsafe fn fill(&self, content: u8) {
        // SAFETY: the caller's promise; loom checks it.
        unsafe { self.content.set(content) };
    }

    /// # Safety
    /// The caller may read it, as the one that runs a block.
    pub(super) unsafe fn content(&self) -> u8 {
        // SAFETY: the caller's promise; loom checks it.
        unsafe { self.content.get() }
    }
}

/// A mailbox, what may be pushed into it, and what its owner saw, which is touched only under the
/// drain right.
struct Place {
    mail: Mailbox,
    items: [Item; 4],
    seen: OwnerCell<([u8; 4], usize)>,
    /// As in the pool: the mailbox has blocks and waits for a thread that holds it. Loom's threads
    /// need not see each other through this counter.
    outside: std::sync::atomic::AtomicUsize,
}

// SAFETY: the models check that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Arc<Self> {
        let items = std::array::from_fn(|_| Item::new());
        Arc::new(Self { mail: Mailbox::new(), items, seen: OwnerCell::new(([0; 4], 0)), outside: 0.into() })
    }

    /// A block runs under the drain right.
    unsafe fn see(&self, content: u8) {
        // SAFETY: the caller has the drain right.
        unsafe {
            let (mut all, count) = self.seen.get();
            all[count] = content;
            self.seen.set((all, count + 1));
        }
    }

    /// Submits item `index`, and drains if that turned the mailbox on.
    fn submit(&self, index: usize) {
        let item = &self.items[index];
        // SAFETY: each item is pushed once, and lives as long as the place.
        unsafe {
            item.content.set(index as u8 + 1);
            if self.mail.push(item.node(), || _ = self.outside.fetch_add(1, Relaxed)) {
                self.drain(self.mail.front());
            }
        }
    }

    /// The drain of `queue/core`, without turns and suspension.
    unsafe fn drain(&self, mut node: NonNull<Node>) {
        // SAFETY: the caller has the drain right, and `node` is the front.
        unsafe {
            loop {
                self.see(node.cast::<Item>().as_ref().content.get());
                match self.mail.unlink(node) {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    /// `sync` on an idle queue: a node on the stack takes the drain right; see `Hold` in
    /// `queue/sync`.
    fn sync_or_submit(&self, index: usize) {
        let own = Item::new();
        // SAFETY: `own` stays until it is unlinked.
        unsafe {
            if self.mail.try_hold(own.node()) {
                self.see(index as u8 + 1);
                if let Some(next) = self.mail.let_go(own.node()) {
                    self.drain(next);
                    self.outside.fetch_sub(1, Relaxed);
                }
            } else {
                self.submit(index);
            }
        }
    }

    /// After all threads have ended: was each item of `threads` seen once, and the items of one
    /// thread in order?
    fn assert_seen(&self, threads: &[&[u8]]) {
        // SAFETY: the threads were joined.
        let (all, count) = unsafe { self.seen.get() };
        assert_eq!(count, threads.iter().map(|thread| thread.len()).sum::<usize>(), "something was lost");
        for thread in threads {
            let mut order = all[..count].iter().filter(|seen| thread.contains(seen));
            assert!(thread.iter().eq(order.by_ref()), "out of order: {all:?}");
        }
        assert_eq!(self.outside.load(Relaxed), 0, "a mailbox that waits for its holder is counted until it is claimed");
        let probe = Item::new();
        // SAFETY: unlinked at once.
        unsafe {
            assert!(self.mail.try_hold(probe.node()), "the drain right was lost");
            assert!(self.mail.let_go(probe.node()).is_none());
        }
    }
}

fn two_pushers() {
    let place = Place::new();
    let other = {
        let place = place.clone();
        thread::spawn(move || {
            place.submit(0);
            place.submit(1);
        })
    };
    begin();
    place.submit(2);
    place.submit(3);
    other.join().expect("it does not panic");
    place.assert_seen(&[&[1, 2], &[3, 4]]);
}

fn a_holder_and_a_pusher() {
    let place = Place::new();
    let other = {
        let place = place.clone();
        thread::spawn(move || {
            place.submit(0);
            place.submit(1);
        })
    };
    begin();
    place.sync_or_submit(2);
    place.sync_or_submit(3);
    other.join().expect("it does not panic");
    place.assert_seen(&[&[1, 2], &[3, 4]]);
}

#[test]
fn push_against_drain() {
    check(3, two_pushers);
}

#[test]
fn push_against_hold() {
    check(3, a_holder_and_a_pusher);
}
