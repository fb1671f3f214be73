//! The reasons why a task has no value.

use std::fmt;
use std::panic::Location;

use crate::base::catch::{self, Payload};
use crate::pool::Gone;

/// The reason why a task has no value.
///
/// ```
/// use singletrack_queues::{Task, TaskError};
///
/// let (task, promise) = Task::<u32>::promised();
/// drop(promise);
/// match task.wait() {
///     Ok(value) => println!("{value}"),
///     Err(TaskError::Broken) => println!("nobody will answer"),
///     Err(error) => panic!("{error}"),
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum TaskError {
    /// The block panicked.
    Panicked {
        /// The message of the panic.
        message: String,
        /// The payload of the panic, for [`std::panic::resume_unwind`].
        payload: PanicPayload,
    },
    /// The block was dropped unrun, or will never run here.
    Dropped {
        /// The label of the queue.
        label: String,
        /// The reason.
        why: Gone,
    },
    /// The [`Promise`](crate::Promise) was dropped without a value.
    Broken,
    /// [`Task::cancel`](crate::Task::cancel) came before the block began.
    Cancelled,
    /// The value was taken already, by a wait with a time limit or by `await`. A value can be taken
    /// once.
    Taken,
    /// The wait would never end. This thread is in a block of the queue that the task waits for, or
    /// is the main thread that would have to run it.
    Deadlock {
        /// The label of the queue.
        label: String,
        /// The place of the wait.
        site: &'static Location<'static>,
    },
}

/// The payload of a panic. It can be sent and shared, so that the error can be, too.
///
/// ```
/// use singletrack_queues::{Queue, TaskError};
///
/// let task = Queue::new("parser").call(|| -> u32 { std::panic::panic_any(404) });
/// let Err(TaskError::Panicked { payload, .. }) = task.wait() else { unreachable!() };
/// assert_eq!(payload.into_inner().downcast_ref(), Some(&404));
/// ```
pub struct PanicPayload(std::sync::Mutex<Payload>);

impl PanicPayload {
    /// The payload itself.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TaskError};
    /// use std::panic::{catch_unwind, resume_unwind};
    ///
    /// let caller = catch_unwind(|| match Queue::new("parser").call(|| panic!("bad input")).wait() {
    ///     // The caller panics as the block did.
    ///     Err(TaskError::Panicked { payload, .. }) => resume_unwind(payload.into_inner()),
    ///     other => other.unwrap(),
    /// });
    /// assert_eq!(caller.unwrap_err().downcast_ref(), Some(&"bad input"));
    /// ```
    #[must_use]
    pub fn into_inner(self) -> Payload {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl TaskError {
    pub(super) fn from_panic(payload: Payload) -> Self {
        Self::Panicked {
            message: catch::message(&*payload).to_owned(),
            payload: PanicPayload(std::sync::Mutex::new(payload)),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { message, .. } => write!(f, "the block panicked: {message}"),
            Self::Dropped { label, why } => write!(f, "a block called on {label:?} will never run: {why}"),
            Self::Broken => f.write_str(
                "the promise was dropped without a value: fulfil it on every path, or expect this error where none comes",
            ),
            Self::Cancelled => f.write_str("the task was cancelled before its block began"),
            Self::Taken => f.write_str("the value of the task was taken already: it can be waited for, or awaited, once"),
            Self::Deadlock { label, site } => write!(
                f,
                "deadlock: a task of {label:?} was waited for at {site}, where that queue cannot run meanwhile: in a block of it, or on \
                 the thread that it is bound to"
            ),
        }
    }
}

impl std::error::Error for TaskError {}
