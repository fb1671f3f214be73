//! A set of workers and what runs on it: builder, default runtime, shutdown and its report.
//!
//! Not for: how workers find work and sleep (`pool`), what a queue is (`queue`).

use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use once_cell::sync::OnceCell;

use crate::base::block;
use crate::base::catch;
use crate::base::park::{Parker, ThreadParker};
use crate::base::qos::Qos;
use crate::base::report;
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::base::sync::now;
pub(crate) use crate::pool::Owner;
use crate::pool::{self, Gone, Pool, Stuck};

/// Most workers that a runtime can have.
const MAX_WORKERS: usize = 1024;
/// Threads, replacements of blocked workers included, unless the builder says otherwise.
const DEFAULT_THREAD_CAP: usize = 64;
/// After the deadline of a shutdown: for threads to drop what they hold, and to be seen stuck.
const GRACE: Duration = Duration::from_millis(100);
/// And then, as long as no thread is in a block: what is left is being dropped, or a thread waits
/// for a processor.
const PATIENCE: Duration = Duration::from_secs(10);

/// The workers that run blocks: one per core, each waiting in a [`Parker`] when there is nothing to
/// do, and one monitor thread that looks after blocked ones. This is a handle; queues keep their
/// runtime alive.
///
/// ```
/// use singletrack_queues::Runtime;
/// use std::time::Duration;
///
/// let runtime = Runtime::builder().workers(2).name("disk").build()?;
/// let queue = runtime.queue("index");
/// queue.submit(|| println!("on a runtime of its own"));
/// let report = runtime.shutdown(Duration::from_secs(5));
/// assert_eq!(report.dropped, 0);
/// # Ok::<(), singletrack_queues::BuildError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Runtime {
    pub(crate) owner: Arc<Owner>,
}

impl PartialEq for Runtime {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.pool(), other.pool())
    }
}

impl Eq for Runtime {}

impl Hash for Runtime {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(self.pool()).hash(state);
    }
}

static GLOBAL: OnceCell<Runtime> = OnceCell::new();

impl Runtime {
    /// Starts to describe a runtime.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let disk = Runtime::builder().workers(2).name("disk").build()?;
    /// assert_eq!((disk.workers(), disk.name()), (2, "disk"));
    /// # Ok::<(), singletrack_queues::BuildError>(())
    /// ```
    #[doc(alias = "dispatch_pthread_root_queue_create")]
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder { workers: None, thread_cap: None, name: "singletrack".into(), parkers: None }
    }

    /// The default runtime, made when first used: a worker per core.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Runtime};
    ///
    /// let queue = Queue::new("anywhere");
    /// assert_eq!(queue.runtime(), Runtime::global());
    /// ```
    ///
    /// # Panics
    /// When the system refuses its threads; see [`try_global`](Self::try_global).
    #[must_use]
    pub fn global() -> Self {
        match Self::try_global() {
            Ok(runtime) => runtime,
            Err(error) => panic!("the default runtime cannot start: {error}"),
        }
    }

    /// The default runtime, or why it cannot be had. A failed start is tried again by the next
    /// call.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// match Runtime::try_global() {
    ///     Ok(runtime) => assert!(runtime.workers() >= 1),
    ///     Err(error) => eprintln!("cannot start: {error}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Threads`] when the system refuses its threads.
    pub fn try_global() -> Result<Self, BuildError> {
        GLOBAL.get_or_try_init(|| Self::builder().build()).cloned()
    }

    /// The parker that the calling worker holds now: its index, as given to
    /// [`RuntimeBuilder::parkers`]. `None` on threads that are not workers, and while another
    /// thread has it.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::sync::mpsc;
    ///
    /// let runtime = Runtime::builder().workers(2).build().unwrap();
    /// let (tell, told) = mpsc::channel();
    /// runtime.spawn(move || tell.send(Runtime::current_parker()).unwrap());
    /// if let Some(worker) = told.recv().unwrap() {
    ///     assert!(worker < 2);
    /// }
    /// assert_eq!(Runtime::current_parker(), None, "this thread is no worker");
    /// ```
    #[must_use]
    pub fn current_parker() -> Option<usize> {
        pool::current_parker()
    }

    /// The parker of the worker with this index; `None` where there are fewer workers. What made
    /// the parkers finds its own again by it: a parker is [`Any`](std::any::Any).
    ///
    /// ```
    /// use singletrack_queues::{Parker, Runtime};
    /// use std::{any::Any, sync::Arc};
    ///
    /// # struct Mine;
    /// let parker: Option<Arc<dyn Parker>> = Runtime::global().parker(0);
    /// let parker: Arc<dyn Any + Send + Sync> = parker.expect("there is at least one worker");
    /// assert!(parker.downcast::<Mine>().is_err(), "the default runtime waits in parkers of its own");
    /// ```
    #[must_use]
    pub fn parker(&self, index: usize) -> Option<Arc<dyn Parker>> {
        self.pool().parkers().get(index).cloned()
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        self.owner.pool()
    }

    /// Submits a one-shot block straight to the workers: it belongs to no queue and runs beside
    /// everything else.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// for part in 1..=3 {
    ///     let tell = tell.clone();
    ///     Runtime::global().spawn(move || tell.send(part * 100).unwrap());
    /// }
    /// drop(tell);
    /// assert_eq!(told.iter().sum::<i32>(), 600);
    /// ```
    #[doc(alias = "dispatch_get_global_queue")]
    #[track_caller]
    pub fn spawn<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.spawn_at(Qos::Default, f, Location::caller());
    }

    /// As [`spawn`](Self::spawn), with a class: what a global queue of that class is in Grand
    /// Central Dispatch.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Runtime};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// Runtime::global().spawn_as(Qos::Background, move || tell.send(Qos::current()).unwrap());
    /// assert_eq!(told.recv(), Ok(Qos::Background));
    /// ```
    #[doc(alias = "dispatch_get_global_queue")]
    #[doc(alias = "dispatch_queue_priority_t")]
    #[track_caller]
    pub fn spawn_as<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F) {
        self.spawn_at(qos, f, Location::caller());
    }

    pub(crate) fn spawn_at<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F, site: &'static Location<'static>) {
        if self.pool().accepts() {
            self.pool().spawn_as(block::block(f, site), qos);
        } else {
            self.pool().count_rejected();
            report::warn(format_args!("a block spawned at {site} was dropped: {}", self.pool().why_refused()));
            // Quietly: this may be a notify, on a thread that has more to tell.
            catch::drop_quietly(f);
        }
    }

    /// The name of its threads; see [`RuntimeBuilder::name`].
    ///
    /// ```
    /// let disk = singletrack_queues::Runtime::builder().workers(1).name("disk").build()?;
    /// assert_eq!(disk.name(), "disk");
    /// # Ok::<(), singletrack_queues::BuildError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.pool().name()
    }

    /// Why it takes nothing any more from the calling thread; `None`: it does. While it shuts down,
    /// a block that runs on it may still submit.
    ///
    /// ```
    /// use singletrack_queues::{Gone, Runtime};
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// assert_eq!(runtime.gone(), None);
    /// runtime.shutdown(Duration::from_secs(1));
    /// assert_eq!(runtime.gone(), Some(Gone::ShutDown));
    /// ```
    #[must_use]
    pub fn gone(&self) -> Option<Gone> {
        (!self.pool().accepts()).then(|| self.pool().why_refused())
    }

    /// How many workers, and so how many parkers, it has.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(3).build().unwrap();
    /// assert_eq!(runtime.workers(), 3);
    /// ```
    #[must_use]
    pub fn workers(&self) -> usize {
        self.pool().workers()
    }

    /// The counts so far.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// for _ in 0..3 {
    ///     runtime.spawn(|| ());
    /// }
    /// runtime.shutdown(Duration::from_secs(5));
    /// assert_eq!(runtime.stats().blocks, 3);
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let pool = self.pool();
        let (threads, peak_threads) = {
            let roster = pool.threads.roster();
            (roster.live(), roster.peak)
        };
        Stats {
            workers: pool.workers(),
            threads,
            peak_threads,
            blocks: pool.blocks(),
            panics: pool.counts.panics.load(Relaxed),
            rejected: pool.counts.rejected.load(Relaxed),
            dropped: pool.counts.dropped.load(Relaxed),
            wakes: pool.counts.wakes.load(Relaxed),
            replaced: pool.counts.replaced.load(Relaxed),
            timers: pool.timers.len(),
            backlog: pool.backlog(),
        }
    }

    /// Ends the runtime: runs what was submitted, within `deadline`, and reports.
    ///
    /// From the beginning on, submissions from threads outside are refused, and timers that are not
    /// due are dropped; blocks that run may submit more. When nothing is left, or at the deadline,
    /// what did not start is dropped, and the threads end. A block that is still running then is
    /// reported as stuck, with its queue and the place that submitted it.
    ///
    /// Waits for up to `deadline` and a tenth of a second; longer, up to ten seconds, only while no
    /// block runs and threads are still dropping what did not start. From a second call on there is
    /// nothing left to do.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let journal = runtime.queue("journal");
    /// journal.submit(|| println!("written before the end"));
    /// journal.submit_after(Duration::from_secs(3600), || unreachable!());
    /// let report = runtime.shutdown(Duration::from_secs(5));
    /// assert!(!report.deadline_passed);
    /// assert_eq!(report.dropped, 1, "the timer was not due");
    /// ```
    ///
    /// # Panics
    /// When called from a block of this runtime: it would wait for itself.
    pub fn shutdown(&self, deadline: Duration) -> Report {
        let pool = self.pool();
        assert!(
            !pool::current().is_some_and(|(current, _)| Arc::ptr_eq(&current, pool)),
            "shutdown was called from a block of the runtime that it would wait for; call it from another thread"
        );
        if pool.is_forked() {
            report::warn(format_args!("shutdown does nothing here: {}", pool.why_refused()));
            return Report::default();
        }
        // What this thread drops may wait for what it is going to drop.
        pool.ends_here(|| self.end(deadline))
    }

    fn end(&self, deadline: Duration) -> Report {
        let pool = self.pool();
        let begin = now();
        let end = begin.checked_add(deadline).unwrap_or_else(|| begin + Duration::from_secs(86_400 * 365));
        let (ran, dropped) = (pool.blocks(), pool.counts.dropped.load(Relaxed));
        pool.timers.fire_all_due();
        pool.close();
        pool.count_dropped(pool.timers.clear());
        let quiet = wait_for_quiet(pool, end);
        pool.halt();
        if !quiet && !wait_for_quiet(pool, now() + GRACE) {
            let end = now() + PATIENCE;
            while pool.stuck().is_empty() && now() < end && !wait_for_quiet(pool, now() + PAUSE) {}
        }
        let stuck = if pool.is_quiet() { Vec::new() } else { pool.stuck() };
        let suspended = pool.discard_suspended();
        pool.stop();
        pool.join(now() + GRACE);
        Report {
            deadline_passed: !quiet,
            ran: pool.blocks() - ran,
            dropped: pool.counts.dropped.load(Relaxed) - dropped,
            stuck,
            suspended,
            took: now().saturating_duration_since(begin),
        }
    }
}

/// Between two looks, at most.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks until nothing runs. A shutdown is no hot path: looking is simpler than being notified, and
/// cannot miss.
fn wait_for_quiet(pool: &Pool, end: Instant) -> bool {
    let mut pause = Duration::from_micros(50);
    while !pool.is_quiet() {
        if now() >= end {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE);
    }
    true
}

/// Describes a runtime before it is made.
///
/// ```
/// use singletrack_queues::{Queue, Runtime};
///
/// let disk = Runtime::builder().workers(1).thread_cap(4).name("disk").build()?;
/// let files = Queue::builder("files").runtime(&disk).build();
/// assert_eq!(files.runtime(), disk);
/// # Ok::<(), singletrack_queues::BuildError>(())
/// ```
#[must_use = "nothing is made before `build`"]
pub struct RuntimeBuilder {
    workers: Option<usize>,
    thread_cap: Option<usize>,
    name: String,
    parkers: Option<MakeParker>,
}

type MakeParker = Box<dyn FnMut(usize) -> std::io::Result<Arc<dyn Parker>>>;

impl RuntimeBuilder {
    /// How many workers; default: as many as cores that this process may use.
    ///
    /// ```
    /// use singletrack_queues::{BuildError, Runtime};
    ///
    /// let runtime = Runtime::builder().workers(2).build().unwrap();
    /// assert_eq!(runtime.workers(), 2);
    /// assert!(matches!(Runtime::builder().workers(0).build(), Err(BuildError::Workers(0))));
    /// ```
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Most threads at a time, replacements of blocked workers included; default 64, or twice the
    /// workers if that is more.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).thread_cap(2).build().unwrap();
    /// assert!(runtime.stats().peak_threads <= 2);
    /// let error = Runtime::builder().workers(4).thread_cap(2).build().unwrap_err();
    /// println!("{error}"); // fewer threads than workers
    /// ```
    pub fn thread_cap(mut self, cap: usize) -> Self {
        self.thread_cap = Some(cap);
        self
    }

    /// The name of its threads, with a number behind it; default `singletrack`. Linux shows 15
    /// bytes.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::{sync::mpsc, thread};
    ///
    /// let runtime = Runtime::builder().workers(1).name("disk").build().unwrap();
    /// let (tell, told) = mpsc::channel();
    /// runtime.spawn(move || tell.send(thread::current().name().map(str::to_owned)).unwrap());
    /// assert!(told.recv().unwrap().unwrap().starts_with("disk"));
    /// ```
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// How workers wait; default: on a condition variable. Called once per worker with its index.
    ///
    /// ```
    /// use singletrack_queues::{BuildError, Runtime};
    /// use std::io;
    ///
    /// let runtime = Runtime::builder().workers(1).parkers(|worker| {
    ///     Err(io::Error::other(format!("no poller for worker {worker}")))
    /// });
    /// assert!(matches!(runtime.build(), Err(BuildError::Parker(_))));
    /// ```
    pub fn parkers<M>(mut self, make: M) -> Self
    where
        M: FnMut(usize) -> std::io::Result<Arc<dyn Parker>> + 'static,
    {
        self.parkers = Some(Box::new(make));
        self
    }

    /// Makes the runtime and starts its threads.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// assert_eq!(runtime.queue("first").sync(|| 1 + 1), 2);
    /// # Ok::<(), singletrack_queues::BuildError>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`]: a number that makes no sense, a parker that cannot be made, or threads that
    /// the system refuses.
    pub fn build(self) -> Result<Runtime, BuildError> {
        if self.name.contains('\0') {
            return Err(BuildError::Name(self.name));
        }
        let workers = self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        if !(1..=MAX_WORKERS).contains(&workers) {
            return Err(BuildError::Workers(workers));
        }
        let thread_cap = self.thread_cap.unwrap_or(DEFAULT_THREAD_CAP.max(2 * workers));
        if !(workers..=pool::MAX_THREADS).contains(&thread_cap) {
            return Err(BuildError::ThreadCap { cap: thread_cap, workers });
        }
        let mut make = self.parkers.unwrap_or_else(|| Box::new(|_| Ok(Arc::new(ThreadParker::default()) as _)));
        let parkers =
            (0..workers).map(&mut make).collect::<Result<_, _>>().map_err(|error| BuildError::Parker(error.into()))?;
        let pool = Pool::start(self.name, parkers, thread_cap).map_err(|error| BuildError::Threads(error.into()))?;
        Ok(Runtime { owner: Arc::new(Owner { pool }) })
    }
}

impl fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workers, thread_cap, name, .. } = self;
        f.debug_struct("RuntimeBuilder")
            .field("workers", workers)
            .field("thread_cap", thread_cap)
            .field("name", name)
            .finish_non_exhaustive()
    }
}

/// Why a runtime could not be made.
///
/// ```
/// use singletrack_queues::{BuildError, Runtime};
///
/// match Runtime::builder().workers(5_000).build() {
///     Err(BuildError::Workers(asked)) => assert_eq!(asked, 5_000),
///     other => unreachable!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The name has a NUL byte in it, which no system takes for a thread.
    Name(String),
    /// Not between 1 and 1,024.
    Workers(usize),
    /// Fewer threads than workers, or more than 4,096.
    ThreadCap {
        /// The requested cap.
        cap: usize,
        /// The workers that must fit.
        workers: usize,
    },
    /// A parker could not be made.
    Parker(Arc<std::io::Error>),
    /// The system refused a thread.
    Threads(Arc<std::io::Error>),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                write!(
                    f,
                    "a runtime cannot be named {name:?}: its threads are, and no system takes a NUL byte for that; leave it out"
                )
            }
            Self::Workers(workers) => write!(f, "a runtime has 1 to {MAX_WORKERS} workers, not {workers}"),
            Self::ThreadCap { cap, workers } => {
                write!(
                    f,
                    "the cap of threads must be between the {workers} workers and {}, not {cap}",
                    pool::MAX_THREADS
                )
            }
            Self::Parker(error) => write!(f, "a worker's parker could not be made: {error}"),
            Self::Threads(error) => write!(f, "the system refused a thread: {error}; lower the number of workers"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Parker(error) | Self::Threads(error) => Some(&**error),
            _ => None,
        }
    }
}

/// The work of a runtime so far: counts since its start.
///
/// ```
/// use singletrack_queues::Runtime;
///
/// let runtime = Runtime::builder().workers(2).build().unwrap();
/// let stats = runtime.stats();
/// assert_eq!((stats.workers, stats.panics, stats.timers), (2, 0, 0));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers, and so parkers.
    pub workers: usize,
    /// Threads now: workers, extra threads and spare ones; the monitor is not counted.
    pub threads: usize,
    /// The most threads at a time so far.
    pub peak_threads: usize,
    /// Blocks that workers began.
    pub blocks: u64,
    /// Blocks that panicked with nobody waiting for them.
    pub panics: u64,
    /// Submissions that were refused because of a shutdown.
    pub rejected: u64,
    /// Blocks that were taken, and dropped by a shutdown.
    pub dropped: u64,
    /// Sleeping workers that were woken by a system call.
    pub wakes: u64,
    /// Workers that were replaced by another thread, because they sat in a block.
    pub replaced: u64,
    /// Timers that wait for their time.
    pub timers: usize,
    /// Queues with blocks, and one-shot blocks, that wait for a worker now; about, while others
    /// come and go. A number that stays large says that the workers cannot keep up. A queue counts
    /// once, however many blocks it holds, and not while it runs.
    pub backlog: usize,
}

/// How a shutdown went.
///
/// ```
/// use singletrack_queues::Runtime;
/// use std::time::Duration;
///
/// let runtime = Runtime::builder().workers(1).build().unwrap();
/// let queue = runtime.queue("on hold");
/// queue.suspend();
/// queue.submit(|| println!("never"));
/// let report = runtime.shutdown(Duration::from_millis(10));
/// assert_eq!(report.suspended, [("on hold".to_owned(), 1)]);
/// println!("{report}");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// Something was left at the deadline.
    pub deadline_passed: bool,
    /// Blocks that ran since the shutdown began.
    pub ran: u64,
    /// Blocks and timers that were dropped unrun.
    pub dropped: u64,
    /// Blocks that were still running at the deadline.
    pub stuck: Vec<Stuck>,
    /// Suspended and inactive queues, and how many of the dropped blocks were in each.
    pub suspended: Vec<(String, u64)>,
    /// How long it took.
    pub took: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.deadline_passed { "the deadline passed" } else { "all done" };
        write!(f, "{end} after {:.1?}: {} blocks ran, {} were dropped", self.took, self.ran, self.dropped)?;
        for Stuck { label, site } in &self.stuck {
            write!(f, "; stuck in {label:?}")?;
            if let Some(site) = site {
                write!(f, ", submitted at {site}")?;
            }
        }
        for (label, blocks) in &self.suspended {
            write!(f, "; {label:?} was suspended with {blocks} blocks")?;
        }
        Ok(())
    }
}
