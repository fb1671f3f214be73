//! A counting semaphore: so many at a time.
//!
//! A count under a lock. A signal that finds somebody waiting does not touch the count: it leaves a grant, which belongs to
//! those who waited by then, so that nobody who comes later takes it from them. There are never more grants than waiting
//! threads, because a wait that ends takes a grant with it if there is one, also when its time is up.
//!
//! Not for: exclusion (a queue does that without blocking a thread).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::pool;
use crate::sync::{Condvar, Mutex, lock, planted};
use crate::time::When;

/// Lets a limited number through at a time. A handle; clones share the count. It may be dropped in any state.
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
    bell: Condvar,
}

struct Inner {
    count: usize,
    waiting: usize,
    /// Waits that may end; at most `waiting`.
    grants: usize,
}

impl Semaphore {
    /// Lets `count` through before the first signal.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let inner = Inner { count, waiting: 0, grants: 0 };
        Self { shared: Arc::new(Shared { inner: Mutex::new(inner), bell: Condvar::new() }) }
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
        inner.waiting += 1;
        pool::blocking(|| {
            let mut inner = inner;
            while inner.grants == 0 {
                if deadline.since().is_some() {
                    inner.waiting -= 1;
                    return false;
                }
                inner = deadline.wait(&self.shared.bell, inner);
            }
            inner.grants -= 1;
            inner.waiting -= 1;
            true
        })
    }

    /// Gives one back, or adds one. `true`: a thread that waited goes on because of it.
    ///
    /// # Panics
    /// When the count is `usize::MAX`.
    pub fn signal(&self) -> bool {
        let mut inner = lock(&self.shared.inner);
        if inner.waiting > inner.grants {
            if !planted("semaphore: a signal leaves no grant") {
                inner.grants += 1;
            }
            if !planted("semaphore: a signal rings no bell") {
                self.shared.bell.notify_one();
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
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.shared.inner);
        f.debug_struct("Semaphore").field("count", &inner.count).field("waiting", &inner.waiting).finish()
    }
}
