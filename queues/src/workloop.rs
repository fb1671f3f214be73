//! A serial queue that runs the most urgent block first.
//!
//! A workloop is a queue with one lane in it (as a source is): what is submitted goes to the list of its class (`classes`),
//! and the lane waits in the queue while any list has something. Each run of the lane takes the block whose turn it is
//! (`turns`), runs it, and queues the lane again behind whatever else is in that queue. So targets, turns, suspension,
//! shutdown and reports of panics are the queue's, and a block costs one allocation, its own.
//!
//! Not for: order among several queues; that is the pool's.

mod builder;
pub(crate) mod classes;
mod turns;

use std::borrow::Cow;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::pool::Mark;
use crate::qos::Qos;
use crate::queue::timed::Timed;
use crate::queue::{NotSuspended, OwnedLift, Queue, Rejected, SyncError, Timer, TrySyncError};
use crate::runtime::Runtime;
use crate::task::{Origin, Promise, Task};
use crate::time::When;

pub use builder::WorkloopBuilder;
use classes::Classes;

/// A serial queue whose blocks each have a class: the highest class goes first, and within a class the first one.
///
/// One block at a time, each happens-after the one before, on whatever thread; nothing runs in the middle of a block. Lower
/// classes still get on: when a class that has blocks has let 32 blocks of others pass, it has a turn, so that between two of
/// its blocks at most 36 of others run. Blocks of a class that one thread submits run in the order of its calls; blocks of
/// different classes are in no order that a program may rely on. While a block runs, [`Qos::current`] is its class; while it
/// waits, the workers take the workloop to be of that class, if that is higher than its own.
///
/// A handle. Dropping the last one still runs what was submitted; if it is suspended or inactive then, it goes on, with a
/// warning. A block that panics is logged and counted, and the workloop goes on.
///
/// ```
/// use singletrack_queues::{Qos, Workloop};
/// use std::sync::mpsc;
///
/// let (tell, told) = mpsc::channel();
/// let log = |name| { let tell = tell.clone(); move || tell.send(name).unwrap() };
/// let editor = Workloop::builder("editor").inactive().build();
/// editor.submit(Qos::Background, log("index"));
/// editor.submit(Qos::Default, log("save"));
/// editor.submit(Qos::UserInteractive, log("key"));
/// editor.activate();
/// assert_eq!([told.recv(), told.recv(), told.recv()], [Ok("key"), Ok("save"), Ok("index")]);
/// ```
#[derive(Clone)]
pub struct Workloop {
    handle: Arc<Handle>,
}

/// What the program's handles share: when the last one is dropped, nobody can resume the workloop any more.
struct Handle {
    body: Arc<Body>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.body.queue.let_go(!self.body.classes.is_idle());
    }
}

#[repr(C)]
struct Body {
    /// The lane: in the queue while any class has something, with a count of its own.
    node: Node,
    classes: Classes,
    queue: Queue,
}

impl Body {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: block::no_label,
    };

    /// One block.
    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the count that `push` gave to the queue.
        let body = unsafe { Arc::from_raw(node.cast::<Self>().as_ptr()) };
        // SAFETY: this is the lane's run: the queue runs it once for each time that it was queued.
        if let Some((class, block)) = unsafe { body.classes.take() } {
            // SAFETY: the block is the front of its list, and is run and finished here alone.
            let more = unsafe {
                let (vtable, site) = (block.as_ref().vtable, block.as_ref().site);
                Mark::block_here(site);
                if let Some(payload) = Qos::ALL[class].run(|| (vtable.run)(block)) {
                    body.queue.report_panic(site, payload);
                }
                let more = body.classes.end(class, block);
                (vtable.finish)(block);
                more
            };
            if more {
                // SAFETY: the lane is on, and the drain has taken its node out of the list.
                unsafe { body.queue.push_node(body.counted_node()) };
            }
        }
        // May be the last handle of the queue.
        drop(body);
        None
    }

    /// Everything, unrun.
    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`.
        let body = unsafe { Arc::from_raw(node.cast::<Self>().as_ptr()) };
        let mut count = 0;
        // SAFETY: as in `run`; a block is in no list any more when it is dropped.
        unsafe {
            while let Some((class, block)) = body.classes.take() {
                let more = body.classes.end(class, block);
                count += (block.as_ref().vtable.discard)(block);
                if !more {
                    break;
                }
            }
        }
        count
    }

    fn counted_node(self: &Arc<Self>) -> NonNull<Node> {
        // SAFETY: an `Arc` is never null.
        unsafe { NonNull::new_unchecked(Arc::into_raw(self.clone()).cast_mut()) }.cast()
    }

    /// # Safety
    /// As for [`Classes::push`].
    #[inline]
    unsafe fn push(self: &Arc<Self>, qos: Qos, block: NonNull<Node>) {
        // SAFETY: the caller's promise; the lane was off, so its node is in no list.
        unsafe {
            if self.classes.push(qos as usize, block) {
                self.queue.push_node(self.counted_node());
            }
        }
    }
}

impl Workloop {
    /// Makes a workloop on the [default runtime](crate::Runtime::global).
    ///
    /// # Panics
    /// When the default runtime cannot be started.
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Starts to describe a workloop: its runtime or its target.
    pub fn builder(label: impl Into<Cow<'static, str>>) -> WorkloopBuilder {
        WorkloopBuilder { queue: Queue::builder(label) }
    }

    fn on(queue: Queue, site: &'static Location<'static>) -> Self {
        let body = Body { node: Node::new(&Body::VTABLE, site), classes: Classes::new(), queue };
        Self { handle: Arc::new(Handle { body: Arc::new(body) }) }
    }

    pub(crate) fn inner(&self) -> &Queue {
        &self.handle.body.queue
    }

    /// The name that it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        self.inner().label()
    }

    /// The lowest class that the workers take it for, as it was given; see [`WorkloopBuilder::qos`].
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.inner().qos()
    }

    /// The runtime whose workers run its blocks.
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.inner().runtime()
    }

    /// Submits a block of the class `qos`, and does not wait. After a shutdown it is dropped, logged and counted.
    #[track_caller]
    #[inline]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F) {
        self.submit_at(qos, f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F, site: &'static Location<'static>) {
        if !self.inner().accepts() {
            self.inner().refuse(site);
            return catch::drop_quietly(f);
        }
        self.push(qos, f, site);
    }

    /// The workloop is of the class of the block while that waits, if that is higher than its own.
    fn push<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F, site: &'static Location<'static>) {
        let lift = OwnedLift::new(self.inner(), qos);
        let lifted = lift.is_some();
        let block = block::block(
            move || {
                let _lift = lift;
                f();
            },
            site,
        );
        // SAFETY: a fresh block.
        unsafe { self.handle.body.push(qos, block) };
        if lifted {
            self.inner().hurry(qos);
        }
    }

    /// Submits a block, or gives it back.
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the runtime was shut down.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F) -> Result<(), Rejected<F>> {
        if !self.inner().accepts_or_counts() {
            return Err(Rejected(f));
        }
        self.push(qos, f, Location::caller());
        Ok(())
    }

    /// Submits a block of the class `qos` once `delay` has passed; see [`Queue::submit_after`].
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, qos: Qos, delay: Duration, f: F) -> Timer {
        self.submit_when(qos, delay, f)
    }

    /// Submits a block of the class `qos` when the time has come; see [`Queue::submit_when`].
    #[track_caller]
    pub fn submit_when<F: FnOnce() + Send + 'static>(&self, qos: Qos, when: impl Into<When>, f: F) -> Timer {
        let (own, site) = (self.clone(), Location::caller());
        self.inner().fire_when(when.into(), site, move || own.submit_at(qos, f, site))
    }

    /// Submits a block whose result is wanted; see [`Queue::call`].
    #[track_caller]
    pub fn call<T, F>(&self, qos: Qos, f: F) -> Task<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (task, promise) = Task::new(Origin::Queue(self.inner().clone()));
        self.submit_at(qos, move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Runs `f` in its turn and returns its value: on this thread, at once, if the workloop is idle; otherwise as a block of
    /// the class `qos`. `f` may borrow.
    ///
    /// ```
    /// # use singletrack_queues::{Qos, Workloop};
    /// let mut borrowed = vec![1];
    /// Workloop::new("model").sync(Qos::UserInitiated, || borrowed.push(2));
    /// assert_eq!(borrowed, [1, 2]);
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`; with a sentence that names the queues, instead of waiting for ever, when this thread is in a
    /// block that has to end first; when the workloop was busy and the runtime was shut down.
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, qos: Qos, f: F) -> R {
        match self.sync_within(qos, When::NEVER, f, Location::caller()) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`sync`](Self::sync), but waits no longer than `timeout` for `f` to begin.
    ///
    /// # Errors
    /// [`SyncError`]: too late, a deadlock, or the runtime was shut down; `f` was dropped unrun in each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R, F>(&self, qos: Qos, timeout: Duration, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce() -> R + Send,
    {
        self.sync_within(qos, When::from(timeout), f, Location::caller())
    }

    /// As [`sync_timeout`](Self::sync_timeout), with a point in time: by either clock, see [`When`].
    ///
    /// # Errors
    /// As for `sync_timeout`.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_until<R, F>(&self, qos: Qos, when: impl Into<When>, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce() -> R + Send,
    {
        self.sync_within(qos, when.into(), f, Location::caller())
    }

    /// Runs `f` if that is possible without waiting for anybody; gives it back otherwise.
    ///
    /// # Errors
    /// [`TrySyncError`], as [`Queue::try_sync`].
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn try_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> Result<R, TrySyncError<F>> {
        if !self.handle.body.classes.is_idle() && !self.inner().waits_for_this_thread() {
            return Err(TrySyncError::Busy(f));
        }
        self.inner().try_sync(f)
    }

    fn sync_within<R: Send, F: FnOnce() -> R + Send>(
        &self,
        qos: Qos,
        when: When,
        f: F,
        site: &'static Location<'static>,
    ) -> Result<R, SyncError> {
        let f = match self.try_sync(|| qos.run(f)) {
            Ok(value) => return Ok(value),
            Err(error) => error.into_inner(),
        };
        if let Some(error) = self.inner().deadlock(site) {
            return Err(SyncError::Deadlock(error));
        }
        if self.inner().is_forked() {
            return Err(SyncError::Shutdown { label: self.label().to_owned() });
        }
        let lift = OwnedLift::new(self.inner(), qos);
        Timed::sync(f, when, self.label(), site, |timed| {
            // SAFETY: the block is on the heap and counted, and waited for. It may be sent: `F` and `R` are `Send`.
            unsafe { self.handle.body.push(qos, Timed::into_node(timed)) };
            if lift.is_some() {
                self.inner().hurry(qos);
            }
        })
    }

    /// Makes a serial queue that targets the workloop: its blocks and those of the workloop exclude one another. They take
    /// turns, a block of the workloop for a turn of the queue, whatever their class.
    ///
    /// This is how groups, sources, timers and isolated values come to a workloop.
    #[track_caller]
    pub fn queue(&self, label: impl Into<Cow<'static, str>>) -> Queue {
        Queue::builder(label).target(self.inner()).build()
    }

    /// Holds it: the running block finishes, later ones wait for [`resume`](Self::resume), and go by class then. Counts.
    ///
    /// # Panics
    /// When it is suspended 2^30 - 1 times already.
    pub fn suspend(&self) {
        self.inner().suspend();
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.inner().resume()
    }

    /// Lets a workloop that was built [inactive](WorkloopBuilder::inactive) run; see [`Queue::activate`].
    pub fn activate(&self) {
        self.inner().activate();
    }

    /// Is the calling thread in a block of this workloop, or of a queue that targets it?
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.inner().is_current()
    }

    /// Checks that the calling thread is in a block of this workloop, or of a queue that targets it.
    ///
    /// # Panics
    /// With a sentence that names the workloop and the place, if it is not.
    #[track_caller]
    pub fn assert_on(&self) {
        self.inner().assert_on();
    }

    /// Checks that the calling thread is not in a block of this workloop, or of a queue that targets it.
    ///
    /// # Panics
    /// With a sentence that names the workloop and the place, if it is.
    #[track_caller]
    pub fn assert_not_on(&self) {
        self.inner().assert_not_on();
    }
}

impl PartialEq for Workloop {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.handle, &other.handle)
    }
}

impl Eq for Workloop {}

impl fmt::Debug for Workloop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloop").field("label", &self.label()).finish_non_exhaustive()
    }
}
