//! Sources that are called when a process has ended.
//!
//! A process is a descriptor here, which the system makes readable when the process ends. The
//! number of a process may be used again; the descriptor means this one. Not for: reaping, which
//! stays with the parent.

use std::io;
use std::os::fd::AsFd;

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, waitid};
use singletrack_queues::SourceBuilder;

use super::error::refused;
use super::look::{self, Found};
use super::{EventError, EventSource, Own, watched};
use crate::poller::Interest;

/// The way in which a process has ended.
///
/// ```
/// use singletrack_io::{EventSource, event::ProcessEnd};
/// use singletrack_queues::Queue;
/// use std::{process::Command, sync::mpsc};
///
/// let (tell, told) = mpsc::channel();
/// let mut child = Command::new("sleep").arg("3600").spawn()?;
/// let source = EventSource::process_exit(&Queue::new("children"), child.id(), move |end| tell.send(end).unwrap())?;
/// child.kill()?;
/// assert_eq!(told.recv()?, ProcessEnd::Killed(9));
/// child.wait()?;
/// # drop(source);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProcessEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Killed(i32),
    /// It has ended, and the system does not say how: it is not a child of this process, or its
    /// parent has taken the code before.
    Unknown,
}

impl EventSource {
    /// Calls `handler` on the queue, once, when the process `pid` has ended; also when it had
    /// already ended and has not been waited for.
    ///
    /// How it ended is known of children alone. The code stays for
    /// [`Child::wait`](std::process::Child::wait), which must be called so that the system forgets
    /// the child. Call it in the handler, where it does not wait, or later. If it is called before,
    /// this source finds [`ProcessEnd::Unknown`].
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::ProcessEnd};
    /// use singletrack_queues::Queue;
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let source = EventSource::process_exit(&Queue::new("children"), child.id(), move |end| tell.send(end).unwrap())?;
    /// assert_eq!(told.recv()?, ProcessEnd::Exited(3));
    /// assert_eq!(child.wait()?.code(), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such process (any more), or the system has no descriptor for it.
    #[doc(alias = "DISPATCH_SOURCE_TYPE_PROC")]
    #[doc(alias = "DISPATCH_PROC_EXIT")]
    #[track_caller]
    pub fn process_exit<F>(on: impl Into<SourceBuilder>, pid: u32, handler: F) -> Result<EventSource, EventError>
    where
        F: FnOnce(ProcessEnd) + Send + 'static,
    {
        let builder = on.into();
        let label = builder.label().to_string();
        EventError::unless_gone(&builder, format_args!("the end of process {pid}"))?;
        let refused = |why| EventError::new(&label, format_args!("the end of process {pid}"), why);
        let process = open(pid).map_err(refused)?;
        let mut handler = Some(handler);
        let turn = move |process: &std::os::fd::OwnedFd, _| {
            if look::to_read(process) != Found::Nothing
                && let Some(handler) = handler.take()
            {
                handler(end_of(process));
            }
        };
        watched(builder, process, Interest::Readable, &Own::default(), turn).map_err(refused)
    }
}

fn open(pid: u32) -> io::Result<std::os::fd::OwnedFd> {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Err(refused(io::ErrorKind::InvalidInput, "no process has such a number"));
    };
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

fn end_of(process: &impl AsFd) -> ProcessEnd {
    // The code stays there for the parent's wait.
    let how = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let status: Option<WaitIdStatus> = waitid(WaitId::PidFd(process.as_fd()), how).ok().flatten();
    let Some(status) = status else { return ProcessEnd::Unknown };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ProcessEnd::Exited(code),
        (_, Some(signal)) => ProcessEnd::Killed(signal),
        _ => ProcessEnd::Unknown,
    }
}
