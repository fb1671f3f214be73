//! The body of a concurrent queue: who is let in at once, who is listed, who leaves.
//!
//! While no barrier is about and the width is not full, a block goes straight to the target and a `sync` just counts itself
//! in (`gate`). Whoever finds the gate shut goes to the mailbox, and so does everything behind it; the drain (`drain`)
//! lets what is listed in, one by one, and leaves when it meets something that has to wait.
//!
//! What is let in goes up to the target, and is in until it has run or was dropped: a block until its closure has ended, a
//! queue that targets this one until its turn has ended. With a concurrent target it takes part there as well, from the
//! moment that it is let in *here*: it leaves both when it ends.
//!
//! | queue | its blocks | its barriers | its `sync` |
//! |---|---|---|---|
//! | on the pool | run beside others | run by the drain, alone | on the calling thread |
//! | targets a serial queue | one at a time, with those of the target | the same, after all before | as a `sync` of the target |
//! | targets a concurrent queue | beside others, within both widths | alone here, an ordinary block there | level by level |
//!
//! Suspended or inactive, it is listed once more by each suspension, so that nobody finds the gate open. What was let in
//! before still runs.

pub(crate) mod drain;
pub(crate) mod gate;
mod grant;
mod sync;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use super::current::{self, Frame, Needs};
use super::lift::Lifts;
use super::specific::Specifics;
use super::target::{Level, Target};
use crate::block::{self, Node, Runnable};
use crate::catch::{self, Payload};
use crate::mailbox::Mailbox;
use crate::pool::{Place, Pool};
use crate::qos::Qos;
use crate::state::{Resumed, State};
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use gate::Gate;

/// See the module. Always in an `Arc`: blocks that are in hold a count, and so does the drain.
#[repr(C)]
pub(crate) struct Body {
    /// What the pool holds while the mailbox has something, and the stub of the mailbox while it drains; first, so that a
    /// pointer to it is a pointer to the queue.
    node: Node,
    mail: Mailbox,
    pub(crate) gate: Gate,
    pub(super) target: Target,
    state: State,
    handles: AtomicUsize,
    qos: Qos,
    lifts: Lifts,
    label: Cow<'static, str>,
    pub(super) specifics: Specifics,
}

impl Body {
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.target.pool()
    }

    /// The class that it was given.
    pub(crate) fn qos(&self) -> Qos {
        self.qos
    }

    /// The class in which it lets something in now: its own, or that of a thread that waits for it.
    #[inline]
    fn class(&self) -> Qos {
        self.lifts.highest().map_or(self.qos, |lifted| lifted.max(self.qos))
    }

    fn lane(&self) -> NonNull<Node> {
        NonNull::from(self).cast()
    }

    #[cold]
    fn report(&self, site: &'static Location<'static>, payload: Payload) {
        self.pool().count_panic();
        catch::report(&self.label, site, payload);
    }

    /// A node comes: it goes up if the gate is open, and is listed otherwise.
    ///
    /// # Safety
    /// As for [`Target::push`].
    pub(super) unsafe fn enter(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        // SAFETY: the caller's promise. Let in, it may end the last thing that keeps this queue: nothing is touched then.
        unsafe {
            if self.gate.try_read() {
                self.target.push(node, place, qos.max(self.class()));
            } else {
                self.list(node);
            }
        }
    }

    /// Somebody who is in waits for a node that is to come in, here and in what this targets. The target first, as who leaves
    /// leaves it first. `false`: nobody is in.
    pub(super) fn try_join(&self) -> bool {
        if let Target::Concurrent(up) = &self.target
            && !up.try_join()
        {
            return false;
        }
        let joined = self.gate.try_join();
        if !joined {
            self.target.leave();
        }
        joined
    }

    /// What [joined](Self::try_join) goes to where it runs.
    ///
    /// # Safety
    /// As for [`Target::push`].
    pub(super) unsafe fn push_up(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        // SAFETY: the caller's promise.
        unsafe {
            match &self.target {
                Target::Concurrent(up) => up.push_up(node, place, qos.max(self.class())),
                target => target.push(node, place, qos.max(self.class())),
            }
        }
    }

    /// Puts a node into the mailbox; whoever turns it on sends the drain.
    ///
    /// # Safety
    /// As for [`Mailbox::push`].
    unsafe fn list(&self, node: NonNull<Node>) {
        self.gate.list();
        // SAFETY: the caller's promise. Whoever turned the mailbox on has the drain right: what is in it cannot end, and
        // with that neither can this queue, before the drain was sent. The drain's own count is taken back when the mailbox
        // turned idle; the body is in an `Arc`.
        unsafe {
            if self.mail.push(node, || ()) {
                Arc::increment_strong_count(self);
                self.send_drain(Place::Next);
            }
        }
    }

    /// Sends the drain, whose count exists. It runs on the pool, whatever the target is: it only lets others in.
    fn send_drain(&self, place: Place) {
        self.pool().submit_as(Runnable(self.lane()), place, self.class());
    }

    /// What came in as a reader leaves, the target first, so that the next one finds room there.
    #[inline]
    pub(super) fn reader_leaves(&self) {
        self.target.leave();
        self.leave(self.gate.read_ends());
    }

    /// What came in as `WRITER` leaves.
    fn writer_leaves(&self) {
        self.target.leave();
        self.leave(self.gate.write_ends());
    }

    #[inline]
    fn leave(&self, sends_drain: bool) {
        if sends_drain {
            self.send_drain(Place::Next);
            self.pool().waited_outside();
        }
    }

    fn suspend(&self) -> bool {
        // Before it counts: from then on nobody finds the gate open, until the `unlist` behind the resume.
        self.gate.list();
        let counted = self.state.suspend();
        if !counted {
            self.gate.unlist();
        }
        counted
    }

    fn resumed(&self, how: Resumed) -> bool {
        if how == Resumed::NotSuspended {
            return false;
        }
        self.gate.unlist();
        if how == Resumed::Schedule {
            self.send_held();
        }
        true
    }

    /// The drainer had left it, held: it goes on.
    fn send_held(&self) {
        // A shutdown may have taken it out of the list, and with it the drain right.
        if self.pool().held.take(self.lane()) {
            self.send_drain(Place::Back);
        }
    }

    /// The last handle is gone: what is held runs.
    #[cold]
    fn retire(&self) {
        // If that ends the last of it, nothing but this holds the pool.
        let _pool = self.pool().clone();
        let before = self.state.clear();
        // What it was listed for is not taken back: nobody comes any more.
        if before.drainer_left || (before.suspended || before.inactive) && !self.mail.is_idle() {
            let why = if before.inactive { "before it was activated" } else { "while suspended" };
            log::warn!("queue \"{}\" lost its last handle {why}; what it holds runs now", self.label);
        }
        if before.drainer_left {
            self.send_held();
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // A shutdown that looks at what threads are in may have read the label through this body a moment ago.
        self.pool().before_free();
    }
}

/// A reader that holds a count of the body leaves on drop.
struct InRead(Arc<Body>);

impl Drop for InRead {
    #[inline]
    fn drop(&mut self) {
        self.0.reader_leaves();
    }
}

/// As [`InRead`], for a barrier that the drain does not run itself.
struct InWrite(Arc<Body>);

impl Drop for InWrite {
    fn drop(&mut self) {
        self.0.writer_leaves();
    }
}

/// A queue has its turn in a concurrent one: it leaves on drop.
pub(super) struct LaneTurn {
    _inside: InRead,
}

/// A counted handle of a user, or of a queue that targets this one.
pub(crate) struct Handle(Arc<Body>);

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("label", &self.label()).finish_non_exhaustive()
    }
}

impl std::ops::Deref for Handle {
    type Target = Body;

    #[inline]
    fn deref(&self) -> &Body {
        &self.0
    }
}

impl Clone for Handle {
    fn clone(&self) -> Self {
        // Relaxed: a new handle is made from one that exists.
        self.handles.fetch_add(1, Relaxed);
        Self(self.0.clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Release: what was done through this handle happens before the end; partner: the fence.
        if self.handles.fetch_sub(1, Release) == 1 {
            fence(Acquire);
            self.retire();
        }
    }
}

impl Handle {
    pub(crate) fn new(
        label: Cow<'static, str>,
        target: Target,
        width: u32,
        state: State,
        qos: Qos,
        site: &'static Location<'static>,
    ) -> Self {
        let (node, mail, gate) = (Node::new(&Body::VTABLE, site), Mailbox::new(), Gate::new(width));
        if !state.is_clear() {
            gate.list();
        }
        let (handles, lifts, specifics) = (AtomicUsize::new(1), Lifts::default(), Specifics::default());
        if qos != Qos::Default {
            target.pool().grade();
        }
        Self(Arc::new(Body { node, mail, gate, target, state, handles, qos, lifts, label, specifics }))
    }

    /// For a queue that targets this one, and has its turn in it.
    pub(super) fn lane_turn(&self) -> LaneTurn {
        LaneTurn { _inside: InRead(self.0.clone()) }
    }

    /// Submits a block that runs beside others.
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&self, f: F, qos: Qos, site: &'static Location<'static>) {
        // Made here, so that a block that is let in and then dropped unrun leaves too.
        let inside = InRead(self.0.clone());
        let read = move || {
            let inside = inside;
            let frame = Frame::concurrent(&*inside.0, false);
            let _entered = frame.enter();
            if let Err(payload) = catch::catch(f) {
                inside.0.report(site, payload);
            }
        };
        // SAFETY: a fresh block, which leaves when its closure has run or was dropped.
        unsafe { self.enter(block::block(read, site), Place::Back, qos) };
    }

    /// Submits a barrier.
    pub(crate) fn barrier<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        // SAFETY: a fresh block.
        unsafe { self.list(block::barrier(f, site)) };
    }

    /// As for a serial queue; `false`: suspended too often.
    pub(crate) fn suspend(&self) -> bool {
        self.0.suspend()
    }

    /// `false`: it was not suspended.
    pub(crate) fn resume(&self) -> bool {
        self.resumed(self.state.resume())
    }

    pub(crate) fn activate(&self) {
        self.resumed(self.state.activate());
    }

    /// The narrowest of the chain.
    pub(crate) fn room(&self) -> usize {
        let width = |level| match level {
            Level::Serial(_) => 1,
            Level::Concurrent(body) => body.gate.width() as usize,
        };
        self.level().chain().map(width).min().unwrap_or(1)
    }

    pub(crate) fn level(&self) -> Level<'_> {
        Level::Concurrent(self)
    }

    /// Is the calling thread in a block that has to end before this queue can run another, or a barrier?
    pub(crate) fn waits_for_this_thread(&self, barrier: bool) -> bool {
        current::blocks_on(self.level(), barrier).is_some()
    }

    /// What a block that is submitted now needs, if the calling thread is in the way.
    pub(crate) fn needs_this_thread(&self) -> Option<Needs> {
        Needs::of_this_thread(self.level())
    }

    /// Is this thread in a block of it, or of a queue that targets it? `Some(true)`: in its barrier.
    pub(crate) fn entered(&self) -> Option<bool> {
        current::entered(self)
    }
}
