//! The error of a source that could not be made.

use std::fmt::Display;
use std::io;

use singletrack_queues::{Gone, SourceBuilder};

/// The event cannot be reported. The error names the queue, the event, and the reason.
///
/// ```
/// use singletrack_io::{EventError, EventSource, event::signals::SIGKILL};
/// use singletrack_queues::Queue;
///
/// let error: EventError = EventSource::signal(&Queue::new("signals"), SIGKILL, |_| ()).unwrap_err();
/// println!("{error}"); // it names the queue, the signal and the reason
/// ```
#[derive(Debug, thiserror::Error)]
#[error("queue \"{queue}\" cannot be notified of {what}: {why}")]
pub struct EventError {
    queue: String,
    what: String,
    #[source]
    why: io::Error,
    gone: Option<Gone>,
}

impl EventError {
    pub(super) fn new(label: &str, what: impl Display, why: impl Into<io::Error>) -> EventError {
        EventError { queue: label.to_string(), what: what.to_string(), why: why.into(), gone: None }
    }

    /// Refuses a queue that takes nothing any more: the handler would never run. To be asked before
    /// anything is changed in the process.
    pub(super) fn unless_gone(builder: &SourceBuilder, what: impl Display) -> Result<(), EventError> {
        match builder.gone() {
            Some(gone) => {
                let error = EventError::new(builder.label(), what, io::Error::other(gone.to_string()));
                Err(EventError { gone: Some(gone), ..error })
            }
            None => Ok(()),
        }
    }

    /// Returns the system's kind of refusal.
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::signals::SIGKILL};
    /// use singletrack_queues::Queue;
    /// use std::io::ErrorKind;
    ///
    /// let error = EventSource::signal(&Queue::new("signals"), SIGKILL, |_| ()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput, "no program can catch it");
    /// ```
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.why.kind()
    }

    /// Returns the reason why the queue takes nothing any more, if that is what was wrong.
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::{Gone, Runtime};
    /// use std::{os::unix::net::UnixStream, time::Duration};
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// let queue = runtime.queue("input");
    /// runtime.shutdown(Duration::from_secs(5));
    /// let error = EventSource::readable(&queue, &near, |_| ()).unwrap_err();
    /// assert_eq!(error.gone(), Some(Gone::ShutDown));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn gone(&self) -> Option<Gone> {
        self.gone
    }
}

/// Makes an error with a reason in words.
pub(super) fn refused(kind: io::ErrorKind, why: impl Into<String>) -> io::Error {
    io::Error::new(kind, why.into())
}
