//! The queue that a block was submitted to, to detect that a wait for the block would never end.
//!
//! A task, a work item and a group know the origin of the block that they wait for. An origin names
//! the queue by its address and holds no handle. So the last handle of the program is really the
//! last one, even while a wait is pending. The address is valid as long as the block exists,
//! because a queue outlives its blocks. This gives the rule: an origin is kept under a lock that
//! the block takes before it goes, together with the state that says whether it has gone. The
//! origin is only read under that lock.
//!
//! Not for: which queues this thread is in (`current`).

use std::ptr::NonNull;
use std::sync::Arc;
use std::thread::ThreadId;

use super::Queue;
use super::concurrent::Body;
use super::core::QueueCore;
use super::current;
use super::level::{Kept, Level};
use crate::pool::Gone;
use crate::pool::fork;

/// See the module.
pub(crate) enum Origin {
    /// A serial queue.
    Serial(NonNull<QueueCore>),
    /// A concurrent queue.
    Concurrent(NonNull<Body>),
    /// A concurrent queue, for a barrier.
    Barrier(NonNull<Body>),
    /// A concurrent queue, for a barrier or not, behind other barriers.
    Behind(Box<Behind>),
    /// A single thread.
    Thread(Arc<Home>),
    /// The workers of a runtime, in no queue; how often the process had forked when the block was
    /// submitted.
    Workers(u32),
    /// Something else, which can answer.
    Other(Arc<Other>),
    /// Nothing is known.
    Unknown,
}

// SAFETY: the addresses are followed only under the conditions of `outlook`, and the queues are
// shared by design.
unsafe impl Send for Origin {}
// SAFETY: as above.
unsafe impl Sync for Origin {}

/// A single thread, and the name of what runs there.
pub(crate) struct Home {
    pub(crate) thread: ThreadId,
    pub(crate) label: Box<str>,
}

/// Something that is no queue, and knows whether it waits for the calling thread. It must be asked
/// under no lock, because the answer is the code of a user.
pub(crate) struct Other {
    pub(crate) label: Arc<str>,
    pub(crate) waits_for_this_thread: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A block that comes behind barriers. Few blocks do.
pub(crate) struct Behind {
    queue: NonNull<Body>,
    barrier: bool,
    /// The barriers ahead of it: the queue of each, and its number there.
    before: Vec<(NonNull<Body>, u32)>,
}

/// It must not make a task larger.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Origin>() <= 16);

/// The outlook of a wait.
pub(crate) enum Outlook {
    /// The wait may end, as far as is known.
    Open,
    /// The wait would never end, because the calling thread is in the way. Holds the label of the
    /// queue.
    Deadlock(String),
    /// The wait would never end, because the workers of the queue are threads of the parent
    /// process. Holds the label and the reason.
    Forked(String, Gone),
    /// Unknown here: this must be asked.
    Ask(Arc<Other>),
}

impl Origin {
    #[inline]
    pub(crate) fn of(queue: &Queue) -> Self {
        Self::Serial(queue.core.as_ptr())
    }

    /// Called before the block is pushed: later pushes are not ahead of it.
    #[inline]
    pub(crate) fn of_concurrent(queue: &Body, barrier: bool) -> Self {
        let body = NonNull::from(queue);
        match Behind::here(queue, barrier) {
            Some(behind) => Self::Behind(behind),
            None if barrier => Self::Barrier(body),
            None => Self::Concurrent(body),
        }
    }

    /// The same, if that block must wait for the one that the calling thread is in.
    pub(crate) fn of_concurrent_if_held_up(queue: &Body) -> Option<Self> {
        let origin = Self::of_concurrent(queue, false);
        // SAFETY: the caller keeps the queue.
        unsafe { origin.waits_for_this_thread() }.then_some(origin)
    }

    /// Of a block in no queue.
    pub(crate) fn workers() -> Self {
        Self::Workers(fork::forks())
    }

    fn is_barrier(&self) -> bool {
        matches!(self, Self::Barrier(_)) || matches!(self, Self::Behind(behind) if behind.barrier)
    }

    /// # Safety
    /// As for [`outlook`](Self::outlook), for as long as the result is used.
    unsafe fn level<'a>(&self) -> Option<&'a dyn Level> {
        // SAFETY: the caller's promise; a queue outlives its blocks.
        unsafe {
            match self {
                Self::Serial(core) => Some(core.as_ref()),
                Self::Concurrent(body) | Self::Barrier(body) => Some(body.as_ref()),
                Self::Behind(behind) => Some(behind.queue.as_ref()),
                _ => None,
            }
        }
    }

    /// The outlook of a wait by the calling thread.
    ///
    /// # Safety
    /// The block has neither run nor been dropped, and cannot before this has returned.
    pub(crate) unsafe fn outlook(&self) -> Outlook {
        if let Self::Other(other) = self {
            return Outlook::Ask(other.clone());
        }
        if let Self::Workers(forks) = self
            && *forks != fork::forks()
        {
            return Outlook::Forked(String::new(), Gone::ForkChild);
        }
        // SAFETY: the caller's promise.
        unsafe {
            if self.waits_for_this_thread() {
                return Outlook::Deadlock(self.label().unwrap_or_default());
            }
            match self.level() {
                Some(level) if level.pool().is_forked() => {
                    Outlook::Forked(level.label().to_owned(), level.pool().why_refused())
                }
                _ => Outlook::Open,
            }
        }
    }

    /// The queue, if the calling thread may run it instead of waiting for a worker.
    ///
    /// # Safety
    /// As for [`outlook`](Self::outlook).
    pub(crate) unsafe fn to_help(&self) -> Option<Kept<QueueCore>> {
        match self {
            // SAFETY: the caller's promise.
            Self::Serial(core) => unsafe { core.as_ref() }.to_help(),
            _ => None,
        }
    }

    /// Must the calling thread go on before the block can run?
    ///
    /// # Safety
    /// As for [`outlook`](Self::outlook).
    pub(crate) unsafe fn waits_for_this_thread(&self) -> bool {
        // SAFETY: the caller's promise.
        match unsafe { self.level() } {
            Some(level) => {
                // SAFETY: the targets of a queue live as long as it does.
                let is_before = || matches!(self, Self::Behind(behind) if unsafe { behind.this_thread() });
                current::holds_up(level, self.is_barrier()) || is_before()
            }
            None => matches!(self, Self::Thread(home) if std::thread::current().id() == home.thread),
        }
    }

    /// The label of the queue, or of what takes its place.
    ///
    /// # Safety
    /// As for [`outlook`](Self::outlook).
    pub(crate) unsafe fn label(&self) -> Option<String> {
        // SAFETY: the caller's promise.
        match (self, unsafe { self.level() }) {
            (_, Some(level)) => Some(level.label().to_owned()),
            (Self::Thread(home), _) => Some(home.label.as_ref().to_owned()),
            (Self::Other(other), _) => Some(other.label.as_ref().to_owned()),
            _ => None,
        }
    }

    /// The reason why the block is dropped unrun, with the label of its queue. `None`: it was in no
    /// queue.
    ///
    /// # Safety
    /// As for [`outlook`](Self::outlook).
    pub(crate) unsafe fn why_dropped(&self) -> Option<(String, Gone)> {
        // SAFETY: the caller's promise.
        match (self, unsafe { self.level() }) {
            (_, Some(level)) => Some((level.label().to_owned(), level.pool().why_refused())),
            (Self::Thread(home), _) => Some((home.label.as_ref().to_owned(), Gone::MainQueueDropped)),
            _ => None,
        }
    }
}

impl Behind {
    /// The origin of a block that is pushed next. Beyond a serial queue on the way up nothing is
    /// known: the block may have passed it already.
    #[inline]
    fn here(queue: &Body, barrier: bool) -> Option<Box<Self>> {
        let level: &dyn Level = queue;
        let bodies = || level.chain().map_while(|level| level.downcast::<Body>());
        if bodies().all(|body| body.barriers.last_waiting().is_none()) {
            return None;
        }
        let waiting = |body: &Body| Some((NonNull::from(body), body.barriers.last_waiting()?));
        let before = bodies().filter_map(waiting).collect();
        Some(Box::new(Self { queue: NonNull::from(queue), barrier, before }))
    }

    /// Does one of the barriers wait for the calling thread to leave its queue?
    ///
    /// # Safety
    /// The queues live.
    unsafe fn this_thread(&self) -> bool {
        self.before.iter().any(|(body, number)| {
            // SAFETY: the caller's promise.
            let body = unsafe { body.as_ref() };
            !body.barriers.has_begun(*number) && current::entered(body).is_some()
        })
    }
}
