//! The errors of queues.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

#[cfg(doc)]
use super::Queue;
use crate::pool::Gone;

/// A wait that could never end, detected before it began.
///
/// ```
/// use singletrack_queues::{Queue, SyncError};
/// use std::time::Duration;
///
/// let lobby = Queue::new("lobby");
/// lobby.sync(|| match lobby.sync_timeout(Duration::from_secs(3600), || ()) {
///     Err(SyncError::Deadlock(error)) => println!("{error}"), // at once, not after an hour
///     other => unreachable!("{other:?}"),
/// });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockError {
    call: &'static str,
    wanted: String,
    inside: String,
    site: &'static Location<'static>,
    is_upgrade: bool,
}

impl DeadlockError {
    pub(crate) fn new(call: &'static str, wanted: &str, inside: String, site: &'static Location<'static>) -> Self {
        Self { call, wanted: wanted.to_owned(), inside, site, is_upgrade: false }
    }

    /// The block that this thread is in reads, and the call wants to write.
    pub(super) fn upgrade(self) -> Self {
        Self { is_upgrade: true, ..self }
    }

    /// The call that would not have returned, such as `barrier_sync`.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TrySyncError};
    ///
    /// let lobby = Queue::new("lobby");
    /// lobby.sync(|| match lobby.try_sync(|| ()) {
    ///     Err(TrySyncError::Deadlock(error, _)) => assert_eq!(error.call(), "try_sync"),
    ///     _ => unreachable!(),
    /// });
    /// ```
    #[must_use]
    pub fn call(&self) -> &str {
        self.call
    }

    /// The label of the queue that the call would wait for.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TrySyncError};
    ///
    /// let (hall, lobby) = (Queue::new("hall"), Queue::new("lobby"));
    /// // From the lobby to the hall, and back to the lobby.
    /// lobby.sync(|| hall.sync(|| match lobby.try_sync(|| ()) {
    ///     Err(TrySyncError::Deadlock(error, _)) => assert_eq!(error.wanted(), "lobby"),
    ///     _ => unreachable!(),
    /// }));
    /// ```
    #[must_use]
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// The label of the queue in whose block this thread is, and that must end before the other
    /// queue can run.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TrySyncError};
    ///
    /// let house = Queue::new("house");
    /// let hall = Queue::builder("hall").target(&house).build();
    /// let lobby = Queue::builder("lobby").target(&house).build();
    /// lobby.sync(|| match hall.try_sync(|| ()) {
    ///     Err(TrySyncError::Deadlock(error, _)) => assert_eq!((error.inside(), error.wanted()), ("lobby", "hall")),
    ///     _ => unreachable!(),
    /// });
    /// ```
    #[must_use]
    pub fn inside(&self) -> &str {
        &self.inside
    }

    /// The place of the call.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TrySyncError};
    ///
    /// let lobby = Queue::new("lobby");
    /// lobby.sync(|| {
    ///     if let Err(TrySyncError::Deadlock(error, _)) = lobby.try_sync(|| ()) {
    ///         let site = error.site();
    ///         eprintln!("look at {}:{}", site.file(), site.line());
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn site(&self) -> &'static Location<'static> {
        self.site
    }
}

impl fmt::Display for DeadlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, wanted, inside, site, is_upgrade } = self;
        write!(
            f,
            "deadlock: {call} on {wanted:?} at {site} would wait for ever, because this thread is in a block of {inside:?}; "
        )?;
        f.write_str(match *call {
            // Others may change what the block has read before it can write.
            _ if *is_upgrade => {
                "a block that reads cannot become one that writes: leave it before the call, and look again at what it read, \
                 or submit a barrier"
            }
            "apply" => "run the loop right here, or use the function apply, which belongs to no queue",
            _ => "call the closure directly, or use submit",
        })
    }
}

impl std::error::Error for DeadlockError {}

/// Why [`Queue::try_sync`] did not run the closure, which comes back.
///
/// ```
/// use singletrack_queues::{Queue, TrySyncError};
///
/// let cache = Queue::new("cache");
/// match cache.try_sync(|| "fresh") {
///     Ok(value) => assert_eq!(value, "fresh"),
///     Err(TrySyncError::Busy(_)) => println!("use the old value"),
///     Err(error) => panic!("{error}"),
/// }
/// ```
#[non_exhaustive]
pub enum TrySyncError<F> {
    /// The queue or one of its targets is busy, or suspended.
    Busy(F),
    /// This thread is in a block that the queue waits for.
    Deadlock(DeadlockError, F),
}

impl<F> TrySyncError<F> {
    /// The closure that did not run.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let queue = Queue::new("cache");
    /// queue.suspend();
    /// let refresh = queue.try_sync(|| "fresh").unwrap_err().into_inner();
    /// queue.resume().unwrap();
    /// assert_eq!(queue.sync(refresh), "fresh");
    /// ```
    pub fn into_inner(self) -> F {
        match self {
            Self::Busy(f) | Self::Deadlock(_, f) => f,
        }
    }
}

impl<F> TrySyncError<F> {
    /// The same, with another closure: `back` makes it of the one that did not run.
    pub(crate) fn map<G>(self, back: impl FnOnce(F) -> G) -> TrySyncError<G> {
        match self {
            Self::Busy(f) => TrySyncError::Busy(back(f)),
            Self::Deadlock(error, f) => TrySyncError::Deadlock(error, back(f)),
        }
    }
}

impl<F> fmt::Debug for TrySyncError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(_) => f.write_str("Busy(..)"),
            Self::Deadlock(error, _) => f.debug_tuple("Deadlock").field(error).finish_non_exhaustive(),
        }
    }
}

impl<F> fmt::Display for TrySyncError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy(_) => f.write_str("the queue is busy or suspended; try again, or use sync to wait"),
            Self::Deadlock(error, _) => error.fmt(f),
        }
    }
}

impl<F: Any> std::error::Error for TrySyncError<F> {}

/// The reason why a closure with a waiting thread did not run.
pub(crate) enum Lost {
    /// It was taken back after that time.
    Late(Duration),
    /// It was dropped with its queue.
    Dropped,
}

impl Lost {
    /// The error for the queue of that label.
    pub(crate) fn of(self, label: &str, site: &'static Location<'static>, why: impl FnOnce() -> Gone) -> SyncError {
        let label = label.to_owned();
        match self {
            Self::Late(after) => SyncError::Timeout { label, after, site },
            Self::Dropped => SyncError::Gone { label, why: why() },
        }
    }
}

/// The reason why [`Queue::sync_timeout`] did not run the closure.
///
/// ```
/// use singletrack_queues::{Queue, SyncError};
/// use std::time::Duration;
///
/// let queue = Queue::new("printer");
/// queue.suspend();
/// match queue.sync_timeout(Duration::from_millis(1), || ()) {
///     Err(SyncError::Timeout { label, .. }) => assert_eq!(label, "printer"),
///     other => unreachable!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncError {
    /// The closure did not begin in time.
    Timeout {
        /// The label of the queue.
        label: String,
        /// The duration of the wait.
        after: Duration,
        /// The place of the call.
        site: &'static Location<'static>,
    },
    /// This thread is in a block that the queue waits for.
    Deadlock(DeadlockError),
    /// The queue runs nothing any more.
    Gone {
        /// The label of the queue.
        label: String,
        /// The reason.
        why: Gone,
    },
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { label, after, site } => {
                write!(f, "queue {label:?} did not come to the closure of {site} within {after:?}")
            }
            Self::Deadlock(error) => error.fmt(f),
            Self::Gone { label, why } => write!(f, "queue {label:?} runs nothing any more: {why}"),
        }
    }
}

impl std::error::Error for SyncError {}

/// A closure that was not taken, and comes back: the queue takes nothing any more.
///
/// ```
/// use singletrack_queues::{Queue, Rejected, Runtime};
/// use std::time::Duration;
///
/// /// Runs `job` on the queue, or here if the queue takes nothing any more.
/// fn run<F: FnOnce() + Send + 'static>(queue: &Queue, job: F) {
///     queue.try_submit(job).unwrap_or_else(|rejected: Rejected<F>| rejected.into_inner()());
/// }
/// let runtime = Runtime::builder().workers(1).build().unwrap();
/// let queue = runtime.queue("jobs");
/// runtime.shutdown(Duration::from_secs(5));
/// run(&queue, || println!("it runs nevertheless"));
/// ```
pub struct Rejected<F> {
    f: F,
    label: String,
    why: Gone,
}

impl<F> Rejected<F> {
    pub(crate) fn new(f: F, label: &str, why: Gone) -> Self {
        Self { f, label: label.to_owned(), why }
    }

    /// The closure.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let queue = runtime.queue("orders");
    /// runtime.shutdown(Duration::from_secs(5));
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let order = queue.try_submit(move || tell.send("two teas").unwrap()).unwrap_err().into_inner();
    /// order();
    /// assert_eq!(told.recv(), Ok("two teas"));
    /// ```
    pub fn into_inner(self) -> F {
        self.f
    }

    /// The label of the queue.
    ///
    /// ```
    /// use singletrack_queues::MainQueue;
    ///
    /// let main = MainQueue::new("window");
    /// let handle = main.handle();
    /// drop(main);
    /// assert_eq!(handle.try_submit(|| ()).unwrap_err().label(), "window");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Why the queue takes nothing any more.
    ///
    /// ```
    /// use singletrack_queues::{Gone, MainQueue};
    ///
    /// let main = MainQueue::new("window");
    /// let handle = main.handle();
    /// drop(main);
    /// assert_eq!(handle.try_submit(|| ()).unwrap_err().why(), Gone::MainQueueDropped);
    /// ```
    #[must_use]
    pub fn why(&self) -> Gone {
        self.why
    }
}

impl<F> fmt::Debug for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejected").field("label", &self.label).field("why", &self.why).finish_non_exhaustive()
    }
}

impl<F> fmt::Display for Rejected<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { label, why, .. } = self;
        write!(f, "{label:?} takes nothing any more: {why}; the block comes back")
    }
}

impl<F> std::error::Error for Rejected<F> {}

/// The error of a [`Queue::resume`] without a [`Queue::suspend`] to take back. A source has the
/// same error.
///
/// ```
/// use singletrack_queues::{NotSuspended, Queue};
///
/// let error: NotSuspended = Queue::new("printer").resume().unwrap_err();
/// assert!(error.to_string().contains("printer"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotSuspended {
    what: &'static str,
    label: String,
}

impl NotSuspended {
    pub(crate) fn queue(label: &str) -> Self {
        Self { what: "queue", label: label.to_owned() }
    }

    /// The error of a source on the queue of that label.
    pub(crate) fn source(label: &str) -> Self {
        Self { what: "a source on queue", label: label.to_owned() }
    }
}

impl fmt::Display for NotSuspended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, label } = self;
        write!(
            f,
            "{what} {label:?} is not suspended: it was resumed as often as suspended; call suspend before each resume"
        )
    }
}

impl std::error::Error for NotSuspended {}
