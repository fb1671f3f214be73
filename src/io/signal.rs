//! SIGINT and SIGTERM as an event like any other: a block on a queue.
//!
//! The signal handler writes a byte into a socket pair that a poller watches. Not for: deciding what an end means.
//! Rule: the second signal ends the process at once, so that nobody has to reach for SIGKILL when a drain takes long.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{SigId, flag, low_level};
use singletrack_queues::{Queue, Source};

use super::{Interest, Io, Registered};

/// While this lives, signals to end the process are told to its handler.
#[derive(Debug)]
pub struct EndSignals {
    _watched: Registered<UnixStream>,
    actions: Vec<SigId>,
}

/// Runs `on_end` on `queue` when the process is asked to end, once. A second such signal exits with 130 (SIGINT) or 143 (SIGTERM).
///
/// # Errors
/// When the system refuses the handler or the descriptors that it needs.
pub fn on_end(io: &Io, queue: &Queue, on_end: impl FnOnce() + Send + 'static) -> io::Result<EndSignals> {
    let (watched, written) = UnixStream::pair()?;
    watched.set_nonblocking(true)?;
    let mut on_end = Some(on_end);
    let source = Source::new(queue, move |_| {
        if let Some(on_end) = on_end.take() {
            on_end();
        }
    });
    let (watched, attach) = io.register(watched, Interest::Readable)?;
    attach.to(source);
    let mut signals = EndSignals { _watched: watched, actions: Vec::new() };
    let seen = Arc::new(AtomicBool::new(false));
    for (signal, status) in [(SIGINT, 130), (SIGTERM, 143)] {
        // The order matters: the first signal finds the flag down and only then puts it up.
        signals.actions.push(flag::register_conditional_shutdown(signal, status, seen.clone())?);
        signals.actions.push(flag::register(signal, seen.clone())?);
        signals.actions.push(low_level::pipe::register(signal, written.try_clone()?)?);
    }
    Ok(signals)
}

impl Drop for EndSignals {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}
