//! Where a queue's blocks really run, and the chain of targets from a queue up to the pool.
//!
//! A target is a handle of a queue that exists already, given once: so no cycle can be built, and a chain can be walked
//! without a lock. Not for: what a level does with what comes in (`core`, `concurrent`).

use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::Queue;
use super::concurrent::{Body, Handle};
use super::core::QueueCore;
use super::specific::Specifics;
use crate::block::{Node, Runnable};
use crate::pool::{Place, Pool};
use crate::qos::Qos;
use crate::runtime::{Owner, Runtime};

/// See the module.
#[derive(Debug)]
pub(crate) enum Target {
    Pool(Arc<Owner>),
    Queue(Queue),
    Concurrent(Handle),
}

/// What a queue may target: made from a reference to a [`Queue`] or to a concurrent one, for the `target` of the builders.
#[derive(Debug)]
pub struct TargetQueue(pub(crate) Target);

impl From<&Queue> for TargetQueue {
    fn from(queue: &Queue) -> Self {
        Self(Target::Queue(queue.clone()))
    }
}

impl Target {
    /// What a builder was told, for a queue of that label.
    ///
    /// # Panics
    /// When both a target and another runtime were given; when the default runtime is needed and cannot be started.
    #[track_caller]
    pub(crate) fn choose(label: &str, target: Option<Self>, runtime: Option<Runtime>) -> Self {
        let Some(target) = target else {
            return Self::Pool(runtime.unwrap_or_else(Runtime::global).into_owner());
        };
        let elsewhere = runtime.is_some_and(|runtime| !Arc::ptr_eq(runtime.pool(), target.pool()));
        if let (true, Some(level)) = (elsewhere, target.level()) {
            panic!(
                "queue \"{label}\" cannot target \"{}\": that queue is on another runtime; leave out `runtime`",
                level.label()
            );
        }
        target
    }

    pub(super) fn is_pool(&self) -> bool {
        matches!(self, Self::Pool(_))
    }

    /// The queue that it is, unless it is the pool.
    pub(crate) fn level(&self) -> Option<Level<'_>> {
        match self {
            Self::Pool(_) => None,
            Self::Queue(queue) => Some(Level::Serial(queue.core())),
            Self::Concurrent(queue) => Some(Level::Concurrent(queue)),
        }
    }

    #[inline]
    pub(crate) fn owner(&self) -> &Arc<Owner> {
        match self {
            Self::Pool(owner) => owner,
            _ => self.owner_above(),
        }
    }

    // Not inlined: a queue on the pool, which most are, asks for its owner at every submit.
    #[inline(never)]
    fn owner_above(&self) -> &Arc<Owner> {
        let mut target = self;
        loop {
            target = match target {
                Self::Pool(owner) => return owner,
                Self::Queue(queue) => &queue.core().target,
                Self::Concurrent(queue) => &queue.target,
            }
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.owner().pool()
    }

    /// The one door: what is to run goes up a level, in the class `qos`, which a serial queue does not ask for. It may run,
    /// and be gone, before this returns.
    ///
    /// # Safety
    /// `node` is valid for a [`Mailbox::push`](crate::mailbox::Mailbox::push), and its content may be sent to another
    /// thread. If this is a concurrent queue, whoever runs or drops the node [leaves](Self::leave) afterwards.
    pub(super) unsafe fn push(&self, node: NonNull<Node>, place: Place, qos: Qos) {
        match self {
            Self::Pool(owner) => owner.pool().submit_as(Runnable(node), place, qos),
            // SAFETY: the caller's promise.
            Self::Queue(queue) => unsafe { queue.core().push(node) },
            // SAFETY: as above.
            Self::Concurrent(queue) => unsafe { queue.enter(node, place, qos) },
        }
    }

    /// Something that never got here leaves soon as if it had: it is going to be dropped.
    pub(super) fn count_reader(&self) {
        if let Self::Concurrent(queue) = self {
            queue.gate.count_reader();
            queue.target.count_reader();
        }
    }

    /// What was [pushed](Self::push) ran, or was dropped: it makes room. A serial queue has noticed that itself.
    pub(super) fn leave(&self) {
        if let Self::Concurrent(queue) = self {
            queue.reader_leaves();
        }
    }
}

/// A queue of either kind.
#[derive(Clone, Copy)]
pub(crate) enum Level<'a> {
    Serial(&'a QueueCore),
    Concurrent(&'a Body),
}

impl<'a> Level<'a> {
    fn target(self) -> &'a Target {
        match self {
            Self::Serial(core) => &core.target,
            Self::Concurrent(body) => &body.target,
        }
    }

    pub(crate) fn label(self) -> &'a str {
        match self {
            Self::Serial(core) => core.label(),
            Self::Concurrent(body) => body.label(),
        }
    }

    pub(super) fn specifics(self) -> &'a Specifics {
        match self {
            Self::Serial(core) => &core.specifics,
            Self::Concurrent(body) => &body.specifics,
        }
    }

    /// This queue, its target, and so on to the pool.
    pub(super) fn chain(self) -> impl Iterator<Item = Self> {
        std::iter::successors(Some(self), |level| level.target().level())
    }

    pub(super) fn is(self, other: Level<'_>) -> bool {
        ptr::addr_eq(self.address(), other.address())
    }

    pub(super) fn address(self) -> *const Node {
        match self {
            Self::Serial(core) => ptr::from_ref(core).cast(),
            Self::Concurrent(body) => ptr::from_ref(body).cast(),
        }
    }
}
