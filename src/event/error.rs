//! Why a source could not be made.

use std::fmt::Display;
use std::io;

use singletrack_queues::Queue;

/// The system does not tell of this event: which queue wanted it, what it was, and why not.
#[derive(Debug, thiserror::Error)]
#[error("queue \"{queue}\" cannot be told of {what}: {why}")]
pub struct EventError {
    queue: String,
    what: String,
    #[source]
    why: io::Error,
}

impl EventError {
    pub(super) fn new(queue: &Queue, what: impl Display, why: impl Into<io::Error>) -> EventError {
        let queue = queue.label().to_string();
        EventError { queue, what: what.to_string(), why: why.into() }
    }

    /// What kind of refusal it was, as the system says it.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.why.kind()
    }
}

/// A reason in words.
pub(super) fn refused(kind: io::ErrorKind, why: impl Into<String>) -> io::Error {
    io::Error::new(kind, why.into())
}
