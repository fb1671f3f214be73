//! What every thread may hold of a main queue: submit, call, sync, later, stop.

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::Duration;

use super::entry::Entry;
use super::inbox::Inbox;
use crate::queue::timed::Timed;
use crate::queue::{Rejected, SyncError, Timer};
use crate::runtime::Runtime;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::task::{Origin, Promise, Task};
use crate::time::When;

/// What the handles and the owner share.
pub(super) struct Shared {
    label: Arc<str>,
    thread: ThreadId,
    pub(super) inbox: Inbox<Entry>,
    pub(super) counts: Counts,
    /// For timers; the default one if none was given.
    runtime: Option<Runtime>,
    next_local: AtomicU64,
}

/// Relaxed throughout: they are only looked at.
#[derive(Default)]
pub(super) struct Counts {
    /// Entries that were begun or dropped: what was pushed and is not in here waits.
    pub(super) done: AtomicU64,
    pub(super) ran: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) rejected: AtomicU64,
    turns: AtomicU64,
    longest_turn_ns: AtomicU64,
}

impl Counts {
    /// A turn ended that ran something.
    pub(super) fn turn(&self, lasted: Duration) {
        self.turns.fetch_add(1, Relaxed);
        self.longest_turn_ns.fetch_max(u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Shared {
    pub(super) fn new(label: Cow<'static, str>, runtime: Option<Runtime>) -> Arc<Self> {
        Arc::new(Self {
            label: label.into(),
            thread: std::thread::current().id(),
            inbox: Inbox::new(),
            counts: Counts::default(),
            runtime,
            next_local: AtomicU64::new(0),
        })
    }

    pub(super) fn label(&self) -> &str {
        &self.label
    }

    pub(super) fn next_local(&self) -> u64 {
        self.next_local.fetch_add(1, Relaxed)
    }

    #[cold]
    fn refuse(&self, site: &'static Location<'static>) {
        self.counts.rejected.fetch_add(1, Relaxed);
        log::warn!("a block submitted to \"{}\" at {site} was dropped: the main queue is gone", self.label);
    }
}

/// The way to a [`MainQueue`](crate::MainQueue) from any thread: closures go in, values come back.
///
/// A handle: cloning it is one addition. It does not keep the main queue alive; after that was dropped, blocks are refused.
///
/// Ordering is that of [`Queue`](crate::Queue): one block at a time, first in, first out, each happens-after the one
/// before. A block that panics is logged with the queue's label and the place that submitted it, and counted; the next
/// one runs.
#[derive(Clone)]
pub struct MainHandle {
    pub(super) shared: Arc<Shared>,
}

impl MainHandle {
    /// The name that the queue was given.
    #[must_use]
    pub fn label(&self) -> &str {
        self.shared.label()
    }

    /// Is the calling thread the one that the queue is bound to?
    #[must_use]
    pub fn is_main_thread(&self) -> bool {
        std::thread::current().id() == self.shared.thread
    }

    /// Checks that the calling thread is the one that the queue is bound to: for code that touches what lives there.
    ///
    /// ```
    /// let main = singletrack_queues::MainQueue::new("main");
    /// main.handle().assert_on();
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is not.
    #[track_caller]
    pub fn assert_on(&self) {
        if !self.is_main_thread() {
            let (site, label) = (Location::caller(), self.label());
            panic!(
                "assert_on at {site}: this thread is not the one that \"{label}\" is bound to; submit this to \"{label}\", or \
                 run it in a sync"
            )
        }
    }

    /// Checks that the calling thread is not the one that the queue is bound to: for code that takes long, or waits.
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is.
    #[track_caller]
    pub fn assert_not_on(&self) {
        if self.is_main_thread() {
            let (site, label) = (Location::caller(), self.label());
            panic!(
                "assert_not_on at {site}: this thread is the one that \"{label}\" is bound to; submit this to another queue"
            )
        }
    }

    /// Submits a block and does not wait. From the main thread too: it runs in a later turn.
    ///
    /// After the main queue was dropped the block is dropped, which is logged and counted; use
    /// [`try_submit`](Self::try_submit) to get it back instead.
    #[track_caller]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if let Err(entry) = self.shared.inbox.push(Entry::block(f, site), |entry| entry) {
            self.shared.refuse(site);
            drop(entry);
        }
    }

    /// Submits a block, or gives it back.
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the main queue was dropped.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        let site = Location::caller();
        self.shared.inbox.push(f, |f| Entry::block(f, site)).map_err(|f| {
            self.shared.counts.rejected.fetch_add(1, Relaxed);
            Rejected(f)
        })
    }

    /// Submits a block whose result is wanted: wait for it, or await it, on a thread other than the main one.
    ///
    /// Waiting for it on the main thread would never end, and is an error at once
    /// ([`TaskError::Deadlock`](crate::TaskError::Deadlock)).
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Queue};
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// let worker = Queue::new("worker");
    /// worker.submit(move || {
    ///     let title = handle.call(|| String::from("asked on the main thread"));
    ///     assert_eq!(title.wait().unwrap(), "asked on the main thread");
    ///     handle.stop();
    /// });
    /// main.run();
    /// ```
    #[track_caller]
    pub fn call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let origin = Origin::Thread { thread: self.shared.thread, label: self.shared.label.clone() };
        let (task, promise) = Task::new(origin);
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Runs `f` on the main thread and returns its value, after all that was submitted before. `f` may borrow.
    ///
    /// On the main thread itself `f` runs at once, before what waits: nobody else could run it.
    ///
    /// The main thread must be in [`run`](crate::MainQueue::run), or come back to [`drain`](crate::MainQueue::drain): if
    /// it waits for the block or the thread that calls this, both hang. `submit` and `call` cannot;
    /// [`sync_timeout`](Self::sync_timeout) gives up.
    ///
    /// # Panics
    /// With the panic of `f`, if that panics: the queue itself goes on. When the main queue was dropped before `f` could
    /// run.
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        let site = Location::caller();
        match self.sync_within(When::NEVER, f, site) {
            Ok(value) => value,
            Err(_) => {
                panic!(
                    "sync on \"{}\" at {site}: the main queue was dropped before the closure could run",
                    self.label()
                )
            }
        }
    }

    /// As [`sync`](Self::sync), but waits no longer than `timeout` for `f` to begin. Once it has begun it is waited for.
    ///
    /// # Errors
    /// [`SyncError`]: too late, or the main queue was dropped; `f` was dropped unrun in each case.
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
        if self.is_main_thread() {
            let gone = || SyncError::Shutdown { label: self.label().to_owned() };
            return if self.shared.inbox.is_closed() { Err(gone()) } else { Ok(f()) };
        }
        Timed::sync(f, when, self.label(), site, |timed| {
            // Refused: dropped here, which ends the wait at once.
            drop(self.shared.inbox.push(Entry::waiter(timed), |entry| entry));
        })
    }

    /// Submits a block once `delay` has passed; see [`submit_when`](Self::submit_when).
    ///
    /// # Panics
    /// As for `submit_when`.
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, delay: Duration, f: F) -> Timer {
        self.submit_when(delay, f)
    }

    /// Submits a block when the time has come, by either clock; see [`When`]. Dropping the [`Timer`] does not cancel it.
    ///
    /// The time is kept by a runtime: the one that the queue was [given](crate::MainQueue::with_runtime), or the default
    /// one, which is started here if it was not yet.
    ///
    /// # Panics
    /// When the default runtime is needed and cannot be started, see [`Runtime::global`].
    #[track_caller]
    pub fn submit_when<F: FnOnce() + Send + 'static>(&self, when: impl Into<When>, f: F) -> Timer {
        let (handle, site) = (self.clone(), Location::caller());
        let runtime = self.shared.runtime.clone().unwrap_or_else(Runtime::global);
        if !runtime.pool().accepts() {
            self.shared.counts.rejected.fetch_add(1, Relaxed);
            log::warn!(
                "a block for later, submitted to \"{}\" at {site}, was dropped: its runtime was shut down",
                self.label()
            );
            return Timer::refused(runtime);
        }
        Timer::start(runtime, when.into(), move || handle.submit_at(f, site))
    }

    /// Asks the main queue to stop: what was submitted before still runs, then [`run`](crate::MainQueue::run) returns. A
    /// foreign loop is woken, and finds [`is_stopped`](crate::MainQueue::is_stopped).
    pub fn stop(&self) {
        self.shared.inbox.stop();
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> MainStats {
        let counts = &self.shared.counts;
        // Before what was pushed: the difference must not come out negative.
        let done = counts.done.load(Relaxed);
        let (pushed, wakes) = self.shared.inbox.counts();
        MainStats {
            ran: counts.ran.load(Relaxed),
            panics: counts.panics.load(Relaxed),
            dropped: counts.dropped.load(Relaxed),
            rejected: counts.rejected.load(Relaxed),
            wakes,
            turns: counts.turns.load(Relaxed),
            longest_turn: Duration::from_nanos(counts.longest_turn_ns.load(Relaxed)),
            waiting: pushed.saturating_sub(done),
        }
    }
}

/// Counts of a main queue, see [`MainHandle::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MainStats {
    /// Blocks that ran, those that panicked included.
    pub ran: u64,
    /// Blocks that panicked, and nobody waited for.
    pub panics: u64,
    /// Blocks that were dropped unrun with the main queue.
    pub dropped: u64,
    /// Blocks that were refused because the main queue was gone.
    pub rejected: u64,
    /// How often the wake callback was called.
    pub wakes: u64,
    /// Turns that found something to run.
    pub turns: u64,
    /// The longest of them: how late a frame was for the sake of blocks, at the worst.
    pub longest_turn: Duration,
    /// What waits for a turn, local values that are to be dropped included.
    pub waiting: u64,
}

impl PartialEq for MainHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for MainHandle {}

impl fmt::Debug for MainHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainHandle").field("label", &self.label()).finish_non_exhaustive()
    }
}
