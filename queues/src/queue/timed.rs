//! A closure that its thread may take back: what `sync_timeout` puts into the mailbox.
//!
//! The node is on the heap and counted, because it stays in the mailbox when its thread goes; the closure is on the stack
//! of the thread, and whoever changes `claim` first may touch it.

use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Instant;

use super::error::SyncError;
use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::pool;
use crate::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Acquire, Release},
};
use crate::sync::{Condvar, Mutex, lock, now, planted};
use crate::time::When;

/// Who may touch the closure of a timed `sync`.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody yet: the first to change this word.
    Open,
    /// The drainer runs it.
    Running,
    /// It ran.
    Ran,
    /// The waiting thread took it back: too late.
    Withdrawn,
    /// It never will run.
    Dropped,
}

impl Claim {
    /// What the waiting thread returns, once the wait has ended: the `result` that its closure left, or why it left none.
    ///
    /// # Panics
    /// With the panic of the closure.
    fn outcome<R>(self, result: Option<Result<R, Payload>>, label: &str, begin: Instant) -> Result<R, SyncError> {
        match (self, result) {
            (Self::Withdrawn, _) => Err(SyncError::Timeout { label: label.to_owned(), after: begin.elapsed() }),
            (Self::Dropped, _) => Err(SyncError::Shutdown { label: label.to_owned() }),
            (_, Some(Ok(value))) => Ok(value),
            (_, Some(Err(payload))) => resume_unwind(payload),
            (_, None) => unreachable!("it ended, so it ran"),
        }
    }
}

/// A closure that its thread may take back: the node is on the heap, because it stays in the mailbox then.
#[repr(C)]
pub(crate) struct Timed {
    node: Node,
    claim: AtomicU8,
    /// On the stack of the waiting thread; touched by the one who claimed it.
    body: *mut (dyn FnMut() + 'static),
    ended: Mutex<bool>,
    bell: Condvar,
}

// SAFETY: `body` is a `FnMut` over `Send` parts, touched only under the claim; the rest is shared by design.
unsafe impl Send for Timed {}
// SAFETY: as above.
unsafe impl Sync for Timed {}

impl Timed {
    /// Has `f` run where `push` puts it, unless it has not begun when the time comes, and waits for that. What is pushed is a
    /// count that is dropped when it ran, or will not.
    ///
    /// # Errors
    /// Too late, or dropped: `f` did not run.
    ///
    /// # Panics
    /// With the panic of `f`.
    pub(crate) fn sync<R: Send, F: FnOnce() -> R + Send>(
        f: F,
        when: When,
        label: &str,
        site: &'static Location<'static>,
        push: impl FnOnce(Arc<Self>),
    ) -> Result<R, SyncError> {
        let begin = now();
        let (mut f, mut result) = (Some(f), None);
        let mut body = || result = f.take().map(catch::catch);
        let timed = Arc::new(Self::new(site, &mut body));
        let claim = timed.push_and_wait(when, || push(timed.clone()));
        claim.outcome(result, label, begin)
    }

    const VTABLE: VTable = VTable {
        kind: Kind::Sync,
        run: Self::run,
        finish: Self::finish,
        discard: Self::discard,
        label: block::no_label,
    };

    pub(crate) fn new<'a>(site: &'static Location<'static>, body: &'a mut (dyn FnMut() + 'a)) -> Self {
        // SAFETY: only the lifetime changes. The pointer is followed between a claim and its end alone, and the waiting
        // thread, on whose stack `body` lies, does not leave `wait` in such a moment.
        let body = unsafe {
            std::mem::transmute::<*mut (dyn FnMut() + 'a), *mut (dyn FnMut() + 'static)>(std::ptr::from_mut(body))
        };
        let node = Node::new(&Self::VTABLE, site);
        Self { node, claim: AtomicU8::new(Claim::Open as u8), body, ended: Mutex::new(false), bell: Condvar::new() }
    }

    /// The mailbox's count of it.
    pub(crate) fn into_node(timed: Arc<Self>) -> NonNull<Node> {
        // SAFETY: an `Arc` is never null.
        unsafe { NonNull::new_unchecked(Arc::into_raw(timed).cast_mut()) }.cast()
    }

    fn claim(&self, claim: Claim) -> bool {
        // AcqRel: whoever claims sees the closure as its thread left it.
        let open = self.claim.compare_exchange(Claim::Open as u8, claim as u8, AcqRel, Acquire).is_ok();
        open || planted("timed: a claim is not asked for")
    }

    fn end(&self, how: Claim) {
        // Release: the result is visible to the waiting thread; partner: the Acquire in `wait`.
        self.claim.store(how as u8, Release);
        *lock(&self.ended) = true;
        self.bell.notify_one();
    }

    /// Lets `push` put it where it will be run, and waits until it ran or was dropped; withdraws it at the deadline, if it has
    /// not begun. Nothing unwinds meanwhile, past the closure that others may touch.
    pub(crate) fn push_and_wait(&self, deadline: When, push: impl FnOnce()) -> Claim {
        catch::never_unwinds(|| {
            push();
            self.wait(deadline)
        })
    }

    fn wait(&self, deadline: When) -> Claim {
        pool::blocking(|| {
            let mut ended = lock(&self.ended);
            while !*ended {
                let late = deadline.since().is_some();
                if late && self.claim(Claim::Withdrawn) {
                    return Claim::Withdrawn;
                }
                // Too late to withdraw: it runs, and its end rings.
                let deadline = if late { When::NEVER } else { deadline };
                ended = deadline.wait(&self.bell, ended);
            }
            match self.claim.load(Acquire) {
                claim if claim == Claim::Dropped as u8 => Claim::Dropped,
                _ => Claim::Ran,
            }
        })
    }

    fn run_claimed(&self) {
        if self.claim(Claim::Running) {
            // SAFETY: claimed: the waiting thread waits for the end, which comes next.
            unsafe { (*self.body)() };
            self.end(Claim::Ran);
        }
    }

    /// It will not run; `false`: it did, or was taken back.
    fn drop_claimed(&self) -> bool {
        let open = self.claim(Claim::Dropped);
        if open {
            self.end(Claim::Dropped);
        }
        open
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the mailbox's count keeps it alive.
        unsafe { node.cast::<Self>().as_ref() }.run_claimed();
        None
    }

    unsafe fn finish(node: NonNull<Node>) {
        // SAFETY: the mailbox's count, made in `into_node`.
        drop(unsafe { Arc::from_raw(node.cast::<Self>().as_ptr()) });
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run` and `finish`.
        unsafe {
            let open = node.cast::<Self>().as_ref().drop_claimed();
            Self::finish(node);
            u64::from(open)
        }
    }
}

/// The same in a block, for a queue that runs its blocks elsewhere.
pub(super) struct TimedBlock(Arc<Timed>);

impl TimedBlock {
    pub(super) fn new(timed: Arc<Timed>) -> Self {
        Self(timed)
    }

    pub(super) fn run(self) {
        self.0.run_claimed();
    }
}

impl Drop for TimedBlock {
    fn drop(&mut self) {
        self.0.drop_claimed();
    }
}
