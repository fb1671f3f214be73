//! A counting semaphore: so many at a time.
//!
//! A count and a line of those who wait, under a lock. A signal takes the first out of the line, or adds to the count if
//! nobody waits; a wait that finds no count joins the line, and ends when it is no longer in it, or takes itself out when
//! its time is up. So there is never a count beside a line, signals serve in the order of arrival, and nobody who comes
//! later takes a signal from one who waits.
//!
//! Not for: exclusion (a queue does that without blocking a thread).

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::pool;
use crate::sync::{Condvar, Mutex, lock, planted};
use crate::time::When;

/// Lets a limited number through at a time, in the order in which they came. A handle; clones share the count. It may be
/// dropped in any state.
///
/// A wait blocks its thread: on a worker a stand-in takes over. A semaphore has no owner, so a wait for a signal that never
/// comes cannot be reported; [`wait_timeout`](Self::wait_timeout) ends it.
///
/// ```
/// use singletrack_queues::Semaphore;
///
/// let slots = Semaphore::new(2);
/// slots.wait();
/// slots.wait();
/// assert!(!slots.try_wait(), "both are taken");
/// slots.signal();
/// assert!(slots.try_wait());
/// ```
///
/// A negative count cannot be written:
///
/// ```compile_fail,E0600
/// singletrack_queues::Semaphore::new(-1);
/// ```
#[derive(Clone)]
pub struct Semaphore {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
}

struct Inner {
    count: usize,
    /// Who waits, first come first, by ticket.
    line: VecDeque<(u64, Arc<Condvar>)>,
    tickets: u64,
}

impl Semaphore {
    /// Lets `count` through before the first signal.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let inner = Inner { count, line: VecDeque::new(), tickets: 0 };
        Self { shared: Arc::new(Shared { inner: Mutex::new(inner) }) }
    }

    /// Takes one; waits for a [`signal`](Self::signal) if none is left.
    pub fn wait(&self) {
        self.wait_within(When::NEVER);
    }

    /// Takes one, waiting for at most `timeout`; `false`: none came.
    #[must_use = "false: nothing was taken"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_within(When::from(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), with a point in time: by either clock, see [`When`].
    #[must_use = "false: nothing was taken"]
    pub fn wait_until(&self, when: impl Into<When>) -> bool {
        self.wait_within(when.into())
    }

    /// Takes one if there is one now.
    #[must_use = "false: nothing was taken"]
    pub fn try_wait(&self) -> bool {
        lock(&self.shared.inner).take()
    }

    fn wait_within(&self, deadline: When) -> bool {
        let mut inner = lock(&self.shared.inner);
        if inner.take() {
            return true;
        }
        if deadline.since().is_some() {
            return false;
        }
        let (ticket, bell) = inner.join();
        pool::blocking(|| {
            let mut inner = inner;
            while let Some(at) = inner.place_of(ticket) {
                if deadline.since().is_some() {
                    inner.line.remove(at);
                    return false;
                }
                inner = deadline.wait(&bell, inner);
            }
            true
        })
    }

    /// Gives one back, or adds one. `true`: a thread that waited goes on because of it.
    ///
    /// # Panics
    /// When the count is `usize::MAX`.
    pub fn signal(&self) -> bool {
        let mut inner = lock(&self.shared.inner);
        if !planted("semaphore: a signal is counted beside a line")
            && let Some((_, bell)) = inner.line.pop_front()
        {
            drop(inner);
            if !planted("semaphore: a signal rings no bell") {
                bell.notify_one();
            }
            return true;
        }
        let more = inner.count.checked_add(1);
        if let Some(more) = more {
            inner.count = more;
        }
        drop(inner);
        assert!(more.is_some(), "a semaphore was signalled more often than it can count: somebody forgets to wait");
        false
    }
}

impl Inner {
    fn take(&mut self) -> bool {
        let some = self.count > 0;
        self.count -= usize::from(some);
        some
    }

    /// To the end of the line.
    fn join(&mut self) -> (u64, Arc<Condvar>) {
        self.tickets += 1;
        let seat = (self.tickets, Arc::new(Condvar::new()));
        self.line.push_back(seat.clone());
        seat
    }

    /// `None`: a signal took it out of the line.
    fn place_of(&self, ticket: u64) -> Option<usize> {
        self.line.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.shared.inner);
        f.debug_struct("Semaphore").field("count", &inner.count).field("waiting", &inner.line.len()).finish()
    }
}
