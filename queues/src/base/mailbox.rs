//! Many pushers, one drainer: an intrusive list whose tail is also the queue's lock.
//!
//! A null `tail` means idle. The thread that turns it from null owns the *drain right*. Only the
//! owner may touch `head`, run nodes and unlink them, until it turns `tail` back to null or passes
//! the right on (by scheduling the queue). A node is unlinked only after it ran, so a non-null tail
//! says "this queue has an owner". A `sync` on an idle queue swaps null for a node on the stack,
//! and then swaps it back. This is the MCS lock (Mellor-Crummey and Scott, 1991) with closures for
//! waiters.
//!
//! Some nodes may be pushed again while they run (queues, sources). These are
//! [detached](Mailbox::detach) first: a stub of the owner takes their place in the list.
//!
//! | tail | head | allowed moves |
//! |---|---|---|
//! | null | stale | idle: `push` or `try_hold` takes the drain right |
//! | node | front | owned: pushers append behind `tail`; the owner runs from `head` on |
//! | node, marked | stale | owned by a thread that holds it itself, with its node alone: the next pusher announces that it is waiting |
//!
//! The mark is in the pointer and not in the node, so that a pusher reads nothing of the node
//! before its own. That node may have left its caches long ago.
//!
//! Not for: deciding which thread drains (`queue`), suspension (`state`).

#[cfg(not(queues_loom))]
use std::mem::offset_of;
use std::ptr::{self, NonNull};

use crate::base::block::Node;
use crate::base::sync::atomic::{
    AtomicPtr,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::base::sync::{OwnerCell, spin};

/// The mark of a held tail: a bit that no address of a node has.
const HELD: usize = 1;
const _: () = assert!(align_of::<Node>() > HELD);

/// `node` as the tail that its holder sets.
fn held(node: NonNull<Node>) -> *mut Node {
    node.as_ptr().map_addr(|address| address | HELD)
}

/// See the module.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The first node that was not unlinked yet. Guarded by the drain right.
    head: OwnerCell<*mut Node>,
    tail: AtomicPtr<Node>,
}

// SAFETY: nodes are made to be sent (see `Runnable`), and only the holder of the drain right
// touches `head`.
unsafe impl Send for Mailbox {}
// SAFETY: as above.
unsafe impl Sync for Mailbox {}

impl Mailbox {
    /// The offset of the word that every push writes.
    #[cfg(not(queues_loom))]
    pub(crate) const TAIL: usize = offset_of!(Self, tail);

    pub(crate) fn new() -> Self {
        Self { head: OwnerCell::new(ptr::null_mut()), tail: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Appends `node`. `true`: the mailbox was idle, the caller has the drain right now, and `node`
    /// is the front. A thread may hold the mailbox itself. `behind_holder` is called before that
    /// thread can see that another one waits for it.
    ///
    /// # Safety
    /// `node` is in no list, its `next` is null, and it stays valid until it is unlinked.
    #[inline]
    pub(crate) unsafe fn push(&self, node: NonNull<Node>, behind_holder: impl FnOnce()) -> bool {
        // Release: the node's content is visible to the drainer. The drainer reads it behind the
        // `next` stored below, or, if this thread became the owner, behind its own program order or
        // the pool's hand-over. Acquire: if this swap took the mailbox from idle, everything under
        // the last owner happened before; partner: the Release in `try_close`.
        let prev = self.tail.swap(node.as_ptr(), AcqRel);
        if prev.is_null() {
            // SAFETY: the swap from null to the node gave us the drain right.
            unsafe { self.head.set(node.as_ptr()) };
            true
        } else {
            let before = prev.map_addr(|address| address & !HELD);
            if before != prev {
                behind_holder();
            }
            // SAFETY: `before` is not unlinked before its `next` is set: `next_of` waits for it
            // once `tail` has moved on. Release: partner is the Acquire in `next_of`.
            unsafe { (*before).next.store(node.as_ptr(), Release) };
            false
        }
    }

    /// Takes an idle mailbox with `node` as its front. `false`: it has an owner.
    ///
    /// # Safety
    /// As for [`push`](Self::push). The caller [releases](Self::let_go) the mailbox, or never uses
    /// it again.
    #[inline]
    pub(crate) unsafe fn try_hold(&self, node: NonNull<Node>) -> bool {
        // Relaxed peek: this only saves the locked instruction when the mailbox is owned. The
        // exchange decides. AcqRel as in `push`. Relaxed on failure: nothing is read then.
        self.tail.load(Relaxed).is_null()
            && self.tail.compare_exchange(ptr::null_mut(), held(node), AcqRel, Relaxed).is_ok()
    }

    /// Is there no owner? Everything that the calling thread pushed is seen. Pushes of other
    /// threads may not be seen yet.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        // Acquire: everything under the last owner happened before; partner: the Release in
        // `try_close`.
        self.tail.load(Acquire).is_null()
    }

    /// As [`is_idle`](Self::is_idle), as a guess: nothing follows from the answer.
    #[inline]
    pub(crate) fn seems_idle(&self) -> bool {
        self.tail.load(Relaxed).is_null()
    }

    /// The first node.
    ///
    /// # Safety
    /// The caller has the drain right, and [`set_front`](Self::set_front) or `push` has set the
    /// front.
    #[inline]
    pub(crate) unsafe fn front(&self) -> NonNull<Node> {
        // SAFETY: the caller has the drain right; an owned mailbox has a front.
        unsafe { NonNull::new_unchecked(self.head.get()) }
    }

    /// Leaves `node` as the front for the next owner of the drain right.
    ///
    /// # Safety
    /// The caller has the drain right. `node` is the first node that was not unlinked.
    #[inline]
    pub(crate) unsafe fn set_front(&self, node: NonNull<Node>) {
        // SAFETY: the caller has the drain right.
        unsafe { self.head.set(node.as_ptr()) };
    }

    /// The node behind `node`, if its pusher has linked it already.
    ///
    /// # Safety
    /// The caller has the drain right, and `node` is the front.
    #[inline]
    pub(crate) unsafe fn linked_after(&self, node: NonNull<Node>) -> Option<NonNull<Node>> {
        // Acquire: the content of the next node; partner: the Release store in `push`.
        // SAFETY: the front is valid until unlinked.
        NonNull::new(unsafe { node.as_ref() }.next.load(Acquire))
    }

    /// Turns the mailbox idle if `node` is its last. `true`: the drain right is given up, and the
    /// mailbox itself may be freed.
    ///
    /// # Safety
    /// The caller has the drain right, `node` is the front, and it ran.
    #[inline]
    pub(crate) unsafe fn try_close(&self, node: NonNull<Node>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.try_close_from(node.as_ptr()) }
    }

    /// As [`try_close`](Self::try_close). `last` is the tail while the node is the last.
    #[inline]
    unsafe fn try_close_from(&self, last: *mut Node) -> bool {
        // Release: everything that ran under this right happens before the next owner's first step
        // (partner: the Acquire half of the swap in `push` and of the exchange in `try_hold`).
        // Relaxed on failure: nothing is read then.
        self.tail.compare_exchange(last, ptr::null_mut(), Release, Relaxed).is_ok()
    }

    /// The node behind `node`. Its pusher has swapped the tail. This waits until the pusher has
    /// taken its second step.
    ///
    /// # Safety
    /// As for [`linked_after`](Self::linked_after), and `tail` is known to have moved past `node`.
    // Rare, and not inlined: its loop would cost registers on the common path.
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn next_of(&self, node: NonNull<Node>) -> NonNull<Node> {
        let mut round = 0;
        loop {
            // SAFETY: the caller's promise.
            if let Some(next) = unsafe { self.linked_after(node) } {
                return next;
            }
            spin(round);
            round = round.saturating_add(1);
        }
    }

    /// Unlinks the front after it ran. Returns the next node, or `None` when the mailbox turned
    /// idle.
    ///
    /// # Safety
    /// As for [`try_close`](Self::try_close).
    #[inline]
    pub(crate) unsafe fn unlink(&self, node: NonNull<Node>) -> Option<NonNull<Node>> {
        // SAFETY: the caller's promise.
        unsafe { self.unlink_from(node, node.as_ptr()) }
    }

    /// Unlinks the node of a holder. Returns the next node, or `None` when the mailbox turned idle.
    ///
    /// # Safety
    /// `node` took the mailbox with [`try_hold`](Self::try_hold).
    #[inline]
    pub(crate) unsafe fn let_go(&self, node: NonNull<Node>) -> Option<NonNull<Node>> {
        // SAFETY: the caller's promise: it has the drain right since then, and its node is the
        // front.
        unsafe { self.unlink_from(node, held(node)) }
    }

    /// As [`unlink`](Self::unlink). `last` is the tail while the node is the last.
    #[inline]
    unsafe fn unlink_from(&self, node: NonNull<Node>, last: *mut Node) -> Option<NonNull<Node>> {
        // SAFETY: the caller's promise; when the close fails, `tail` has moved on.
        unsafe {
            if let Some(next) = self.linked_after(node) {
                return Some(next);
            }
            if self.try_close_from(last) {
                return None;
            }
            Some(self.next_of(node))
        }
    }

    /// Takes the front out of the list before it runs, so that it may be pushed again meanwhile,
    /// here or elsewhere. Returns the new front: the node behind it, or `stub`.
    ///
    /// # Safety
    /// The caller has the drain right, `node` is the front, and `stub` is a node of the caller that
    /// is in no list.
    pub(crate) unsafe fn detach(&self, node: NonNull<Node>, stub: NonNull<Node>) -> NonNull<Node> {
        // SAFETY: the caller's promise. After the exchange, or once a next node is linked, no
        // pusher holds `node`.
        unsafe {
            let next = match self.linked_after(node) {
                Some(next) => next,
                None => {
                    stub.as_ref().next.store(ptr::null_mut(), Relaxed);
                    // Release: publishes the stub's null link to the pusher that will write it
                    // (partner: the Acquire half of the swap in `push`). Relaxed on failure:
                    // `next_of` acquires.
                    match self.tail.compare_exchange(node.as_ptr(), stub.as_ptr(), Release, Relaxed) {
                        Ok(_) => stub,
                        Err(_) => self.next_of(node),
                    }
                }
            };
            // Relaxed: the next push of this node publishes it.
            node.as_ref().next.store(ptr::null_mut(), Relaxed);
            next
        }
    }
}
