//! The drain of a concurrent queue: lets listed nodes in, in order, and leaves when one has to
//! wait.
//!
//! The drain runs no blocks itself, except the barriers of a queue that is on the pool. Any other
//! barrier is carried up to the target by a block of its own, an ordinary block there. The drain
//! leaves until that block has ended.

use std::ptr::NonNull;

use super::{Body, InWrite};
use crate::base::block::{self, Kind, Node, VTable};
use crate::base::catch::Payload;
use crate::pool::{Go, Mark, Place};
use crate::queue::level::{Head, Kept, Level};

impl Body {
    pub(super) const VTABLE: VTable = Head::table(Self::run, Self::discard);

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the pool had it, and with it the drain right and a reference to the body.
        unsafe { Self::drain(node.cast()) };
        None
    }

    /// Lets listed nodes in, until none is left, or one has to wait.
    ///
    /// # Safety
    /// The caller has the drain right and its reference to the body.
    unsafe fn drain(this: NonNull<Self>) {
        // SAFETY: the reference keeps it until the mailbox turns idle, or until another thread has
        // the drain right.
        let body = unsafe { this.as_ref() };
        let (mark, pool) = Mark::of_worker();
        let outer = mark.marked();
        mark.lane(this.as_ptr().cast());
        let turn = pool.time_slice();
        let mut left = mark.budget();
        // SAFETY: the drain right is ours until the mailbox closes, the gate notes that the drain
        // waits, the queue is held, or the drain is sent back. The body is not touched afterwards.
        unsafe {
            let mut node = body.mail.front();
            loop {
                let go = turn.go(pool);
                // The node stays in front: if the drain has to leave, everything is in place for
                // the next drain.
                body.mail.set_front(node);
                mark.lane(outer);
                if go != Go::Halt
                    && !body.state.is_clear()
                    && pool.suspended.enter(body.lane(), Self::discard, || body.state.hold())
                {
                    return;
                }
                if go == Go::Yield || left == 0 {
                    return body.send(Place::Back);
                }
                left -= 1;
                if go != Go::Halt && !body.admit(node.as_ref().vtable.kind) {
                    // The node that makes room sends the drain back. This thread runs, so the pool
                    // does not look quiet meanwhile.
                    return pool.waits_outside();
                }
                mark.lane(this.as_ptr().cast());
                let front = body.mail.detach(node, body.lane());
                if go == Go::Halt {
                    let frame = body.frame(true);
                    let _inside = frame.enter();
                    pool.count_dropped(body.drop_listed(node));
                } else {
                    body.let_in(node, mark);
                }
                node = front;
                if front == body.lane() {
                    mark.lane(outer);
                    match body.mail.unlink(front) {
                        Some(next) => node = next,
                        None => return drop(Kept::counted(this)),
                    }
                    mark.lane(this.as_ptr().cast());
                }
            }
        }
    }

    /// May the front come in? `false`: the gate has noted that the drain waits, and another thread
    /// may have the drain already.
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
                    self.barriers.begin();
                    self.run_barrier(node, mark);
                    self.gate.unlist();
                    (vtable.finish)(node);
                }
                Kind::Barrier => {
                    self.barriers.begin();
                    let carried = Carried { inside: InWrite(self.kept()), node: Some(node) };
                    self.target.push(block::block(move || carried.run(), site), Place::Next, self.class());
                }
                // The waiting thread goes on by itself.
                Kind::SyncBarrier => {
                    self.barriers.begin();
                    (vtable.finish)(node);
                }
                Kind::Sync => (vtable.finish)(node),
                _ => self.target.push(node, Place::Back, self.class()),
            }
        }
    }

    /// # Safety
    /// `node` is a barrier that was let in and detached.
    unsafe fn run_barrier(&self, node: NonNull<Node>, mark: Mark<'_>) {
        let frame = self.frame(true);
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
            // A dropped value may ask which queues it is in, or wait for this same queue: nothing
            // else comes in meanwhile.
            let frame = body.frame(true);
            let inside = frame.enter();
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
            // Freeing may drop values of users, which may ask the same.
            drop(inside);
            drop(Kept::counted(this));
            count
        }
    }

    /// # Safety
    /// `node` was listed, and is detached.
    unsafe fn drop_listed(&self, node: NonNull<Node>) -> u64 {
        // SAFETY: the caller's promise.
        let vtable = unsafe { node.as_ref() }.vtable;
        if matches!(vtable.kind, Kind::Once | Kind::Lane) {
            // The node leaves as a reader when it is dropped, here and on all levels above.
            self.gate.count_as_reader();
            self.count_reader_in_target();
        } else {
            if matches!(vtable.kind, Kind::Barrier | Kind::SyncBarrier) {
                self.barriers.begin();
            }
            self.gate.unlist();
        }
        // SAFETY: the caller's promise; it never ran.
        unsafe { (vtable.discard)(node) }
    }
}

/// A barrier on its way through the targets of its queue.
struct Carried {
    inside: InWrite,
    node: Option<NonNull<Node>>,
}

// SAFETY: the node's content is `Send`, and this is its only holder.
unsafe impl Send for Carried {}

impl Carried {
    fn run(mut self) {
        let body = &*self.inside.0;
        let frame = body.frame(true);
        let _entered = frame.enter();
        let Some(node) = self.node.take() else { return };
        // SAFETY: a detached barrier, run once here and then finished.
        unsafe {
            let Node { vtable, site, .. } = *node.as_ref();
            if let Some(payload) = (vtable.run)(node) {
                body.report(site, payload);
            }
            (vtable.finish)(node);
        }
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            // SAFETY: as in `run`, which did not take it. The block that carried the barrier counts
            // as dropped, so the barrier is not counted again.
            unsafe { (node.as_ref().vtable.discard)(node) };
        }
    }
}
