//! The body of a concurrent queue: which blocks it lets in at once, which it lists, and what
//! happens when one leaves.
//!
//! While there is no barrier and the width is not full, a block goes straight to the target, and a
//! `sync` just counts itself in (`gate`). A node that finds the gate shut goes to the mailbox, and
//! so does everything behind it. The drain (`drain`) lets the listed nodes in, one by one, and
//! leaves when it meets one that has to wait.
//!
//! A node that is let in goes up to the target. It is in until it has run or was dropped: a block
//! until its closure has ended, a queue that targets this one until its turn has ended. With a
//! concurrent target it takes part there as well, from the moment that it is let in *here*. It
//! leaves both when it ends.
//!
//! | queue | its blocks | its barriers | its `sync` |
//! |---|---|---|---|
//! | on the pool | run beside others | run by the drain, alone | on the calling thread |
//! | targets a serial queue | one at a time, with those of the target | the same, after all before | as a `sync` of the target |
//! | targets a concurrent queue | beside others, within both widths | alone here, an ordinary block there | level by level |
//!
//! Each suspension, and the inactive state, adds one to the listed count, so that no node finds the
//! gate open. Nodes that were let in before still run.

pub(crate) mod barriers;
pub(crate) mod drain;
pub(crate) mod gate;
mod sync;

use std::borrow::Cow;
use std::ops::Deref;
use std::panic::Location;
use std::ptr::NonNull;

use super::current::Frame;
use super::level::{Head, Kept, Level, Target};
use super::life::Handle;
use super::waiting::WaitingBlock;
use crate::base::block::{self, Node, Runnable};
use crate::base::catch;
use crate::base::qos::Qos;
use crate::base::state::State;
use crate::base::sync::MayEnd;
use crate::pool::Place;
use barriers::Barriers;
use gate::Gate;

/// See the module. Blocks that are in keep it, and so does the drain.
#[repr(transparent)]
pub(crate) struct Body(MayEnd<Inner>);

/// The pool holds the node of the head while the mailbox is not empty.
#[repr(C)]
pub(crate) struct Inner {
    head: Head,
    pub(crate) gate: Gate,
    pub(crate) barriers: Barriers,
}

impl Deref for Body {
    type Target = Inner;

    #[inline(always)]
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Deref for Inner {
    type Target = Head;

    #[inline(always)]
    fn deref(&self) -> &Head {
        &self.head
    }
}

impl Level for Body {
    #[inline]
    fn head(&self) -> &Head {
        self
    }

    fn is_serial(&self) -> bool {
        false
    }

    fn width(&self) -> u32 {
        self.gate.width()
    }

    fn has_one_place_taken(&self) -> bool {
        self.gate.is_taken_by_one()
    }

    unsafe fn push(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        // SAFETY: the caller's promise. A node that is let in may end the last reference to this
        // queue: nothing is touched then.
        unsafe {
            if self.gate.try_read() {
                self.target.push(node, place, qos.max(self.class()));
            } else {
                self.list(node);
            }
        }
    }

    #[inline]
    fn leave(&self) {
        self.leave_target();
        self.leaves(self.gate.read_ends());
    }

    fn count_reader(&self) {
        self.gate.count_reader();
        self.count_reader_in_target();
    }

    // The target comes first, because a node that leaves leaves the target first.
    fn try_join(&self) -> bool {
        let target = self.target.level();
        if target.is_some_and(|target| !target.try_join()) {
            return false;
        }
        let joined = self.gate.try_join();
        if !joined {
            self.leave_target();
        }
        joined
    }

    unsafe fn push_joined(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        let qos = qos.max(self.class());
        // SAFETY: the caller's promise.
        unsafe {
            match &self.target {
                Target::Queue(target) => target.push_joined(node, place, qos),
                pool => pool.push(node, place, qos),
            }
        }
    }

    // It runs on the pool, whatever the target is: it only lets nodes in.
    fn send(&self, place: Place) {
        self.pool().submit_as(Runnable(self.lane()), place, self.class());
    }

    // Each suspension counts as listed, so that no node finds the gate open.
    fn shut(&self) {
        self.gate.list();
    }

    fn open(&self, suspensions: u32) {
        (0..suspensions).for_each(|_| self.gate.unlist());
    }

    fn hold(&self, barrier: bool, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool {
        self.hold_chain(barrier, site, f)
    }

    fn wait(&self, barrier: bool, site: &'static Location<'static>, f: &mut (dyn FnMut() + Send)) {
        self.wait_for_room(barrier, site, f);
    }

    unsafe fn push_and(&self, node: NonNull<Node>, barrier: bool, wait: &mut dyn FnMut()) {
        // SAFETY: the caller's promise.
        let (waiting, site) = unsafe { (WaitingBlock::new(node), node.as_ref().site) };
        if barrier {
            self.barrier(move || waiting.run(), site);
        } else {
            self.submit(move || waiting.run(), Qos::current(), site);
        }
        wait();
    }

    unsafe fn end(&self) {
        // A shutdown that reports the blocks of its threads may have read the label through this
        // body a moment ago.
        self.pool().before_free();
        // SAFETY: made by `Box` in `new`, and nothing keeps it any more.
        drop(unsafe { Box::from_raw(NonNull::from(self).as_ptr()) });
    }
}

impl Body {
    /// Its first handle.
    pub(crate) fn new(
        label: Cow<'static, str>,
        target: Target,
        width: u32,
        state: State,
        qos: Qos,
        site: &'static Location<'static>,
    ) -> Handle<Self> {
        let gate = Gate::new(width);
        if !state.is_clear() {
            gate.list();
        }
        let head = Head::new(&Self::VTABLE, label, target, state, qos, site);
        let inner = Inner { head, gate, barriers: Barriers::new() };
        // SAFETY: a fresh queue has one handle.
        unsafe { Handle::counted(NonNull::from(Box::leak(Box::new(Self(MayEnd::new(inner)))))) }
    }

    fn lane(&self) -> NonNull<Node> {
        NonNull::from(self).cast()
    }

    fn kept(&self) -> Kept<Self> {
        Kept::new(self)
    }

    /// The frame of a block, or of a barrier.
    #[inline]
    fn frame(&self, barrier: bool) -> Frame {
        if barrier { Frame::alone(self) } else { Frame::beside(self) }
    }

    /// Puts a node into the mailbox. The pusher that turns the mailbox on sends the drain.
    ///
    /// # Safety
    /// As for [`Mailbox::push`](crate::base::mailbox::Mailbox::push).
    unsafe fn list(&self, node: NonNull<Node>) {
        self.gate.list();
        // SAFETY: the caller's promise. The pusher that turned the mailbox on has the drain right.
        // Nodes in the mailbox cannot end before the drain was sent, so this queue cannot end
        // either.
        unsafe {
            if self.mail.push(node, || ()) {
                // The drain's own reference, which the drain drops when the mailbox turned idle.
                std::mem::forget(self.kept());
                self.send(Place::Next);
            }
        }
    }

    fn leave_target(&self) {
        if let Some(target) = self.target.level() {
            target.leave();
        }
    }

    fn count_reader_in_target(&self) {
        if let Some(target) = self.target.level() {
            target.count_reader();
        }
    }

    /// A node that came in as `WRITER` leaves. It leaves the target first, so that the next node
    /// finds room there.
    fn writer_leaves(&self) {
        self.leave_target();
        self.leaves(self.gate.write_ends());
    }

    #[inline]
    fn leaves(&self, sends_drain: bool) {
        if sends_drain {
            self.send(Place::Next);
            self.pool().waited_outside();
        }
    }

    /// Submits a block that runs beside others, if anything is taken any more.
    pub(crate) fn submit_or_drop<F>(&self, f: F, qos: Qos, site: &'static Location<'static>)
    where
        F: FnOnce() + Send + 'static,
    {
        if self.refused(site) {
            // Quietly: this may be a timer that fires, on a thread of the runtime.
            return catch::drop_quietly(f);
        }
        self.submit(f, qos, site);
    }

    /// Submits a block that runs beside others.
    pub(crate) fn submit<F>(&self, f: F, qos: Qos, site: &'static Location<'static>)
    where
        F: FnOnce() + Send + 'static,
    {
        // Made here, so that a block that is let in and then dropped unrun leaves too.
        let read = Read { f, inside: InRead(self.kept()) };
        // SAFETY: a fresh block, which leaves when its closure has run or was dropped.
        unsafe { self.push(block::block(move || read.run(site), site), Place::Back, qos) };
    }

    /// Submits a barrier.
    pub(crate) fn barrier<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        // SAFETY: a fresh block.
        unsafe { self.list(block::barrier(f, site)) };
        self.barriers.list();
    }

    /// Submits a barrier, if anything is taken any more.
    pub(crate) fn barrier_or_drop<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if self.refused(site) {
            return catch::drop_quietly(f);
        }
        self.barrier(f, site);
    }

    /// The smallest width in the chain.
    pub(crate) fn room(&self) -> usize {
        let level: &dyn Level = self;
        level.chain().map(Level::width).min().unwrap_or(1) as usize
    }
}

/// A reader that keeps the body. It leaves on drop.
struct InRead(Kept<Body>);

impl Drop for InRead {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A block that is no barrier. Its closure is dropped first, run or not: a queue outlives its
/// blocks.
struct Read<F> {
    f: F,
    inside: InRead,
}

impl<F: FnOnce()> Read<F> {
    fn run(self, site: &'static Location<'static>) {
        let Self { f, inside } = self;
        let frame = inside.0.frame(false);
        let _entered = frame.enter();
        if let Err(payload) = catch::catch(f) {
            inside.0.report(site, payload);
        }
    }
}

/// As [`InRead`], for a barrier that the drain does not run itself.
struct InWrite(Kept<Body>);

impl Drop for InWrite {
    fn drop(&mut self) {
        self.0.writer_leaves();
    }
}
