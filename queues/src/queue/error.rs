//! Why a `sync` did not run.

use std::any::Any;
use std::fmt;
use std::panic::Location;
use std::time::Duration;

use super::Queue;

/// A wait that could never end, found before waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadlockError {
    wanted: String,
    inside: String,
    site: &'static Location<'static>,
}

impl DeadlockError {
    pub(super) fn new(wanted: &Queue, inside: String, site: &'static Location<'static>) -> Self {
        Self { wanted: wanted.label().to_owned(), inside, site }
    }

    /// For other kinds of queue.
    pub(crate) fn named(wanted: &str, inside: &str, site: &'static Location<'static>) -> Self {
        Self { wanted: wanted.to_owned(), inside: inside.to_owned(), site }
    }

    /// The label of the queue that was waited for.
    #[must_use]
    pub fn wanted(&self) -> &str {
        &self.wanted
    }

    /// The label of the queue in whose block this thread is, and that the other cannot run without.
    #[must_use]
    pub fn inside(&self) -> &str {
        &self.inside
    }
}

impl fmt::Display for DeadlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, inside, site } = self;
        write!(
            f,
            "deadlock: sync on \"{wanted}\" at {site} would wait for ever, because this thread is in a block of \
             \"{inside}\"; call the closure directly, or use submit"
        )
    }
}

impl std::error::Error for DeadlockError {}

/// Why [`Queue::try_sync`] did not run the closure, which comes back.
pub enum TrySyncError<F> {
    /// The queue or one of its targets is busy, or suspended.
    Busy(F),
    /// This thread is in a block that the queue waits for.
    Deadlock(DeadlockError, F),
}

impl<F> TrySyncError<F> {
    /// The closure that was not run.
    pub fn into_inner(self) -> F {
        match self {
            Self::Busy(f) | Self::Deadlock(_, f) => f,
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

/// Why [`Queue::sync_timeout`] did not run the closure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncError {
    /// The queue did not come to it in time.
    Timeout {
        /// The queue.
        label: String,
        /// How long was waited.
        after: Duration,
    },
    /// This thread is in a block that the queue waits for.
    Deadlock(DeadlockError),
    /// The runtime was shut down, the main queue dropped, or this process is a fork child.
    Shutdown {
        /// The queue.
        label: String,
    },
}

impl fmt::Display for SyncError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { label, after } => {
                write!(f, "queue \"{label}\" did not come to the closure within {after:?}")
            }
            Self::Deadlock(error) => error.fmt(f),
            Self::Shutdown { label } => {
                write!(
                    f,
                    "queue \"{label}\" is gone: its runtime was shut down, its main queue dropped, or this is a fork child"
                )
            }
        }
    }
}

impl std::error::Error for SyncError {}
