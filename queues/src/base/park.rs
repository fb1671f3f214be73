//! How an idle worker waits: the [`Parker`] trait and its default.
//!
//! A runtime has one parker per worker. The default parker sleeps on a condition variable. A parker
//! that also watches sockets makes the idle worker the poller: events turn into blocks that run on
//! the thread that saw them. Not for: deciding which worker sleeps and which to wake
//! (`pool/sleep`).

use std::any::Any;
use std::time::Duration;

use crate::base::sync::{Condvar, Mutex, lock, wait, wait_timeout};

/// A place where one worker at a time waits, and that any thread may wake.
///
/// The thread that uses a parker changes over time: when a block occupies a worker for long, a
/// replacement thread takes its parker. So `park` and `poll` must be sound when several threads
/// call them. The runtime lets one thread at a time be in `park`.
///
/// No method may panic. A panic would lose a worker, or a stack that other threads use. So a panic
/// of a parker ends the process.
///
/// It is [`Any`], so that the code that made the parkers of a runtime can recognise its own: see
/// [`Runtime::parker`](crate::Runtime::parker).
///
/// ```
/// use singletrack_queues::{Parker, Runtime};
/// use std::sync::{Arc, Condvar, Mutex, mpsc};
/// use std::time::Duration;
///
/// #[derive(Default)]
/// struct Bell(Mutex<bool>, Condvar);
///
/// impl Parker for Bell {
///     fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
///         let rung = self.0.lock().unwrap();
///         let limit = timeout.unwrap_or(Duration::from_secs(60)); // it may return early
///         *self.1.wait_timeout_while(rung, limit, |rung| !*rung).unwrap().0 = false;
///         awake();
///     }
///     fn poll(&self) {} // a bell has no events
///     fn unpark(&self) {
///         *self.0.lock().unwrap() = true;
///         self.1.notify_one();
///     }
/// }
///
/// let runtime = Runtime::builder().workers(1).parkers(|_| Ok(Arc::new(Bell::default()))).build().unwrap();
/// let (tell, told) = mpsc::channel();
/// runtime.spawn(move || tell.send("woken by the bell").unwrap());
/// assert_eq!(told.recv(), Ok("woken by the bell"));
/// ```
pub trait Parker: Any + Send + Sync {
    /// Waits until [`unpark`](Self::unpark), an event, or the end of `timeout` (`None`: for ever).
    /// May return early.
    ///
    /// Calls `awake` exactly once, when the wait is over and *before* it delivers events: the
    /// worker leaves the list of sleepers there. After that, events are delivered on this thread,
    /// usually by [`Source::merge`](crate::Source::merge).
    ///
    /// ```
    /// use singletrack_queues::Parker;
    /// use std::{thread, time::Duration};
    ///
    /// /// Wakes up every millisecond to look for work.
    /// struct Nap;
    ///
    /// impl Parker for Nap {
    ///     fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
    ///         let nap = Duration::from_millis(1);
    ///         thread::sleep(timeout.map_or(nap, |timeout| timeout.min(nap)));
    ///         awake();
    ///     }
    ///     fn poll(&self) {}
    ///     fn unpark(&self) {}
    /// }
    ///
    /// let mut awake = 0;
    /// Nap.park(None, &mut || awake += 1);
    /// assert_eq!(awake, 1);
    /// ```
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut());

    /// Delivers events that are ready, without waiting. A busy worker calls this about five times a
    /// millisecond if blocks are long (after each block if they are very long), and every few dozen
    /// blocks if they are short.
    ///
    /// ```
    /// use singletrack_queues::{Parker, Queue, Source};
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use std::time::Duration;
    ///
    /// /// A device that sets bits when something happens.
    /// struct Device {
    ///     events: AtomicU64,
    ///     source: Source,
    /// }
    ///
    /// impl Parker for Device {
    ///     fn poll(&self) {
    ///         self.source.merge(self.events.swap(0, Relaxed));
    ///     }
    ///     fn park(&self, _: Option<Duration>, awake: &mut dyn FnMut()) {
    ///         awake();
    ///         self.poll();
    ///     }
    ///     fn unpark(&self) {}
    /// }
    ///
    /// let (tell, told) = std::sync::mpsc::channel();
    /// let source = Source::new(&Queue::new("device"), move |bits| tell.send(bits).unwrap());
    /// Device { events: AtomicU64::new(0b101), source }.poll();
    /// assert_eq!(told.recv(), Ok(0b101));
    /// ```
    fn poll(&self);

    /// Ends the current wait, or the next one if no thread waits. Several calls before a wait count
    /// as one.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let parker = runtime.parker(0).unwrap();
    /// // The worker looks for work, finds none, and waits again.
    /// parker.unpark();
    /// parker.unpark();
    /// assert_eq!(runtime.stats().blocks, 0);
    /// ```
    fn unpark(&self);

    /// Would events go unseen if no thread waited here? If so, a worker that is in one long block
    /// is replaced even when no block waits for a worker.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// // The parker of a runtime without pollers waits for calls alone.
    /// assert!(!runtime.parker(0).unwrap().watches());
    /// ```
    fn watches(&self) -> bool {
        false
    }
}

/// The default: a token under a lock.
#[derive(Debug, Default)]
pub(crate) struct ThreadParker {
    token: Mutex<bool>,
    arrived: Condvar,
}

impl Parker for ThreadParker {
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
        let mut token = lock(&self.token);
        match timeout {
            // One wait is enough: an early return is allowed, and the caller computes its deadline
            // anew.
            Some(timeout) if !*token => token = wait_timeout(&self.arrived, token, timeout),
            Some(_) => {}
            None => {
                while !*token {
                    token = wait(&self.arrived, token);
                }
            }
        }
        *token = false;
        drop(token);
        awake();
    }

    fn poll(&self) {}

    fn unpark(&self) {
        *lock(&self.token) = true;
        self.arrived.notify_one();
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_wake_up_that_came_first_ends_the_wait_and_without_one_its_time_passes() {
        let (parker, start) = (ThreadParker::default(), Instant::now());
        parker.unpark();
        parker.unpark();
        parker.park(Some(Duration::from_secs(600)), &mut || ());
        assert!(start.elapsed() < Duration::from_secs(300));
        let (begin, moment) = (Instant::now(), Duration::from_millis(20));
        // A wait of the system may return early: several of them do not.
        let waits = (0..10).take_while(|_| begin.elapsed() < moment).map(|_| parker.park(Some(moment), &mut || ()));
        assert!(waits.count() < 10, "the two wake-ups counted as one");
    }
}
