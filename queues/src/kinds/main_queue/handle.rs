//! The handle of a main queue, which every thread may hold: submit, call, sync, submit later, stop.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::entry::Entry;
use super::inbox::Inbox;
use crate::base::catch::{self, Payload};
use crate::base::report;
use crate::base::sync::atomic::{AtomicU64, Ordering::Relaxed};
use crate::pool::Gone;
use crate::pool::runtime::Runtime;
use crate::queue::origin::{Home, Origin};
use crate::queue::task::{Promise, Task};
use crate::queue::waiting::Waiting;
use crate::queue::{Rejected, SyncError, Timer};
use crate::time::when::When;

/// The state that the handles and the owner share.
pub(super) struct Shared {
    home: Arc<Home>,
    pub(super) inbox: Inbox<Entry>,
    pub(super) counts: Counts,
    /// The runtime for timers; `None`: the default one.
    runtime: Option<Runtime>,
    next_local: AtomicU64,
}

/// Relaxed throughout: the counts are statistics, and publish nothing.
#[derive(Default)]
pub(super) struct Counts {
    /// Entries that were begun or dropped: all other pushed entries are waiting.
    pub(super) done: AtomicU64,
    pub(super) ran: AtomicU64,
    pub(super) panics: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) rejected: AtomicU64,
    turns: AtomicU64,
    longest_turn_ns: AtomicU64,
}

impl Counts {
    /// Counts a turn that ran at least one entry.
    pub(super) fn turn(&self, lasted: Duration) {
        self.turns.fetch_add(1, Relaxed);
        self.longest_turn_ns.fetch_max(u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }
}

impl Shared {
    pub(super) fn new(label: Cow<'static, str>, runtime: Option<Runtime>) -> Arc<Self> {
        Arc::new(Self {
            home: Arc::new(Home { thread: std::thread::current().id(), label: label.into() }),
            inbox: Inbox::new(),
            counts: Counts::default(),
            runtime,
            next_local: AtomicU64::new(0),
        })
    }

    pub(super) fn label(&self) -> &str {
        &self.home.label
    }

    pub(super) fn next_local(&self) -> u64 {
        self.next_local.fetch_add(1, Relaxed)
    }

    #[cold]
    #[inline(never)]
    pub(super) fn report_panic(&self, site: &'static Location<'static>, payload: Payload) {
        self.counts.panics.fetch_add(1, Relaxed);
        catch::report_panic(self.label(), site, payload);
    }

    #[cold]
    fn refuse(&self, site: &'static Location<'static>) {
        self.counts.rejected.fetch_add(1, Relaxed);
        report::warn(format_args!(
            "a block submitted to {:?} at {site} was dropped: the main queue is gone",
            self.label()
        ));
    }
}

/// The way to a [`MainQueue`](crate::MainQueue) from any thread: closures go in, values come back.
///
/// A handle: cloning it is one addition. It does not keep the main queue alive; after the main
/// queue is dropped, blocks are refused.
///
/// Ordering is that of [`Queue`](crate::Queue): one block at a time, first in, first out, each
/// happens-after the one before. A block that panics is logged with the queue's label and the place
/// that submitted it, and counted. The next block still runs.
///
/// ```
/// use singletrack_queues::{MainHandle, MainQueue, Queue};
///
/// fn download(ui: &MainHandle) {
///     let ui = ui.clone();
///     Queue::new("network").submit(move || {
///         let page = "hello"; // it takes a while
///         ui.submit(move || println!("show {page}"));
///         ui.stop();
///     });
/// }
/// let main = MainQueue::new("main");
/// download(&main.handle());
/// main.run();
/// ```
#[derive(Clone)]
pub struct MainHandle {
    pub(super) shared: Arc<Shared>,
}

impl MainHandle {
    /// The queue's name.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    ///
    /// assert_eq!(MainQueue::new("window").handle().label(), "window");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.shared.label()
    }

    /// Is the calling thread the one that the queue is bound to?
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::thread;
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// assert!(handle.is_main_thread());
    /// assert!(!thread::spawn(move || handle.is_main_thread()).join().unwrap());
    /// ```
    #[must_use]
    pub fn is_main_thread(&self) -> bool {
        std::thread::current().id() == self.shared.home.thread
    }

    /// The runtime that keeps its time.
    pub(crate) fn runtime(&self) -> Runtime {
        self.shared.runtime.clone().unwrap_or_else(Runtime::global)
    }

    /// Was the main queue dropped?
    pub(crate) fn is_gone(&self) -> bool {
        self.shared.inbox.is_closed()
    }

    /// Logs and counts the panic of a lane that ran in a block of this queue.
    #[cold]
    pub(crate) fn report_panic(&self, site: &'static Location<'static>, payload: Payload) {
        self.shared.report_panic(site, payload);
    }

    pub(crate) fn origin(&self) -> Origin {
        Origin::Thread(self.shared.home.clone())
    }

    /// Checks that the calling thread is the one that the queue is bound to. This is for code that
    /// uses values that live there.
    ///
    /// ```
    /// let main = singletrack_queues::MainQueue::new("main");
    /// main.handle().assert_on();
    /// ```
    ///
    /// # Panics
    /// If it is not, with a message that names the queue and the place.
    #[track_caller]
    pub fn assert_on(&self) {
        if !self.is_main_thread() {
            let (site, label) = (Location::caller(), self.label());
            panic!(
                "assert_on at {site}: this thread is not the one that {label:?} is bound to; submit this to {label:?}, or \
                 run it in a sync"
            )
        }
    }

    /// Checks that the calling thread is not the one that the queue is bound to. This is for code
    /// that takes long, or waits.
    ///
    /// ```
    /// use singletrack_queues::{MainHandle, MainQueue, Queue};
    ///
    /// fn compress(ui: &MainHandle) -> usize {
    ///     ui.assert_not_on(); // it would freeze the window
    ///     42
    /// }
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// let task = Queue::new("archive").call(move || compress(&handle));
    /// while !task.is_done() {
    ///     std::thread::yield_now(); // the loop of the window
    /// }
    /// assert_eq!(task.wait().unwrap(), 42);
    /// ```
    ///
    /// # Panics
    /// If it is, with a message that names the queue and the place.
    #[track_caller]
    pub fn assert_not_on(&self) {
        if self.is_main_thread() {
            let (site, label) = (Location::caller(), self.label());
            panic!(
                "assert_not_on at {site}: this thread is the one that {label:?} is bound to; submit this to another queue"
            )
        }
    }

    /// Submits a block and does not wait. A block that the main thread submits also runs in a later
    /// turn.
    ///
    /// After the main queue was dropped, the block is dropped, logged and counted; use
    /// [`try_submit`](Self::try_submit) to get it back instead.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::{cell::Cell, thread};
    ///
    /// thread_local!(static LINES: Cell<u32> = const { Cell::new(0) });
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// thread::spawn(move || handle.submit(|| LINES.set(LINES.get() + 1))).join().unwrap();
    /// assert!(!main.drain(Budget::ALL));
    /// assert_eq!(LINES.get(), 1, "it ran on this thread");
    /// ```
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
    /// ```
    /// use singletrack_queues::MainQueue;
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// assert!(handle.try_submit(|| println!("shown, or dropped with the window")).is_ok());
    /// drop(main);
    /// let rejected = handle.try_submit(|| println!("written to a file instead")).unwrap_err();
    /// rejected.into_inner()();
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the main queue was dropped.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        let site = Location::caller();
        self.shared.inbox.push(f, |f| Entry::block(f, site)).map_err(|f| {
            self.shared.counts.rejected.fetch_add(1, Relaxed);
            Rejected::new(f, self.label(), Gone::MainQueueDropped)
        })
    }

    /// Submits a block and returns a task for its result. Wait for the task, or await it, on a
    /// thread other than the main one.
    ///
    /// A wait on the main thread would never end, so it is an error at once
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
        let (task, promise) = Task::new(self.origin());
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Runs `f` on the main thread, after all blocks submitted before, and returns its value. `f`
    /// may borrow.
    ///
    /// On the main thread itself `f` runs at once, before the waiting blocks, because no other
    /// thread could run it.
    ///
    /// The main thread must be in [`run`](crate::MainQueue::run), or come back to
    /// [`drain`](crate::MainQueue::drain): if it waits for the block or the thread that calls this,
    /// both hang. `submit` and `call` cannot hang; [`sync_timeout`](Self::sync_timeout) gives up.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::thread;
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// let asker = thread::spawn(move || {
    ///     let width = handle.sync(|| 640); // the window may be asked on its thread only
    ///     handle.stop();
    ///     width
    /// });
    /// main.run();
    /// assert_eq!(asker.join().unwrap(), 640);
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`; the queue itself continues. If the main queue was dropped before `f`
    /// could run.
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        let site = Location::caller();
        match self.sync_within(When::NEVER, f, site) {
            Ok(value) => value,
            Err(_) => {
                panic!("sync on {:?} at {site}: the main queue was dropped before the closure could run", self.label())
            }
        }
    }

    /// Like [`sync`](Self::sync), but waits at most until `timeout` for `f` to begin. `timeout` is
    /// a duration or a point in time, see [`When`]. Once `f` has begun, the call waits for its end.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, SyncError};
    /// use std::{thread, time::Duration};
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// let asker = thread::spawn(move || handle.sync_timeout(Duration::from_millis(1), || 640));
    /// // This thread does not drain the queue.
    /// assert!(matches!(asker.join().unwrap(), Err(SyncError::Timeout { .. })));
    /// ```
    ///
    /// # Errors
    /// [`SyncError`]: too late, or the main queue was dropped; `f` was dropped unrun in each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R: Send, F: FnOnce() -> R + Send>(
        &self,
        timeout: impl Into<When>,
        f: F,
    ) -> Result<R, SyncError> {
        self.sync_within(timeout.into(), f, Location::caller())
    }

    fn sync_within<R: Send, F: FnOnce() -> R + Send>(
        &self,
        when: When,
        f: F,
        site: &'static Location<'static>,
    ) -> Result<R, SyncError> {
        if self.is_main_thread() {
            let gone = || SyncError::Gone { label: self.label().to_owned(), why: Gone::MainQueueDropped };
            return if self.shared.inbox.is_closed() { Err(gone()) } else { Ok(f()) };
        }
        Waiting::sync_within(f, when, site, |waiting, wait| {
            // A refused entry is dropped here, which ends the wait at once.
            drop(self.shared.inbox.push(Entry::waiter(waiting), |entry| entry));
            wait();
        })
        .map_err(|lost| lost.of(self.label(), site, || Gone::MainQueueDropped))
    }

    /// Submits a block after a delay, or at a point in time on either clock; see [`When`]. Dropping
    /// the [`Timer`] does not cancel it.
    ///
    /// A runtime keeps the time: the one that the queue was
    /// [given](crate::MainQueue::with_runtime), or the default one. This call starts the default
    /// runtime if it has not started yet.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    /// use std::time::Duration;
    ///
    /// let main = MainQueue::new("main");
    /// let ui = main.handle();
    /// let hint = ui.submit_after(Duration::from_secs(600), || println!("still there?"));
    /// let own = ui.clone();
    /// ui.submit_after(Duration::from_millis(1), move || own.stop());
    /// main.run();
    /// assert!(hint.cancel());
    /// ```
    ///
    /// # Panics
    /// If the default runtime is needed and cannot be started, see [`Runtime::global`].
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        let (handle, site) = (self.clone(), Location::caller());
        let runtime = self.runtime();
        if !runtime.pool().accepts() {
            self.shared.counts.rejected.fetch_add(1, Relaxed);
            report::warn(format_args!(
                "a block for later, submitted to {:?} at {site}, was dropped: its runtime was shut down",
                self.label()
            ));
            return Timer::refused(runtime);
        }
        Timer::start(runtime, delay.into(), move || handle.submit_at(f, site))
    }

    /// Asks the main queue to stop. Blocks submitted before still run, then
    /// [`run`](crate::MainQueue::run) returns. A foreign loop is woken, and finds
    /// [`is_stopped`](crate::MainQueue::is_stopped).
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    ///
    /// let main = MainQueue::new("main");
    /// let ui = main.handle();
    /// ui.submit(|| println!("goodbye")); // still runs
    /// ui.stop();
    /// main.run();
    /// assert_eq!(ui.stats().ran, 1);
    /// ```
    pub fn stop(&self) {
        self.shared.inbox.stop();
    }

    /// The counts so far.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main");
    /// main.handle().submit(|| ());
    /// assert_eq!(main.handle().stats().waiting, 1);
    /// main.turn(Budget::ALL);
    /// assert_eq!((main.handle().stats().waiting, main.handle().stats().ran), (0, 1));
    /// ```
    #[must_use]
    pub fn stats(&self) -> MainStats {
        let counts = &self.shared.counts;
        // Read before the number of pushes, so that the difference is never negative.
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
///
/// ```
/// use singletrack_queues::{Budget, MainQueue, MainStats};
///
/// fn is_smooth(stats: &MainStats) -> bool {
///     stats.longest_turn.as_millis() < 16 && stats.panics == 0
/// }
/// let main = MainQueue::new("main");
/// main.turn(Budget::ALL);
/// assert!(is_smooth(&main.handle().stats()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MainStats {
    /// Blocks that ran, including those that panicked.
    pub ran: u64,
    /// Blocks that panicked while no thread waited for them.
    pub panics: u64,
    /// Blocks that were dropped unrun with the main queue.
    pub dropped: u64,
    /// Blocks that were refused because the main queue was gone.
    pub rejected: u64,
    /// The number of calls of the wake callback.
    pub wakes: u64,
    /// Turns that found an entry to run.
    pub turns: u64,
    /// The longest of these turns: the longest time for which blocks delayed a frame.
    pub longest_turn: Duration,
    /// Entries that wait for a turn, including local values that are to be dropped.
    pub waiting: u64,
}

impl PartialEq for MainHandle {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Eq for MainHandle {}

impl Hash for MainHandle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.shared).hash(state);
    }
}

impl fmt::Debug for MainHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MainHandle").field("label", &self.label()).finish_non_exhaustive()
    }
}
