//! The result of a block that will run, or ran. A thread waits for it, or async code awaits it.
//!
//! Not for: running anything. The block fulfils a [`Promise`], which is broken when the block is
//! dropped.

mod error;

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::current::{self, Frame};
use super::origin::{Origin, Other, Outlook};
use crate::base::catch;
use crate::base::sync::atomic::{AtomicBool, Ordering::Relaxed};
use crate::base::sync::{Condvar, Mutex, lock};
use crate::pool::{self, fork};
use crate::queue::Queue;
use crate::time::when::When;

pub use error::{PanicPayload, TaskError};

struct Shared<T> {
    state: Mutex<State<T>>,
    done: Condvar,
    /// The side that sets it settles the task: the block when it begins, or a cancel.
    claimed: AtomicBool,
}

enum State<T> {
    /// The waiters to notify: async code, and a thread. Notifying a condition variable without a
    /// waiter would still be a system call.
    Pending {
        waker: Option<Waker>,
        waits: bool,
        /// Used only here: the block takes the lock before it goes, unless it was cancelled.
        origin: Origin,
    },
    Done(Result<T, TaskError>),
    Taken,
}

/// The result of [`Queue::call`]. Dropping it does not cancel the block, except after
/// [`cancel_on_drop`](Self::cancel_on_drop).
///
/// ```
/// use singletrack_queues::Queue;
///
/// let (left, right) = (Queue::new("left"), Queue::new("right"));
/// let (first, second) = (left.call(|| 20), right.call(|| 22)); // beside one another
/// assert_eq!(first.wait().unwrap() + second.wait().unwrap(), 42);
/// ```
#[must_use = "the result of the block comes through this; use submit if it is not wanted"]
pub struct Task<T> {
    shared: Arc<Shared<T>>,
    cancels: bool,
}

/// The other end of a [`Task`]: it gives the task its value. Made by [`Task::promised`].
///
/// Dropping it ends the task with [`TaskError::Broken`].
///
/// ```
/// use singletrack_queues::{Promise, Task};
/// use std::thread;
///
/// fn ask(question: &'static str, reply: Promise<usize>) {
///     thread::spawn(move || reply.fulfil(question.len()));
/// }
/// let (answer, reply) = Task::promised();
/// ask("how long?", reply);
/// assert_eq!(answer.wait().unwrap(), 9);
/// ```
pub struct Promise<T> {
    /// `None`: settled.
    shared: Option<Arc<Shared<T>>>,
}

impl Queue {
    /// Submits a block with a result. Wait for the result from a thread, or await it from async
    /// code.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("sums");
    /// let sum = queue.call(|| (1..=10).sum::<u32>());
    /// assert_eq!(sum.wait().unwrap(), 55);
    /// ```
    #[track_caller]
    pub fn call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(Origin::of(self));
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }
}

impl<T> Task<T> {
    pub(crate) fn new(origin: Origin) -> (Self, Promise<T>) {
        let state = Mutex::new(State::Pending { waker: None, waits: false, origin });
        let shared = Arc::new(Shared { state, done: Condvar::new(), claimed: AtomicBool::new(false) });
        (Self { shared: shared.clone(), cancels: false }, Promise { shared: Some(shared) })
    }

    /// A task for something that is no block of a queue, such as a future event. Returns the task,
    /// and the promise that ends it.
    ///
    /// ```
    /// let (task, promise) = singletrack_queues::Task::promised();
    /// std::thread::spawn(move || promise.fulfil(7));
    /// assert_eq!(task.wait().unwrap(), 7);
    /// ```
    pub fn promised() -> (Self, Promise<T>) {
        Self::new(Origin::Unknown)
    }

    /// As [`promised`](Self::promised), for a task whose end a waiting thread may hold up. If
    /// `waits_for_this_thread` returns true, a wait fails at once with [`TaskError::Deadlock`] and
    /// this label, and does not hang. The function is called under no lock, so it may use the
    /// task's promise and anything else.
    ///
    /// ```
    /// use singletrack_queues::{Task, TaskError};
    ///
    /// let (task, _promise) = Task::<u32>::promised_by("a door that this thread holds shut", || true);
    /// assert!(matches!(task.wait(), Err(TaskError::Deadlock { .. })));
    /// ```
    pub fn promised_by<F>(label: impl Into<Arc<str>>, waits_for_this_thread: F) -> (Self, Promise<T>)
    where
        F: Fn() -> bool + Send + Sync + 'static,
    {
        let other = Other { label: label.into(), waits_for_this_thread: Box::new(waits_for_this_thread) };
        Self::new(Origin::Other(Arc::new(other)))
    }

    /// Keeps the block from running, if it has not begun. The task ends as [`TaskError::Cancelled`]
    /// here and now, and its waiters go on. `true`: this call cancelled it. A running block is not
    /// interrupted. The captures of a cancelled block are dropped when its turn comes.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TaskError};
    ///
    /// let queue = Queue::new("search");
    /// queue.suspend();
    /// let task = queue.call(|| unreachable!("it is cancelled"));
    /// assert!(task.cancel() && !task.cancel());
    /// assert!(matches!(task.wait(), Err::<(), _>(TaskError::Cancelled)));
    /// ```
    pub fn cancel(&self) -> bool {
        let before = {
            let mut state = lock(&self.shared.state);
            // Under the lock: from now on the block does not take the lock before it goes, so its
            // origin must not be found here.
            if !self.shared.claim() {
                return false;
            }
            std::mem::replace(&mut *state, State::Done(Err(TaskError::Cancelled)))
        };
        self.shared.tell(before);
        true
    }

    /// From now on, dropping the task cancels it, as [`cancel`](Self::cancel) does. For a result
    /// that has no other use.
    ///
    /// ```
    /// # use singletrack_queues::Queue;
    /// # let queue = Queue::new("thumbnails");
    /// # queue.suspend();
    /// let thumbnail = queue.call(|| unreachable!("nobody looks at it")).cancel_on_drop();
    /// drop(thumbnail);
    /// queue.resume().unwrap();
    /// queue.sync(|| ());
    /// ```
    pub fn cancel_on_drop(mut self) -> Self {
        self.cancels = true;
        self
    }

    /// Has the block ended, or was it cancelled?
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let queue = Queue::new("slow");
    /// queue.suspend();
    /// let task = queue.call(|| 7);
    /// assert!(!task.is_done());
    /// queue.resume().unwrap();
    /// queue.sync(|| ()); // it comes after the block
    /// assert!(task.is_done());
    /// ```
    #[must_use]
    pub fn is_done(&self) -> bool {
        !matches!(*lock(&self.shared.state), State::Pending { .. })
    }

    /// Waits for the block and takes its value.
    ///
    /// ```
    /// use singletrack_queues::{Queue, TaskError};
    ///
    /// let parser = Queue::new("parser");
    /// assert_eq!(parser.call(|| "7".parse::<u8>()).wait().unwrap(), Ok(7));
    /// match parser.call(|| panic!("bad input")).wait() {
    ///     Err::<(), _>(TaskError::Panicked { message, .. }) => assert_eq!(message, "bad input"),
    ///     other => unreachable!("{other:?}"),
    /// }
    /// ```
    ///
    /// # Errors
    /// [`TaskError::Panicked`] when the block panicked, [`TaskError::Dropped`] when it will never
    /// run, [`TaskError::Cancelled`] when it was cancelled, [`TaskError::Broken`] when the promise
    /// was dropped, [`TaskError::Taken`] when the value was taken already. [`TaskError::Deadlock`],
    /// at once, when this thread is in a block that must end first.
    #[track_caller]
    pub fn wait(mut self) -> Result<T, TaskError> {
        match self.take_within(When::NEVER, Location::caller()) {
            Some(result) => result,
            None => unreachable!("there is no deadline"),
        }
    }

    /// Waits until `timeout` at most: a span of time or a point in time, see [`When`]. `None` if
    /// the block has not ended by then. A value can be taken once: after that this is
    /// [`TaskError::Taken`].
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new("slow");
    /// queue.suspend();
    /// let mut task = queue.call(|| 7);
    /// assert!(task.wait_timeout(Duration::from_millis(1)).is_none(), "not yet");
    /// queue.resume().unwrap();
    /// assert_eq!(task.wait_timeout(Duration::from_secs(60)).unwrap().unwrap(), 7);
    /// ```
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&mut self, timeout: impl Into<When>) -> Option<Result<T, TaskError>> {
        self.take_within(timeout.into(), Location::caller())
    }

    fn take_within(&mut self, deadline: When, site: &'static Location<'static>) -> Option<Result<T, TaskError>> {
        let (outlook, help) = match &mut *lock(&self.shared.state) {
            // SAFETY: the block takes this lock before it goes.
            State::Pending { origin, .. } => unsafe {
                (origin.outlook(), if deadline == When::NEVER { origin.to_help() } else { None })
            },
            ended => return Some(take(ended)),
        };
        if let Some(error) = self.hopeless(outlook, site) {
            return Some(Err(error));
        }
        if let Some(queue) = help {
            queue.help_until(|| self.is_done());
        }
        // Under no lock: it may drop blocks of users.
        pool::blocking(|| {
            let mut state = lock(&self.shared.state);
            loop {
                match &mut *state {
                    State::Pending { waits, .. } => *waits = true,
                    ended => return Some(take(ended)),
                }
                if deadline.since().is_some() {
                    return None;
                }
                state = deadline.wait(&self.shared.done, state);
            }
        })
    }

    /// The reason why a wait would never end.
    fn hopeless(&self, outlook: Outlook, site: &'static Location<'static>) -> Option<TaskError> {
        match outlook {
            Outlook::Deadlock(label) => Some(TaskError::Deadlock { label, site }),
            Outlook::Forked(label, why) => Some(TaskError::Dropped { label, why }),
            Outlook::Ask(other) => (other.waits_for_this_thread)()
                .then(|| TaskError::Deadlock { label: other.label.as_ref().to_owned(), site }),
            Outlook::Open if current::is_part_of(Arc::as_ptr(&self.shared)) => {
                Some(TaskError::Deadlock { label: self.label().unwrap_or_default(), site })
            }
            Outlook::Open => None,
        }
    }

    /// The label of the queue, while the block exists.
    fn label(&self) -> Option<String> {
        match &*lock(&self.shared.state) {
            // SAFETY: as in `take_within`.
            State::Pending { origin, .. } => unsafe { origin.label() },
            _ => None,
        }
    }
}

/// Takes the value of an ended task.
fn take<T>(ended: &mut State<T>) -> Result<T, TaskError> {
    match std::mem::replace(ended, State::Taken) {
        State::Done(result) => result,
        State::Taken => Err(TaskError::Taken),
        State::Pending { .. } => unreachable!("the caller saw that it ended"),
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    /// Ready when the block has ended. Woken from the thread that ran it.
    ///
    /// # Panics
    /// When polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The waker is foreign code, and so is the drop of the old one below: both run under no
        // lock.
        let mut new = Some(context.waker().clone());
        let before = match &mut *lock(&self.shared.state) {
            State::Pending { waker, .. } => std::mem::replace(waker, new.take()),
            State::Taken => panic!("a task was polled after its value had been taken"),
            ended => return Poll::Ready(take(ended)),
        };
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if self.cancels {
            self.cancel();
        }
    }
}

impl<T> Shared<T> {
    /// The first caller settles the task. Relaxed: the lock publishes the outcome.
    #[inline]
    fn claim(&self) -> bool {
        !self.claimed.swap(true, Relaxed)
    }

    /// Called by the side that claimed the task.
    #[inline]
    fn settle(&self, result: Result<T, TaskError>) {
        let before = std::mem::replace(&mut *lock(&self.state), State::Done(result));
        self.tell(before);
    }

    /// Notifies the waiters.
    #[inline]
    fn tell(&self, before: State<T>) {
        let (waker, waits) = match before {
            // Nothing to notify and nothing to free: the usual case.
            State::Pending { waker: None, waits: false, origin: Origin::Serial(_) } => return,
            State::Pending { waker, waits, .. } => (waker, waits),
            _ => return,
        };
        if waits {
            self.done.notify_all();
        }
        if let Some(waker) = waker {
            // Foreign code. Its panic is not the panic of a block, and this thread may unwind
            // already.
            catch::call_quietly("a waker", move || waker.wake());
        }
    }
}

impl<T> Promise<T> {
    /// Gives the value to the task, and wakes its waiters. If the task was cancelled, the value is
    /// dropped.
    ///
    /// ```
    /// use singletrack_queues::Task;
    ///
    /// let (task, promise) = Task::promised();
    /// promise.fulfil("done");
    /// assert_eq!(task.wait().unwrap(), "done");
    /// ```
    pub fn fulfil(mut self, value: T) {
        if let Some(shared) = self.claim() {
            shared.settle(Ok(value));
        }
    }

    /// Was the task cancelled? If it was, the value has no use.
    ///
    /// ```
    /// let (task, promise) = singletrack_queues::Task::<u32>::promised();
    /// task.cancel();
    /// assert!(promise.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        // Relaxed: only a cancel can have claimed a task that this promise has not settled.
        self.shared.as_ref().is_some_and(|shared| shared.claimed.load(Relaxed))
    }

    /// Runs `f` and gives its value, or its panic, to the task. Drops `f` if the task was
    /// cancelled.
    #[inline]
    pub(crate) fn keep(mut promise: Self, f: impl FnOnce() -> T) {
        if let Some(shared) = promise.claim() {
            let before = fork::forks();
            let result = catch::catch(f).map_err(TaskError::from_panic);
            if fork::forks() == before {
                shared.settle(result);
            } else {
                // `f` has forked, and this is the child. Nothing waits for the result here, and a
                // thread that only the parent has may have held the lock.
                std::mem::forget(result);
            }
        }
    }

    /// As [`keep`](Self::keep), where others run beside `f`. A wait for this task in `f` itself is
    /// detected.
    pub(crate) fn keep_as_part(promise: Self, f: impl FnOnce() -> T) {
        let whole = promise.shared.as_ref().map_or(std::ptr::null(), Arc::as_ptr);
        let frame = Frame::part_of(whole);
        let _inside = frame.enter();
        Self::keep(promise, f);
    }

    /// The shared state for the caller to settle, unless a cancel came first.
    #[inline]
    fn claim(&mut self) -> Option<Arc<Shared<T>>> {
        self.shared.take().filter(|shared| shared.claim())
    }

    #[cold]
    fn break_it(&mut self) {
        let Some(shared) = self.claim() else { return };
        let why = match &*lock(&shared.state) {
            // SAFETY: the block is being dropped, and this promise with it.
            State::Pending { origin, .. } => unsafe { origin.why_dropped() },
            _ => None,
        };
        shared.settle(Err(match why {
            Some((label, why)) => TaskError::Dropped { label, why },
            None => TaskError::Broken,
        }));
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if self.shared.is_some() {
            self.break_it();
        }
    }
}

impl<T> fmt::Debug for Promise<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise(..)")
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("queue", &self.label()).field("done", &self.is_done()).finish()
    }
}
