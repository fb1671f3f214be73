//! A concurrent queue: its blocks run together, a barrier runs alone, and nothing overtakes a barrier.
//!
//! While no barrier is about, a block goes straight to the pool and a `sync` just counts itself in (`gate`). The first
//! barrier that finds somebody in goes to the mailbox, and so does everything behind it; the drain lets listed blocks in
//! one by one, and leaves when it meets a barrier that has to wait.

mod core;
pub(crate) mod gate;
mod grant;

use std::borrow::Cow;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::block::{self, Node, Runnable};
use crate::catch;
use crate::handoff::Ended;
use crate::mailbox::Mailbox;
use crate::pool::{Place, Pool};
use crate::queue::{self, DeadlockError, Frame};
use crate::runtime::Runtime;
use crate::task::{Origin, Promise, Task};

use self::core::{Body, EndRead, EndReadRef, EndWrite};
use gate::{Gate, UNLIMITED};
use grant::Grant;

/// A named queue whose blocks run together on all workers, except barriers, which run alone.
///
/// A barrier begins when everything before it has ended, and nothing behind it begins before it has ended. Blocks between two
/// barriers have no order among themselves. This is a handle; dropping the last one still runs what was submitted.
///
/// A [`sync`](Self::sync) inside a `sync` of the same queue is allowed. A barrier inside either is reported, not a hang.
///
/// ```
/// use singletrack_queues::ConcurrentQueue;
/// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
///
/// static TABLE: AtomicU32 = AtomicU32::new(1);
/// let table = ConcurrentQueue::new("table");
/// table.barrier(|| TABLE.store(2, Relaxed));
/// assert_eq!(table.sync(|| TABLE.load(Relaxed)), 2);
/// ```
#[derive(Clone)]
pub struct ConcurrentQueue {
    body: Arc<Body>,
}

impl ConcurrentQueue {
    /// The largest [`width`](ConcurrentQueueBuilder::width) that can be given.
    pub const MAX_WIDTH: usize = 1 << 20;

    /// Makes a concurrent queue on the [default runtime](Runtime::global).
    ///
    /// # Panics
    /// When the default runtime cannot be started.
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Starts to describe a concurrent queue.
    pub fn builder(label: impl Into<Cow<'static, str>>) -> ConcurrentQueueBuilder {
        ConcurrentQueueBuilder { label: label.into(), runtime: None, width: None }
    }

    /// The name that it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.body.label
    }

    /// How many of its blocks run at once at most; `None`: as many as there are workers.
    #[must_use]
    pub fn width(&self) -> Option<usize> {
        let width = self.body.gate.width();
        (width != UNLIMITED).then_some(width as usize)
    }

    /// Submits a block that runs beside others, and does not wait. After a shutdown it is dropped, logged and counted.
    #[track_caller]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if self.refused(site) {
            return;
        }
        // Made here, so that a block that is let in and then dropped unrun leaves too.
        let end = EndRead(self.body.clone());
        let read = move || {
            let end = end;
            let frame = Frame::concurrent(end.0.id(), false);
            let _inside = frame.enter();
            if let Err(payload) = catch::catch(f) {
                end.0.report(site, payload);
            }
        };
        let node = block::block(read, site);
        if self.body.gate.try_read() {
            self.pool().spawn(node);
        } else {
            // SAFETY: a fresh block.
            unsafe { self.list(node) };
        }
    }

    /// Submits a barrier, and does not wait: it runs alone, after all before it and before all behind it.
    #[track_caller]
    pub fn barrier<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.barrier_at(f, Location::caller());
    }

    pub(crate) fn barrier_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
        if self.refused(site) {
            return;
        }
        // SAFETY: a fresh block.
        unsafe { self.list(block::barrier(f, site)) };
    }

    /// Runs `f` beside others and returns its value: on this thread, at once if no barrier is about.
    ///
    /// # Panics
    /// With the panic of `f`; with a sentence when this thread is in a barrier of this queue; when a barrier was about and
    /// the runtime was shut down.
    #[track_caller]
    pub fn sync<R, F: FnOnce() -> R>(&self, f: F) -> R {
        let site = Location::caller();
        let body = &*self.body;
        if !body.gate.try_read() {
            match queue::concurrent(body.id()) {
                // It is in already, and stays until `f` has returned.
                Some(false) => return f(),
                Some(true) => self.deadlock(site),
                None => self.wait_for(&Grant::reader(site)),
            }
        }
        let _end = EndReadRef(body);
        let frame = Frame::concurrent(body.id(), false);
        let _inside = frame.enter();
        f()
    }

    /// Runs `f` alone and returns its value: on this thread if nothing else is here, otherwise wherever its turn comes.
    ///
    /// # Panics
    /// With the panic of `f`; with a sentence when this thread is in a block of this queue, which would have to end first;
    /// when the queue was busy and the runtime was shut down.
    #[track_caller]
    pub fn barrier_sync<R: Send, F: FnOnce() -> R + Send>(&self, f: F) -> R {
        let site = Location::caller();
        let body = &*self.body;
        if body.gate.try_write() {
            let _end = EndWrite(body);
            let frame = Frame::concurrent(body.id(), true);
            let _inside = frame.enter();
            return f();
        }
        if queue::concurrent(body.id()).is_some() {
            self.deadlock(site);
        }
        let mut result = None;
        let mut f = Some(f);
        let mut run = || result = f.take().map(catch::catch);
        // SAFETY: `run` stays until the wait has ended.
        self.wait_for(&unsafe { Grant::barrier(&mut run, site) });
        match result {
            Some(Ok(value)) => value,
            Some(Err(payload)) => resume_unwind(payload),
            None => unreachable!("the wait ended because it ran"),
        }
    }

    /// Submits a block beside others whose result is wanted.
    #[track_caller]
    pub fn call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(Origin::Elsewhere);
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Submits a barrier whose result is wanted.
    #[track_caller]
    pub fn barrier_call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(Origin::Elsewhere);
        self.barrier_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Is this thread in a block of it? `Some(true)`: in a barrier.
    pub(crate) fn entered(&self) -> Option<bool> {
        queue::concurrent(self.body.id())
    }

    fn pool(&self) -> &Arc<Pool> {
        self.body.owner.pool()
    }

    fn refused(&self, site: &'static Location<'static>) -> bool {
        let refused = !self.pool().accepts();
        if refused {
            self.pool().count_rejected();
            log::warn!("a block submitted to \"{}\" at {site} was dropped: its runtime was shut down", self.label());
        }
        refused
    }

    #[cold]
    fn deadlock(&self, site: &'static Location<'static>) -> ! {
        panic!("{}", DeadlockError::named(self.label(), self.label(), site))
    }

    /// Puts a node into the mailbox; whoever turns it on sends the drain.
    ///
    /// # Safety
    /// As for [`Mailbox::push`].
    unsafe fn list(&self, node: NonNull<Node>) {
        self.body.gate.list();
        // SAFETY: the caller's promise.
        if unsafe { self.body.mail.push(node, || ()) } {
            // The drain's own count, taken back when the mailbox turned idle.
            let drain = Arc::into_raw(self.body.clone());
            // SAFETY: an `Arc` is never null.
            let node = unsafe { NonNull::new_unchecked(drain.cast_mut()) };
            self.pool().submit(Runnable(node.cast()), Place::Next);
        }
    }

    /// Waits in the mailbox for `grant`'s turn.
    fn wait_for(&self, grant: &Grant) {
        // SAFETY: it stays on the stack until the wait has ended.
        unsafe { self.list(NonNull::from(grant.node())) };
        let ended = grant.wait();
        assert!(
            ended == Ended::Ran,
            "sync on \"{}\" at {}: a barrier was about, and the runtime was shut down before its turn came",
            self.label(),
            grant.node().site
        );
    }
}

impl fmt::Debug for ConcurrentQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrentQueue").field("label", &self.label()).finish_non_exhaustive()
    }
}

/// Describes a concurrent queue before it is made.
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct ConcurrentQueueBuilder {
    label: Cow<'static, str>,
    runtime: Option<Runtime>,
    width: Option<usize>,
}

impl ConcurrentQueueBuilder {
    /// Its blocks run on the workers of `runtime` instead of the default one.
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// At most so many of its blocks at once, a `sync` included; default: as many as there are workers. From 1 to
    /// [`MAX_WIDTH`](ConcurrentQueue::MAX_WIDTH).
    ///
    /// A block that ends lets the next one in: no thread waits for it. A block that waits keeps its place meanwhile.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(4).build();
    /// let read = disk.call(|| std::fs::read("Cargo.toml").map(|text| text.len()));
    /// assert!(read.wait().unwrap().is_ok());
    /// ```
    pub fn width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// Makes the queue.
    ///
    /// # Panics
    /// When the width is 0 or above [`MAX_WIDTH`](ConcurrentQueue::MAX_WIDTH). When it would be on the default runtime, and that cannot be started.
    #[track_caller]
    pub fn build(self) -> ConcurrentQueue {
        let width = self.width.map_or(UNLIMITED, |width| {
            let fits = (1..=ConcurrentQueue::MAX_WIDTH).contains(&width);
            assert!(
                fits,
                "concurrent queue \"{}\" cannot have the width {width}: give one from 1 to {}, or none for as many blocks at \
                 once as there are workers",
                self.label,
                ConcurrentQueue::MAX_WIDTH
            );
            width as u32
        });
        let owner = self.runtime.unwrap_or_else(Runtime::global).into_owner();
        let node = Node::new(&Body::VTABLE, Location::caller());
        let body = Body { node, mail: Mailbox::new(), gate: Gate::new(width), owner, label: self.label };
        ConcurrentQueue { body: Arc::new(body) }
    }
}
