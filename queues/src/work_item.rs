//! A block object: a block with a handle to wait for it, be told when it ended, and cancel it.
//!
//! The body stands under a lock with what is known about it; whoever takes it out, the run or a `cancel`, is the one that
//! ends the item: first the body and its captures end, then those who wait are told. So the body runs or is freed, once, and
//! whoever finds the item done finds its captures gone.
//!
//! | phase | run | cancel | wait, notify |
//! |---|---|---|---|
//! | waiting | takes the body: busy | takes the body: busy | wait, are kept |
//! | busy | nothing | marks it: the body may look | wait, are kept |
//! | done | nothing | nothing | at once |
//!
//! Not for: results (`task`), many blocks (`group`).

mod submit;

use std::fmt;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::catch;
use crate::concurrent::ConcurrentQueue;
use crate::pool;
use crate::qos::Qos;
use crate::queue::{OwnedLift, Queue};
use crate::submit::Submit;
use crate::sync::{Condvar, Mutex, lock, planted, thread};
use crate::time::When;

type Body = Box<dyn FnOnce(&WorkHandle) + Send>;

/// A block that is not submitted yet. Submitting consumes it, so that it runs at most once; dropping it frees its captures.
///
/// ```
/// use singletrack_queues::{Queue, WorkEnd, WorkItem};
///
/// let queue = Queue::new("thumbnails");
/// let item = WorkItem::new(|| println!("drawn")).submit(&queue);
/// item.notify(&Queue::new("ui"), || println!("show it"));
/// assert_eq!(item.wait(), WorkEnd::Ran);
/// ```
///
/// A second submit does not compile:
///
/// ```compile_fail,E0382
/// # use singletrack_queues::{Queue, WorkItem};
/// let queue = Queue::new("once");
/// let item = WorkItem::new(|| ());
/// item.submit(&queue);
/// item.submit(&queue);
/// ```
#[must_use = "a work item runs when it is submitted, and is dropped otherwise"]
pub struct WorkItem {
    body: Body,
    qos: Option<Qos>,
}

/// A work item that runs alone: made by [`WorkItem::barrier`], taken by concurrent queues only.
///
/// On a serial queue every block runs alone, so a barrier there is a misunderstanding, and does not compile:
///
/// ```compile_fail,E0308
/// # use singletrack_queues::{Queue, WorkItem};
/// WorkItem::new(|| ()).barrier().submit(&Queue::new("serial"));
/// ```
#[must_use = "a work item runs when it is submitted, and is dropped otherwise"]
pub struct BarrierItem {
    item: WorkItem,
}

impl WorkItem {
    /// A work item that runs `f`.
    pub fn new<F: FnOnce() + Send + 'static>(f: F) -> Self {
        Self::with_handle(move |_| f())
    }

    /// A work item that runs `f` with its own handle, so that a long body can look whether it was cancelled.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkItem};
    ///
    /// let item = WorkItem::with_handle(|me| while !me.is_cancelled() { std::thread::yield_now() });
    /// let item = item.submit(&Queue::new("search"));
    /// item.cancel();
    /// item.wait();
    /// ```
    pub fn with_handle<F: FnOnce(&WorkHandle) + Send + 'static>(f: F) -> Self {
        Self { body: Box::new(f), qos: None }
    }

    /// How urgent it is, if that is more than its queue is: until it has ended it lifts the queue, and with it what stands in
    /// front of it there. A lower class than the queue's changes nothing.
    /// On a concurrent queue it lifts itself alone, if nothing keeps it from being let in at once.
    ///
    /// Without this it is as urgent as its queue, whoever submits it: nothing is inherited, every item is what libdispatch
    /// calls detached. To hand on the class of the running block, say `qos(Qos::current())`.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue, WorkItem};
    ///
    /// let index = Queue::builder("index").qos(Qos::Background).build();
    /// let item = WorkItem::new(|| assert!(Qos::current() >= Qos::UserInitiated)).qos(Qos::UserInitiated);
    /// item.submit(&index).wait();
    /// ```
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = Some(qos);
        self
    }

    /// On a concurrent queue it runs alone: after all before it, and before all behind it.
    pub fn barrier(self) -> BarrierItem {
        BarrierItem { item: self }
    }

    /// What goes to the queue, and what stays.
    pub(crate) fn split(self, place: Option<Place>) -> (Ticket, WorkHandle) {
        let inner = Inner {
            phase: Phase::Waiting(self.body),
            cancelled: false,
            waiting: 0,
            notify: Vec::new(),
            place,
            lift: None,
        };
        let handle = WorkHandle { shared: Arc::new(Shared { inner: Mutex::new(inner), ended: Condvar::new() }) };
        (Ticket { handle: handle.clone(), qos: self.qos }, handle)
    }
}

impl fmt::Debug for WorkItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkItem(..)")
    }
}

impl fmt::Debug for BarrierItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BarrierItem(..)")
    }
}

/// How a work item ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkEnd {
    /// Its body ran to its end.
    Ran,
    /// Its body panicked, which was logged and counted as for any block.
    Panicked,
    /// It was cancelled before it began.
    Cancelled,
    /// It was dropped unrun: the runtime was shut down.
    Dropped,
}

/// A work item that was submitted. Clones are handles to the same one; dropping them does not cancel it.
#[derive(Clone)]
pub struct WorkHandle {
    shared: Arc<Shared>,
}

struct Shared {
    inner: Mutex<Inner>,
    ended: Condvar,
}

struct Inner {
    phase: Phase,
    cancelled: bool,
    waiting: usize,
    notify: Vec<Box<dyn FnOnce() + Send>>,
    /// To find out that a wait would never end; gone once it is done.
    place: Option<Place>,
    /// Of its queue, to its own class, until it is done.
    lift: Option<OwnedLift>,
}

enum Phase {
    Waiting(Body),
    /// The body runs, or is being freed, on this thread.
    Busy(thread::ThreadId),
    Done(WorkEnd),
}

/// Where a work item was submitted.
pub(crate) enum Place {
    Serial(Queue),
    /// As a barrier or not.
    Concurrent(ConcurrentQueue, bool),
}

impl Place {
    /// The label of the queue, if the item cannot run before this thread has left the block that it is in.
    fn waits_for_this_thread(&self) -> Option<&str> {
        let (waits, label) = match self {
            Self::Serial(queue) => (queue.waits_for_this_thread(), queue.label()),
            Self::Concurrent(queue, barrier) => (queue.waits_for_this_thread(*barrier), queue.label()),
        };
        waits.then_some(label)
    }

    fn label(&self) -> &str {
        match self {
            Self::Serial(queue) => queue.label(),
            Self::Concurrent(queue, _) => queue.label(),
        }
    }
}

impl WorkHandle {
    /// Waits until the item ended, and tells how. Any number of threads may wait, before and after.
    ///
    /// # Panics
    /// With a sentence that names the queue, instead of waiting for ever, when this thread is in the body of the item, or
    /// in a block that has to end before it can run.
    #[track_caller]
    pub fn wait(&self) -> WorkEnd {
        match self.wait_within(When::NEVER, Location::caller()) {
            Some(end) => end,
            None => unreachable!("there is no deadline"),
        }
    }

    /// As [`wait`](Self::wait), for at most `timeout`; `None`: it has not ended by then.
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: Duration) -> Option<WorkEnd> {
        self.wait_within(When::from(timeout), Location::caller())
    }

    /// As [`wait_timeout`](Self::wait_timeout), with a point in time: by either clock, see [`When`].
    ///
    /// # Panics
    /// As for [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_until(&self, when: impl Into<When>) -> Option<WorkEnd> {
        self.wait_within(when.into(), Location::caller())
    }

    fn wait_within(&self, deadline: When, site: &'static Location<'static>) -> Option<WorkEnd> {
        let inner = lock(&self.shared.inner);
        if let Phase::Done(end) = inner.phase {
            return Some(end);
        }
        if let Some(sentence) = inner.deadlock(site) {
            drop(inner);
            panic!("{sentence}");
        }
        pool::blocking(|| {
            let mut inner = inner;
            inner.waiting += 1;
            let end = loop {
                if let Phase::Done(end) = inner.phase {
                    break Some(end);
                }
                if deadline.since().is_some() {
                    break None;
                }
                inner = deadline.wait(&self.shared.ended, inner);
            };
            inner.waiting -= 1;
            end
        })
    }

    /// Submits `f` when the item ended, however it did: at once if that was before. Several may be given; each
    /// is submitted once.
    #[track_caller]
    pub fn notify<S: Submit, F: FnOnce() + Send + 'static>(&self, on: &S, f: F) {
        let (on, site) = (on.clone(), Location::caller());
        self.when_done(move || on.submit_from(f, site));
    }

    pub(crate) fn when_done(&self, submit: impl FnOnce() + Send + 'static) {
        let mut inner = lock(&self.shared.inner);
        if matches!(inner.phase, Phase::Done(_)) && !planted("work item: a late notify is kept") {
            drop(inner);
            submit();
        } else {
            inner.notify.push(Box::new(submit));
        }
    }

    /// Keeps the body from running, and frees all that it captured, here and now; then it is done. `true`: this call did.
    ///
    /// A body that runs already is not interrupted; it can look at [`is_cancelled`](Self::is_cancelled). What stands in the
    /// queue is an empty block, which goes when its turn comes.
    pub fn cancel(&self) -> bool {
        let Some(body) = self.take(true) else { return false };
        if planted("work item: a cancelled one is done before its captures are gone") {
            self.end(WorkEnd::Cancelled);
        }
        catch::drop_quietly(body);
        self.end(WorkEnd::Cancelled);
        true
    }

    /// Was [`cancel`](Self::cancel) called before the item was done? True in a running body, too.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        lock(&self.shared.inner).cancelled
    }

    /// Did it end: ran, panicked, cancelled or dropped?
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(lock(&self.shared.inner).phase, Phase::Done(_))
    }

    /// The body, for the first who asks: to be run or freed, and then [ended](Self::end), by the caller.
    fn take(&self, cancels: bool) -> Option<Body> {
        let mut inner = lock(&self.shared.inner);
        if matches!(inner.phase, Phase::Done(_)) {
            return None;
        }
        inner.cancelled |= cancels;
        if !matches!(inner.phase, Phase::Waiting(_)) {
            return None;
        }
        match std::mem::replace(&mut inner.phase, Phase::Busy(thread::current().id())) {
            Phase::Waiting(body) => Some(body),
            Phase::Busy(_) | Phase::Done(_) => None,
        }
    }

    /// Called by the one who took the body, when that is gone.
    fn end(&self, end: WorkEnd) {
        let mut inner = lock(&self.shared.inner);
        inner.phase = Phase::Done(end);
        let notify = std::mem::take(&mut inner.notify);
        let let_go = (inner.place.take(), inner.lift.take());
        if inner.waiting > 0 && !planted("work item: the end rings no bell") {
            self.shared.ended.notify_all();
        }
        drop(inner);
        // May be the last handle of a queue: not under the lock.
        drop(let_go);
        for submit in notify {
            submit();
        }
    }
}

impl Inner {
    fn deadlock(&self, site: &'static Location<'static>) -> Option<String> {
        let label = self.place.as_ref().map_or("", Place::label);
        if matches!(self.phase, Phase::Busy(thread) if thread == thread::current().id()) {
            return Some(format!(
                "deadlock: the wait at {site} for a work item of \"{label}\" is in that very item, which has to end \
                 first; use notify"
            ));
        }
        // Once it runs, on whatever thread, nothing holds it up.
        let waits = matches!(self.phase, Phase::Waiting(_));
        self.place.as_ref().filter(|_| waits).and_then(Place::waits_for_this_thread).map(|label| {
            format!(
                "deadlock: the wait at {site} for a work item of \"{label}\" would never end, because this thread is in \
                 a block that has to end first; use notify"
            )
        })
    }
}

impl fmt::Debug for WorkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.shared.inner);
        let phase = match inner.phase {
            Phase::Waiting(_) => "waiting",
            Phase::Busy(_) => "running",
            Phase::Done(_) => "done",
        };
        f.debug_struct("WorkHandle").field("phase", &phase).field("cancelled", &inner.cancelled).finish()
    }
}

/// The queue's end of an item: runs it, or ends it when it is dropped unrun.
pub(crate) struct Ticket {
    handle: WorkHandle,
    qos: Option<Qos>,
}

impl Ticket {
    /// Runs the body unless it was cancelled; its panic goes on to the queue, which logs and counts it.
    pub(crate) fn run(self) {
        let Some(body) = self.handle.take(false) else { return };
        // At least as urgent as its queue.
        let qos = self.qos.unwrap_or(Qos::Background);
        let outcome = catch::catch(|| {
            let _back = qos.at_least();
            body(&self.handle);
        });
        match outcome {
            Ok(()) => self.handle.end(WorkEnd::Ran),
            Err(payload) => {
                self.handle.end(WorkEnd::Panicked);
                resume_unwind(payload);
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(body) = self.handle.take(false) {
            catch::drop_quietly(body);
            self.handle.end(WorkEnd::Dropped);
        }
    }
}
