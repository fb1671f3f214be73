//! The drain of a concurrent queue: lets what is listed in, in order, and leaves when something has to wait.
//!
//! It runs no blocks but the barriers of a queue that is on the pool. Any other barrier is carried up to the target by a
//! block of its own, which is an ordinary one there, and the drain leaves until that has ended.

use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use super::{Body, InWrite};
use crate::block::{self, Kind, Node, VTable};
use crate::catch::Payload;
use crate::pool::{Go, Mark, Place};
use crate::queue::current::Frame;

/// Blocks that a drain lets in before others get their turn.
const BUDGET: u32 = 256;

impl Body {
    pub(super) const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: Self::label_of,
    };

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the pool had it, and with it the drain right and a count of the body.
        unsafe { Self::drain(node.cast()) };
        None
    }

    /// Lets listed blocks in, until there are none, or one that has to wait.
    ///
    /// # Safety
    /// The caller has the drain right and its count of the body.
    unsafe fn drain(this: NonNull<Self>) {
        // SAFETY: the count keeps it until `idle`, or until somebody else has the drain right.
        let body = unsafe { this.as_ref() };
        let (mark, pool) = Mark::of_worker();
        let outer = mark.marked();
        mark.lane(this.as_ptr().cast());
        let turn = pool.turn();
        let mut left = BUDGET;
        // SAFETY: the drain right is ours until the mailbox closes, the gate notes that the drain waits, the queue is held,
        // or the drain is sent back; the body is not touched afterwards.
        unsafe {
            let mut node = body.mail.front();
            loop {
                let go = turn.go(pool);
                // Left in front, should the drain have to leave: then everything is in place for the next.
                body.mail.set_front(node);
                mark.lane(outer);
                if go != Go::Halt
                    && !body.state.is_clear()
                    && pool.held.enter(body.lane(), Self::discard, || body.state.hold())
                {
                    return;
                }
                if go == Go::Yield || left == 0 {
                    return body.send_drain(Place::Back);
                }
                left -= 1;
                if go != Go::Halt && !body.admit(node.as_ref().vtable.kind) {
                    // Whoever makes room sends the drain back. This thread runs, so nobody is quiet meanwhile.
                    return pool.waits_outside();
                }
                mark.lane(this.as_ptr().cast());
                let front = body.mail.detach(node, body.lane());
                if go == Go::Halt {
                    pool.count_dropped(body.drop_listed(node));
                } else {
                    body.let_in(node, mark);
                }
                node = front;
                if front == body.lane() {
                    mark.lane(outer);
                    match body.mail.unlink(front) {
                        Some(next) => node = next,
                        None => return drop(Arc::from_raw(this.as_ptr())),
                    }
                    mark.lane(this.as_ptr().cast());
                }
            }
        }
    }

    /// May the front come in? `false`: the gate has noted that the drain waits, and somebody else may have it already.
    fn admit(&self, kind: Kind) -> bool {
        match kind {
            Kind::Barrier | Kind::SyncBarrier if self.target.is_pool() => self.gate.admit_barrier(),
            Kind::Barrier | Kind::SyncBarrier => self.gate.admit_writer(),
            _ => self.gate.admit_reader(),
        }
    }

    /// # Safety
    /// `node` was admitted, and is detached.
    unsafe fn let_in(&self, node: NonNull<Node>, mark: Mark<'_>) {
        // SAFETY: the caller's promise.
        unsafe {
            let Node { vtable, site, .. } = *node.as_ref();
            match vtable.kind {
                Kind::Barrier | Kind::SyncBarrier if self.target.is_pool() => {
                    self.run_barrier(node, mark);
                    self.gate.unlist();
                    (vtable.finish)(node);
                }
                Kind::Barrier => {
                    // The drain has a count.
                    Arc::increment_strong_count(self);
                    let carried = Carried { inside: InWrite(Arc::from_raw(self)), node: Some(node) };
                    self.target.push(block::block(move || carried.run(), site), Place::Next, self.class());
                }
                // Its thread goes on by itself.
                Kind::Sync | Kind::SyncBarrier => (vtable.finish)(node),
                _ => self.target.push(node, Place::Back, self.class()),
            }
        }
    }

    /// # Safety
    /// `node` is a barrier that was let in and detached.
    unsafe fn run_barrier(&self, node: NonNull<Node>, mark: Mark<'_>) {
        let frame = Frame::concurrent(self, true);
        let _inside = frame.enter();
        // SAFETY: the caller's promise.
        unsafe {
            let site = node.as_ref().site;
            mark.block(site);
            if let Some(payload) = (node.as_ref().vtable.run)(node) {
                self.report(site, payload);
            }
        }
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: as in `drain`; the mailbox is emptied unrun.
        unsafe {
            let body = this.as_ref();
            let mut count = 0;
            let mut node = body.mail.front();
            loop {
                let front = body.mail.detach(node, this.cast());
                count += body.drop_listed(node);
                node = front;
                if front == this.cast() {
                    match body.mail.unlink(front) {
                        Some(next) => node = next,
                        None => break,
                    }
                }
            }
            drop(Arc::from_raw(this.as_ptr()));
            count
        }
    }

    /// # Safety
    /// `node` was listed, and is detached.
    unsafe fn drop_listed(&self, node: NonNull<Node>) -> u64 {
        // SAFETY: the caller's promise.
        let vtable = unsafe { node.as_ref() }.vtable;
        if matches!(vtable.kind, Kind::Once | Kind::Lane) {
            // It leaves as a reader when it is dropped, here and all the way up.
            self.gate.count_as_reader();
            self.target.count_reader();
        } else {
            self.gate.unlist();
        }
        // SAFETY: the caller's promise; it never ran.
        unsafe { (vtable.discard)(node) }
    }

    unsafe fn label_of(node: NonNull<Node>) -> *const str {
        // SAFETY: the caller keeps the body alive.
        unsafe { node.cast::<Self>().as_ref() }.label()
    }
}

/// A barrier on its way through the targets of its queue.
struct Carried {
    inside: InWrite,
    node: Option<NonNull<Node>>,
}

// SAFETY: the node's content is `Send`, and this is its one holder.
unsafe impl Send for Carried {}

impl Carried {
    fn run(mut self) {
        let body = &*self.inside.0;
        let frame = Frame::concurrent(body, true);
        let _entered = frame.enter();
        let Some(node) = self.node.take() else { return };
        // SAFETY: a barrier that was detached, run once here and then finished.
        unsafe {
            let Node { vtable, site, .. } = *node.as_ref();
            if let Some(payload) = (vtable.run)(node) {
                let site: &'static Location<'static> = site;
                body.report(site, payload);
            }
            (vtable.finish)(node);
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            // SAFETY: as in `run`, which did not take it. The block that carried it is counted as dropped, so it is not.
            unsafe { (node.as_ref().vtable.discard)(node) };
        }
    }
}
