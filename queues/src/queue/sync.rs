//! `sync`: runs a closure in a queue of either kind and returns its value.
//!
//! The closure runs here and now if the queue and all its targets have room ([`Level::hold`]).
//! Otherwise this thread waits, level by level up to the pool ([`Level::wait`]), unless the wait
//! would never end. Not for: what waiting is on a serial queue (`turn`) and on a concurrent one
//! (`concurrent/sync`).

use std::panic::Location;

use super::Queue;
use super::current::{self, Frame};
use super::error::{DeadlockError, SyncError, TrySyncError};
use super::level::Level;
use super::turn::Holder;
use super::waiting::Waiting;
use crate::time::when::When;

type Site = &'static Location<'static>;

impl dyn Level {
    /// Runs `f` in the queue, as a barrier or not, for a call of that name.
    ///
    /// # Panics
    /// With the panic of `f`. When the wait would never end, or the runtime was shut down.
    #[cold]
    #[inline(never)]
    pub(crate) fn sync<R: Send, F: FnOnce() -> R + Send>(
        &self,
        call: &'static str,
        barrier: bool,
        f: F,
        site: Site,
    ) -> R {
        let f = match self.sync_at_once(barrier, f, site) {
            Ok(value) => return value,
            Err(f) => f,
        };
        if let Some(error) = self.deadlock(call, barrier, site) {
            panic!("{error}");
        }
        if let Some(gone) = self.pool().ends_no_wait() {
            panic!("{call} on {:?} at {site}: the queue is busy, and {gone}", self.label());
        }
        let mut once = Once::new(f);
        self.wait(barrier, site, &mut || self.inside(barrier, &mut once));
        match once {
            Once::Ended(value) => value,
            _ => unreachable!("the wait has ended, so it ran"),
        }
    }

    /// Runs `f` here if the queue and all its targets have room.
    fn sync_at_once<R, F: FnOnce() -> R>(&self, barrier: bool, f: F, site: Site) -> Result<R, F> {
        let mut once = Once::new(f);
        self.hold(barrier, site, &mut || self.inside(barrier, &mut once));
        match once {
            Once::Ended(value) => Ok(value),
            Once::Waits(f) => Err(f),
            Once::Runs => unreachable!("a panic leaves this function"),
        }
    }

    pub(crate) fn try_sync<R, F: FnOnce() -> R>(
        &self,
        call: &'static str,
        barrier: bool,
        f: F,
        site: Site,
    ) -> Result<R, TrySyncError<F>> {
        self.sync_at_once(barrier, f, site).map_err(|f| match self.deadlock(call, barrier, site) {
            Some(error) => TrySyncError::Deadlock(error, f),
            None => TrySyncError::Busy(f),
        })
    }

    pub(crate) fn sync_within<R: Send, F: FnOnce() -> R + Send>(
        &self,
        barrier: bool,
        when: When,
        f: F,
        site: Site,
    ) -> Result<R, SyncError> {
        let f = match self.sync_at_once(barrier, f, site) {
            Ok(value) => return Ok(value),
            Err(f) => f,
        };
        let call = if barrier { "barrier_sync_timeout" } else { "sync_timeout" };
        if let Some(error) = self.deadlock(call, barrier, site) {
            return Err(SyncError::Deadlock(error));
        }
        if let Some(why) = self.pool().ends_no_wait() {
            return Err(SyncError::Gone { label: self.label().to_owned(), why });
        }
        // SAFETY: the node is on the heap and counted. It may be sent: `F` and `R` are `Send`.
        Waiting::sync_within(f, when, site, |waiting, wait| unsafe {
            self.push_and(Waiting::into_node(waiting), barrier, wait);
        })
        .map_err(|lost| lost.of(self.label(), site, || self.pool().why_refused()))
    }

    /// The deadlock that `call` at `site` would be, if any.
    pub(crate) fn deadlock(&self, call: &'static str, barrier: bool, site: Site) -> Option<DeadlockError> {
        let inside = current::blocks_on(self, barrier)?;
        let error = DeadlockError::new(call, self.label(), inside, site);
        Some(if barrier && current::entered(self) == Some(false) { error.upgrade() } else { error })
    }

    /// Runs the closure in a block of the queue.
    fn inside<R, F: FnOnce() -> R>(&self, barrier: bool, once: &mut Once<R, F>) {
        let frame = if barrier || self.is_serial() { Frame::alone(self) } else { Frame::beside(self) };
        let _inside = frame.enter();
        once.run();
    }
}

/// A closure that runs once, and its value.
enum Once<R, F> {
    Waits(F),
    Runs,
    Ended(R),
}

impl<R, F: FnOnce() -> R> Once<R, F> {
    fn new(f: F) -> Self {
        Self::Waits(f)
    }

    fn run(&mut self) {
        if let Self::Waits(f) = std::mem::replace(self, Self::Runs) {
            *self = Self::Ended(f());
        }
    }
}

impl Queue {
    /// Runs `f` on the queue and returns its value. `f` runs on this thread if the queue is idle,
    /// and otherwise after everything that was submitted before. `f` may borrow.
    ///
    /// Under contention, `f` may run on another thread while this one waits: on a worker, or on a
    /// thread that leaves its own `sync` of this queue and is in no block. It sees the
    /// thread-locals of that thread then. Everything else is as on this thread: `f` is on the
    /// queues that this thread is on, a wait that would never end is reported, and `f` works for
    /// the [class](crate::Qos::current) of this thread, if that is higher. If a thread holds a lock
    /// while it calls `sync`, it may run an `f` of another thread with the lock held. An `f` that
    /// needs the same lock then waits for ever.
    ///
    /// A thread that is in no block, and has no main queue, does more than wait: it runs the blocks
    /// in front of `f` itself if no worker has begun with them.
    ///
    /// A thread in a block of a concurrent queue may wait for a queue that targets that one
    /// directly, even while a barrier waits for the block. If there is another concurrent queue in
    /// between, such a wait never ends, and is not reported.
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
    /// With the panic of `f`, if that panics: the queue itself goes on. With a sentence that names
    /// the queues, instead of waiting for ever, when this thread is in a block of this queue, or of
    /// one that shares a serial target with it; see [`try_sync`](Self::try_sync) and
    /// [`sync_timeout`](Self::sync_timeout) for errors instead. When the queue was busy and its
    /// runtime was shut down before `f` could run.
    #[doc(alias = "dispatch_sync")]
    #[doc(alias = "dispatch_sync_f")]
    #[doc(alias = "dispatch_async_and_wait")]
    #[doc(alias = "dispatch_async_and_wait_f")]
    #[track_caller]
    #[inline]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        self.sync_at(f, Location::caller())
    }

    #[inline]
    pub(super) fn sync_at<R: Send, F: FnOnce() -> R + Send>(&self, f: F, site: Site) -> R {
        match self.on_idle(true, f, site) {
            Ok(value) => value,
            Err(f) => self.level().sync("sync", false, f, site),
        }
    }

    /// Runs `f` here if the queue is on the pool and idle: the common case. Afterwards, this thread
    /// may run closures of other threads, if it `helps`.
    #[inline]
    fn on_idle<R, F: FnOnce() -> R>(&self, helps: bool, f: F, site: Site) -> Result<R, F> {
        let node = Holder::new(site);
        let Some(_hold) = self.core().try_hold(&node, helps) else { return Err(f) };
        let frame = self.core().frame();
        let _inside = frame.enter();
        Ok(f())
    }

    /// Runs `f` if that is possible without a wait. Gives `f` back otherwise.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TrySyncError};
    ///
    /// let cache = Queue::new("cache");
    /// assert_eq!(cache.try_sync(|| 7).ok(), Some(7));
    /// cache.suspend();
    /// assert!(matches!(cache.try_sync(|| 7), Err(TrySyncError::Busy(_))));
    /// ```
    ///
    /// # Errors
    /// [`TrySyncError::Busy`] when the queue, or one of its targets, is busy or suspended.
    /// [`TrySyncError::Deadlock`] when the queue would never become idle, because this same thread
    /// is in it. Both hold the closure.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        let site = Location::caller();
        self.on_idle(false, f, site).or_else(|f| self.level().try_sync("try_sync", false, f, site))
    }

    /// As [`sync`](Self::sync), but waits for `f` to begin until `timeout` at most: a span of time
    /// or a point in time, see [`When`]. Once it has begun it is waited for.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::time::Duration;
    ///
    /// let printer = Queue::new("printer");
    /// assert_eq!(printer.sync_timeout(Duration::from_secs(60), || "printed"), Ok("printed"));
    /// printer.suspend();
    /// let late = printer.sync_timeout(Duration::from_millis(1), || "never");
    /// println!("{}", late.unwrap_err());
    /// ```
    ///
    /// # Errors
    /// [`SyncError`] when the time is over, for a deadlock, or when the runtime was shut down. `f`
    /// is dropped unrun in each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R: Send, F: FnOnce() -> R + Send>(
        &self,
        timeout: impl Into<When>,
        f: F,
    ) -> Result<R, SyncError> {
        let site = Location::caller();
        self.on_idle(false, f, site).or_else(|f| self.level().sync_within(false, timeout.into(), f, site))
    }
}
