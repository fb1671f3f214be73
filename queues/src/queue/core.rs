//! The body of a serial queue: push, drain, suspend.
//!
//! Not for: how it comes to run (`schedule`), handles and the end of its memory (`life`).

use std::borrow::Cow;
#[cfg(not(queues_loom))]
use std::mem::offset_of;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use super::current::{self, Frame};
use super::label::Label;
use super::lift::Lifts;
use super::specific::Specifics;
use super::target::{Level, Target};
use super::ticket::Ticket;
use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::mailbox::Mailbox;
use crate::pool::{Go, Mark, Place, Pool};
use crate::qos::Qos;
use crate::runtime::Owner;
use crate::state::{Resumed, State};
use crate::sync::atomic::{AtomicBool, AtomicUsize};
use crate::sync::prefetch;

/// Blocks that a queue may run before others get their turn. Time ends a turn too, see [`Go`].
const BUDGET: u32 = 256;

/// See the module.
///
/// The order of the fields keeps apart what is touched while the queue is busy: submitters write `mail` with every block and
/// read `target` beside it; the drainer looks at `state` before every block. Between the two stand, a cache line wide, those
/// that are rarely used.
#[repr(C)]
pub(crate) struct QueueCore {
    /// The link in its target's mailbox; first, so that a pointer to it is a pointer to the queue. While the queue drains
    /// this node is in no list, and serves as the stub of the own mailbox.
    pub(super) node: Node,
    pub(super) state: State,
    pub(super) ticket: Ticket,
    pub(super) qos: Qos,
    /// It waits in its target, whose root it has lifted. Guarded by the drain right.
    pub(super) lifts_root: AtomicBool,
    pub(super) lifts: Lifts,
    pub(super) handles: AtomicUsize,
    label: Label,
    pub(super) specifics: Specifics,
    pub(super) mail: Mailbox,
    pub(super) target: Target,
}

/// A million idle queues are normal. (Atomics that are watched by a model are larger.)
#[cfg(not(queues_loom))]
const _: () = assert!(size_of::<QueueCore>() <= 112);

/// However the queue is aligned, submitters do not write to the line that its drainer looks at.
#[cfg(not(queues_loom))]
const _: () = assert!(offset_of!(QueueCore, mail) + Mailbox::TAIL - offset_of!(QueueCore, state) >= 64);

impl QueueCore {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: Self::label_of,
    };

    pub(super) fn new(
        label: Cow<'static, str>,
        target: Target,
        state: State,
        qos: Qos,
        site: &'static Location<'static>,
    ) -> NonNull<Self> {
        let core = Self {
            node: Node::new(&Self::VTABLE, site),
            state,
            ticket: Ticket::new(),
            qos,
            lifts_root: AtomicBool::new(false),
            lifts: Lifts::default(),
            handles: AtomicUsize::new(1),
            label: label.into(),
            specifics: Specifics::default(),
            mail: Mailbox::new(),
            target,
        };
        NonNull::from(Box::leak(Box::new(core)))
    }

    pub(super) fn label(&self) -> &str {
        self.label.as_str()
    }

    pub(super) fn level(&self) -> Level<'_> {
        Level::Serial(self)
    }

    /// This queue, its target, and so on while they are serial.
    pub(super) fn serial_chain(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |queue| match &queue.target {
            Target::Queue(target) => Some(target.core()),
            Target::Pool(_) | Target::Concurrent(_) => None,
        })
    }

    pub(super) fn owner(&self) -> &Arc<Owner> {
        self.target.owner()
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        self.owner().pool()
    }

    pub(super) fn site(&self) -> &'static Location<'static> {
        self.node.site
    }

    pub(super) fn lane(&self) -> NonNull<Node> {
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

    /// As [`push`](Self::push), but a queue that was idle waits until its thread has nothing else.
    ///
    /// # Safety
    /// As for `push`.
    pub(super) unsafe fn push_later(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        if unsafe { self.mail.push(node, || self.pool().waits_outside()) } {
            self.schedule(Place::Later);
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

    /// The drain: runs blocks until there are none, the turn is over, or the queue is held.
    ///
    /// # Safety
    /// The caller has the drain right, and the front is in place. The queue may be freed when this returns.
    #[inline(always)]
    unsafe fn drain_here(this: NonNull<Self>) {
        // SAFETY: a queue with a front is alive until the drain right is given up.
        let core = unsafe { this.as_ref() };
        let frame = Frame::serial(this.as_ptr());
        let inside = frame.enter();
        let (mark, pool) = Mark::of_worker();
        debug_assert!(std::ptr::eq(pool, &raw const **core.pool()), "a queue is drained by the workers of its pool");
        let outer = mark.marked();
        mark.lane(this.as_ptr().cast());
        let turn = pool.turn();
        // SAFETY: for the whole loop: the drain right is ours until `close` succeeds, `hold` succeeds, `schedule` passes
        // it on, or the last node was met; after each of these nothing of the queue is touched. Before them, `mark` names
        // the outer lane again, so that no inspection finds a queue that somebody else may free.
        unsafe {
            let mut node = core.mail.front();
            for _ in 0..BUDGET {
                let go = turn.go(pool);
                if (go != Go::On || !core.state.is_clear()) && Self::leaves(this, node, go, mark, outer) {
                    return;
                }
                let vtable = node.as_ref().vtable;
                match vtable.kind {
                    Kind::Once | Kind::Barrier | Kind::Sync | Kind::SyncBarrier | Kind::Holder => {
                        mark.block(node.as_ref().site);
                        // Written on another core, as a rule: it comes here while this one runs.
                        prefetch(core.mail.linked_after(node));
                        if let Some(payload) = (vtable.run)(node) {
                            core.report(node, payload);
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
                        // Freeing may end the runtime, and so drop closures of users, who may ask what they are in.
                        drop(inside);
                        return Self::free(this);
                    }
                }
            }
            core.goes_back(node, mark, outer);
        }
    }

    /// The drain, for those who come to it rarely.
    ///
    /// # Safety
    /// The caller has the drain right, and the front is in place. The queue may be freed when this returns.
    #[inline(never)]
    pub(super) unsafe fn drain(this: NonNull<Self>) {
        // SAFETY: the caller's promise.
        unsafe { Self::drain_here(this) };
    }

    /// Runs a lane that is in this queue. Returns the new front, or `None`: the mailbox turned idle.
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

    /// The mailbox could not be closed, because somebody pushes: the drain goes on with what comes behind `last`.
    ///
    /// # Safety
    /// As for [`Mailbox::next_of`].
    #[cold]
    unsafe fn goes_on(&self, last: NonNull<Node>, mark: Mark<'_>) -> NonNull<Node> {
        mark.lane(self.lane().as_ptr());
        // SAFETY: the caller's promise.
        unsafe { self.mail.next_of(last) }
    }

    /// Leaves what is left for later.
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

    /// Does the drain end before `front`? Then it gave up the drain right.
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
                // The queue may be freed, and its values ask what they are in.
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

    /// Leaves a suspended queue to its next `resume`; `false`: it was resumed meanwhile.
    ///
    /// # Safety
    /// As for [`drain`](Self::drain).
    unsafe fn leave_held(&self, front: NonNull<Node>, mark: Mark<'_>, outer: *const Node) -> bool {
        // SAFETY: the drain right is still ours.
        unsafe { self.mail.set_front(front) };
        let (_, pool) = Mark::of_worker();
        mark.lane(outer);
        // The queue is not touched after `hold` succeeded: `enter` has its address only.
        let held = pool.held.enter(self.lane(), Self::discard_held, || self.state.hold());
        if !held {
            mark.lane(self.lane().as_ptr());
        }
        held
    }

    #[cold]
    pub(super) fn report(&self, node: NonNull<Node>, payload: Payload) {
        self.pool().count_panic();
        // SAFETY: it ran, but was not finished.
        catch::report(self.label(), unsafe { node.as_ref() }.site, payload);
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

    pub(super) unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        let this = node.cast::<Self>();
        // SAFETY: the node of a queue, whose holder passes the drain right on with it, or that holds a handle.
        unsafe {
            let core = this.as_ref();
            if core.ticket.is_none() && !core.is_lifting_root() && core.qos <= Qos::current() {
                Self::drain_here(this);
            } else {
                Self::run_lifted(this);
            }
        }
        None
    }

    /// As [`run`](Self::run), where classes of service are used.
    #[inline(never)]
    unsafe fn run_lifted(this: NonNull<Self>) {
        // SAFETY: as in `run`.
        unsafe {
            let met = this.as_ref().ticket.meet();
            if met.drains {
                this.as_ref().leaves_target();
                // As a part of its target it may have been taken from a lower line than its own: on a drain that ran already.
                let _back = this.as_ref().qos.at_least();
                Self::drain(this);
            }
            if met.has_handle {
                Self::drop_handle(this);
            }
        }
    }

    pub(super) unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: as in `run`.
        unsafe {
            let met = this.as_ref().ticket.meet();
            let mut count = 0;
            if met.drains {
                this.as_ref().leaves_target();
                count = Self::discard_from(this, this.as_ref().mail.front());
            }
            if met.has_handle {
                Self::drop_handle(this);
            }
            count
        }
    }

    /// As `discard`, out of the list of the held: with the drain right, which its ticket does not know of.
    unsafe fn discard_held(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: the caller took it out of the list; it left its front in place when it entered.
        unsafe { Self::discard_from(this, this.as_ref().mail.front()) }
    }

    unsafe fn label_of(node: NonNull<Node>) -> *const str {
        // SAFETY: the caller keeps the queue alive.
        unsafe { node.cast::<Self>().as_ref() }.label()
    }
}
