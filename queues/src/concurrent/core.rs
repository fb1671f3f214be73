//! The body of a concurrent queue: what is listed, the drain that lets it in, and who leaves.

use std::borrow::Cow;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use super::gate::Gate;
use crate::block::{Kind, Node, Runnable, VTable};
use crate::catch::{self, Payload};
use crate::mailbox::Mailbox;
use crate::pool::{Go, Mark, Place};
use crate::queue::Frame;
use crate::runtime::Owner;

/// Blocks that a drain lets in before others get their turn.
const BUDGET: u32 = 256;

/// See the module.
#[repr(C)]
pub(super) struct Body {
    /// What the pool holds while the mailbox has something, and the stub of the mailbox while it drains.
    pub(super) node: Node,
    pub(super) mail: Mailbox,
    pub(super) gate: Gate,
    pub(super) owner: Arc<Owner>,
    pub(super) label: Cow<'static, str>,
}

impl Body {
    pub(super) const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: Self::unused,
        discard: Self::discard,
        label: Self::label_of,
    };

    pub(super) fn id(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    pub(super) fn report(&self, site: &'static Location<'static>, payload: Payload) {
        self.owner.pool().count_panic();
        catch::report(&self.label, site, payload);
    }

    /// Sends the drain back. Its count was kept.
    fn reschedule(&self, place: Place) {
        self.owner.pool().submit(Runnable(NonNull::from(self).cast()), place);
    }

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
        let pool = body.owner.pool();
        let mark = Mark::here();
        let outer = mark.lane(this.as_ptr().cast());
        let turn = pool.turn();
        let mut left = BUDGET;
        // SAFETY: the drain right is ours until the mailbox closes, the gate notes that the drain waits, or it is sent
        // back; the body is not touched afterwards.
        unsafe {
            let mut node = body.mail.front();
            loop {
                let go = turn.go(pool);
                if go == Go::Yield || left == 0 {
                    body.mail.set_front(node);
                    mark.lane(outer);
                    return body.reschedule(Place::Back);
                }
                left -= 1;
                let vtable = node.as_ref().vtable;
                // Left in front, should the gate send the drain away: then everything is in place for the next.
                body.mail.set_front(node);
                mark.lane(outer);
                let alone = vtable.kind == Kind::Barrier;
                if go != Go::Halt && !(if alone { body.gate.admit_barrier() } else { body.gate.admit_reader() }) {
                    // Whoever lets the last one out sends the drain back. This thread runs, so nobody is quiet meanwhile.
                    pool.waits_outside();
                    return;
                }
                mark.lane(this.as_ptr().cast());
                let front = body.mail.detach(node, NonNull::from(body).cast());
                if go == Go::Halt {
                    pool.count_dropped(body.drop_listed(node));
                } else if alone {
                    body.run_barrier(node, mark);
                    body.gate.unlist();
                    (vtable.finish)(node);
                } else if vtable.kind == Kind::Sync {
                    // Its thread runs it.
                    (vtable.finish)(node);
                } else {
                    pool.spawn(node);
                }
                node = front;
                if front == NonNull::from(body).cast() {
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

    /// # Safety
    /// `node` is a barrier that was let in and detached.
    unsafe fn run_barrier(&self, node: NonNull<Node>, mark: Mark<'_>) {
        let frame = Frame::concurrent(self.id(), true);
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
        if vtable.kind == Kind::Once {
            // It leaves as a reader when it is dropped, see `EndRead`.
            self.gate.count_as_reader();
        } else {
            self.gate.unlist();
        }
        // SAFETY: the caller's promise; it never ran.
        unsafe { (vtable.discard)(node) }
    }

    unsafe fn label_of(node: NonNull<Node>) -> *const str {
        // SAFETY: the caller keeps the body alive.
        &*unsafe { node.cast::<Self>().as_ref() }.label
    }

    unsafe fn unused(_: NonNull<Node>) {}
}

impl Drop for Body {
    fn drop(&mut self) {
        // A shutdown that looks at what threads are in may have read the label through this body a moment ago.
        self.owner.pool().before_free();
    }
}

/// A reader that holds a count of the body leaves on drop.
pub(super) struct EndRead(pub(super) Arc<Body>);

impl Drop for EndRead {
    fn drop(&mut self) {
        drop(EndReadRef(&self.0));
    }
}

pub(super) struct EndReadRef<'a>(pub(super) &'a Body);

impl Drop for EndReadRef<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.gate.read_ends() {
            self.0.reschedule(Place::Next);
            self.0.owner.pool().waited_outside();
        }
    }
}

pub(super) struct EndWrite<'a>(pub(super) &'a Body);

impl Drop for EndWrite<'_> {
    fn drop(&mut self) {
        if self.0.gate.write_ends() {
            self.0.reschedule(Place::Next);
            self.0.owner.pool().waited_outside();
        }
    }
}
