//! A thread that waits for its turn in a queue: one type of node for all kinds of `sync`.
//!
//! The closure stays on the stack of the thread that waits. The node has three possible ends, and
//! the word of its [`Waiter`] decides between them:
//!
//! - the side that drains the queue runs the closure, and ends the wait;
//! - it is the thread's turn, and the thread goes on itself;
//! - the time is over first: the thread leaves, and the node stays behind, empty.
//!
//! A thread without a time limit cannot leave, so its node is on its stack. Otherwise the node is
//! on the heap and counted.
//!
//! When another thread runs the closure, that thread is in the [frames](Whereabouts) of the waiting
//! one, and works for its class. So "am I on this queue?" and "would this wait for itself?" have
//! the same answers as if the waiting thread had run the closure itself. Not for: which thread may
//! run a closure for another (`sync`).

use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use super::current::Whereabouts;
use super::error::Lost;
use crate::base::block::{self, Kind, Node, VTable};
use crate::base::catch::{self, Payload};
use crate::base::handoff::{Ended, Waiter};
use crate::base::qos::Qos;
use crate::base::sync::{now, thread};
use crate::pool;
use crate::time::when::When;

/// See the module.
#[repr(C)]
pub(crate) struct Waiting {
    node: Node,
    waiter: Waiter,
    /// On the stack of the waiting thread. `None`: the thread only waits for its turn.
    body: Option<*mut (dyn FnMut() + 'static)>,
    frames: Whereabouts,
    qos: Qos,
    /// On the heap: the thread may leave.
    counted: bool,
}

// SAFETY: `body` is a `FnMut` over `Send` parts, and `frames` are those of a waiting thread. Both
// are followed only between a claim and its end.
unsafe impl Send for Waiting {}
// SAFETY: as above.
unsafe impl Sync for Waiting {}

impl Waiting {
    const ON_STACK: VTable = Self::vtable(Kind::Sync, Self::run, Self::end, Self::drop_it);
    const BARRIER: VTable = Self::vtable(Kind::SyncBarrier, Self::run, Self::end, Self::drop_it);
    const COUNTED: VTable = Self::vtable(Kind::Sync, Self::run_claimed, Self::end_counted, Self::drop_counted);

    const fn vtable(
        kind: Kind,
        run: unsafe fn(NonNull<Node>) -> Option<Payload>,
        finish: unsafe fn(NonNull<Node>),
        discard: unsafe fn(NonNull<Node>) -> u64,
    ) -> VTable {
        VTable { kind, run, finish, discard, label: block::no_label }
    }

    fn new(
        vtable: &'static VTable,
        body: Option<*mut (dyn FnMut() + 'static)>,
        site: &'static Location<'static>,
    ) -> Self {
        let (node, waiter) = (Node::new(vtable, site), Waiter::new());
        Self { node, waiter, body, frames: Whereabouts::here(), qos: Qos::current(), counted: false }
    }

    /// For the stack of this thread. `run` is called while the thread [waits](Self::wait), unless
    /// the thread gets its turn. Without a `run`, the thread only waits for its turn. On a
    /// concurrent queue it waits as a barrier, or not.
    ///
    /// # Safety
    /// If the caller pushes the node, it keeps `run`, and does not touch it, until `wait` has
    /// returned.
    pub(super) unsafe fn on_stack(
        run: Option<&mut (dyn FnMut() + '_)>,
        barrier: bool,
        site: &'static Location<'static>,
    ) -> Self {
        // SAFETY: the caller's promise.
        let body = run.map(|run| unsafe { erased(run) });
        Self::new(if barrier { &Self::BARRIER } else { &Self::ON_STACK }, body, site)
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Waits. Called once, after the node was pushed.
    pub(super) fn wait(&self) -> Ended {
        pool::wait_for(&self.waiter)
    }

    /// Has the wait ended?
    pub(super) fn is_over(&self) -> bool {
        self.waiter.ended().is_some()
    }

    /// Runs `f` where `push` puts it, unless `f` has not begun when the time comes. Waits for
    /// either. `push` gets a count, which is dropped when `f` ran, or never will, and the wait,
    /// which it calls afterwards.
    ///
    /// # Errors
    /// Too late, or dropped: `f` did not run.
    ///
    /// # Panics
    /// With the panic of `f`.
    pub(crate) fn sync_within<R: Send, F: FnOnce() -> R + Send>(
        f: F,
        when: When,
        site: &'static Location<'static>,
        push: impl FnOnce(Arc<Self>, &mut dyn FnMut()),
    ) -> Result<R, Lost> {
        let begin = now();
        let (mut f, mut result) = (Some(f), None);
        let mut body = || result = f.take().map(catch::catch);
        // SAFETY: `body` stays until the wait has ended, and nothing unwinds past the wait.
        let ended = unsafe { Self::push_and_wait(&mut body, when, site, push) };
        match (ended, result) {
            (Ended::Ran, Some(Ok(value))) => Ok(value),
            (Ended::Ran, Some(Err(payload))) => resume_unwind(payload),
            (Ended::Late, _) => Err(Lost::Late(now().saturating_duration_since(begin))),
            _ => Err(Lost::Dropped),
        }
    }

    /// # Safety
    /// The caller does not touch `body` until this has returned.
    pub(crate) unsafe fn push_and_wait(
        body: &mut (dyn FnMut() + '_),
        when: When,
        site: &'static Location<'static>,
        push: impl FnOnce(Arc<Self>, &mut dyn FnMut()),
    ) -> Ended {
        // SAFETY: the caller's promise.
        let body = unsafe { erased(body) };
        let waiting = Arc::new(Self { counted: true, ..Self::new(&Self::COUNTED, Some(body), site) });
        let mut wait = || {
            if waiting.waiter.spin().is_none() {
                pool::blocking(|| waiting.waiter.park_within(|| sleep_until(when)));
            }
        };
        // Nothing unwinds past a closure that another thread may be running.
        catch::never_unwinds(|| push(waiting.clone(), &mut wait));
        waiting.waiter.ended().unwrap_or_else(|| unreachable!("`push` has waited"))
    }

    /// The mailbox's count of this.
    pub(crate) fn into_node(waiting: Arc<Self>) -> NonNull<Node> {
        // SAFETY: an `Arc` is never null.
        unsafe { NonNull::new_unchecked(Arc::into_raw(waiting).cast_mut()) }.cast()
    }

    /// Gives the drain right to the thread that waits, whose node is the front and stays there.
    /// `false`: that thread may leave, so it cannot take the right.
    ///
    /// # Safety
    /// `node` is of this type. The caller has the drain right, and gives it up with `true`.
    pub(super) unsafe fn give_turn(node: NonNull<Node>) -> bool {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: the waiting thread stays until the end, which comes once: the node leaves no list
        // before its turn.
        unsafe {
            if (*this).counted {
                return false;
            }
            Waiter::end(&raw const (*this).waiter, Ended::Turn);
        }
        true
    }

    /// # Safety
    /// The waiting thread is in its wait, and stays there.
    unsafe fn run_body(this: *const Self) {
        // SAFETY: the caller's promise: body and frames exist, and nothing else follows them. The
        // closure keeps its own panic.
        unsafe {
            if let Some(body) = (*this).body {
                let _back = (*this).qos.at_least();
                (*this).frames.lend(|| (*body)());
            }
        }
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: on the stack of a thread that waits without a limit.
        unsafe { Self::run_body(node.cast::<Self>().as_ptr()) };
        None
    }

    unsafe fn end(node: NonNull<Node>) {
        // SAFETY: in no list any more. Ended once, and dead afterwards.
        unsafe { Waiter::end(&raw const (*node.cast::<Self>().as_ptr()).waiter, Ended::Ran) };
    }

    unsafe fn drop_it(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `end`. Its thread drops the closure.
        unsafe { Waiter::end(&raw const (*node.cast::<Self>().as_ptr()).waiter, Ended::Dropped) };
        1
    }

    unsafe fn run_claimed(node: NonNull<Node>) -> Option<Payload> {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: the mailbox's count keeps it. It is claimed, and its thread waits for the end.
        unsafe {
            if (*this).waiter.claim() {
                Self::run_body(this);
            }
        }
        None
    }

    unsafe fn end_counted(node: NonNull<Node>) {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: the mailbox's count, made in `into_node`; ended once, if it was claimed.
        unsafe {
            if (*this).waiter.is_claimed() {
                Waiter::end(&raw const (*this).waiter, Ended::Ran);
            }
            drop(Arc::from_raw(this));
        }
    }

    unsafe fn drop_counted(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>().as_ptr();
        // SAFETY: as in `end_counted`.
        unsafe {
            let open = (*this).waiter.claim();
            if open {
                Waiter::end(&raw const (*this).waiter, Ended::Dropped);
            }
            drop(Arc::from_raw(this));
            u64::from(open)
        }
    }
}

/// # Safety
/// The result is not followed after the lifetime of `body`.
unsafe fn erased(body: &mut (dyn FnMut() + '_)) -> *mut (dyn FnMut() + 'static) {
    // SAFETY: only the lifetime changes; the caller's promise.
    unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut (dyn FnMut() + 'static)>(body) }
}

/// Sleeps until it is time to look, or until this thread is woken. `true`: the time is over.
fn sleep_until(when: When) -> bool {
    match when.next_look() {
        _ if when.since().is_some() => return true,
        None => thread::park(),
        #[cfg(not(queues_loom))]
        Some(look) => thread::park_timeout(look.saturating_duration_since(now())),
        // Loom knows no time: the deadline of a model has passed, or never comes.
        #[cfg(queues_loom)]
        Some(_) => thread::park(),
    }
    false
}

/// A [`Waiting`] in a block, for a queue that runs its blocks elsewhere.
pub(super) struct WaitingBlock(Option<NonNull<Node>>);

// SAFETY: it is the only holder of the node, whose content may be sent.
unsafe impl Send for WaitingBlock {}

impl WaitingBlock {
    /// # Safety
    /// `node` is that of a counted [`Waiting`], and the count is given up with this call.
    pub(super) unsafe fn new(node: NonNull<Node>) -> Self {
        Self(Some(node))
    }

    pub(super) fn run(mut self) {
        if let Some(node) = self.0.take() {
            // SAFETY: its only holder runs it once, and ends it.
            unsafe {
                Waiting::run_claimed(node);
                Waiting::end_counted(node);
            }
        }
    }
}

impl Drop for WaitingBlock {
    fn drop(&mut self) {
        if let Some(node) = self.0.take() {
            // SAFETY: its only holder drops it, unrun.
            unsafe { Waiting::drop_counted(node) };
        }
    }
}
