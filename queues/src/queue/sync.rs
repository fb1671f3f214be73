//! `sync`: run here and now if the queue is idle, else queue up and wait.
//!
//! Idle queue: one exchange takes the drain right with a node on the caller's stack, the closure runs on this thread, one
//! exchange gives it back. With targets the same is done for each level. Busy queue: the closure itself is pushed, by
//! pointer; whoever drains runs it, and a thread that lets go of the queue runs up to [`COMBINE`] closures of other waiters
//! before it schedules the rest ("flat combining", Hendler, Incze, Shavit and Tzafrir, 2010). That is why the closure
//! must be `Send`: under contention it may run on another thread while its own waits.

use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::time::Duration;

use super::Queue;
use super::core::QueueCore;
use super::current::{self, Frame};
use super::error::{DeadlockError, SyncError, TrySyncError};
use super::lift::Lift;
use super::target::Target;
use super::timed::Timed;
use super::visit::Guest;
use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::handoff::{Ended, Waiter};
use crate::pool::{self, Place};
use crate::qos::Qos;
use crate::time::When;

/// How many closures of other threads one thread runs before it lets somebody else: bounds how late its own `sync` returns.
const COMBINE: u32 = 64;

impl Queue {
    /// Runs `f` on the queue and returns its value: on this thread if the queue is idle, otherwise after all that was
    /// submitted before. `f` may borrow.
    ///
    /// Under contention `f` may run on another thread while this one waits: on a worker, or on one that leaves its own `sync`
    /// of this queue. Thread-locals are that thread's then, but it works for the [class](Qos::current) of this one, if that
    /// is higher. And `f` must not wait for what another thread does after its `sync`: it may be that thread that runs `f`.
    ///
    /// A thread in a block of a concurrent queue may wait for a queue that targets that one directly, also while a barrier
    /// waits for the block. If there is another concurrent queue in between, such a wait never ends, and is not reported.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("counter");
    /// let mut log = Vec::new();
    /// let length = queue.sync(|| {
    ///     log.push("borrowed");
    ///     log.len()
    /// });
    /// assert_eq!(length, 1);
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`, if that panics: the queue itself goes on. With a sentence that names the queues, instead of
    /// waiting for ever, when this thread is in a block of this queue, or of one that shares a serial target with it; see
    /// [`try_sync`](Self::try_sync) and [`sync_timeout`](Self::sync_timeout) for errors instead. When the queue was busy
    /// and its runtime was shut down before `f` could run.
    #[track_caller]
    #[inline]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        self.sync_at(f, Location::caller())
    }

    #[inline]
    pub(super) fn sync_at<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: &'static Location<'static>) -> R {
        let core = self.core();
        if core.target.is_pool() && core.state.is_clear() {
            let node = Node::new(&HOLDER, site);
            // SAFETY: `node` lives until `hold` is dropped, which unlinks it.
            if unsafe { core.mail.try_hold(NonNull::from(&node)) } {
                let _hold = Hold { core, node: &node };
                let frame = Frame::serial(core);
                let _inside = frame.enter();
                return f();
            }
        }
        self.sync_or_wait(f, site)
    }

    #[cold]
    #[inline(never)]
    fn sync_or_wait<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: &'static Location<'static>) -> R {
        let f = match self.try_hold_chain(f, site) {
            Ok(value) => return value,
            Err(f) => f,
        };
        if let Some(inside) = current::blocks_on(self.core().level(), false) {
            panic!("{}", DeadlockError::new(self, inside, site));
        }
        if self.is_forked() {
            panic!(
                "sync on \"{}\" at {site}: the queue is busy, and {}",
                self.label(),
                self.core().pool().why_refused()
            );
        }
        let mut block = SyncBlock {
            node: Node::new(const { &SyncBlock::<R, F>::VTABLE }, site),
            waiter: Waiter::new(),
            qos: Qos::current(),
            body: Some(f),
            result: None,
        };
        let node = NonNull::from(&mut block).cast::<Node>();
        let (lift, guest) = (Lift::here(self.core()), Guest::here(self.core()));
        // SAFETY: the block stays on this stack until the waiter ended, which nothing passes by. It may be sent: `F` and `R` are
        // `Send`.
        let ended = catch::never_unwinds(|| unsafe {
            self.core().push(node);
            if let Some(lift) = &lift {
                lift.hurry();
            }
            if let Some(guest) = &guest {
                guest.hurry();
            }
            let waiter = &raw const (*node.cast::<SyncBlock<R, F>>().as_ptr()).waiter;
            pool::wait_for(&*waiter)
        });
        debug_assert!(block.waiter.is_over());
        match (ended, block.result) {
            (Ended::Ran, Some(Ok(value))) => value,
            (Ended::Ran, Some(Err(payload))) => resume_unwind(payload),
            _ => panic!(
                "sync on \"{}\" at {site}: the queue was busy, and its runtime was shut down before the closure could run",
                self.label()
            ),
        }
    }

    /// Runs `f` here if this queue and all its targets are idle.
    fn try_hold_chain<R, F: FnOnce() -> R>(&self, f: F, site: &'static Location<'static>) -> Result<R, F> {
        let mut body = Some(f);
        let mut result = None;
        let core = self.core();
        let ran = hold_core(core, site, &mut || {
            let frame = Frame::serial(core);
            let _inside = frame.enter();
            result = body.take().map(|f| f());
        });
        match (ran, body, result) {
            (true, None, Some(value)) => Ok(value),
            (false, Some(f), None) => Err(f),
            _ => unreachable!("the closure runs if and only if every level was taken"),
        }
    }

    /// Runs `f` if that is possible without waiting for anybody; gives it back otherwise.
    ///
    /// # Errors
    /// [`TrySyncError::Busy`] when the queue, or one of its targets, is busy or suspended; [`TrySyncError::Deadlock`] when
    /// it would never become idle, because this very thread is in it. Both hold the closure.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        let site = Location::caller();
        self.try_hold_chain(f, site).map_err(|f| match current::blocks_on(self.core().level(), false) {
            Some(inside) => TrySyncError::Deadlock(DeadlockError::new(self, inside, site), f),
            None => TrySyncError::Busy(f),
        })
    }

    /// As [`sync`](Self::sync), but waits no longer than `timeout` for `f` to begin. Once it has begun it is waited for.
    ///
    /// # Errors
    /// [`SyncError`]: too late, a deadlock, or the runtime was shut down; `f` was dropped unrun in each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R: Send, F: FnOnce() -> R + Send>(&self, timeout: Duration, f: F) -> Result<R, SyncError> {
        self.sync_within(When::from(timeout), f, Location::caller())
    }

    /// As [`sync_timeout`](Self::sync_timeout), with a point in time: by either clock, see [`When`].
    ///
    /// # Errors
    /// As for `sync_timeout`.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_until<R: Send, F: FnOnce() -> R + Send>(&self, when: impl Into<When>, f: F) -> Result<R, SyncError> {
        self.sync_within(when.into(), f, Location::caller())
    }

    fn sync_within<R: Send, F: FnOnce() -> R + Send>(
        &self,
        when: When,
        f: F,
        site: &'static Location<'static>,
    ) -> Result<R, SyncError> {
        let f = match self.try_hold_chain(f, site) {
            Ok(value) => return Ok(value),
            Err(f) => f,
        };
        if let Some(inside) = current::blocks_on(self.core().level(), false) {
            return Err(SyncError::Deadlock(DeadlockError::new(self, inside, site)));
        }
        if self.is_forked() {
            return Err(SyncError::Shutdown { label: self.label().to_owned() });
        }
        // Whoever runs it works for this thread.
        let qos = Qos::current();
        let f = move || {
            let _back = qos.at_least();
            f()
        };
        let (lift, guest) = (Lift::here(self.core()), Guest::here(self.core()));
        Timed::sync(f, when, self.label(), site, |timed| {
            // SAFETY: the block is on the heap and counted, and waited for. It may be sent: `F` and `R` are `Send`.
            unsafe { self.core().push(Timed::into_node(timed)) };
            if let Some(lift) = &lift {
                lift.hurry();
            }
            if let Some(guest) = &guest {
                guest.hurry();
            }
        })
    }
}

/// The node of a thread that holds a queue itself: never run by anybody.
static HOLDER: VTable = VTable {
    kind: Kind::Holder,
    run: holder_does_not_run,
    finish: holder_does_not_finish,
    discard: holder_is_not_discarded,
    label: block::no_label,
};

unsafe fn holder_does_not_run(_: NonNull<Node>) -> Option<Payload> {
    unreachable!("the thread that holds a queue unlinks its node itself")
}

unsafe fn holder_does_not_finish(_: NonNull<Node>) {
    unreachable!("the thread that holds a queue unlinks its node itself")
}

unsafe fn holder_is_not_discarded(_: NonNull<Node>) -> u64 {
    unreachable!("the thread that holds a queue unlinks its node itself")
}

/// The drain right, held by a thread for one closure; let go on drop, also when the closure panics.
struct Hold<'a> {
    core: &'a QueueCore,
    node: &'a Node,
}

impl Drop for Hold<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we hold the drain right since `try_hold`, our node is the front.
        unsafe {
            if let Some(next) = self.core.mail.let_go(NonNull::from(self.node)) {
                settle(self.core, next);
                // Counted by whoever pushed `next`.
                self.core.pool().waited_outside();
            }
        }
    }
}

/// Takes `target` and everything above it, if all are idle or have room, and runs `f`.
pub(super) fn hold(target: &Target, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool {
    match target {
        Target::Pool(_) => {
            f();
            true
        }
        Target::Queue(queue) => hold_core(queue.core(), site, f),
        Target::Concurrent(queue) => queue.hold(false, site, f),
    }
}

fn hold_core(core: &QueueCore, site: &'static Location<'static>, f: &mut dyn FnMut()) -> bool {
    if !core.state.is_clear() {
        return false;
    }
    let node = Node::new(&HOLDER, site);
    // SAFETY: `node` lives until `_hold` is dropped, which unlinks it.
    if !unsafe { core.mail.try_hold(NonNull::from(&node)) } {
        return false;
    }
    let _hold = Hold { core, node: &node };
    hold(&core.target, site, f)
}

/// Lets go of a queue in which others wait: runs some waiters' closures, then schedules the rest.
///
/// # Safety
/// The caller has the drain right, and `node` is the front.
#[cold]
unsafe fn settle(core: &QueueCore, mut node: NonNull<Node>) {
    // SAFETY: the drain right is ours until the mailbox closes or the queue is scheduled.
    unsafe {
        // Not while this thread unwinds: closures of others would find themselves `panicking`.
        let combine = core.target.is_pool() && !std::thread::panicking();
        let mut left = if combine { COMBINE } else { 0 };
        while left > 0 && node.as_ref().vtable.kind == Kind::Sync && core.state.is_clear() {
            let vtable = node.as_ref().vtable;
            let next = {
                // The closure is another thread's: what this thread is in besides must not concern it.
                let frame = Frame::serial_alone(core);
                let _inside = frame.enter();
                let none = (vtable.run)(node);
                debug_assert!(none.is_none(), "a waiter gets its panic itself");
                core.mail.unlink(node)
            };
            (vtable.finish)(node);
            match next {
                Some(next) => node = next,
                None => return,
            }
            left -= 1;
        }
        core.mail.set_front(node);
        core.schedule(Place::Next);
    }
}

/// A closure on the stack of the thread that waits for it.
#[repr(C)]
struct SyncBlock<R, F> {
    node: Node,
    waiter: Waiter,
    /// Of the waiting thread: whoever runs the closure works for that one.
    qos: Qos,
    body: Option<F>,
    result: Option<Result<R, Payload>>,
}

impl<R: Send, F: FnOnce() -> R + Send> SyncBlock<R, F> {
    const VTABLE: VTable = VTable {
        kind: Kind::Sync,
        run: Self::run,
        finish: Self::finish,
        discard: Self::discard,
        label: block::no_label,
    };

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: the waiting thread does not touch `body` and `result` before the waiter ended.
        unsafe {
            if let Some(body) = (*this).body.take() {
                let _back = (*this).qos.at_least();
                (*this).result = Some(catch::catch(body));
            }
        }
        None
    }

    unsafe fn finish(node: NonNull<Node>) {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: it ran, is in no list, and is ended once; dead afterwards.
        unsafe { Waiter::end(&raw const (*this).waiter, Ended::Ran) };
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: it is in no list and will not run; dead afterwards. Its thread drops the closure.
        unsafe { Waiter::end(&raw const (*this).waiter, Ended::Dropped) };
        1
    }
}
