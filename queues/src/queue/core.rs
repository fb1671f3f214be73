//! The body of a serial queue: push, drain.
//!
//! Not for: how it is scheduled (`schedule`), its handles and the end of its memory (`life`).

use std::borrow::Cow;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;

use super::current::{self, Frame};
use super::level::{Head, Kept, Level, Target};
use super::life::Handle;
use crate::base::block::{self, Kind, Node, VTable};
use crate::base::catch::{self, Payload};
use crate::base::qos::Qos;
use crate::base::state::State;
use crate::base::sync::{MayEnd, prefetch};
use crate::pool::{Go, Mark, Place};

/// A serial queue. It begins with its node.
#[repr(transparent)]
pub(crate) struct QueueCore(MayEnd<Head>);

impl Deref for QueueCore {
    type Target = Head;

    #[inline(always)]
    fn deref(&self) -> &Head {
        &self.0
    }
}

impl Level for QueueCore {
    #[inline]
    fn head(&self) -> &Head {
        self
    }

    fn is_serial(&self) -> bool {
        true
    }

    fn width(&self) -> u32 {
        1
    }

    fn has_one_place_taken(&self) -> bool {
        false
    }

    unsafe fn push(&self, node: NonNull<Node>, _: Place, _: Qos) {
        // SAFETY: the caller's promise.
        unsafe { self.push(node) };
    }

    fn send(&self, place: Place) {
        self.schedule(place);
    }

    fn hold(&self, _barrier: bool, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool {
        self.hold_chain(site, f)
    }

    fn wait(&self, _barrier: bool, site: &'static Location<'static>, f: &mut (dyn FnMut() + Send)) {
        self.wait_in_line(site, f);
    }

    unsafe fn push_and(&self, node: NonNull<Node>, _barrier: bool, wait: &mut dyn FnMut()) {
        // SAFETY: the caller's promise.
        unsafe { self.push_urgently(node, wait) };
    }

    unsafe fn end(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.retire() };
    }
}

impl QueueCore {
    const VTABLE: VTable = Head::table(Self::run, Self::discard);

    /// Its first handle.
    pub(super) fn new(
        label: Cow<'static, str>,
        target: Target,
        state: State,
        qos: Qos,
        site: &'static Location<'static>,
    ) -> Handle<Self> {
        let head = Head::new(&Self::VTABLE, label, target, state, qos, site);
        // SAFETY: a fresh queue has one handle.
        unsafe { Handle::counted(NonNull::from(Box::leak(Box::new(Self(MayEnd::new(head)))))) }
    }

    /// This queue, its target, and so on, as long as they are serial.
    pub(super) fn serial_chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |queue| queue.target.level()?.downcast())
    }

    /// The frame of a block.
    #[inline]
    pub(super) fn frame(&self) -> Frame {
        Frame::alone(self)
    }

    pub(super) fn lane(&self) -> NonNull<Node> {
        NonNull::from(self).cast()
    }

    #[inline]
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if self.refused(site) {
            // Quietly, because this may be a timer that fires, on a thread of the runtime.
            return catch::drop_quietly(f);
        }
        self.push_block(f, site);
    }

    #[inline]
    pub(super) fn push_block<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        let block = if self.mail.seems_idle() {
            block::block(f, site)
        } else {
            block::block_behind(self.lane().addr().get(), f, site)
        };
        // SAFETY: a fresh block.
        unsafe { self.push(block) };
    }

    pub(super) fn submit_deferred<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if self.refused(site) {
            return catch::drop_quietly(f);
        }
        // SAFETY: a fresh block.
        unsafe { self.push_deferred(block::block(f, site)) };
    }

    /// Appends a node. The pusher that turns the queue on schedules it.
    ///
    /// # Safety
    /// `node` is valid for a [`Mailbox::push`](crate::base::mailbox::Mailbox::push), and its
    /// content may be sent to another thread.
    #[inline]
    pub(super) unsafe fn push(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        if unsafe { self.mail.push(node, || self.pool().waits_outside()) } {
            self.schedule(Place::Next);
        }
    }

    /// As [`push`](Self::push), but an idle queue waits until its thread has nothing else to do.
    ///
    /// # Safety
    /// As for `push`.
    pub(super) unsafe fn push_deferred(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        if unsafe { self.mail.push(node, || self.pool().waits_outside()) } {
            self.schedule(Place::Deferred);
        }
    }

    /// The drain: runs blocks until none is left, the turn is over, or the queue is held.
    ///
    /// # Safety
    /// The caller has the drain right, and the front is in place. The queue may be freed when this
    /// returns.
    #[inline(always)]
    unsafe fn drain_here(this: NonNull<Self>) {
        // SAFETY: a queue with a front is alive until the drain right is given up.
        let core = unsafe { this.as_ref() };
        let frame = core.frame();
        let inside = frame.enter();
        let (mark, pool) = Mark::of_worker();
        debug_assert!(std::ptr::eq(pool, &raw const **core.pool()), "a queue is drained by the workers of its pool");
        let outer = mark.marked();
        mark.lane(this.as_ptr().cast());
        let turn = pool.time_slice();
        // SAFETY: this holds for the whole loop. The drain right is ours until `close` succeeds,
        // `hold` succeeds, `schedule` passes it on, or the drain meets the last node. After each of
        // these, nothing of the queue is touched. Before them, `mark` names the outer lane again,
        // so that no inspection finds a queue that another thread may free.
        unsafe {
            let mut node = core.mail.front();
            for _ in 0..mark.budget() {
                let go = turn.go(pool);
                if (go != Go::On || !core.state.is_clear()) && Self::leaves(this, node, go, mark, outer) {
                    return;
                }
                let vtable = node.as_ref().vtable;
                match vtable.kind {
                    Kind::Once | Kind::Barrier | Kind::Sync | Kind::SyncBarrier | Kind::Holder => {
                        mark.block(node.as_ref().site);
                        // The next block was usually written on another core. The prefetch brings
                        // it here while this one runs.
                        prefetch(core.mail.linked_after(node));
                        if let Some(payload) = (vtable.run)(node) {
                            core.report(node.as_ref().site, payload);
                        }
                        let next = match core.mail.linked_after(node) {
                            Some(next) => next,
                            None => {
                                mark.lane(outer);
                                if core.mail.try_close(node) {
                                    return (vtable.finish)(node);
                                }
                                core.goes_on(node, mark)
                            }
                        };
                        (vtable.finish)(node);
                        node = next;
                    }
                    Kind::Lane => match core.run_lane(node, mark, outer) {
                        Some(next) => node = next,
                        None => return,
                    },
                    Kind::Last => {
                        mark.lane(outer);
                        (vtable.finish)(node);
                        // Freeing may end the runtime, and so drop closures of users. These may ask
                        // which queues they are in.
                        drop(inside);
                        return Self::free(this);
                    }
                }
            }
            // The last block may have suspended the queue.
            Self::leaves(this, node, Go::Yield, mark, outer);
        }
    }

    /// The drain, out of line, for the rare callers.
    ///
    /// # Safety
    /// The caller has the drain right, and the front is in place. The queue may be freed when this
    /// returns.
    #[inline(never)]
    pub(super) unsafe fn drain(this: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::drain_here(this) };
    }

    /// Runs a lane that is in this queue. Returns the new front, or `None` when the mailbox turned
    /// idle.
    ///
    /// # Safety
    /// As for [`drain`](Self::drain), and `node` is the front.
    #[inline(always)]
    unsafe fn run_lane(&self, node: NonNull<Node>, mark: Mark<'_>, outer: *const Node) -> Option<NonNull<Node>> {
        // SAFETY: the drain right is ours until the mailbox closes.
        unsafe {
            let front = self.mail.detach(node, self.lane());
            block::run_lane(node);
            if front != self.lane() {
                return Some(front);
            }
            if let Some(next) = self.mail.linked_after(front) {
                return Some(next);
            }
            mark.lane(outer);
            if self.mail.try_close(front) { None } else { Some(self.goes_on(front, mark)) }
        }
    }

    /// Runs a block outside of a drain, and unlinks it. Returns the new front, or `None` when the
    /// mailbox turned idle.
    ///
    /// # Safety
    /// The caller has the drain right, and `node` is the front, and no lane and not the last.
    pub(super) unsafe fn run_front(&self, node: NonNull<Node>) -> Option<NonNull<Node>> {
        // SAFETY: the drain right is ours until the mailbox closes.
        unsafe {
            let vtable = node.as_ref().vtable;
            if let Some(payload) = (vtable.run)(node) {
                self.report(node.as_ref().site, payload);
            }
            let next = self.mail.unlink(node);
            (vtable.finish)(node);
            next
        }
    }

    /// The mailbox could not be closed, because another thread pushes. The drain goes on with the
    /// node behind `last`.
    ///
    /// # Safety
    /// As for [`Mailbox::next_of`](crate::base::mailbox::Mailbox::next_of).
    #[cold]
    unsafe fn goes_on(&self, last: NonNull<Node>, mark: Mark<'_>) -> NonNull<Node> {
        mark.lane(self.lane().as_ptr());
        // SAFETY: the caller's promise.
        unsafe { self.mail.next_of(last) }
    }

    /// Leaves the remaining nodes to a later turn.
    ///
    /// # Safety
    /// As for [`drain`](Self::drain), and `front` is the front.
    #[cold]
    unsafe fn goes_back(&self, front: NonNull<Node>, mark: Mark<'_>, outer: *const Node) {
        // SAFETY: the drain right is ours until `schedule`.
        unsafe { self.mail.set_front(front) };
        mark.lane(outer);
        self.schedule(Place::Back);
    }

    /// Does the drain end before `front`? If it does, it has given up the drain right.
    ///
    /// # Safety
    /// As for [`drain`](Self::drain), and `front` is the front.
    #[cold]
    #[inline(never)]
    unsafe fn leaves(this: NonNull<Self>, front: NonNull<Node>, go: Go, mark: Mark<'_>, outer: *const Node) -> bool {
        // SAFETY: as in `drain`.
        unsafe {
            let core = this.as_ref();
            if go == Go::Halt {
                let (_, pool) = Mark::of_worker();
                mark.lane(outer);
                // The queue may be freed, and its values may ask which queues they are in.
                current::leave();
                pool.count_dropped(Self::discard_from(this, front));
                return true;
            }
            if !core.state.is_clear() && core.leave_held(front, mark, outer) {
                return true;
            }
            if go == Go::Yield {
                core.goes_back(front, mark, outer);
            }
            go == Go::Yield
        }
    }

    /// Leaves a suspended queue to its next `resume`. `false`: it was resumed meanwhile.
    ///
    /// # Safety
    /// As for [`drain`](Self::drain).
    unsafe fn leave_held(&self, front: NonNull<Node>, mark: Mark<'_>, outer: *const Node) -> bool {
        // SAFETY: the drain right is still ours.
        unsafe { self.mail.set_front(front) };
        let (_, pool) = Mark::of_worker();
        mark.lane(outer);
        // After `hold` succeeds, the queue is not touched: `enter` has only its address.
        let held = pool.suspended.enter(self.lane(), Self::discard_held, || self.state.hold());
        if !held {
            mark.lane(self.lane().as_ptr());
        }
        held
    }

    /// Drops everything in the queue without running it, and returns the number of blocks. The
    /// queue may be freed when this returns.
    ///
    /// # Safety
    /// The caller has the drain right, and `node` is the front.
    unsafe fn discard_from(this: NonNull<Self>, mut node: NonNull<Node>) -> u64 {
        // SAFETY: as in `drain`.
        let core = unsafe { this.as_ref() };
        let mut count = 0;
        // A dropped value may ask which queues it is in, or wait for this same queue: a deadlock,
        // which the frame reveals.
        let frame = core.frame();
        let inside = frame.enter();
        // SAFETY: the drain right is ours until the mailbox turned idle or the drain met the last
        // node.
        unsafe {
            loop {
                let vtable = node.as_ref().vtable;
                match vtable.kind {
                    Kind::Last => {
                        (vtable.finish)(node);
                        // As in the drain: freeing may drop values of users.
                        drop(inside);
                        Self::free(this);
                        return count;
                    }
                    // A lane may be pushed again while it is discarded. A block is dead once it was
                    // discarded.
                    _ => {
                        let front = core.mail.detach(node, core.lane());
                        count += (vtable.discard)(node);
                        node = front;
                        if front == core.lane() {
                            match core.mail.unlink(front) {
                                Some(next) => node = next,
                                None => return count,
                            }
                        }
                    }
                }
            }
        }
    }

    pub(super) unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        let this = node.cast::<Self>();
        // SAFETY: the node of a queue, whose holder passes the drain right on with it, or that
        // holds a handle.
        unsafe {
            let core = this.as_ref();
            if !core.is_boosting_root() && core.qos <= Qos::current() && core.ticket.claim_plain() {
                Self::drain_here(this);
            } else {
                Self::run_boosted(this);
            }
        }
        None
    }

    /// As [`run`](Self::run), where classes of service are used.
    #[inline(never)]
    unsafe fn run_boosted(this: NonNull<Self>) {
        // SAFETY: as in `run`.
        unsafe {
            let claim = this.as_ref().ticket.claim();
            if claim.drains {
                this.as_ref().leaves_target();
                // It may have been taken from a lower line than its own, as part of its target, by
                // a drain that ran already.
                let _back = this.as_ref().qos.at_least();
                Self::drain(this);
            }
            if claim.has_handle {
                drop(Kept::counted(this));
            }
        }
    }

    pub(super) unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: as in `run`.
        unsafe {
            let claim = this.as_ref().ticket.claim();
            let mut count = 0;
            if claim.drains {
                this.as_ref().leaves_target();
                count = Self::discard_from(this, this.as_ref().mail.front());
            }
            if claim.has_handle {
                drop(Kept::counted(this));
            }
            count
        }
    }

    /// As `discard`, for the list of held queues. The queue has the drain right there, and its
    /// ticket does not know of it.
    unsafe fn discard_held(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: the caller took it out of the list; it left its front in place when it entered.
        unsafe { Self::discard_from(this, this.as_ref().mail.front()) }
    }
}
