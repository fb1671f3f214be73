//! The errors of a channel. Each names the file and the operation, and says what to change.
//!
//! Not for: the end of a stream, which is data. Rule: an error can be cloned, because every
//! operation on a file that cannot be opened reports it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::data::Data;

/// The reason why an operation of a channel did not complete.
///
/// ```
/// use singletrack_io::{Channel, ChannelError};
/// use singletrack_queues::Queue;
/// use std::os::unix::net::UnixStream;
///
/// let (near, _far) = UnixStream::pair()?;
/// match Channel::random(near, &Queue::new("peer")) {
///     Err(error @ ChannelError::NoOffsets { .. }) => println!("{error}"), // it names the remedy
///     other => unreachable!("{other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The channel had been closed, or stopped, before the operation was submitted.
    #[error(
        "cannot {operation} {channel}: its channel is closed; submit operations before `close`, or make a new channel"
    )]
    Closed {
        /// The file or descriptor.
        channel: Arc<str>,
        /// The operation.
        operation: &'static str,
    },
    /// The channel was stopped while the operation waited, or was under way.
    #[error(
        "{channel} was stopped before the {operation} was complete; what was done until then comes with this error"
    )]
    Stopped {
        /// The file or descriptor.
        channel: Arc<str>,
        /// The operation.
        operation: &'static str,
    },
    /// The file cannot be opened.
    #[error("cannot open {}: {source}; {remedy}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
        /// The remedy.
        remedy: &'static str,
    },
    /// The descriptor is not open for this direction.
    #[error("cannot {operation} {channel}: it is not open for that; open it with `{needed}(true)`")]
    Access {
        /// The file or descriptor.
        channel: Arc<str>,
        /// The operation.
        operation: &'static str,
        /// The option that was left out: `read` or `write`.
        needed: &'static str,
    },
    /// An offset was given to a stream, which continues at its current position.
    #[error(
        "cannot {operation} {channel} at offset {offset}: a stream goes on where it stands; give offset 0, or make the \
         channel with `random`"
    )]
    StreamOffset {
        /// The file or descriptor.
        channel: Arc<str>,
        /// The operation.
        operation: &'static str,
        /// The offset.
        offset: u64,
    },
    /// The range does not fit into a file: the system counts offsets with 63 bits.
    #[error(
        "cannot {operation} {channel} at offset {offset}, {length} bytes: offsets of a file end at 2^63 - 1 (was a negative \
         number converted?)"
    )]
    Offset {
        /// The file or descriptor.
        channel: Arc<str>,
        /// The operation.
        operation: &'static str,
        /// The offset.
        offset: u64,
        /// The number of bytes.
        length: u64,
    },
    /// A descriptor without offsets was opened for random access: it is a pipe, a socket or a
    /// terminal.
    #[error("{channel} has no offsets: it is a pipe, a socket or a terminal; make its channel with `stream`")]
    NoOffsets {
        /// The file or descriptor.
        channel: Arc<str>,
    },
    /// The descriptor has no bytes to read or write: it is a listening socket, or one that other
    /// descriptors or processes are watched with.
    #[error("cannot make a channel for {channel}: {why}")]
    NoBytes {
        /// The descriptor.
        channel: Arc<str>,
        /// The kind of descriptor, and the remedy.
        why: &'static str,
    },
    /// The system refused a read, a write or a preparation for them.
    #[error("cannot {operation} {channel}: {source}; {remedy}")]
    System {
        /// The file or descriptor.
        channel: Arc<str>,
        /// The attempted operation.
        operation: &'static str,
        /// The system's error.
        source: Arc<io::Error>,
        /// The remedy.
        remedy: &'static str,
    },
    /// The threads that serve channels cannot be started.
    #[error(
        "cannot start the threads that serve channels: {source}; lower the number of threads and descriptors in use"
    )]
    Threads {
        /// The system's error.
        source: Arc<io::Error>,
    },
}

impl ChannelError {
    /// The error for a refusal to open `path`.
    pub(super) fn open(path: PathBuf, source: io::Error) -> ChannelError {
        let remedy = match (source.kind(), source.raw_os_error().map(rustix::io::Errno::from_raw_os_error)) {
            _ if path.as_os_str().is_empty() => "the path is empty: name a file",
            (io::ErrorKind::NotFound, _) if path.parent().is_some_and(|folder| !folder.exists()) => {
                "its folder does not exist: make that first, or name another"
            }
            (io::ErrorKind::NotFound, _) => "name a file that exists, or open it with `create(true)`",
            (io::ErrorKind::PermissionDenied, _) => {
                "this user lacks the permission: change that of the file or its folders"
            }
            (io::ErrorKind::AlreadyExists, _) => "it exists already: leave out `create_new`",
            (io::ErrorKind::IsADirectory, _) => "it is a folder: name a file in it",
            (_, Some(rustix::io::Errno::NXIO)) => "nobody reads this FIFO: open its reading end first",
            (_, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE)) => {
                "close other files, or raise the limit of open files (`ulimit -n`)"
            }
            (io::ErrorKind::InvalidInput, _) => {
                "say what it is opened for, `read(true)` or `write(true)`, and give a path without NUL bytes"
            }
            _ => "look the system's error up: it has no remedy of ours",
        };
        ChannelError::Open { path, source: Arc::new(source), remedy }
    }

    /// The error for a refusal of the system.
    pub(super) fn system(channel: &Arc<str>, operation: &'static str, source: io::Error) -> ChannelError {
        use rustix::io::Errno as Is;
        let remedy = match source.raw_os_error().map(Is::from_raw_os_error) {
            Some(Is::BADF) => "somebody closed the descriptor that this channel owns: leave closing to the channel",
            Some(Is::PIPE | Is::CONNRESET) => "the other end is gone: nothing more can be sent to it",
            Some(Is::NOSPC | Is::DQUOT) => "make room on the disk",
            Some(Is::ISDIR) => "it is a folder: open a file in it",
            Some(Is::FBIG) => "the file would become larger than is allowed here (`ulimit -f`)",
            Some(Is::IO) => "the device failed, or takes no such request: see the system's log",
            _ => "look the system's error up: it has no remedy of ours",
        };
        ChannelError::System { channel: channel.clone(), operation, source: Arc::new(source), remedy }
    }

    /// Did the caller end the operation, by `close` or `stop`?
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// peer.close();
    /// let error = peer.call_write(0, "too late").wait()?.unwrap_err().error;
    /// assert!(error.is_closed(), "our own doing: nothing to report");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, ChannelError::Closed { .. } | ChannelError::Stopped { .. })
    }
}

/// An operation with a [`Task`](singletrack_queues::Task) as its result ended early.
///
/// ```
/// use singletrack_io::Channel;
/// use singletrack_queues::Queue;
/// use std::os::unix::net::UnixStream;
///
/// let (near, far) = UnixStream::pair()?;
/// let peer = Channel::stream(near, &Queue::new("peer"))?;
/// drop(far);
/// let incomplete = peer.call_write(0, "hello").wait()?.unwrap_err();
/// assert_eq!(incomplete.data.flatten(), "hello", "not written");
/// assert!(!incomplete.error.is_closed(), "the peer went away");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub struct Incomplete {
    /// Of a read, the data read until then; of a write, the data not written.
    pub data: Data,
    /// The reason for the end.
    #[source]
    pub error: ChannelError,
}
