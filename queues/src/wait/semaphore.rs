//! A counting semaphore: a limited number of permits at a time.
//!
//! A lock protects a count and a line of waiters. A signal takes the first waiter out of the line,
//! or adds to the count if the line is empty. A wait that finds the count at zero joins the line.
//! It ends when a signal has taken it out, and removes itself when its time is up. So the count is
//! zero while there is a line, signals serve the waiters in order of arrival, and no later caller
//! takes a signal from a waiter.
//!
//! Not for: exclusion (a queue does that without blocking a thread).

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::base::catch;
use crate::base::sync::{Condvar, Mutex, lock};
use crate::pool;
use crate::time::when::When;

/// Lets a limited number of callers through at a time, in order of arrival. This is a handle;
/// clones share the count. It may be dropped in any state.
///
/// A wait blocks its thread: on a worker a replacement thread takes over. A semaphore has no owner,
/// so a wait for a signal that never comes cannot be reported; [`wait_timeout`](Self::wait_timeout)
/// ends it.
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
    /// The waiters in order of arrival, by ticket.
    line: VecDeque<(u64, Bell)>,
    tickets: u64,
}

/// How a waiter is notified.
#[derive(Clone)]
enum Bell {
    Thread(Arc<Condvar>),
    Task(Waker),
}

impl Bell {
    /// Called without the lock.
    fn notify_one(self) {
        match self {
            Self::Thread(bell) => bell.notify_one(),
            Self::Task(waker) => catch::call_quietly("a waker", move || waker.wake()),
        }
    }
}

impl Semaphore {
    /// A semaphore that lets `count` callers through before the first signal.
    ///
    /// ```
    /// use singletrack_queues::Semaphore;
    ///
    /// let connections = Semaphore::new(2);
    /// assert!(connections.try_wait() && connections.try_wait());
    /// assert!(!connections.try_wait(), "both are taken");
    /// ```
    #[doc(alias = "dispatch_semaphore_create")]
    #[must_use]
    pub fn new(count: usize) -> Self {
        let inner = Inner { count, line: VecDeque::new(), tickets: 0 };
        Self { shared: Arc::new(Shared { inner: Mutex::new(inner) }) }
    }

    /// Takes one; waits for a [`signal`](Self::signal) if none is left.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Semaphore};
    ///
    /// let done = Semaphore::new(0);
    /// let signal = done.clone();
    /// Queue::new("work").submit(move || {
    ///     signal.signal();
    /// });
    /// done.wait();
    /// ```
    #[doc(alias = "dispatch_semaphore_wait")]
    pub fn wait(&self) {
        self.wait_within(When::NEVER);
    }

    /// Takes one, waiting until `timeout` at most: a duration or a point in time, see [`When`].
    /// `false`: no signal came.
    ///
    /// ```
    /// use singletrack_queues::Semaphore;
    /// use std::time::Duration;
    ///
    /// let slots = Semaphore::new(1);
    /// assert!(slots.wait_timeout(Duration::from_secs(60)), "at once");
    /// assert!(!slots.wait_timeout(Duration::from_millis(1)), "no signal came");
    /// ```
    #[must_use = "false: nothing was taken"]
    pub fn wait_timeout(&self, timeout: impl Into<When>) -> bool {
        self.wait_within(timeout.into())
    }

    /// Takes one if there is one now.
    ///
    /// ```
    /// use singletrack_queues::Semaphore;
    ///
    /// let slots = Semaphore::new(0);
    /// assert!(!slots.try_wait());
    /// slots.signal();
    /// assert!(slots.try_wait());
    /// ```
    #[must_use = "false: nothing was taken"]
    pub fn try_wait(&self) -> bool {
        lock(&self.shared.inner).take()
    }

    /// Takes one for as long as the permit lives; waits for a signal if none is left. A panic gives
    /// it back, too.
    ///
    /// ```
    /// use singletrack_queues::Semaphore;
    ///
    /// let slots = Semaphore::new(1);
    /// let permit = slots.acquire();
    /// assert!(slots.try_acquire().is_none(), "it is taken");
    /// drop(permit);
    /// assert!(slots.try_acquire().is_some());
    /// ```
    pub fn acquire(&self) -> Permit {
        self.wait();
        self.permit()
    }

    /// Like [`acquire`](Self::acquire), if there is one now.
    ///
    /// ```
    /// use singletrack_queues::Semaphore;
    ///
    /// let printer = Semaphore::new(1);
    /// match printer.try_acquire() {
    ///     Some(_permit) => assert!(printer.try_acquire().is_none(), "it is ours"),
    ///     None => println!("the printer is in use"),
    /// }
    /// assert!(printer.try_acquire().is_some(), "the permit ended");
    /// ```
    pub fn try_acquire(&self) -> Option<Permit> {
        self.try_wait().then(|| self.permit())
    }

    /// Like [`acquire`](Self::acquire), but waits for a duration at most, or until a point in time,
    /// by either clock; see [`When`]. `None`: no signal came.
    ///
    /// ```
    /// # use singletrack_queues::Semaphore;
    /// # use std::time::Duration;
    /// assert!(Semaphore::new(0).acquire_timeout(Duration::from_millis(1)).is_none());
    /// ```
    pub fn acquire_timeout(&self, timeout: impl Into<When>) -> Option<Permit> {
        self.wait_within(timeout.into()).then(|| self.permit())
    }

    /// Like [`acquire`](Self::acquire), for async code. The future joins the line at its first
    /// poll, and leaves the line when it is dropped.
    ///
    /// ```
    /// # use singletrack_queues::Semaphore;
    /// async fn limited(slots: &Semaphore) {
    ///     let _permit = slots.acquire_async().await;
    ///     // At most so many are here at once.
    /// }
    /// ```
    pub fn acquire_async(&self) -> Acquire {
        Acquire { semaphore: self.clone(), ticket: None }
    }

    /// The permit for what was taken.
    fn permit(&self) -> Permit {
        Permit { semaphore: Some(self.clone()) }
    }

    fn wait_within(&self, deadline: When) -> bool {
        let (ticket, bell) = {
            let mut inner = lock(&self.shared.inner);
            if inner.take() {
                return true;
            }
            if deadline.since().is_some() {
                return false;
            }
            let bell = Arc::new(Condvar::new());
            (inner.join(Bell::Thread(bell.clone())), bell)
        };
        // No lock is held: it may drop user blocks, which may signal.
        pool::blocking(|| {
            let mut inner = lock(&self.shared.inner);
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

    /// Gives one back, or adds one. `true`: it released a waiter.
    ///
    /// ```
    /// use singletrack_queues::Semaphore;
    ///
    /// let items = Semaphore::new(0);
    /// assert!(!items.signal(), "nobody waits");
    /// items.signal();
    /// items.wait();
    /// items.wait();
    /// ```
    ///
    /// # Panics
    /// When the count is `usize::MAX`.
    #[doc(alias = "dispatch_semaphore_signal")]
    pub fn signal(&self) -> bool {
        let mut inner = lock(&self.shared.inner);
        if let Some((_, bell)) = inner.line.pop_front() {
            drop(inner);
            bell.notify_one();
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

/// One permit that was taken from a [`Semaphore`]; dropping it gives it back.
///
/// ```
/// use singletrack_queues::{Permit, Semaphore};
///
/// struct Connection {
///     _slot: Permit,
/// }
/// let slots = Semaphore::new(1);
/// let connection = Connection { _slot: slots.acquire() };
/// assert!(!slots.try_wait());
/// drop(connection);
/// assert!(slots.try_wait());
/// ```
#[must_use = "dropping it gives back what was taken"]
pub struct Permit {
    /// `None`: it stays taken.
    semaphore: Option<Semaphore>,
}

impl Permit {
    /// Ends the permit without a [`signal`](Semaphore::signal): other code must signal.
    ///
    /// ```
    /// let slots = singletrack_queues::Semaphore::new(1);
    /// slots.acquire().forget();
    /// assert!(!slots.try_wait());
    /// slots.signal();
    /// ```
    pub fn forget(mut self) {
        self.semaphore = None;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(semaphore) = self.semaphore.take() {
            semaphore.signal();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit(..)")
    }
}

/// Waits for a [`Permit`]; see [`Semaphore::acquire_async`].
///
/// ```
/// use singletrack_queues::{Acquire, Semaphore};
/// use std::pin::pin;
/// use std::task::{Context, Waker};
///
/// let slots = Semaphore::new(0);
/// let mut next: std::pin::Pin<&mut Acquire> = pin!(slots.acquire_async());
/// let mut context = Context::from_waker(Waker::noop());
/// assert!(next.as_mut().poll(&mut context).is_pending());
/// slots.signal();
/// assert!(next.as_mut().poll(&mut context).is_ready());
/// ```
#[must_use = "nothing is taken before it is awaited"]
pub struct Acquire {
    semaphore: Semaphore,
    /// Its ticket in the line, or of a signal that it has not seen yet.
    ticket: Option<u64>,
}

impl Future for Acquire {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Permit> {
        // This runs foreign code, as does dropping the previous waker: no lock is held.
        let mut new = Some(Bell::Task(context.waker().clone()));
        let shared = self.semaphore.shared.clone();
        let before = {
            let mut inner = lock(&shared.inner);
            match self.ticket {
                None if inner.take() => return Poll::Ready(self.semaphore.permit()),
                None => {
                    self.ticket = new.take().map(|bell| inner.join(bell));
                    None
                }
                Some(ticket) => match inner.place_of(ticket) {
                    None => {
                        self.ticket = None;
                        return Poll::Ready(self.semaphore.permit());
                    }
                    Some(at) => new.take().map(|bell| std::mem::replace(&mut inner.line[at].1, bell)),
                },
            }
        };
        drop(before);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let left = {
            let mut inner = lock(&self.semaphore.shared.inner);
            let at = inner.place_of(ticket);
            at.and_then(|at| inner.line.remove(at))
        };
        if left.is_none() {
            // A signal came for it: pass it on to the next waiter.
            self.semaphore.signal();
        }
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acquire(..)")
    }
}

impl Inner {
    fn take(&mut self) -> bool {
        let some = self.count > 0;
        self.count -= usize::from(some);
        some
    }

    /// Joins the end of the line.
    fn join(&mut self, bell: Bell) -> u64 {
        self.tickets += 1;
        self.line.push_back((self.tickets, bell));
        self.tickets
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
