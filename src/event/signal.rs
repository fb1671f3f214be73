//! Sources that are called when a signal was delivered to the process.
//!
//! Not for: catching signals; `io/signal` does.

use singletrack_queues::SourceBuilder;

use super::{EventError, EventSource, Own, watched};
use crate::io::Interest;
use crate::io::signal::Deliveries;

/// The numbers of signals on this system, by their names.
pub mod signals {
    pub use signal_hook::consts::signal::*;
}

impl EventSource {
    /// Calls `handler` on the queue when the process was sent `signal`, with the number of deliveries since its last call.
    ///
    /// Any number of sources may listen for one signal. The number is what the system delivered: it makes one of several of
    /// the same signal that come before the process was interrupted for the first (real-time signals: of none). Up to 65,536
    /// deliveries are counted between two calls.
    ///
    /// From the first source on the signal no longer does what it does to a process that does not listen, such as to end it, and
    /// not after the source has ended either. Children are not concerned: a new program starts with the defaults.
    ///
    /// ```
    /// use singletrack::{EventSource, Queue, event::signals::SIGHUP};
    ///
    /// let reload = EventSource::signal(&Queue::new("settings"), SIGHUP, |_times| println!("reading settings again"))?;
    /// # drop(reload);
    /// # Ok::<(), singletrack::EventError>(())
    /// ```
    ///
    /// # Errors
    /// When `signal` is none, or cannot be caught (SIGKILL, SIGSTOP) or survived (SIGSEGV, SIGILL, SIGFPE), or the system has
    /// no descriptors.
    #[track_caller]
    pub fn signal<F>(on: impl Into<SourceBuilder>, signal: i32, mut handler: F) -> Result<EventSource, EventError>
    where
        F: FnMut(u64) + Send + 'static,
    {
        let builder = on.into();
        let queue = builder.queue().clone();
        let refused = |why| EventError::new(&queue, format_args!("signal {signal}"), why);
        let deliveries = Deliveries::of(&[signal]).map_err(refused)?;
        let turn = move |deliveries: &Deliveries, _| match deliveries.take() {
            Ok(0) => {}
            Ok(count) => handler(count),
            Err(error) => log::error!("counting deliveries of signal {signal} failed: {error}"),
        };
        watched(builder, deliveries, Interest::Readable, &Own::default(), turn).map_err(refused)
    }
}
