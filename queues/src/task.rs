//! The result of a block that will run, or ran: waited for by a thread, or awaited by async code.
//!
//! Not for: running anything. A [`Promise`] is kept by the block and broken when the block is dropped.

use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::ThreadId;
use std::time::Duration;

use crate::catch::{self, Payload};
use crate::pool;
use crate::queue::Queue;
use crate::sync::{Condvar, Mutex, lock};
use crate::time::When;

struct Shared<T> {
    state: Mutex<State<T>>,
    done: Condvar,
}

enum State<T> {
    /// Whom to tell: async code, and a thread. A bell that nobody waits for would be a system call all the same.
    Pending {
        waker: Option<Waker>,
        waits: bool,
    },
    Done(Result<T, TaskError>),
    Taken,
}

/// The result of [`Queue::call`]. Dropping it does not cancel the block.
#[must_use = "the result of the block comes through this; use submit if it is not wanted"]
pub struct Task<T> {
    shared: Arc<Shared<T>>,
    origin: Origin,
}

/// Where a task's block runs: to find out that waiting would never end.
pub(crate) enum Origin {
    /// On a serial queue.
    Queue(Queue),
    /// On one thread alone.
    Thread { thread: ThreadId, label: Arc<str> },
    /// By something else, which can tell.
    Other { label: Arc<str>, waits_for_this_thread: Box<dyn Fn() -> bool + Send + Sync> },
    /// Elsewhere: nothing is known.
    Elsewhere,
}

impl Origin {
    fn label(&self) -> Option<&str> {
        match self {
            Self::Queue(queue) => Some(queue.label()),
            Self::Thread { label, .. } | Self::Other { label, .. } => Some(label),
            Self::Elsewhere => None,
        }
    }

    /// Must this thread go on, for the block to run?
    fn waits_for_this_thread(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.waits_for_this_thread(),
            Self::Thread { thread, .. } => std::thread::current().id() == *thread,
            Self::Other { waits_for_this_thread, .. } => waits_for_this_thread(),
            Self::Elsewhere => false,
        }
    }
}

/// The other end of a [`Task`]: whoever has the value gives it here. Made by [`Task::promised`].
///
/// Dropping it ends the task with [`TaskError::Dropped`].
pub struct Promise<T> {
    /// `None`: settled.
    shared: Option<Arc<Shared<T>>>,
}

impl Queue {
    /// Submits a block whose result is wanted: wait for it from a thread, or await it from async code.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("sums");
    /// let sum = queue.call(|| (1..=10).sum::<u32>());
    /// assert_eq!(sum.wait().unwrap(), 55);
    /// ```
    #[track_caller]
    pub fn call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(Origin::Queue(self.clone()));
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }
}

impl<T> Task<T> {
    pub(crate) fn new(origin: Origin) -> (Self, Promise<T>) {
        let state = Mutex::new(State::Pending { waker: None, waits: false });
        let shared = Arc::new(Shared { state, done: Condvar::new() });
        (Self { shared: shared.clone(), origin }, Promise { shared: Some(shared) })
    }

    /// A task for what is no block of a queue, such as an event that will come: the task, and the promise that ends it.
    ///
    /// ```
    /// let (task, promise) = singletrack_queues::Task::promised();
    /// std::thread::spawn(move || promise.fulfil(7));
    /// assert_eq!(task.wait().unwrap(), 7);
    /// ```
    pub fn promised() -> (Self, Promise<T>) {
        Self::new(Origin::Elsewhere)
    }

    /// As [`promised`](Self::promised), for what may be in the way of its own end: where `waits_for_this_thread` says so, a
    /// wait is [`TaskError::Deadlock`] with this label, at once, and not a hang.
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
        Self::new(Origin::Other { label: label.into(), waits_for_this_thread: Box::new(waits_for_this_thread) })
    }

    /// Did the block end?
    #[must_use]
    pub fn is_done(&self) -> bool {
        !matches!(*lock(&self.shared.state), State::Pending { .. })
    }

    /// Waits for the block and takes its value.
    ///
    /// # Errors
    /// [`TaskError::Panicked`] when the block panicked, [`TaskError::Dropped`] when it will never run, and
    /// [`TaskError::Deadlock`], at once, when this thread is in a block that has to end first.
    pub fn wait(mut self) -> Result<T, TaskError> {
        self.take_within(When::NEVER).unwrap_or(Err(TaskError::Dropped))
    }

    /// Waits for at most `timeout`; `None` if the block has not ended by then. A value can be taken once.
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<T, TaskError>> {
        self.take_within(When::from(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), with a point in time: by either clock, see [`When`].
    ///
    /// # Errors
    /// As for [`wait`](Self::wait).
    pub fn wait_until(&mut self, when: impl Into<When>) -> Option<Result<T, TaskError>> {
        self.take_within(when.into())
    }

    fn take_within(&mut self, deadline: When) -> Option<Result<T, TaskError>> {
        let mut state = lock(&self.shared.state);
        if matches!(*state, State::Pending { .. }) {
            if self.origin.waits_for_this_thread() {
                let label = self.origin.label().unwrap_or_default().to_owned();
                return Some(Err(TaskError::Deadlock { label }));
            }
            if matches!(&self.origin, Origin::Queue(queue) if queue.is_forked()) {
                return Some(Err(TaskError::Dropped));
            }
            state = pool::blocking(|| {
                while let State::Pending { waits, .. } = &mut *state {
                    *waits = true;
                    if deadline.since().is_some() {
                        break;
                    }
                    state = deadline.wait(&self.shared.done, state);
                }
                state
            });
        }
        take(&mut state)
    }
}

fn take<T>(state: &mut State<T>) -> Option<Result<T, TaskError>> {
    match std::mem::replace(state, State::Taken) {
        State::Done(result) => Some(result),
        before => {
            *state = before;
            None
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskError>;

    /// Ready when the block ended; woken from the thread that ran it.
    ///
    /// # Panics
    /// When polled again after it was ready.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.shared.state);
        if let Some(result) = take(&mut state) {
            return Poll::Ready(result);
        }
        let before = match &mut *state {
            State::Pending { waker, .. } => waker.replace(context.waker().clone()),
            _ => panic!("a task was polled after its value had been taken"),
        };
        // Foreign code, so outside the lock.
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl<T> Promise<T> {
    /// Gives the value to the task, and wakes who waits for it.
    pub fn fulfil(mut self, value: T) {
        self.settle(Ok(value));
    }

    /// Runs `f` and gives its value, or its panic, to the task.
    pub(crate) fn keep(mut promise: Self, f: impl FnOnce() -> T) {
        promise.settle(catch::catch(f).map_err(TaskError::from_panic));
    }

    /// The first time; after that there is nothing left to do.
    #[inline]
    fn settle(&mut self, result: Result<T, TaskError>) {
        let Some(shared) = self.shared.take() else { return };
        let before = std::mem::replace(&mut *lock(&shared.state), State::Done(result));
        let State::Pending { waker, waits } = before else { return };
        if waits {
            shared.done.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    #[cold]
    fn break_it(&mut self) {
        self.settle(Err(TaskError::Dropped));
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
        f.debug_struct("Task").field("queue", &self.origin.label()).field("done", &self.is_done()).finish()
    }
}

/// Why there is no value.
#[derive(Debug)]
pub enum TaskError {
    /// The block panicked.
    Panicked {
        /// What the panic said.
        message: String,
        /// What it carried, to go on with [`std::panic::resume_unwind`].
        payload: PanicPayload,
    },
    /// The block was dropped unrun: the runtime was shut down, or the main queue dropped. Or it never will run here, because
    /// this process is a fork child.
    Dropped,
    /// The wait would never end: this thread is in a block of the queue that the task waits for, or is the main thread that
    /// would have to run it.
    Deadlock {
        /// The queue.
        label: String,
    },
}

/// A panic's payload; sendable and shareable, so that the error is too.
pub struct PanicPayload(std::sync::Mutex<Payload>);

impl PanicPayload {
    /// The payload itself.
    #[must_use]
    pub fn into_inner(self) -> Payload {
        self.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl fmt::Debug for PanicPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl TaskError {
    fn from_panic(payload: Payload) -> Self {
        Self::Panicked {
            message: catch::message(&*payload).to_owned(),
            payload: PanicPayload(std::sync::Mutex::new(payload)),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked { message, .. } => write!(f, "the block panicked: {message}"),
            Self::Dropped => f.write_str(
                "the block will never run: its runtime was shut down, its main queue dropped, or this is a fork child",
            ),
            Self::Deadlock { label } => write!(
                f,
                "deadlock: a task of \"{label}\" was waited for where that queue cannot run meanwhile: in a block of it, or on \
                 the thread that it is bound to"
            ),
        }
    }
}

impl std::error::Error for TaskError {}
