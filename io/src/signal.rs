//! Signals as bytes in a pipe, so that a poller can report them; and the end of the process as a
//! block on a queue.
//!
//! A signal's handler may do little, so it only writes one byte. The number of bytes read is the
//! number of deliveries. Any number of pipes may receive one signal. Not for: deciding what an end
//! means.
//! Rules: the second end signal ends the process at once, so that a long drain does not make a
//! person reach for SIGKILL. A signal that was once listened for does not get its default action
//! back: the process must not die because a listener went away.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;
use signal_hook::consts::{FORBIDDEN, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};
use singletrack_queues::{Queue, Source};

use crate::poller::{Interest, Registered};
use crate::pollers::Io;

/// Receives deliveries of signals in its pipe while it lives. Its descriptor becomes readable then.
///
/// The pipe holds 65,536 deliveries on Linux; deliveries beyond that are not counted until some are
/// read.
///
/// ```
/// use singletrack_io::{event::signals::SIGUSR1, signal::Deliveries};
/// use std::process::{self, Command};
///
/// let deliveries = Deliveries::of(&[SIGUSR1])?;
/// Command::new("sh").arg("-c").arg(format!("kill -USR1 {}", process::id())).status()?;
/// while deliveries.take()? == 0 {
///     std::thread::yield_now();
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Deliveries {
    pipe: OwnedFd,
    actions: Vec<SigId>,
}

impl Deliveries {
    /// Listens for each of `signals`.
    ///
    /// ```
    /// use singletrack_io::{event::signals::{SIGHUP, SIGKILL}, signal::Deliveries};
    ///
    /// assert!(Deliveries::of(&[SIGHUP]).is_ok());
    /// assert!(Deliveries::of(&[SIGKILL]).is_err(), "no program can catch it");
    /// ```
    ///
    /// # Errors
    /// When a number is no signal, or one that no program can catch, or the system has no
    /// descriptors.
    pub fn of(signals: &[i32]) -> io::Result<Deliveries> {
        let (pipe, written) = std::io::pipe()?;
        let pipe = OwnedFd::from(pipe);
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let mut deliveries = Deliveries { pipe, actions: Vec::new() };
        for &signal in signals {
            if FORBIDDEN.contains(&signal) {
                let why = format!("no program can go on after signal {signal}, or catch it");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            deliveries.actions.push(low_level::pipe::register(signal, written.try_clone()?)?);
        }
        Ok(deliveries)
    }

    /// Takes the deliveries since the last call, and returns their number.
    ///
    /// ```
    /// use singletrack_io::{event::signals::SIGHUP, signal::Deliveries};
    ///
    /// let deliveries = Deliveries::of(&[SIGHUP])?;
    /// assert_eq!(deliveries.take()?, 0, "none came");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When reading the pipe fails, which has no known cause.
    pub fn take(&self) -> io::Result<u64> {
        let (mut buffer, mut count) = ([0; 4096], 0);
        loop {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(bytes) => count += bytes as u64,
                Err(Errno::AGAIN) => return Ok(count),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsFd for Deliveries {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

impl std::os::fd::AsRawFd for Deliveries {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.pipe.as_raw_fd()
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        // The write ends are closed here, the read end afterwards: so no write goes to a pipe
        // without a reader.
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// Reports signals to end the process to its handler while it lives.
///
/// ```
/// use singletrack_io::{Io, signal};
/// use singletrack_queues::Queue;
///
/// let signals: signal::EndSignals = signal::on_end(&Io::global()?, &Queue::new("end"), || println!("saving"))?;
/// drop(signals); // from now on nothing is saved
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EndSignals {
    _watched: Registered<Deliveries>,
    actions: Vec<SigId>,
}

/// Runs `on_end` on `queue`, once, when the process gets a signal to end. A second such signal
/// exits with 130 (SIGINT) or 143 (SIGTERM).
///
/// ```
/// use singletrack_io::{Io, signal};
/// use singletrack_queues::Queue;
/// use std::process::{self, Command};
/// use std::sync::mpsc;
///
/// let (tell, told) = mpsc::channel();
/// let _signals = signal::on_end(&Io::global()?, &Queue::new("end"), move || tell.send("saving").unwrap())?;
/// Command::new("sh").arg("-c").arg(format!("kill -TERM {}", process::id())).status()?;
/// assert_eq!(told.recv()?, "saving");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When the system refuses the handler or its descriptors, or the queue takes nothing any more.
pub fn on_end(io: &Io, queue: &Queue, on_end: impl FnOnce() + Send + 'static) -> io::Result<EndSignals> {
    if let Some(gone) = queue.runtime().gone() {
        return Err(io::Error::other(format!("queue {:?} cannot be notified of the end: {gone}", queue.label())));
    }
    let mut on_end = Some(on_end);
    let source = Source::new(queue, move |_| {
        if let Some(on_end) = on_end.take() {
            on_end();
        }
    });
    // First of all: after the first action, a signal no longer ends the process by itself, and must
    // not be lost.
    let deliveries = Deliveries::of(&[SIGINT, SIGTERM])?;
    let seen = Arc::new(AtomicBool::new(false));
    let mut actions = Vec::new();
    for (signal, status) in [(SIGINT, 130), (SIGTERM, 143)] {
        // The order matters: the first signal finds the flag unset and only then sets it.
        actions.push(flag::register_conditional_shutdown(signal, status, seen.clone())?);
        actions.push(flag::register(signal, seen.clone())?);
    }
    let (watched, attach) = io.register(deliveries, Interest::Readable)?;
    attach.to(source);
    Ok(EndSignals { _watched: watched, actions })
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}
