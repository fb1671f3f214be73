//! Sources that are called when a signal was delivered to the process.
//!
//! Not for: catching signals; `signal` does.

use singletrack_queues::SourceBuilder;

use super::{EventError, EventSource, Own, watched};
use crate::poller::Interest;
use crate::signal::Deliveries;

/// The numbers of signals on this system, by their names.
pub mod signals {
    pub use signal_hook::consts::signal::*;
}

impl EventSource {
    /// Calls `handler` on the queue when the process was sent `signal`, with the number of
    /// deliveries since its last call.
    ///
    /// Any number of sources may listen for one signal. The number is the system's count of
    /// deliveries: it merges signals of one kind that come before the process is interrupted for
    /// the first (but not real-time signals). Up to 65,536 deliveries are counted between two
    /// calls.
    ///
    /// From the first source on, the signal has no default action any more, such as ending the
    /// process, and does not get it back after the source has ended. Children are not affected: a
    /// new program starts with the defaults.
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::signals::SIGHUP};
    /// use singletrack_queues::Queue;
    ///
    /// let reload = EventSource::signal(&Queue::new("settings"), SIGHUP, |_times| println!("reading settings again"))?;
    /// # drop(reload);
    /// # Ok::<(), singletrack_io::EventError>(())
    /// ```
    ///
    /// # Errors
    /// When `signal` is no signal, or cannot be caught (SIGKILL, SIGSTOP) or survived (SIGSEGV,
    /// SIGILL, SIGFPE), or the system has no descriptors. When the queue takes nothing any more:
    /// then the signal keeps its default action.
    #[track_caller]
    pub fn signal<F>(on: impl Into<SourceBuilder>, signal: i32, mut handler: F) -> Result<EventSource, EventError>
    where
        F: FnMut(u64) + Send + 'static,
    {
        let builder = on.into();
        let label = builder.label().to_string();
        EventError::unless_gone(&builder, format_args!("signal {signal}"))?;
        let refused = |why| EventError::new(&label, format_args!("signal {signal}"), why);
        let deliveries = Deliveries::of(&[signal]).map_err(refused)?;
        let turn = move |deliveries: &Deliveries, _| match deliveries.take() {
            Ok(0) => {}
            Ok(count) => handler(count),
            Err(error) => log::error!("counting deliveries of signal {signal} failed: {error}"),
        };
        watched(builder, deliveries, Interest::Readable, &Own::default(), turn).map_err(refused)
    }
}
