//! A concurrent queue: its blocks run together, a barrier runs alone, and nothing overtakes a barrier.
//!
//! The handle that programs have, and its builder. What the queue is stands in `queue/concurrent`, below, because queues of
//! both kinds may target one another. Not for: where a thread is, and what belongs to a queue (`place`).

mod builder;
mod place;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::catch;
use crate::qos::Qos;
use crate::queue::concurrent::Handle;
use crate::queue::concurrent::gate::UNLIMITED;
use crate::queue::{Needs, NotSuspended, Rejected, SyncError, Target, TargetQueue, Timer, TrySyncError};
use crate::runtime::Runtime;
use crate::task::{Origin, Promise, Task};
use crate::time::When;
pub use builder::ConcurrentQueueBuilder;

/// A named queue whose blocks run together on all workers, except barriers, which run alone.
///
/// A barrier begins when everything before it has ended, and nothing behind it begins before it has ended. Blocks between two
/// barriers have no order among themselves. This is a handle; dropping the last one still runs what was submitted.
///
/// It may [target](ConcurrentQueueBuilder::target) a queue of either kind, be the target of queues of either kind, and have a
/// [width](ConcurrentQueueBuilder::width).
///
/// A [`sync`](Self::sync) inside a `sync` of the same queue is allowed. A barrier inside either is reported, not a hang.
///
/// ```
/// use singletrack_queues::ConcurrentQueue;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
///
/// static TABLE: AtomicU32 = AtomicU32::new(1);
/// let table = ConcurrentQueue::new("table");
/// table.barrier(|| TABLE.store(2, Relaxed));
/// assert_eq!(table.sync(|| TABLE.load(Relaxed)), 2);
/// ```
#[derive(Clone)]
pub struct ConcurrentQueue {
    body: Handle,
}

impl ConcurrentQueue {
    /// The largest [`width`](ConcurrentQueueBuilder::width) that can be given.
    pub const MAX_WIDTH: usize = 1 << 20;

    /// Makes a concurrent queue on the [default runtime](Runtime::global).
    ///
    /// # Panics
    /// When the default runtime cannot be started.
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Starts to describe a concurrent queue.
    pub fn builder(label: impl Into<Cow<'static, str>>) -> ConcurrentQueueBuilder {
        ConcurrentQueueBuilder::new(label.into())
    }

    /// The name that it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        self.body.label()
    }

    /// The class that it was given; see [`ConcurrentQueueBuilder::qos`].
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.body.qos()
    }

    /// The runtime whose workers run its blocks.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime::from_owner(self.body.target().owner().clone())
    }

    /// How many of its blocks run at once at most; `None`: as many as there are workers.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        let width = self.body.gate.width();
        (width != UNLIMITED).then_some(width as usize)
    }

    /// Submits a block that runs beside others, and does not wait. After a shutdown it is dropped, logged and counted.
    #[track_caller]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        self.submit_as(f, Qos::Background, site);
    }

    /// As [`submit_at`](Self::submit_at), for a block that is more urgent than the queue, perhaps.
    pub(crate) fn submit_as<F: FnOnce() + Send + 'static>(&self, f: F, qos: Qos, site: &'static Location<'static>) {
        if self.refused(site) {
            // Quietly: this may be a timer that fires, on a thread of the runtime.
            return catch::drop_quietly(f);
        }
        self.body.submit(f, qos, site);
    }

    /// Submits a block, or gives it back.
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the runtime was shut down.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        if !self.body.pool().accepts() {
            self.body.pool().count_rejected();
            return Err(Rejected(f));
        }
        self.body.submit(f, Qos::Background, Location::caller());
        Ok(())
    }

    /// Submits a block once `delay` has passed. Dropping the [`Timer`] does not cancel it.
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, delay: Duration, f: F) -> Timer {
        self.submit_when(delay, f)
    }

    /// Submits a block when the time has come, by either clock; see [`When`]. What has passed is submitted at once.
    #[track_caller]
    pub fn submit_when<F: FnOnce() + Send + 'static>(&self, when: impl Into<When>, f: F) -> Timer {
        let (queue, site) = (self.clone(), Location::caller());
        if self.refused(site) {
            return Timer::refused(self.runtime());
        }
        Timer::start(self.runtime(), when.into(), move || queue.submit_at(f, site))
    }

    /// Submits a barrier, and does not wait: it runs alone, after all before it and before all behind it.
    #[track_caller]
    pub fn barrier<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.barrier_at(f, Location::caller());
    }

    pub(crate) fn barrier_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if !self.refused(site) {
            self.body.barrier(f, site);
        }
    }

    /// Runs `f` beside others and returns its value: on this thread, at once if no barrier is about and there is room.
    ///
    /// If it has to wait for a serial queue up the target chain, `f` may run on another thread.
    ///
    /// One wait that never ends is not reported: this thread is in a block of a concurrent queue that this one targets, a
    /// barrier waits there for that very block, or its width is full, and this queue is busy. Do not wait for what targets the
    /// queue that you are in, or use [`try_sync`](Self::try_sync) or [`sync_timeout`](Self::sync_timeout).
    ///
    /// # Panics
    /// With the panic of `f`; with a sentence, instead of waiting for ever, when this thread is in a barrier of this queue,
    /// or in a block of a serial queue up its target chain; when it had to wait and the runtime was shut down.
    #[track_caller]
    #[inline]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        self.sync_at(f, Location::caller())
    }

    #[inline]
    pub(crate) fn sync_at<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: &'static Location<'static>) -> R {
        self.body.sync(f, site)
    }

    /// How many of its blocks may run at once at most, its targets considered.
    pub(crate) fn room(&self) -> usize {
        self.body.room()
    }

    /// Runs `f` alone and returns its value: on this thread if nothing else is here, otherwise wherever its turn comes.
    ///
    /// # Panics
    /// With the panic of `f`; with a sentence, instead of waiting for ever, when this thread is in a block of this queue or
    /// of one that targets it, which would have to end first, or in a block of a serial queue up its target chain; when it
    /// had to wait and the runtime was shut down.
    #[track_caller]
    #[inline]
    pub fn barrier_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        self.body.barrier_sync(f, Location::caller())
    }

    /// Runs `f` beside others if that is possible without waiting for anybody; gives it back otherwise.
    ///
    /// # Errors
    /// [`TrySyncError::Busy`] when a barrier is about, the width is full, the queue is suspended, or that holds for one of its
    /// targets; [`TrySyncError::Deadlock`] when it would wait for this very thread. Both hold the closure.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        self.body.try_sync(f, false, Location::caller())
    }

    /// As [`try_sync`](Self::try_sync), alone.
    ///
    /// # Errors
    /// As for `try_sync`; busy is it too when anything at all is in the queue.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_barrier_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        self.body.try_sync(f, true, Location::caller())
    }

    /// As [`sync`](Self::sync), but waits no longer than `timeout` for `f` to begin. Once it has begun it is waited for. If
    /// it has to wait, it runs on a worker.
    ///
    /// # Errors
    /// [`SyncError`]: too late, a deadlock, or the runtime was shut down; `f` was dropped unrun in each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R: Send, F: FnOnce() -> R + Send>(&self, timeout: Duration, f: F) -> Result<R, SyncError> {
        self.body.sync_within(When::from(timeout), f, false, Location::caller())
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
        self.body.sync_within(when.into(), f, false, Location::caller())
    }

    /// As [`sync_timeout`](Self::sync_timeout), alone.
    ///
    /// # Errors
    /// As for `sync_timeout`.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn barrier_sync_timeout<R: Send, F: FnOnce() -> R + Send>(
        &self,
        timeout: Duration,
        f: F,
    ) -> Result<R, SyncError> {
        self.body.sync_within(When::from(timeout), f, true, Location::caller())
    }

    /// As [`sync_until`](Self::sync_until), alone.
    ///
    /// # Errors
    /// As for `sync_timeout`.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn barrier_sync_until<R, F>(&self, when: impl Into<When>, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce() -> R + Send,
    {
        self.body.sync_within(when.into(), f, true, Location::caller())
    }

    /// Submits a block beside others whose result is wanted.
    #[track_caller]
    pub fn call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(Origin::Elsewhere);
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Submits a barrier whose result is wanted.
    #[track_caller]
    pub fn barrier_call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(Origin::Elsewhere);
        self.barrier_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Holds the queue: what it let in already runs, everything else waits for [`resume`](Self::resume). Counts.
    ///
    /// `sync` waits meanwhile. Dropping the last handle of a suspended queue resumes it: what was submitted runs.
    ///
    /// # Panics
    /// When it is suspended 2^30 - 1 times already.
    pub fn suspend(&self) {
        assert!(self.body.suspend(), "queue \"{}\" is suspended too often: somebody forgets to resume", self.label());
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        if self.body.resume() { Ok(()) } else { Err(NotSuspended::queue(self.label())) }
    }

    /// Lets a queue that was built [inactive](ConcurrentQueueBuilder::inactive) run. Any other is active: nothing happens.
    ///
    /// A suspended queue stays suspended, and a [`resume`](Self::resume) does not activate.
    pub fn activate(&self) {
        self.body.activate();
    }

    /// Is the calling thread in a block that has to end before this queue can run another, or a barrier?
    pub(crate) fn waits_for_this_thread(&self, barrier: bool) -> bool {
        self.body.waits_for_this_thread(barrier)
    }

    /// What a block that is submitted now needs, if the calling thread is in the way.
    pub(crate) fn needs_this_thread(&self) -> Option<Needs> {
        self.body.needs_this_thread()
    }

    fn refused(&self, site: &'static Location<'static>) -> bool {
        let refused = !self.body.pool().accepts();
        if refused {
            self.body.pool().count_rejected();
            let why = self.body.pool().why_refused();
            log::warn!("a block submitted to \"{}\" at {site} was dropped: {why}", self.label());
        }
        refused
    }
}

impl From<&ConcurrentQueue> for TargetQueue {
    fn from(queue: &ConcurrentQueue) -> Self {
        Self(Target::Concurrent(queue.body.clone()))
    }
}

impl PartialEq for ConcurrentQueue {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(&*self.body, &*other.body)
    }
}

impl Eq for ConcurrentQueue {}

impl fmt::Debug for ConcurrentQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentQueue").field("label", &self.label()).finish_non_exhaustive()
    }
}
