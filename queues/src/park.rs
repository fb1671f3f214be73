//! How a worker waits when it has nothing to do: the [`Parker`] trait and its default.
//!
//! A runtime has one parker per worker. The default sleeps on a condition variable. A parker that also watches sockets
//! makes the idle worker the poller: what became ready turns into blocks that run on the thread that saw it.
//! Not for: deciding who sleeps and whom to wake (`pool/sleep`).

use std::any::Any;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, lock, wait, wait_timeout};

/// A place where one worker at a time waits, and that anybody may wake.
///
/// Which thread uses a parker changes over time: when a block occupies a worker for long, a stand-in takes its parker over.
/// So `park` and `poll` must be sound when several threads call them; the runtime lets one thread at a time be in `park`.
///
/// None of them may panic: a worker would be lost, or a stack that others use, so a panic of a parker ends the process.
///
/// It is [`Any`], so that who made the parkers of a runtime recognises its own: see [`Runtime::parker`](crate::Runtime::parker).
pub trait Parker: Any + Send + Sync {
    /// Waits until [`unpark`](Self::unpark), an event, or the end of `timeout` (`None`: for ever). May return early.
    ///
    /// Calls `awake` exactly once, when the wait is over and *before* it delivers events: the worker leaves the list of
    /// sleepers there. Events are delivered on this thread after that, usually by [`Source::merge`](crate::Source::merge).
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut());

    /// Delivers what is ready, without waiting. A busy worker calls it about once a millisecond.
    fn poll(&self);

    /// Ends the current wait, or the next one if nobody waits: a token that does not add up.
    fn unpark(&self);

    /// Would events go unseen if nobody waited here? Then a worker that sits in one block for long gets a stand-in even
    /// when no block waits for a worker.
    fn watches(&self) -> bool {
        false
    }
}

/// The default: a token under a lock.
#[derive(Debug)]
pub(crate) struct ThreadParker {
    token: Mutex<bool>,
    arrived: Condvar,
}

impl ThreadParker {
    pub(crate) fn new() -> Self {
        Self { token: Mutex::new(false), arrived: Condvar::new() }
    }
}

impl Parker for ThreadParker {
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
        let mut token = lock(&self.token);
        match timeout {
            // One wait is enough: returning early is allowed, and the caller computes its deadline anew.
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
