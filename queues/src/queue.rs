//! A named serial queue: runs its blocks one at a time, in order.
//!
//! This is the path of a block. [`Queue::submit`] erases it (`block`) and pushes it (`mailbox`). If
//! the push turned the queue on, the queue is scheduled on its target (`schedule`): another queue,
//! or the pool. A worker takes the queue and drains it (`core`), block by block. `sync` runs on the
//! caller's thread when the queue is idle, and waits for its turn otherwise (`sync`, `turn`).
//! `current` knows which queues a thread is in right now, for "am I on it?" and for deadlocks;
//! `assert` and `specific` ask it. A target is a serial or a concurrent queue: [`Level`] is what
//! they have in common. So the body of a concurrent queue is here too (`concurrent`).

pub(crate) mod assert;
pub(crate) mod boost;
pub(crate) mod boosts;
mod builder;
pub(crate) mod concurrent;
mod core;
pub(crate) mod current;
mod delayed;
mod end;
mod entry;
mod error;
mod help;
mod label;
pub(crate) mod level;
pub(crate) mod life;
pub(crate) mod origin;
mod schedule;
mod specific;
mod suspend;
mod sync;
pub(crate) mod task;
pub(crate) mod ticket;
mod turn;
mod values;
pub(crate) mod waiting;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;

use crate::base::block::Node;
use crate::base::catch::Payload;
use crate::base::qos::Qos;
use crate::pool::Gone;
use crate::pool::runtime::Runtime;

pub(crate) use self::boost::OwnedBoost;
pub(crate) use self::builder::Plan;
pub use self::builder::{QueueBuilder, TargetQueue};
pub(crate) use self::core::QueueCore;
pub(crate) use self::current::{Frame, OnMainThread, Whereabouts, is_part_of};
pub use self::delayed::Timer;
pub use self::error::{DeadlockError, NotSuspended, Rejected, SyncError, TrySyncError};
use self::level::Level;
pub(crate) use self::level::{Kept, Target};
use self::life::{Handle, Weak};
pub use self::specific::SpecificKey;
pub use self::task::{PanicPayload, Promise, Task, TaskError};

/// A named serial queue: its blocks run one at a time, in order, on the workers of its runtime.
///
/// This is a handle. A clone costs one addition, and when the last handle is dropped, the submitted
/// blocks still run. An idle queue costs about a hundred bytes and no thread. So have one per
/// object that needs guarding: a million of them are normal.
///
/// Ordering: blocks of one thread run in the order of its calls, and blocks of several threads in
/// the order in which their submissions took effect. Each block happens after the one before it, on
/// any thread. Nothing ever runs in the middle of a block.
///
/// If a block panics, the panic is logged with the queue's label and the place that submitted the
/// block, and counted. The queue goes on.
///
/// ```
/// use singletrack_queues::Queue;
///
/// let lobby = Queue::new("room.lobby");
/// lobby.submit(|| println!("one at a time"));
/// let four = lobby.sync(|| 2 + 2);
/// assert_eq!(four, 4);
/// ```
///
/// A handle cannot be released twice, nor used afterwards:
///
/// ```compile_fail,E0382
/// # use singletrack_queues::Queue;
/// let lobby = Queue::new("room.lobby");
/// drop(lobby);
/// drop(lobby);
/// ```
#[doc(alias = "dispatch_queue_t")]
#[doc(alias = "DISPATCH_QUEUE_SERIAL")]
#[derive(Clone, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Queue {
    core: Handle<QueueCore>,
}

impl Queue {
    /// The maximum number of queues from one to the workers: the queue itself, its target, the
    /// target of that, and so on.
    pub const MAX_LEVELS: usize = 1_000;

    /// Makes a serial queue on the [default runtime](Runtime::global).
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let counter = Queue::new("counter");
    /// assert_eq!(counter.label(), "counter");
    /// let room = Queue::new(format!("room.{}", 7)); // a million of them are normal
    /// assert_ne!(room, counter);
    /// ```
    ///
    /// # Panics
    /// When the default runtime cannot be started, see [`Runtime::global`].
    #[doc(alias = "dispatch_queue_create")]
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Starts to describe a queue: its runtime, its target and its other settings.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue};
    ///
    /// let disk = Queue::new("disk");
    /// let thumbnails = Queue::builder("thumbnails").target(&disk).qos(Qos::Background).build();
    /// assert!(thumbnails.sync(|| disk.is_current()));
    /// ```
    pub fn builder(label: impl Into<Cow<'static, str>>) -> QueueBuilder {
        QueueBuilder::new(label.into())
    }

    #[inline]
    fn core(&self) -> &QueueCore {
        &self.core
    }

    fn level(&self) -> &dyn Level {
        self.core()
    }

    /// A reference that keeps the queue without being a handle.
    pub(crate) fn kept(&self) -> Kept<QueueCore> {
        self.core.kept()
    }

    /// A handle that does not keep the queue. The first one of a queue allocates.
    ///
    /// For what the queue's own blocks or values hold: a [`Queue`] in there would never be dropped.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let queue = Queue::new("retries");
    /// let own = queue.downgrade();
    /// // A block that submits to its own queue, without keeping it.
    /// queue.submit(move || {
    ///     if let Some(queue) = own.upgrade() {
    ///         queue.submit(|| println!("again"));
    ///     }
    /// });
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakQueue {
        WeakQueue(self.core.downgrade())
    }

    /// The name that it was given.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// assert_eq!(Queue::new("room.lobby").label(), "room.lobby");
    /// ```
    #[doc(alias = "dispatch_queue_get_label")]
    #[doc(alias = "DISPATCH_CURRENT_QUEUE_LABEL")]
    #[must_use]
    pub fn label(&self) -> &str {
        self.core().label()
    }

    /// The class that it was given; see [`QueueBuilder::qos`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue};
    ///
    /// assert_eq!(Queue::new("usual").qos(), Qos::Default);
    /// assert_eq!(Queue::builder("index").qos(Qos::Background).build().qos(), Qos::Background);
    /// ```
    #[doc(alias = "dispatch_queue_get_qos_class")]
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.core().qos
    }

    /// The runtime whose workers run its blocks.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let disk = Runtime::builder().workers(1).build().unwrap();
    /// assert_eq!(disk.queue("files").runtime(), disk);
    /// ```
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        Runtime { owner: self.core().owner().clone() }
    }

    /// Submits a block and does not wait.
    ///
    /// After the runtime was [shut down](Runtime::shutdown) the block is dropped, which is logged
    /// and counted; use [`try_submit`](Self::try_submit) to get it back instead.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::new("letters");
    /// for letter in ['a', 'b', 'c'] {
    ///     let tell = tell.clone();
    ///     queue.submit(move || tell.send(letter).unwrap());
    /// }
    /// drop(tell);
    /// assert_eq!(told.iter().collect::<String>(), "abc");
    /// ```
    #[doc(alias = "dispatch_async")]
    #[doc(alias = "dispatch_async_f")]
    #[track_caller]
    #[inline]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    #[inline]
    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        self.core().submit(f, site);
    }

    /// As [`submit`](Self::submit), but an idle queue does not have its turn before this worker has
    /// nothing else to do. Other blocks may be submitted to it meanwhile, and all of them run in
    /// one turn.
    ///
    /// Work that serves everything that came in, such as one write to a socket or one message to
    /// the members of a room, is done once. "Nothing else to do" includes work that other workers
    /// have no time for, and one more look at the events of the worker's parker. A worker that
    /// always has work comes to the queue after 4 ms, or after 2,000 turns of other queues. If the
    /// worker is stuck in a block, the queue is taken away from it. From threads that are not
    /// workers, and for queues with a [class](QueueBuilder::qos) or a target queue, this is the
    /// same as `submit`.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let (input, output) = (singletrack_queues::Queue::new("input"), singletrack_queues::Queue::new("output"));
    /// for word in ["read ", "all, "] {
    ///     let (tell, output) = (tell.clone(), output.clone());
    ///     input.submit(move || output.submit_deferred(move || tell.send(word).unwrap()));
    /// }
    /// drop(tell);
    /// assert_eq!(told.iter().collect::<String>(), "read all, ");
    /// ```
    #[track_caller]
    pub fn submit_deferred<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.core().submit_deferred(f, Location::caller());
    }

    /// The block, to be submitted. If nothing is taken any more, it comes back, which is counted.
    #[inline]
    pub(crate) fn admit<F>(&self, f: F) -> Result<F, Rejected<F>> {
        self.core().admit(f)
    }

    /// Is nothing taken any more? That is logged and counted.
    pub(crate) fn refused(&self, site: &'static Location<'static>) -> bool {
        self.core().refused(site)
    }

    /// Submits a block, or gives it back.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let queue = runtime.queue("orders");
    /// assert!(queue.try_submit(|| println!("taken")).is_ok());
    /// runtime.shutdown(Duration::from_secs(5));
    /// let order = String::from("two teas");
    /// let rejected = queue.try_submit(move || println!("{order}")).unwrap_err();
    /// (rejected.into_inner())(); // run here instead
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], which holds the closure, after the runtime was shut down.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, f: F) -> Result<(), Rejected<F>> {
        let f = self.admit(f)?;
        self.core().push_block(f, Location::caller());
        Ok(())
    }

    /// Logs and counts the panic of a block that ran in a lane of this queue.
    #[cold]
    pub(crate) fn report_panic(&self, site: &'static Location<'static>, payload: Payload) {
        self.core().report(site, payload);
    }

    /// The reason why a wait that begins now would never end, if the queue is busy and its runtime
    /// is gone.
    pub(crate) fn ends_no_wait(&self) -> Option<Gone> {
        self.core().pool().ends_no_wait()
    }

    /// The deadlock that `call` at `site` would be, if any.
    pub(crate) fn deadlock(&self, call: &'static str, site: &'static Location<'static>) -> Option<DeadlockError> {
        self.level().deadlock(call, false, site)
    }

    /// No thread can resume or activate the queue any more, though it has handles. It runs what it
    /// holds (`busy`).
    pub(crate) fn let_go(&self, busy: bool) {
        self.level().let_go(busy);
    }

    /// Is the calling thread in a block that must end before this queue can run? The block is the
    /// queue's own, or that of a queue with a common target.
    pub(crate) fn waits_for_this_thread(&self) -> bool {
        current::blocks_on(self.core(), false).is_some()
    }

    /// Must the calling thread leave a queue before a block that is submitted now can run?
    #[inline]
    pub(crate) fn is_held_up(&self) -> bool {
        current::holds_up(self.core(), false)
    }

    /// Has everything ended that, as far as the calling thread knows, was pushed so far?
    pub(crate) fn is_idle(&self) -> bool {
        self.core().mail.is_idle()
    }

    /// Pushes a lane that is turned on.
    ///
    /// # Safety
    /// As for [`QueueCore::push`].
    #[inline]
    pub(crate) unsafe fn push_node(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        unsafe { self.core().push(node) };
    }

    /// As [`push_node`](Self::push_node), but an idle queue waits until its worker has nothing else
    /// to do.
    ///
    /// # Safety
    /// As for [`QueueCore::push`].
    #[inline]
    pub(crate) unsafe fn push_node_deferred(&self, node: NonNull<Node>) {
        // SAFETY: the caller's promise.
        unsafe { self.core().push_deferred(node) };
    }

    /// Suspends the queue: the running block finishes, and later ones wait for
    /// [`resume`](Self::resume). Suspensions add up.
    ///
    /// `sync` waits meanwhile. If the last handle of a suspended queue is dropped, the queue is
    /// resumed, and the submitted blocks run.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let queue = Queue::new("printer");
    /// queue.suspend();
    /// queue.submit(|| println!("when there is paper again"));
    /// assert!(queue.try_sync(|| ()).is_err(), "nothing runs now");
    /// queue.resume().unwrap();
    /// queue.sync(|| println!("second"));
    /// ```
    ///
    /// # Panics
    /// When it is suspended 2^30 - 1 times already.
    #[doc(alias = "dispatch_suspend")]
    pub fn suspend(&self) {
        self.level().suspend();
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let queue = Queue::new("printer");
    /// queue.suspend();
    /// queue.suspend();
    /// queue.resume().unwrap();
    /// assert!(queue.try_sync(|| ()).is_err(), "suspended once more");
    /// queue.resume().unwrap();
    /// assert!(queue.resume().is_err(), "nothing to take back");
    /// assert_eq!(queue.sync(|| 7), 7);
    /// ```
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    #[doc(alias = "dispatch_resume")]
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.level().resume()
    }

    /// Lets a queue that was built [inactive](QueueBuilder::inactive) run. Any other queue is
    /// active and is left as it is, so activating twice is harmless.
    ///
    /// A suspended queue stays suspended, and a [`resume`](Self::resume) does not activate.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::builder("prepared").inactive().build();
    /// queue.submit(move || tell.send("runs").unwrap());
    /// assert!(told.try_recv().is_err(), "it holds its blocks");
    /// queue.activate();
    /// assert_eq!(told.recv(), Ok("runs"));
    /// ```
    #[doc(alias = "dispatch_activate")]
    pub fn activate(&self) {
        self.level().activate();
    }

    /// The handle as a pointer, which is aligned to a word.
    pub(crate) fn into_raw(self) -> NonNull<()> {
        std::mem::ManuallyDrop::new(self).core.as_ptr().cast()
    }

    /// # Safety
    /// The pointer is from [`into_raw`](Self::into_raw), and given up with this call.
    pub(crate) unsafe fn from_raw(queue: NonNull<()>) -> Self {
        // SAFETY: the caller's promise.
        Self { core: unsafe { Handle::counted(queue.cast()) } }
    }

    /// # Safety
    /// The pointer is from [`into_raw`](Self::into_raw), and was not given up.
    #[inline]
    pub(crate) unsafe fn from_raw_ref(queue: &NonNull<()>) -> &Self {
        // SAFETY: the caller's promise; a handle is a pointer.
        unsafe { &*std::ptr::from_ref(queue).cast() }
    }

    /// Is the calling thread in a block of this queue, or of a queue that targets it?
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let lobby = Queue::new("lobby");
    /// assert!(!lobby.is_current());
    /// assert!(lobby.sync(|| lobby.is_current()));
    /// ```
    #[doc(alias = "dispatch_get_current_queue")]
    #[must_use]
    pub fn is_current(&self) -> bool {
        current::entered(self.core()).is_some()
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("label", &self.label()).finish_non_exhaustive()
    }
}

/// A [`Queue`] that may be gone; made by [`Queue::downgrade`].
///
/// ```
/// use singletrack_queues::Queue;
///
/// let queue = Queue::new("room");
/// let weak = queue.downgrade();
/// assert_eq!(weak.upgrade().as_ref(), Some(&queue));
/// drop(queue);
/// assert!(weak.upgrade().is_none());
/// ```
#[derive(Clone)]
pub struct WeakQueue(Weak<QueueCore>);

impl WeakQueue {
    /// The queue, unless its last handle was dropped, though blocks of it may still run. What comes
    /// back is a handle like any other.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let queue = Queue::new("short");
    /// let weak = queue.downgrade();
    /// assert_eq!(weak.upgrade().as_ref(), Some(&queue));
    /// drop(queue);
    /// assert!(weak.upgrade().is_none());
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<Queue> {
        Some(Queue { core: self.0.upgrade()? })
    }
}

impl fmt::Debug for WeakQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakQueue").finish_non_exhaustive()
    }
}

impl Runtime {
    /// Makes a serial queue on this runtime.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let disk = Runtime::builder().workers(1).build().unwrap();
    /// let files = disk.queue("files");
    /// assert_eq!(files.runtime(), disk);
    /// assert_eq!(files.sync(|| "read"), "read");
    /// ```
    #[track_caller]
    pub fn queue(&self, label: impl Into<Cow<'static, str>>) -> Queue {
        Queue::builder(label).runtime(self).build()
    }
}
