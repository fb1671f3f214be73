//! A block object: a block with a handle to wait for it, be notified when it has ended, and cancel
//! it.
//!
//! A lock protects the body and its state. Either the run or a `cancel` takes the body out, and
//! that one ends the item: first the body and its captures end, then the waiters are notified. So
//! the body runs or is freed exactly once, and when the item is done its captures are gone.
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

use crate::base::catch;
use crate::base::qos::Qos;
use crate::base::sync::{Condvar, Mutex, lock};
use crate::kinds::submit::Submit;
use crate::pool;
use crate::queue::origin::{Origin, Outlook};
use crate::queue::{Frame, OwnedBoost, is_part_of};
use crate::time::when::When;

type Body = Box<dyn FnOnce(&WorkHandle) + Send>;

/// A block that is not submitted yet. Submitting consumes it, so it runs at most once; dropping it
/// frees its captures.
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
/// On a serial queue every block runs alone. A barrier there is a mistake, and does not compile:
///
/// ```compile_fail,E0308
/// # use singletrack_queues::{Queue, WorkItem};
/// WorkItem::new(|| ()).barrier().submit(&Queue::new("serial"));
/// ```
///
/// ```
/// use singletrack_queues::{BarrierItem, ConcurrentQueue, WorkEnd, WorkItem};
///
/// fn rebuild() -> BarrierItem {
///     WorkItem::new(|| println!("alone in the table")).barrier()
/// }
/// let item = rebuild().submit(&ConcurrentQueue::new("table"));
/// assert_eq!(item.wait(), WorkEnd::Ran);
/// ```
#[must_use = "a work item runs when it is submitted, and is dropped otherwise"]
pub struct BarrierItem {
    item: WorkItem,
}

impl WorkItem {
    /// A work item that runs `f`.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkEnd, WorkItem};
    ///
    /// let item = WorkItem::new(|| println!("drawn"));
    /// assert_eq!(item.submit(&Queue::new("thumbnails")).wait(), WorkEnd::Ran);
    /// ```
    #[doc(alias = "dispatch_block_create")]
    #[doc(alias = "dispatch_block_create_with_qos_class")]
    pub fn new<F: FnOnce() + Send + 'static>(f: F) -> Self {
        Self::with_handle(move |_| f())
    }

    /// A work item that runs `f` with its own handle, so that a long body can check whether it was
    /// cancelled.
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

    /// Sets how urgent the item is, if that is more than its queue. Until the item has ended it
    /// boosts the queue, and with it the blocks ahead of it there. A lower class than the queue's
    /// changes nothing. On a concurrent queue that can start it at once, it boosts itself alone.
    ///
    /// Without this the item is as urgent as its queue, whatever thread submits it. Nothing is
    /// inherited: every item is what libdispatch calls detached. To pass on the class of the
    /// running block, call `qos(Qos::current())`.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue, WorkItem};
    ///
    /// let index = Queue::builder("index").qos(Qos::Background).build();
    /// let item = WorkItem::new(|| assert!(Qos::current() >= Qos::UserInitiated)).qos(Qos::UserInitiated);
    /// item.submit(&index).wait();
    /// ```
    #[doc(alias = "dispatch_block_create_with_qos_class")]
    #[doc(alias = "dispatch_async_enforce_qos_class_f")]
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = Some(qos);
        self
    }

    /// Makes it run alone on a concurrent queue: after all blocks before it, and before all blocks
    /// behind it.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, WorkEnd, WorkItem};
    ///
    /// let table = ConcurrentQueue::new("table");
    /// table.submit(|| println!("a reader"));
    /// let rebuild = WorkItem::new(|| println!("no reader is here")).barrier();
    /// assert_eq!(rebuild.submit(&table).wait(), WorkEnd::Ran);
    /// ```
    #[doc(alias = "DISPATCH_BLOCK_BARRIER")]
    pub fn barrier(self) -> BarrierItem {
        BarrierItem { item: self }
    }

    /// The queue's end of the item, and the caller's handle.
    pub(crate) fn split(self, origin: Origin) -> (Ticket, WorkHandle) {
        let inner = Inner {
            phase: Phase::Waiting(self.body),
            cancelled: false,
            waiting: 0,
            notify: Vec::new(),
            origin,
            boost: None,
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
///
/// ```
/// use singletrack_queues::{Queue, WorkEnd, WorkItem};
///
/// let item = WorkItem::new(|| println!("a preview")).submit(&Queue::new("previews"));
/// match item.wait() {
///     WorkEnd::Ran => println!("show it"),
///     WorkEnd::Cancelled => unreachable!("nobody did"),
///     end => eprintln!("no preview: {end:?}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkEnd {
    /// Its body ran to its end.
    Ran,
    /// Its body panicked. The panic was logged and counted, as for any block.
    Panicked,
    /// It was cancelled before it began.
    Cancelled,
    /// It was dropped unrun: the runtime was shut down.
    Dropped,
}

/// A work item that was submitted. Clones are handles to the same one; dropping them does not
/// cancel it.
///
/// ```
/// use singletrack_queues::{Queue, WorkHandle, WorkItem};
///
/// /// A preview that is given up when it is no longer wanted.
/// struct Preview(WorkHandle);
///
/// impl Drop for Preview {
///     fn drop(&mut self) {
///         self.0.cancel();
///     }
/// }
/// let queue = Queue::new("previews");
/// queue.suspend();
/// drop(Preview(WorkItem::new(|| unreachable!()).submit(&queue)));
/// queue.resume().unwrap();
/// ```
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
    /// Used under this lock only, and before the ticket has taken the body. The ticket does that
    /// before it is freed.
    origin: Origin,
    /// The boost of its queue to the item's class, until the item is done.
    boost: Option<OwnedBoost>,
}

enum Phase {
    Waiting(Body),
    /// The body runs, or is being freed.
    Busy,
    Done(WorkEnd),
}

impl WorkHandle {
    /// Waits until the item has ended, and returns how. Any number of threads may wait, before and
    /// after.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkEnd, WorkItem};
    ///
    /// let item = WorkItem::new(|| println!("drawn")).submit(&Queue::new("thumbnails"));
    /// assert_eq!(item.wait(), WorkEnd::Ran);
    /// assert_eq!(item.wait(), WorkEnd::Ran, "as often as you like");
    /// ```
    ///
    /// # Panics
    /// The panic names the queue, instead of waiting for ever. It comes when this thread is in the
    /// body of the item, when it is in a block that must end before the item can run, or when this
    /// process is a fork child, which has no workers to run it.
    #[doc(alias = "dispatch_block_wait")]
    #[doc(alias = "dispatch_wait")]
    #[track_caller]
    pub fn wait(&self) -> WorkEnd {
        match self.wait_within(When::NEVER, Location::caller()) {
            Some(end) => end,
            None => unreachable!("there is no deadline"),
        }
    }

    /// Like [`wait`](Self::wait), until `timeout` at most: a duration or a point in time, see
    /// [`When`]. `None`: it has not ended by then.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkEnd, WorkItem};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new("thumbnails");
    /// queue.suspend();
    /// let item = WorkItem::new(|| ()).submit(&queue);
    /// assert_eq!(item.wait_timeout(Duration::from_millis(1)), None);
    /// queue.resume().unwrap();
    /// assert_eq!(item.wait_timeout(Duration::from_secs(60)), Some(WorkEnd::Ran));
    /// ```
    ///
    /// # Panics
    /// As in [`wait`](Self::wait).
    #[track_caller]
    pub fn wait_timeout(&self, timeout: impl Into<When>) -> Option<WorkEnd> {
        self.wait_within(timeout.into(), Location::caller())
    }

    fn wait_within(&self, deadline: When, site: &'static Location<'static>) -> Option<WorkEnd> {
        {
            let inner = lock(&self.shared.inner);
            if let Phase::Done(end) = inner.phase {
                return Some(end);
            }
            if let Some(sentence) = inner.hopeless(is_part_of(Arc::as_ptr(&self.shared)), site) {
                drop(inner);
                panic!("{sentence}");
            }
        }
        // No lock is held: it may drop user blocks.
        pool::blocking(|| {
            let mut inner = lock(&self.shared.inner);
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

    /// Submits `f` when the item has ended, in whatever way: at once if it has ended already. It
    /// may be called several times; each closure is submitted once.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkItem};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let (draw, show) = (tell.clone(), tell);
    /// let item = WorkItem::new(move || draw.send("drawn").unwrap()).submit(&Queue::new("thumbnails"));
    /// item.notify(&Queue::new("ui"), move || show.send("shown").unwrap());
    /// assert_eq!(told.iter().collect::<Vec<_>>(), ["drawn", "shown"]);
    /// ```
    #[doc(alias = "dispatch_block_notify")]
    #[doc(alias = "dispatch_notify")]
    #[track_caller]
    pub fn notify<S: Submit, F: FnOnce() + Send + 'static>(&self, on: &S, f: F) {
        let (on, site) = (on.clone(), Location::caller());
        self.when_done(move || on.submit_from(f, site));
    }

    pub(crate) fn when_done(&self, submit: impl FnOnce() + Send + 'static) {
        let mut inner = lock(&self.shared.inner);
        if matches!(inner.phase, Phase::Done(_)) {
            drop(inner);
            submit();
        } else {
            inner.notify.push(Box::new(submit));
        }
    }

    /// Keeps the body from running, and frees all its captures, in this call; then the item is
    /// done. `true`: this call did it.
    ///
    /// A body that runs already is not interrupted; it can check
    /// [`is_cancelled`](Self::is_cancelled). An empty block stays in the queue, and is removed when
    /// its turn comes.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkEnd, WorkItem};
    ///
    /// let queue = Queue::new("search");
    /// queue.suspend();
    /// let search = WorkItem::new(|| unreachable!("the user typed on")).submit(&queue);
    /// assert!(search.cancel());
    /// assert_eq!(search.wait(), WorkEnd::Cancelled);
    /// queue.resume().unwrap();
    /// ```
    #[doc(alias = "dispatch_block_cancel")]
    #[doc(alias = "dispatch_cancel")]
    pub fn cancel(&self) -> bool {
        let Some(body) = self.take(true) else { return false };
        self.free(body);
        self.end(WorkEnd::Cancelled);
        true
    }

    /// Whether [`cancel`](Self::cancel) was called before the item was done. This can be true in a
    /// running body, too.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkItem};
    ///
    /// let search = WorkItem::with_handle(|own| {
    ///     while !own.is_cancelled() {
    ///         std::thread::yield_now(); // look at the next file
    ///     }
    /// });
    /// let search = search.submit(&Queue::new("search"));
    /// search.cancel();
    /// search.wait();
    /// assert!(search.is_cancelled());
    /// ```
    #[doc(alias = "dispatch_block_testcancel")]
    #[doc(alias = "dispatch_testcancel")]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        lock(&self.shared.inner).cancelled
    }

    /// Whether it has ended: ran, panicked, cancelled or dropped.
    ///
    /// ```
    /// use singletrack_queues::{Queue, WorkItem};
    ///
    /// let queue = Queue::new("thumbnails");
    /// queue.suspend();
    /// let item = WorkItem::new(|| ()).submit(&queue);
    /// assert!(!item.is_done());
    /// queue.resume().unwrap();
    /// item.wait();
    /// assert!(item.is_done());
    /// ```
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(lock(&self.shared.inner).phase, Phase::Done(_))
    }

    /// Takes the body, for the first caller. That caller must run or free it, and then
    /// [end](Self::end) the item.
    fn take(&self, cancels: bool) -> Option<Body> {
        let mut inner = lock(&self.shared.inner);
        if matches!(inner.phase, Phase::Done(_)) {
            return None;
        }
        inner.cancelled |= cancels;
        if !matches!(inner.phase, Phase::Waiting(_)) {
            return None;
        }
        if cancels {
            // From now on its queue may be freed.
            inner.origin = Origin::Unknown;
        }
        match std::mem::replace(&mut inner.phase, Phase::Busy) {
            Phase::Waiting(body) => Some(body),
            Phase::Busy | Phase::Done(_) => None,
        }
    }

    /// Frees the body. Called by the thread that took it.
    fn free(&self, body: Body) {
        let frame = self.frame();
        let _inside = frame.enter();
        catch::drop_quietly(body);
    }

    /// Called by the thread that runs or frees the body.
    fn frame(&self) -> Frame {
        Frame::part_of(Arc::as_ptr(&self.shared))
    }

    /// Ends the item. Called by the thread that took the body, when the body is gone.
    fn end(&self, end: WorkEnd) {
        let mut inner = lock(&self.shared.inner);
        inner.phase = Phase::Done(end);
        let notify = std::mem::take(&mut inner.notify);
        inner.origin = Origin::Unknown;
        let let_go = inner.boost.take();
        if inner.waiting > 0 {
            self.shared.ended.notify_all();
        }
        drop(inner);
        // This may drop the last handle of a queue: not under the lock.
        drop(let_go);
        for submit in notify {
            submit();
        }
    }
}

impl Inner {
    /// The reason why a wait would never end, if there is one. `inside`: this thread is in the
    /// body.
    fn hopeless(&self, inside: bool, site: &'static Location<'static>) -> Option<String> {
        // SAFETY: the ticket takes the body, and ends the item, under this lock before it is freed;
        // a `cancel` that takes the body leaves no queue here.
        let (label, outlook) = unsafe { (self.origin.label(), self.origin.outlook()) };
        let item = label.map_or_else(|| "a work item".to_owned(), |label| format!("a work item of {label:?}"));
        if inside {
            return Some(format!(
                "deadlock: the wait at {site} for {item} is in that very item, which has to end first; use notify"
            ));
        }
        match outlook {
            // Once it runs, on any thread, nothing blocks it.
            Outlook::Deadlock(_) if matches!(self.phase, Phase::Waiting(_)) => Some(format!(
                "deadlock: the wait at {site} for {item} would never end, because this thread is in a block that has to end \
                 first; use notify"
            )),
            Outlook::Forked(_, why) => Some(format!("the wait at {site} for {item} would never end: {why}")),
            _ => None,
        }
    }
}

impl fmt::Debug for WorkHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = lock(&self.shared.inner);
        let phase = match inner.phase {
            Phase::Waiting(_) => "waiting",
            Phase::Busy => "running",
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
    /// Runs the body unless it was cancelled. Its panic continues to the queue, which logs and
    /// counts it.
    pub(crate) fn run(self) {
        let Some(body) = self.handle.take(false) else { return };
        // The item is at least as urgent as its queue.
        let qos = self.qos.unwrap_or(Qos::Background);
        let frame = self.handle.frame();
        let outcome = catch::catch(|| {
            let _inside = frame.enter();
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
            self.handle.free(body);
            self.handle.end(WorkEnd::Dropped);
        }
    }
}
