//! A serial queue that runs the most urgent block first.
//!
//! A workloop is a queue with one lane in it (as a source is). A submitted block goes to the list
//! of its class (`classes`), and the lane waits in the queue while any list has a block. Each run
//! of the lane takes the block whose turn it is (`turns`), runs it, and queues the lane again
//! behind everything else in that queue. So the queue provides targets, turns, suspension, shutdown
//! and panic reports, and a block costs one allocation, its own.
//!
//! Not for: order among several queues; that is the pool's.

mod builder;
pub(crate) mod classes;
mod turns;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::base::block::{self, Node, VTable};
use crate::base::catch::{self, Payload};
use crate::base::qos::Qos;
use crate::pool::Mark;
use crate::pool::runtime::Runtime;
use crate::queue::origin::Origin;
use crate::queue::task::{Promise, Task};
use crate::queue::waiting::Waiting;
use crate::queue::{NotSuspended, OwnedBoost, Queue, Rejected, SyncError, Timer, TrySyncError};
use crate::time::when::When;

pub use builder::WorkloopBuilder;
use classes::Classes;

/// A serial queue whose blocks each have a class: the highest class goes first, and within a class
/// blocks run first in, first out.
///
/// One block runs at a time, on any thread, and each happens-after the one before; nothing runs in
/// the middle of a block. Lower classes still make progress: a class that has let 32 blocks of
/// others pass gets a turn, so at most 36 blocks of others run between two of its blocks. Blocks of
/// a class that one thread submits run in the order of its calls; blocks of different classes are
/// in no order that a program may rely on. While a block runs, [`Qos::current`] is its class. While
/// a block waits, the workers schedule the workloop at that class, if that is higher than its own.
///
/// This is a handle. After the last one is dropped, submitted blocks still run. If the workloop is
/// suspended or inactive then, it resumes, with a warning. A block that panics is logged and
/// counted, and the workloop continues.
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

/// The part that the program's handles share. After the last handle is dropped, nobody can resume
/// the workloop any more.
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
    /// The lane. It is in the queue while any class has a block, and holds its own count of this
    /// value.
    node: Node,
    classes: Classes,
    queue: Queue,
}

impl Body {
    const VTABLE: VTable = VTable::lane(Self::run, Self::discard);

    /// Runs one block.
    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: `push` gave this count to the queue.
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
        // This may drop the last handle of the queue.
        drop(body);
        None
    }

    /// Discards all blocks, unrun.
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
    /// The same as for [`Classes::push`].
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
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// assert_eq!(editor.sync(Qos::UserInitiated, || 6 * 7), 42);
    /// ```
    ///
    /// # Panics
    /// If the default runtime cannot be started.
    #[doc(alias = "dispatch_workloop_create")]
    #[track_caller]
    pub fn new(label: impl Into<Cow<'static, str>>) -> Self {
        Self::builder(label).build()
    }

    /// Returns a builder for a workloop with a runtime, a target or other options.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue, Workloop};
    ///
    /// let model = Queue::new("model");
    /// let editor = Workloop::builder("editor").target(&model).build();
    /// assert!(editor.sync(Qos::Default, || model.is_current()));
    /// ```
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

    /// The workloop's name.
    ///
    /// ```
    /// use singletrack_queues::Workloop;
    ///
    /// assert_eq!(Workloop::new("editor").label(), "editor");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.inner().label()
    }

    /// The lowest class at which the workers schedule it, as given; see [`WorkloopBuilder::qos`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::builder("editor").qos(Qos::UserInitiated).build();
    /// assert_eq!(editor.qos(), Qos::UserInitiated);
    /// ```
    #[must_use]
    pub fn qos(&self) -> Qos {
        self.inner().qos()
    }

    /// The runtime whose workers run its blocks.
    ///
    /// ```
    /// use singletrack_queues::{Runtime, Workloop};
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// assert_eq!(Workloop::builder("editor").runtime(&runtime).build().runtime(), runtime);
    /// ```
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.inner().runtime()
    }

    /// Submits a block of the class `qos`, and does not wait. After a shutdown the block is
    /// dropped, logged and counted.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let editor = Workloop::new("editor");
    /// let index = tell.clone();
    /// editor.suspend();
    /// editor.submit(Qos::Background, move || index.send("index").unwrap());
    /// editor.submit(Qos::UserInteractive, move || tell.send("key").unwrap());
    /// editor.resume().unwrap();
    /// assert_eq!(told.iter().collect::<Vec<_>>(), ["key", "index"]);
    /// ```
    #[track_caller]
    #[inline]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F) {
        self.submit_at(qos, f, Location::caller());
    }

    pub(crate) fn submit_at<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F, site: &'static Location<'static>) {
        if self.inner().refused(site) {
            return catch::drop_quietly(f);
        }
        self.push(qos, f, site);
    }

    /// While the block waits, the workloop has the block's class, if that is higher than its own.
    fn push<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F, site: &'static Location<'static>) {
        let boost = OwnedBoost::new(self.inner(), qos);
        let boosted = boost.is_some();
        let block = block::block(
            move || {
                let _boost = boost;
                f();
            },
            site,
        );
        // SAFETY: a fresh block.
        unsafe { self.handle.body.push(qos, block) };
        if boosted {
            self.inner().send_token(qos);
        }
    }

    /// Submits a block, or gives it back.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Runtime, Workloop};
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let editor = Workloop::builder("editor").runtime(&runtime).build();
    /// runtime.shutdown(Duration::from_secs(5));
    /// let rejected = editor.try_submit(Qos::Default, || println!("save")).unwrap_err();
    /// rejected.into_inner()(); // save it here
    /// ```
    ///
    /// # Errors
    /// [`Rejected`], with the closure in it, after the runtime was shut down.
    #[track_caller]
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, qos: Qos, f: F) -> Result<(), Rejected<F>> {
        let f = self.inner().admit(f)?;
        self.push(qos, f, Location::caller());
        Ok(())
    }

    /// Submits a block of the class `qos` after a delay, or at a point in time; see
    /// [`Queue::submit_after`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    /// use std::time::Duration;
    ///
    /// let editor = Workloop::new("editor");
    /// let autosave = editor.submit_after(Qos::Background, Duration::from_secs(60), || println!("saved"));
    /// assert!(autosave.cancel());
    /// ```
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, qos: Qos, delay: impl Into<When>, f: F) -> Timer {
        let (own, site) = (self.clone(), Location::caller());
        self.inner().fire_when(delay.into(), site, move || own.submit_at(qos, f, site))
    }

    /// Submits a block and returns a task for its result; see [`Queue::call`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// let words = editor.call(Qos::Background, || "the quick fox".split(' ').count());
    /// assert_eq!(words.wait().unwrap(), 3);
    /// ```
    #[track_caller]
    pub fn call<T, F>(&self, qos: Qos, f: F) -> Task<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (task, promise) = Task::new(Origin::of(self.inner()));
        self.submit_at(qos, move || Promise::keep(promise, f), Location::caller());
        task
    }

    /// Runs `f` in its turn and returns its value. If the workloop is idle, `f` runs on this
    /// thread, at once; otherwise it runs as a block of the class `qos`. `f` may borrow.
    ///
    /// ```
    /// # use singletrack_queues::{Qos, Workloop};
    /// let mut borrowed = vec![1];
    /// Workloop::new("model").sync(Qos::UserInitiated, || borrowed.push(2));
    /// assert_eq!(borrowed, [1, 2]);
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`. With a message that names the queues, instead of a wait that never
    /// ends, if this thread is in a block that must end first. If the workloop was busy and the
    /// runtime was shut down.
    #[track_caller]
    pub fn sync<R: Send, F: FnOnce() -> R + Send>(&self, qos: Qos, f: F) -> R {
        match self.sync_within(qos, When::NEVER, f, Location::caller()) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Like [`sync`](Self::sync), but waits at most until `timeout` for `f` to begin. `timeout` is
    /// a duration or a point in time, see [`When`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, SyncError, Workloop};
    /// use std::time::Duration;
    ///
    /// let editor = Workloop::new("editor");
    /// editor.suspend();
    /// let late = editor.sync_timeout(Qos::Default, Duration::from_millis(1), || ());
    /// assert!(matches!(late, Err(SyncError::Timeout { .. })));
    /// ```
    ///
    /// # Errors
    /// [`SyncError`]: too late, a deadlock, or the runtime was shut down; `f` was dropped unrun in
    /// each case.
    ///
    /// # Panics
    /// With the panic of `f`.
    #[track_caller]
    pub fn sync_timeout<R, F>(&self, qos: Qos, timeout: impl Into<When>, f: F) -> Result<R, SyncError>
    where
        R: Send,
        F: FnOnce() -> R + Send,
    {
        self.sync_within(qos, timeout.into(), f, Location::caller())
    }

    /// Runs `f` if that is possible without waiting; gives it back otherwise.
    ///
    /// ```
    /// use singletrack_queues::Workloop;
    ///
    /// let editor = Workloop::new("editor");
    /// assert_eq!(editor.try_sync(|| 7).ok(), Some(7));
    /// editor.suspend();
    /// assert!(editor.try_sync(|| 7).is_err());
    /// ```
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
        let call = if when == When::NEVER { "sync" } else { "sync_timeout" };
        if let Some(error) = self.inner().deadlock(call, site) {
            return Err(SyncError::Deadlock(error));
        }
        if let Some(why) = self.inner().ends_no_wait() {
            return Err(SyncError::Gone { label: self.label().to_owned(), why });
        }
        let boost = OwnedBoost::new(self.inner(), qos);
        Waiting::sync_within(f, when, site, |waiting, wait| {
            // SAFETY: the block is on the heap and counted, and waited for. It may be sent: `F` and
            // `R` are `Send`.
            unsafe { self.handle.body.push(qos, Waiting::into_node(waiting)) };
            if boost.is_some() {
                self.inner().send_token(qos);
            }
            wait();
        })
        .map_err(|lost| lost.of(self.label(), site, || self.runtime().pool().why_refused()))
    }

    /// Makes a serial queue that targets the workloop: its blocks and those of the workloop exclude
    /// one another. They alternate: a block of the workloop, then a turn of the queue, whatever
    /// their class.
    ///
    /// Groups, sources, timers and isolated values use a workloop through such a queue.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// let text = Isolated::new(&editor.queue("editor.text"), String::new());
    /// text.submit(|text| text.push('a'));
    /// assert_eq!(text.sync(|text| text.len()), 1);
    /// assert!(editor.sync(Qos::Default, || text.queue().try_sync(|| ()).is_err()), "one at a time");
    /// ```
    ///
    /// # Panics
    /// If the workloop is as far from the workers as [possible](Queue::MAX_LEVELS).
    #[track_caller]
    pub fn queue(&self, label: impl Into<Cow<'static, str>>) -> Queue {
        Queue::builder(label).target(self.inner()).build()
    }

    /// Suspends the workloop: the running block finishes; later blocks wait for
    /// [`resume`](Self::resume), and then go by class. Calls are counted.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// editor.suspend();
    /// let task = editor.call(Qos::Default, || 7);
    /// assert!(!task.is_done());
    /// editor.resume().unwrap();
    /// assert_eq!(task.wait().unwrap(), 7);
    /// ```
    ///
    /// # Panics
    /// If it is suspended 2^30 - 1 times already.
    pub fn suspend(&self) {
        self.inner().suspend();
    }

    /// Undoes one [`suspend`](Self::suspend).
    ///
    /// ```
    /// use singletrack_queues::Workloop;
    ///
    /// let editor = Workloop::new("editor");
    /// editor.suspend();
    /// assert!(editor.resume().is_ok());
    /// assert!(editor.resume().is_err(), "it is not suspended");
    /// ```
    ///
    /// # Errors
    /// [`NotSuspended`] if it was resumed as often as it was suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.inner().resume()
    }

    /// Lets a workloop that was built [inactive](WorkloopBuilder::inactive) run; see
    /// [`Queue::activate`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::builder("editor").inactive().build();
    /// let task = editor.call(Qos::Default, || "open");
    /// editor.activate();
    /// assert_eq!(task.wait().unwrap(), "open");
    /// ```
    pub fn activate(&self) {
        self.inner().activate();
    }

    /// Is the calling thread in a block of this workloop, or of a queue that targets it?
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// assert!(!editor.is_current());
    /// assert!(editor.sync(Qos::Default, || editor.is_current()));
    /// ```
    #[doc(alias = "dispatch_workloop_is_current")]
    #[doc(alias = "dispatch_workloop_copy_current")]
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.inner().is_current()
    }

    /// Checks that the calling thread is in a block of this workloop, or of a queue that targets
    /// it.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// let insert = |letter: char| {
    ///     editor.assert_on();
    ///     println!("{letter}");
    /// };
    /// editor.sync(Qos::UserInteractive, || insert('a'));
    /// ```
    ///
    /// # Panics
    /// If it is not, with a message that names the workloop and the place.
    #[track_caller]
    pub fn assert_on(&self) {
        self.inner().assert_on();
    }

    /// Checks that the calling thread is not in a block of this workloop, or of a queue that
    /// targets it.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::new("editor");
    /// let wait_for_disk = || {
    ///     editor.assert_not_on(); // keys would wait for the disk
    ///     editor.sync(Qos::Background, || "saved")
    /// };
    /// assert_eq!(wait_for_disk(), "saved");
    /// ```
    ///
    /// # Panics
    /// If it is, with a message that names the workloop and the place.
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

impl Hash for Workloop {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.handle).hash(state);
    }
}

impl fmt::Debug for Workloop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workloop").field("label", &self.label()).finish_non_exhaustive()
    }
}
