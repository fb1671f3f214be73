//! A named serial queue: runs its blocks one at a time, in order.
//!
//! The story of a block: [`Queue::submit`] erases it (`block`), pushes it (`mailbox`), and if that turned the queue on
//! schedules the queue on its target (`schedule`): another queue, or the pool. A worker takes the queue and drains it (`core`),
//! block by block. `sync` runs on the caller's thread when the queue is idle, and queues up otherwise (`sync`). Which
//! queues a thread is in right now, for "am I on it?" and for deadlocks, is kept by `current`; `assert` and `specific` ask
//! it. A target is of either kind (`target`): so the body of a concurrent queue stands here too (`concurrent`), and a serial
//! queue has its turns there as visits (`visit`).

pub(crate) mod assert;
mod builder;
pub(crate) mod concurrent;
mod core;
mod current;
mod error;
mod label;
mod later;
mod life;
pub(crate) mod lift;
mod schedule;
mod specific;
mod sync;
pub(crate) mod target;
pub(crate) mod ticket;
pub(crate) mod timed;
mod visit;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;

use crate::block::{self, Node};
use crate::catch::{self, Payload};
use crate::qos::Qos;
use crate::runtime::Runtime;

pub use self::builder::QueueBuilder;
use self::core::QueueCore;
pub(crate) use self::current::{Needs, Whereabouts};
pub use self::error::{DeadlockError, SyncError, TrySyncError};
pub use self::later::Timer;
pub(crate) use self::lift::OwnedLift;
pub use self::specific::SpecificKey;
pub(crate) use self::target::Target;
pub use self::target::TargetQueue;

/// A named serial queue: blocks submitted to it run one at a time, in order, on the workers of its runtime.
///
/// This is a handle: cloning it is one addition, and dropping the last one still runs what was submitted. An idle queue
/// costs about a hundred bytes and no thread, so have one per object that needs guarding: a million of them are normal.
///
/// Ordering: blocks of one thread run in the order of its calls; blocks of several threads in the order in which their
/// submissions took effect. Each block happens-after the one before it, on whatever thread. Nothing ever runs in the
/// middle of a block.
///
/// A block that panics is logged with the queue's label and the place that submitted it, and counted; the queue goes on.
///
/// ```
/// use singletrack_queues::Queue;
///
/// let lobby = Queue::new("room.lobby");
/// lobby.submit(|| println!("one at a time"));
/// let four = lobby.sync(|| 2 + 2);
/// assert_eq!(four, 4);
/// ```
///
/// A handle cannot be released twice, nor used afterwards:
///
/// ```compile_fail,E0382
/// # use singletrack_queues::Queue;
/// let lobby = Queue::new("room.lobby");
/// drop(lobby);
/// drop(lobby);
/// ```
pub struct Queue {
    core: NonNull<QueueCore>,
}

// SAFETY: what the handle points to is shared between threads by design: a mailbox of `Send` blocks, atomics, and fields
// that do not change; `core` counts the handles.
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    /// Makes a serial queue on the [default runtime](Runtime::global).
    ///
    /// # Panics
    /// When the default runtime cannot be started, see [`Runtime::global`].
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Starts to describe a queue: its runtime or its target.
    pub fn builder(label: impl Into<Cow<'static, str>>) -> QueueBuilder {
        QueueBuilder::new(label.into())
    }

    fn core(&self) -> &QueueCore {
        // SAFETY: the core lives as long as any handle.
        unsafe { self.core.as_ref() }
    }

    /// The name that it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        self.core().label()
    }

    /// The class that it was given; see [`QueueBuilder::qos`].
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.core().qos
    }

    /// The runtime whose workers run its blocks.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime::from_owner(self.core().owner().clone())
    }

    /// Submits a block and does not wait.
    ///
    /// After the runtime was [shut down](Runtime::shutdown) the block is dropped, which is logged and counted; use
    /// [`try_submit`](Self::try_submit) to get it back instead.
    #[track_caller]
    #[inline]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if !self.core().pool().accepts() {
            self.refuse(site);
            // Quietly: this may be a timer that fires, on a thread of the runtime.
            return catch::drop_quietly(f);
        }
        // SAFETY: a fresh block.
        unsafe { self.core().push(self.block(f, site)) };
    }

    /// A block for this queue.
    #[inline]
    fn block<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) -> NonNull<Node> {
        if self.core().mail.seems_idle() {
            block::block(f, site)
        } else {
            block::block_behind(self.core.addr().get(), f, site)
        }
    }

    /// As [`submit`](Self::submit), but a queue that was idle does not have its turn before this worker has nothing else to
    /// do: others may submit to it meanwhile, and all of that runs in one turn.
    ///
    /// What a room is told, or what is written, is done once for all that came in. "Nothing else" takes in what other workers
    /// have no time for, and one more look at what the worker's parker watches. A worker that is never done comes to it after
    /// 4 ms, or 2,000 turns of other queues, and one that is stuck in a block has it taken away. From threads that are not workers, and for queues with a
    /// [class](QueueBuilder::qos) or a target queue, it is the same as `submit`.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let (input, output) = (singletrack_queues::Queue::new("input"), singletrack_queues::Queue::new("output"));
    /// for word in ["read ", "all, "] {
    ///     let (tell, output) = (tell.clone(), output.clone());
    ///     input.submit(move || output.submit_later(move || tell.send(word).unwrap()));
    /// }
    /// drop(tell);
    /// assert_eq!(told.iter().collect::<String>(), "read all, ");
    /// ```
    #[track_caller]
    pub fn submit_later<F: FnOnce() + Send + 'static>(&self, f: F) {
        let site = Location::caller();
        if !self.accepts() {
            self.refuse(site);
            return catch::drop_quietly(f);
        }
        // SAFETY: a fresh block.
        unsafe { self.core().push_later(block::block(f, site)) };
    }

    /// May the calling thread submit?
    #[inline]
    pub(crate) fn accepts(&self) -> bool {
        self.core().pool().accepts()
    }

    /// May the calling thread submit? Counts it if not.
    pub(crate) fn accepts_or_counts(&self) -> bool {
        let accepts = self.accepts();
        if !accepts {
            self.core().pool().count_rejected();
        }
        accepts
    }

    #[cold]
    pub(crate) fn refuse(&self, site: &'static Location<'static>) {
        self.core().pool().count_rejected();
        let why = self.core().pool().why_refused();
        log::warn!("a block submitted to \"{}\" at {site} was dropped: {why}", self.label());
    }

    /// Submits a block, or gives it back.
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the runtime was shut down.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        if !self.accepts_or_counts() {
            return Err(Rejected(f));
        }
        // SAFETY: a fresh block.
        unsafe { self.core().push(self.block(f, Location::caller())) };
        Ok(())
    }

    /// Logs and counts the panic of a block that runs in a lane of this queue.
    #[cold]
    pub(crate) fn report_panic(&self, site: &'static Location<'static>, payload: Payload) {
        self.core().pool().count_panic();
        catch::report(self.label(), site, payload);
    }

    /// Will it never run anything again, because its threads are another process's?
    pub(crate) fn is_forked(&self) -> bool {
        self.core().pool().is_forked()
    }

    /// The deadlock that a wait at `site` for this queue would be, if any.
    pub(crate) fn deadlock(&self, site: &'static Location<'static>) -> Option<DeadlockError> {
        current::blocks_on(self.core().level(), false).map(|inside| DeadlockError::new(self, inside, site))
    }

    /// Nobody is left who could resume or activate it, though handles are: what it holds (`busy`) runs.
    pub(crate) fn let_go(&self, busy: bool) {
        self.core().let_go(busy);
    }

    /// Is the calling thread in a block that has to end before this queue can run: its own, or one that shares a target?
    pub(crate) fn waits_for_this_thread(&self) -> bool {
        current::blocks_on(self.core().level(), false).is_some()
    }

    /// What a block that is submitted now needs, if the calling thread is in the way.
    #[inline]
    pub(crate) fn needs_this_thread(&self) -> Option<Needs> {
        Needs::of_this_thread(self.core().level())
    }

    /// Has everything that was pushed so far, as far as the calling thread knows, ended?
    pub(crate) fn is_idle(&self) -> bool {
        self.core().mail.is_idle()
    }

    /// Pushes a lane that is turned on.
    ///
    /// # Safety
    /// As for [`QueueCore::push`].
    #[inline]
    pub(crate) unsafe fn push_node(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        unsafe { self.core().push(node) };
    }

    /// As [`push_node`](Self::push_node), but a queue that was idle waits until its worker has nothing else.
    ///
    /// # Safety
    /// As for [`QueueCore::push`].
    #[inline]
    pub(crate) unsafe fn push_node_later(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        unsafe { self.core().push_later(node) };
    }

    /// Holds the queue: the running block finishes, later ones wait for [`resume`](Self::resume). Counts.
    ///
    /// `sync` waits meanwhile. Dropping the last handle of a suspended queue resumes it: what was submitted runs.
    ///
    /// # Panics
    /// When it is suspended 2^30 - 1 times already.
    pub fn suspend(&self) {
        assert!(self.core().suspend(), "queue \"{}\" is suspended too often: somebody forgets to resume", self.label());
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        if self.core().resume() { Ok(()) } else { Err(NotSuspended::queue(self.label())) }
    }

    /// Lets a queue that was built [inactive](QueueBuilder::inactive) run. Any other is active: nothing happens, so
    /// activating twice is harmless.
    ///
    /// A suspended queue stays suspended, and a [`resume`](Self::resume) does not activate.
    pub fn activate(&self) {
        self.core().activate();
    }

    /// Is the calling thread in a block of this queue, or of a queue that targets it?
    #[must_use]
    pub fn is_current(&self) -> bool {
        current::is_inside(self.core().level())
    }
}

impl Clone for Queue {
    fn clone(&self) -> Self {
        self.core().add_handle();
        Self { core: self.core }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: this handle was counted once and is not used again.
        unsafe { QueueCore::drop_handle(self.core) };
    }
}

impl PartialEq for Queue {
    fn eq(&self, other: &Self) -> bool {
        self.core == other.core
    }
}

impl Eq for Queue {}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("label", &self.label()).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes a serial queue on this runtime.
    #[track_caller]
    pub fn queue(&self, label: impl Into<Cow<'static, str>>) -> Queue {
        Queue::builder(label).runtime(self).build()
    }
}

/// A closure that was not taken because the runtime was shut down, the main queue dropped, or the process is a fork child.
pub struct Rejected<F>(pub F);

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rejected(..)")
    }
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue takes nothing any more (its runtime was shut down, its main queue dropped, or this is a fork child); the block comes back")
    }
}

impl<F> std::error::Error for Rejected<F> {}

/// [`Queue::resume`] without a [`Queue::suspend`] to take back, or the same of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSuspended {
    what: &'static str,
    label: String,
}

impl NotSuspended {
    pub(crate) fn queue(label: &str) -> Self {
        Self { what: "queue", label: label.to_owned() }
    }

    /// For a source on the queue of that label.
    pub(crate) fn source(label: &str) -> Self {
        Self { what: "a source on queue", label: label.to_owned() }
    }
}

impl fmt::Display for NotSuspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, label } = self;
        write!(
            f,
            "{what} \"{label}\" is not suspended: it was resumed as often as suspended; call suspend before each resume"
        )
    }
}

impl std::error::Error for NotSuspended {}
