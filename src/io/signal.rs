//! Signals as bytes in a pipe, so that a poller can tell of them; and the end of the process as a block on a queue.
//!
//! A signal's handler writes one byte, which is all that it may do; how many were delivered is how many bytes are read. Any
//! number of pipes may hear of one signal. Not for: deciding what an end means.
//! Rules: the second signal to end ends the process at once, so that nobody has to reach for SIGKILL when a drain takes long.
//! A signal that was heard once does not get its default action back: the process must not die because somebody stopped
//! listening.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::io::Errno;
use signal_hook::consts::{FORBIDDEN, SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};
use singletrack_queues::{Queue, Source};

use super::{Interest, Io, Registered};

/// While this lives, deliveries of signals arrive in its pipe. Its descriptor becomes readable then.
///
/// The pipe holds 65,536 deliveries on Linux; of more that nobody read, the rest is not counted.
#[derive(Debug)]
pub struct Deliveries {
    pipe: OwnedFd,
    actions: Vec<SigId>,
}

impl Deliveries {
    /// Listens for each of `signals`.
    ///
    /// # Errors
    /// When one is no signal, or one that no program can catch, or the system has no descriptors.
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

    /// Takes what was delivered since the last call, and says how many there were.
    ///
    /// # Errors
    /// When reading the pipe fails, which it has no reason to.
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
        // The write ends are closed here, the read end after this: nothing writes into a pipe that nobody can read.
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// While this lives, signals to end the process are told to its handler.
#[derive(Debug)]
pub struct EndSignals {
    _watched: Registered<Deliveries>,
    actions: Vec<SigId>,
}

/// Runs `on_end` on `queue` when the process is asked to end, once. A second such signal exits with 130 (SIGINT) or 143 (SIGTERM).
///
/// # Errors
/// When the system refuses the handler or the descriptors that it needs.
pub fn on_end(io: &Io, queue: &Queue, on_end: impl FnOnce() + Send + 'static) -> io::Result<EndSignals> {
    let mut on_end = Some(on_end);
    let source = Source::new(queue, move |_| {
        if let Some(on_end) = on_end.take() {
            on_end();
        }
    });
    // First of all: from the first action on a signal does not end the process by itself, and must not be lost.
    let deliveries = Deliveries::of(&[SIGINT, SIGTERM])?;
    let seen = Arc::new(AtomicBool::new(false));
    let mut actions = Vec::new();
    for (signal, status) in [(SIGINT, 130), (SIGTERM, 143)] {
        // The order matters: the first signal finds the flag down and only then puts it up.
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
