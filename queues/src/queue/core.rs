//! The body of a serial queue: push, drain, suspend, and the end of its memory.
//!
//! Memory: handles are counted; the queue itself is not, because a queue with blocks in it is reached through its target.
//! Dropping the last handle takes the drain right of an idle queue and frees it; of a busy one it submits a last node,
//! which the drain meets after all blocks, and frees the queue there. So nothing is counted per schedule.

use std::borrow::Cow;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use super::Queue;
use super::current::Frame;
use super::specific::Specifics;
use crate::block::{self, Kind, Node, Runnable, VTable};
use crate::catch::{self, Payload};
use crate::mailbox::Mailbox;
use crate::pool::{Go, Mark, Place, Pool};
use crate::runtime::Owner;
use crate::state::{Cleared, Resumed, State};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Blocks that a queue may run before others get their turn. Time ends a turn too, see [`Go`].
const BUDGET: u32 = 256;

/// Where a queue's blocks really run.
#[derive(Debug)]
pub(crate) enum Target {
    Pool(Arc<Owner>),
    Queue(Queue),
}

/// See the module.
#[repr(C)]
pub(crate) struct QueueCore {
    /// The link in its target's mailbox; first, so that a pointer to it is a pointer to the queue. While the queue drains
    /// this node is in no list, and serves as the stub of the own mailbox.
    node: Node,
    pub(super) mail: Mailbox,
    pub(super) state: State,
    handles: AtomicUsize,
    target: Target,
    label: Cow<'static, str>,
    pub(super) specifics: Specifics,
}

/// A million idle queues are normal.
const _: () = assert!(size_of::<QueueCore>() <= 128);

impl QueueCore {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: Self::nothing_to_finish,
        discard: Self::discard,
        label: Self::label_of,
    };

    /// The node behind which nothing comes.
    const LAST: VTable = VTable {
        kind: Kind::Last,
        run: Self::last_does_not_run,
        finish: Self::free_last,
        discard: Self::last_discarded,
        label: block::no_label,
    };

    pub(super) fn new(
        label: Cow<'static, str>,
        target: Target,
        state: State,
        site: &'static Location<'static>,
    ) -> NonNull<Self> {
        let core = Self {
            node: Node::new(&Self::VTABLE, site),
            mail: Mailbox::new(),
            state,
            handles: AtomicUsize::new(1),
            target,
            label,
            specifics: Specifics::default(),
        };
        NonNull::from(Box::leak(Box::new(core)))
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    /// This queue, its target, and so on to the pool.
    pub(super) fn chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |queue| match &queue.target {
            Target::Queue(target) => Some(target.core()),
            Target::Pool(_) => None,
        })
    }

    pub(super) fn target(&self) -> Option<&Self> {
        match &self.target {
            Target::Queue(target) => Some(target.core()),
            Target::Pool(_) => None,
        }
    }

    pub(super) fn owner(&self) -> &Arc<Owner> {
        let mut core = self;
        loop {
            match &core.target {
                Target::Pool(owner) => return owner,
                Target::Queue(target) => core = target.core(),
            }
        }
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.owner().pool()
    }

    fn lane(&self) -> NonNull<Node> {
        NonNull::from(self).cast()
    }

    /// Appends a node; whoever turns the queue on schedules it.
    ///
    /// # Safety
    /// `node` is valid for a [`Mailbox::push`] and its content may be sent to another thread.
    #[inline]
    pub(super) unsafe fn push(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        if unsafe { self.mail.push(node, || self.pool().waits_outside()) } {
            self.schedule(Place::Next);
        }
    }

    /// As [`push`](Self::push), but the queue goes behind everything that waits already.
    ///
    /// # Safety
    /// As for `push`.
    pub(super) unsafe fn push_later(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        if unsafe { self.mail.push(node, || self.pool().waits_outside()) } {
            self.schedule(Place::Back);
        }
    }

    /// Hands the drain right to the target. Called by its holder; the front is in place.
    #[inline]
    pub(super) fn schedule(&self, place: Place) {
        match &self.target {
            Target::Pool(owner) => owner.pool().submit(Runnable(self.lane()), place),
            Target::Queue(target) => {
                // It may have served as the stub of the own mailbox: then it still points at what came behind it there.
                // Relaxed: the push publishes it.
                self.node.next.store(std::ptr::null_mut(), Relaxed);
                // SAFETY: with the drain right the own node is in no list.
                unsafe { target.core().push(self.lane()) }
            }
        }
    }

    pub(super) fn suspend(&self) -> bool {
        self.state.suspend()
    }

    /// `false`: it was not suspended.
    pub(super) fn resume(&self) -> bool {
        match self.state.resume() {
            Resumed::NotSuspended => return false,
            Resumed::Nothing => {}
            Resumed::Schedule => self.schedule_held(),
        }
        true
    }

    pub(super) fn activate(&self) {
        if self.state.activate() == Resumed::Schedule {
            self.schedule_held();
        }
    }

    fn schedule_held(&self) {
        // A shutdown may have taken it out of the list, and with it the drain right.
        if self.pool().held.take(self.lane()) {
            self.schedule(Place::Back);
        }
    }

    /// The drain: runs blocks until there are none, the turn is over, or the queue is held.
    ///
    /// # Safety
    /// The caller has the drain right, and the front is in place. The queue may be freed when this returns.
    unsafe fn drain(this: NonNull<Self>) {
        // SAFETY: a queue with a front is alive until the drain right is given up.
        let core = unsafe { this.as_ref() };
        let frame = Frame::serial(this.as_ptr());
        let inside = frame.enter();
        let mark = Mark::here();
        let outer = mark.lane(this.as_ptr().cast());
        let pool = Arc::as_ptr(core.pool());
        // SAFETY: worker threads keep the pool alive, and a queue is drained by one of them.
        let pool = unsafe { &*pool };
        let turn = pool.turn();
        let mut left = BUDGET;
        // SAFETY: for the whole loop: the drain right is ours until `close` succeeds, `hold` succeeds, `schedule` passes
        // it on, or the last node was met; after each of these nothing of the queue is touched. Before them, `mark` names
        // the outer lane again, so that no inspection finds a queue that somebody else may free.
        unsafe {
            let mut node = core.mail.front();
            loop {
                let go = turn.go(pool);
                if go == Go::Halt {
                    mark.lane(outer);
                    return pool.count_dropped(Self::discard_from(this, node));
                }
                if !core.state.is_clear() && core.leave_held(node, mark, outer) {
                    return;
                }
                if go == Go::Yield || left == 0 {
                    core.mail.set_front(node);
                    mark.lane(outer);
                    return core.schedule(Place::Back);
                }
                left -= 1;
                let vtable = node.as_ref().vtable;
                let last_run = match vtable.kind {
                    Kind::Last => {
                        mark.lane(outer);
                        (vtable.finish)(node);
                        // Freeing may end the runtime, and so drop closures of users, who may ask what they are in.
                        drop(inside);
                        return Self::free(this);
                    }
                    Kind::Lane => {
                        let front = core.mail.detach(node, core.lane());
                        let none = (vtable.run)(node);
                        debug_assert!(none.is_none(), "lanes report their panics themselves");
                        if front != core.lane() {
                            node = front;
                            continue;
                        }
                        front
                    }
                    Kind::Once | Kind::Barrier | Kind::Sync | Kind::Holder => {
                        mark.block(node.as_ref().site);
                        if let Some(payload) = (vtable.run)(node) {
                            core.report(node, payload);
                        }
                        node
                    }
                };
                let next = match core.mail.linked_after(last_run) {
                    Some(next) => Some(next),
                    None => {
                        mark.lane(outer);
                        if core.mail.try_close(last_run) {
                            None
                        } else {
                            mark.lane(this.as_ptr().cast());
                            Some(core.mail.next_of(last_run))
                        }
                    }
                };
                if vtable.kind != Kind::Lane {
                    (vtable.finish)(node);
                }
                match next {
                    Some(next) => node = next,
                    None => return,
                }
            }
        }
    }

    /// Leaves a suspended queue to its next `resume`; `false`: it was resumed meanwhile.
    ///
    /// # Safety
    /// As for [`drain`](Self::drain).
    unsafe fn leave_held(&self, front: NonNull<Node>, mark: Mark<'_>, outer: *const Node) -> bool {
        // SAFETY: the drain right is still ours.
        unsafe { self.mail.set_front(front) };
        let pool = Arc::as_ptr(self.pool());
        mark.lane(outer);
        // SAFETY: as in `drain`. The queue is not touched after `hold` succeeded: `enter` has its address only.
        let held = unsafe { &*pool }.held.enter(self.lane(), || self.state.hold());
        if !held {
            mark.lane(self.lane().as_ptr());
        }
        held
    }

    #[cold]
    pub(super) fn report(&self, node: NonNull<Node>, payload: Payload) {
        self.pool().count_panic();
        // SAFETY: it ran, but was not finished.
        catch::report(&self.label, unsafe { node.as_ref() }.site, payload);
    }

    /// Drops all that is in the queue, unrun; how many blocks. The queue may be freed when this returns.
    ///
    /// # Safety
    /// The caller has the drain right, and `node` is the front.
    unsafe fn discard_from(this: NonNull<Self>, mut node: NonNull<Node>) -> u64 {
        // SAFETY: as in `drain`.
        let core = unsafe { this.as_ref() };
        let mut count = 0;
        // SAFETY: the drain right is ours until the mailbox turned idle or the last node was met.
        unsafe {
            loop {
                let vtable = node.as_ref().vtable;
                match vtable.kind {
                    Kind::Last => {
                        (vtable.finish)(node);
                        Self::free(this);
                        return count;
                    }
                    // A lane may be pushed again while it is discarded; a block is dead after it was.
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

    pub(super) fn add_handle(&self) {
        // Relaxed: a new handle is made from one that exists. The count cannot overflow before memory does.
        self.handles.fetch_add(1, Relaxed);
    }

    /// # Safety
    /// One handle of the caller's ends with this call.
    pub(super) unsafe fn drop_handle(this: NonNull<Self>) {
        // SAFETY: the handle kept it alive until here.
        let core = unsafe { this.as_ref() };
        // Release: what was done through this handle happens before the end; partner: the fence below.
        if core.handles.fetch_sub(1, Release) == 1 {
            fence(Acquire);
            // SAFETY: no handle is left.
            unsafe { Self::retire(this) };
        }
    }

    /// The last handle is gone: nothing will be pushed any more but the last node.
    #[cold]
    unsafe fn retire(this: NonNull<Self>) {
        // SAFETY: alive until the drain right is given up below.
        let core = unsafe { this.as_ref() };
        let before = core.state.clear();
        if before.drainer_left {
            core.warn_retired(before);
            core.schedule_held();
        }
        let hold = Node::new(&Self::LAST, core.node.site);
        // SAFETY: `hold` stays until the queue is freed, right below; the last node is a fresh one.
        unsafe {
            if core.mail.try_hold(NonNull::from(&hold)) {
                Self::free(this);
            } else {
                if !before.drainer_left && (before.suspended || before.inactive) {
                    core.warn_retired(before);
                }
                // If the push turns the queue on, a worker may free it, its runtime and with that the pool before
                // `schedule` returns: nothing but this holds the pool then.
                let _pool = core.pool().clone();
                let last = Box::leak(Box::new(Node::new(&Self::LAST, core.node.site)));
                core.push(NonNull::from(last));
            }
        }
    }

    /// See [`Queue::let_go`].
    pub(super) fn let_go(&self, busy: bool) {
        let before = self.state.clear();
        if before.drainer_left || busy && (before.suspended || before.inactive) {
            self.warn_retired(before);
        }
        if before.drainer_left {
            self.schedule_held();
        }
    }

    fn warn_retired(&self, before: Cleared) {
        let why = if before.inactive { "before it was activated" } else { "while suspended" };
        log::warn!("queue \"{}\" lost its last handle {why}; what it holds runs now", self.label);
    }

    /// # Safety
    /// The caller has the drain right, nothing else is in the mailbox, and no handle is left.
    unsafe fn free(this: NonNull<Self>) {
        // SAFETY: made by `Box` in `new`; the caller's promise makes this the only pointer to it.
        let core = unsafe {
            this.as_ref().pool().before_free();
            Box::from_raw(this.as_ptr())
        };
        drop(core);
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the node of a queue, whose holder passes the drain right on with it.
        unsafe { Self::drain(node.cast()) };
        None
    }

    unsafe fn nothing_to_finish(_: NonNull<Node>) {}

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: as in `run`.
        unsafe { Self::discard_from(this, this.as_ref().mail.front()) }
    }

    unsafe fn label_of(node: NonNull<Node>) -> *const str {
        // SAFETY: the caller keeps the queue alive.
        unsafe { node.cast::<Self>().as_ref() }.label()
    }

    unsafe fn last_does_not_run(_: NonNull<Node>) -> Option<Payload> {
        unreachable!("the drain frees the queue instead")
    }

    unsafe fn last_discarded(_: NonNull<Node>) -> u64 {
        unreachable!("the drain frees the queue instead")
    }

    unsafe fn free_last(node: NonNull<Node>) {
        // SAFETY: made by `Box` in `retire`, met once.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }
}
