//! A concurrent queue: its blocks run together, a barrier runs alone, and nothing overtakes a barrier.
//!
//! While no barrier is about, a block goes straight to the pool and a `sync` just counts itself in (`gate`). The first
//! barrier that finds somebody in goes to the mailbox, and so does everything behind it; the drain lets listed blocks in
//! one by one, and leaves when it meets a barrier that has to wait.

pub(crate) mod gate;
mod grant;

use std::borrow::Cow;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::block::{self, Kind, Node, Runnable, VTable};
use crate::catch::{self, Payload};
use crate::handoff::Ended;
use crate::mailbox::Mailbox;
use crate::pool::{Go, Mark, Place, Pool};
use crate::queue::{self, DeadlockError, Frame};
use crate::runtime::{Owner, Runtime};
use crate::task::{Promise, Task};

use gate::Gate;
use grant::Grant;

/// Blocks that a drain lets in before others get their turn.
const BUDGET: u32 = 256;

/// A named queue whose blocks run together on all workers, except barriers, which run alone.
///
/// Blocks begin in the order of submission. A barrier begins when everything before it has ended, and nothing behind it
/// begins before it has ended. This is a handle; dropping the last one still runs what was submitted.
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

#[repr(C)]
struct Body {
    /// What the pool holds while the mailbox has something, and the stub of the mailbox while it drains.
    node: Node,
    mail: Mailbox,
    gate: Gate,
    owner: Arc<Owner>,
    label: Cow<'static, str>,
}

impl ConcurrentQueue {
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
        ConcurrentQueueBuilder { label: label.into(), runtime: None }
    }

    /// The name that it was given.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.body.label
    }

    /// Submits a block that runs beside others, and does not wait. After a shutdown it is dropped, logged and counted.
    #[track_caller]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.submit_at(f, Location::caller());
    }

    fn submit_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
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

    fn barrier_at<F: FnOnce() + Send + 'static>(&self, f: F, site: &'static Location<'static>) {
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
        let (task, promise) = Task::new(None);
        self.submit_at(move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Submits a barrier whose result is wanted.
    #[track_caller]
    pub fn barrier_call<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(&self, f: F) -> Task<T> {
        let (task, promise) = Task::new(None);
        self.barrier_at(move || Promise::keep(promise, f), Location::caller());
        task
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
        if unsafe { self.body.mail.push(node) } {
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

impl Body {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: Self::unused,
        discard: Self::discard,
        label: Self::label_of,
    };

    fn id(&self) -> *const () {
        std::ptr::from_ref(self).cast()
    }

    fn report(&self, site: &'static Location<'static>, payload: Payload) {
        self.owner.pool().count_panic();
        catch::report(&self.label, site, payload);
    }

    /// Sends the drain back. Its count was kept.
    fn reschedule(&self, place: Place) {
        self.owner.pool().submit(Runnable(NonNull::from(self).cast()), place);
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the pool had it, and with it the drain right and a count of the body.
        unsafe { Self::drain(node.cast()) };
        None
    }

    /// Lets listed blocks in, until there are none, or one that has to wait.
    ///
    /// # Safety
    /// The caller has the drain right and its count of the body.
    unsafe fn drain(this: NonNull<Self>) {
        // SAFETY: the count keeps it until `idle`, or until somebody else has the drain right.
        let body = unsafe { this.as_ref() };
        let pool = body.owner.pool();
        let mark = Mark::here();
        let outer = mark.lane(this.as_ptr().cast());
        let turn = pool.turn();
        let mut left = BUDGET;
        // SAFETY: the drain right is ours until the mailbox closes, the gate notes that the drain waits, or it is sent
        // back; the body is not touched afterwards.
        unsafe {
            let mut node = body.mail.front();
            loop {
                let go = turn.go(pool);
                if go == Go::Yield || left == 0 {
                    body.mail.set_front(node);
                    mark.lane(outer);
                    return body.reschedule(Place::Back);
                }
                left -= 1;
                let vtable = node.as_ref().vtable;
                // Left in front, should the gate send the drain away: then everything is in place for the next.
                body.mail.set_front(node);
                mark.lane(outer);
                let alone = vtable.kind == Kind::Barrier;
                if go != Go::Halt && !(if alone { body.gate.admit_barrier() } else { body.gate.admit_reader() }) {
                    return;
                }
                mark.lane(this.as_ptr().cast());
                let front = body.mail.detach(node, NonNull::from(body).cast());
                if go == Go::Halt {
                    pool.count_dropped(body.drop_listed(node));
                } else if alone {
                    body.run_barrier(node, mark);
                    body.gate.unlist();
                    (vtable.finish)(node);
                } else if vtable.kind == Kind::Sync {
                    // Its thread runs it.
                    (vtable.finish)(node);
                } else {
                    pool.spawn(node);
                }
                node = front;
                if front == NonNull::from(body).cast() {
                    mark.lane(outer);
                    match body.mail.unlink(front) {
                        Some(next) => node = next,
                        None => return drop(Arc::from_raw(this.as_ptr())),
                    }
                    mark.lane(this.as_ptr().cast());
                }
            }
        }
    }

    /// # Safety
    /// `node` is a barrier that was let in and detached.
    unsafe fn run_barrier(&self, node: NonNull<Node>, mark: Mark<'_>) {
        let frame = Frame::concurrent(self.id(), true);
        let _inside = frame.enter();
        // SAFETY: the caller's promise.
        unsafe {
            let site = node.as_ref().site;
            mark.block(site);
            if let Some(payload) = (node.as_ref().vtable.run)(node) {
                self.report(site, payload);
            }
        }
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        let this = node.cast::<Self>();
        // SAFETY: as in `drain`; the mailbox is emptied unrun.
        unsafe {
            let body = this.as_ref();
            let mut count = 0;
            let mut node = body.mail.front();
            loop {
                let front = body.mail.detach(node, this.cast());
                count += body.drop_listed(node);
                node = front;
                if front == this.cast() {
                    match body.mail.unlink(front) {
                        Some(next) => node = next,
                        None => break,
                    }
                }
            }
            drop(Arc::from_raw(this.as_ptr()));
            count
        }
    }

    /// # Safety
    /// `node` was listed, and is detached.
    unsafe fn drop_listed(&self, node: NonNull<Node>) -> u64 {
        // SAFETY: the caller's promise.
        let vtable = unsafe { node.as_ref() }.vtable;
        if vtable.kind == Kind::Once {
            // It leaves as a reader when it is dropped, see `EndRead`.
            self.gate.count_as_reader();
        } else {
            self.gate.unlist();
        }
        // SAFETY: the caller's promise; it never ran.
        unsafe { (vtable.discard)(node) }
    }

    unsafe fn label_of(node: NonNull<Node>) -> *const str {
        // SAFETY: the caller keeps the body alive.
        &*unsafe { node.cast::<Self>().as_ref() }.label
    }

    unsafe fn unused(_: NonNull<Node>) {}
}

impl Drop for Body {
    fn drop(&mut self) {
        // A shutdown that looks at what threads are in may have read the label through this body a moment ago.
        self.owner.pool().before_free();
    }
}

/// A reader that holds a count of the body leaves on drop.
struct EndRead(Arc<Body>);

impl Drop for EndRead {
    fn drop(&mut self) {
        drop(EndReadRef(&self.0));
    }
}

struct EndReadRef<'a>(&'a Body);

impl Drop for EndReadRef<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.0.gate.read_ends() {
            self.0.reschedule(Place::Next);
        }
    }
}

struct EndWrite<'a>(&'a Body);

impl Drop for EndWrite<'_> {
    fn drop(&mut self) {
        if self.0.gate.write_ends() {
            self.0.reschedule(Place::Next);
        }
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
}

impl ConcurrentQueueBuilder {
    /// Its blocks run on the workers of `runtime` instead of the default one.
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Makes the queue.
    ///
    /// # Panics
    /// When it would be on the default runtime, and that cannot be started.
    #[track_caller]
    pub fn build(self) -> ConcurrentQueue {
        let owner = self.runtime.unwrap_or_else(Runtime::global).into_owner();
        let node = Node::new(&Body::VTABLE, Location::caller());
        let body = Body { node, mail: Mailbox::new(), gate: Gate::new(), owner, label: self.label };
        ConcurrentQueue { body: Arc::new(body) }
    }
}
