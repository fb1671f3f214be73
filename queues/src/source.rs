//! Merges what is signalled and runs one handler on its queue: what readiness of sockets plugs into.
//!
//! However often it is signalled, the handler waits in its queue at most once: the signals that came since its last run
//! are merged into one word (`pending`), by "or", by adding, or the last one wins. Signalling allocates nothing: the source
//! itself is the node that is queued. The end of a source is a block of its queue, submitted once, so it comes after the
//! last run of the handler.
//! Not for: what signals (descriptors, timers); they hold a source and merge.

mod builder;
pub(crate) mod pending;

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::pool::Mark;
use crate::queue::{NotSuspended, Queue};
use crate::state::Resumed;

use builder::Once;
pub use builder::SourceBuilder;
pub use pending::Merge;
use pending::{Begin, Pending};

/// A handler on a queue, and signals that wait for it, merged into one number.
///
/// A handle; cloning it does not clone the handler. The handler never runs twice at once, and does not begin to run after
/// [`cancel`](Self::cancel) was called. When the last handle is dropped, what waits is still handled, then the source ends
/// as if cancelled.
///
/// [`new`](Self::new) merges bits by "or"; [`builder`](Self::builder) knows sums and last values, and a handler for the end.
///
/// ```
/// use singletrack_queues::{Queue, Source};
/// use std::sync::mpsc;
///
/// let (tell, told) = mpsc::channel();
/// let queue = Queue::new("bits");
/// let source = Source::new(&queue, move |bits| tell.send(bits).unwrap());
/// queue.sync(|| {
///     source.merge(1);
///     source.merge(4);
/// });
/// assert_eq!(told.recv().unwrap(), 1 | 4);
/// ```
#[derive(Clone)]
pub struct Source {
    body: Arc<Body>,
}

pub(crate) type Handler = Box<dyn FnMut(u64) + Send>;

#[repr(C)]
struct Body {
    /// In the queue from the first merge until its run begins.
    node: Node,
    /// What was merged and not handled yet; zero: not in the queue.
    pending: Pending,
    queue: Queue,
    handlers: UnsafeCell<Option<Handlers>>,
}

/// What the program gave; gone once the source has ended.
struct Handlers {
    event: Handler,
    cancelled: Option<Once>,
}

impl Handlers {
    /// In a block of the queue, after the last run. What `event` captured goes first: the cancel handler may close what it
    /// used.
    fn end(self) {
        catch::drop_quietly(self.event);
        if let Some(cancelled) = self.cancelled {
            cancelled();
        }
    }
}

// SAFETY: `handlers` is touched by the queue's blocks alone, one at a time; the rest is shared by design.
unsafe impl Send for Body {}
// SAFETY: as above.
unsafe impl Sync for Body {}

impl Body {
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: Self::unused,
        discard: Self::discard,
        label: block::no_label,
    };

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the count that `merge` gave to the queue.
        let body = unsafe { Arc::from_raw(node.cast::<Self>().as_ptr()) };
        // From here on a merge queues the source again: the drain has detached the node.
        if let Begin::Run(value) = body.pending.begin() {
            // SAFETY: in a block of the queue; the handler cannot come back here, because nothing runs in the middle of it.
            let handlers = unsafe { &mut *body.handlers.get() };
            if let Some(handlers) = handlers.as_mut() {
                // A run is a block to the monitor: a worker that runs many is not stuck in one.
                Mark::here().block(body.node.site);
                if let Err(payload) = catch::catch(|| (handlers.event)(value)) {
                    body.queue.runtime().pool().count_panic();
                    catch::report(body.queue.label(), body.node.site, payload);
                }
            }
        }
        // The last handle may be gone: then the handler is dropped here, and may panic.
        catch::drop_quietly(body);
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `run`.
        catch::drop_quietly(unsafe { Arc::from_raw(node.cast::<Self>().as_ptr()) });
        1
    }

    unsafe fn unused(_: NonNull<Node>) {}
}

impl Drop for Body {
    /// Nobody can signal any more and nothing waits: the end, unless it was cancelled before, or has no end to be told.
    fn drop(&mut self) {
        let Some(handlers) = self.handlers.get_mut().take() else { return };
        // If it was cancelled, the block that should have run the end was dropped, with the runtime.
        if handlers.cancelled.is_none() || self.pending.is_cancelled() {
            // The thread that drops the last handle may be one that only signals, and goes on.
            return catch::drop_quietly(handlers);
        }
        self.queue.submit_at(move || handlers.end(), self.node.site);
    }
}

impl Source {
    /// The largest value that a source carries, 2^63 - 2; a sum ([`Merge::Add`]) stays there.
    pub const MAX: u64 = pending::MAX;

    /// Makes a source whose `handler` runs on `queue` with the bits that were merged since its last run.
    #[track_caller]
    pub fn new<F: FnMut(u64) + Send + 'static>(queue: &Queue, handler: F) -> Self {
        Self::builder(queue).build(handler)
    }

    /// Starts to describe a source: how it merges, and handlers for its beginning and its end.
    pub fn builder(queue: &Queue) -> SourceBuilder {
        SourceBuilder::new(queue)
    }

    fn made(builder: SourceBuilder, event: Handler, site: &'static Location<'static>) -> Self {
        let SourceBuilder { queue, merge, registered, cancelled } = builder;
        let body = Body {
            node: Node::new(&Body::VTABLE, site),
            pending: Pending::new(merge),
            queue,
            handlers: UnsafeCell::new(Some(Handlers { event, cancelled })),
        };
        let source = Self { body: Arc::new(body) };
        if let Some(registered) = registered {
            // The queue keeps order, so this is ahead of whatever is merged later.
            let own = source.clone();
            let first = move || {
                if own.is_cancelled() {
                    return drop(registered);
                }
                registered();
            };
            source.body.queue.submit_at(first, site);
        }
        source
    }

    /// The queue that the handler runs on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.body.queue
    }

    /// Adds `value` to what the next run of the handler gets, in the way that the source merges.
    ///
    /// From any thread. The handler sees what happened before the merge. By "or", these are bits (the lower 63; none is
    /// nothing); see [`Merge`] for the other ways.
    ///
    /// # Panics
    /// When the source [replaces](Merge::Replace) and `value` is above [`MAX`](Self::MAX).
    #[inline]
    #[track_caller]
    pub fn merge(&self, value: u64) {
        if let Some(node) = self.turn_on(value) {
            // SAFETY: see `turn_on`.
            unsafe { self.body.queue.push_node(node) };
        }
    }

    /// As [`merge`](Self::merge), but a queue that was idle does not have its turn before this worker has nothing else to do,
    /// so that others may add to it: output is written once, after all input of a turn. See [`Queue::submit_later`].
    ///
    /// # Panics
    /// As `merge`.
    #[inline]
    #[track_caller]
    pub fn merge_later(&self, value: u64) {
        if let Some(node) = self.turn_on(value) {
            // SAFETY: see `turn_on`.
            unsafe { self.body.queue.push_node_later(node) };
        }
    }

    /// Merges; if that turned the source on, its node, with a count of its own, to be pushed.
    #[inline]
    #[track_caller]
    fn turn_on(&self, value: u64) -> Option<NonNull<Node>> {
        // Only the merge that found nothing pending gets the node.
        if !self.body.pending.add(value) {
            return None;
        }
        Some(self.counted_node())
    }

    #[inline]
    fn counted_node(&self) -> NonNull<Node> {
        let body = Arc::into_raw(self.body.clone());
        // SAFETY: an `Arc` is never null. The node is in no list: it was detached before the run that emptied `pending`, or
        // that was held.
        unsafe { NonNull::new_unchecked(body.cast_mut()) }.cast()
    }

    /// Holds the handler: a run that has begun ends, the next one waits for [`resume`](Self::resume), and what is signalled
    /// meanwhile is merged for it. Counts. The queue goes on with its other blocks.
    ///
    /// A source whose last handle is dropped while it is suspended ends without handling what waits.
    ///
    /// ```
    /// # use singletrack_queues::{Merge, Queue, Source};
    /// # use std::sync::mpsc;
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::new("sums");
    /// let sum = Source::builder(&queue).merging(Merge::Add).build(move |sum| tell.send(sum).unwrap());
    /// sum.suspend();
    /// for i in 1..=100 {
    ///     sum.merge(i);
    /// }
    /// sum.resume().expect("suspended above");
    /// assert_eq!(told.recv().unwrap(), 5050);
    /// assert!(sum.resume().is_err());
    /// ```
    ///
    /// # Panics
    /// When it is suspended 2^31 - 1 times already.
    pub fn suspend(&self) {
        let label = self.queue().label();
        assert!(
            self.body.pending.suspend(),
            "a source on queue \"{label}\" is suspended too often: somebody forgets to resume"
        );
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        match self.body.pending.resume() {
            Resumed::NotSuspended => return Err(NotSuspended::source(self.queue().label())),
            Resumed::Nothing => {}
            // SAFETY: a run was held: what was merged is still there, so no merge gets the node, and it is in no list.
            Resumed::Schedule => unsafe { self.body.queue.push_node(self.counted_node()) },
        }
        Ok(())
    }

    /// Ends the source: the handler does not begin to run any more. A run that has begun ends; then a block of the queue
    /// drops the handler and runs the [cancel handler](SourceBuilder::on_cancel), once however often this is called, and
    /// whether or not the source is suspended.
    #[track_caller]
    pub fn cancel(&self) {
        if !self.body.pending.cancel() {
            return;
        }
        let body = self.body.clone();
        self.body.queue.submit_at(
            move || {
                // SAFETY: in a block of the queue, as in `run`.
                let handlers = unsafe { (*body.handlers.get()).take() };
                if let Some(handlers) = handlers {
                    handlers.end();
                }
            },
            Location::caller(),
        );
    }

    /// Was it cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.body.pending.is_cancelled()
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("queue", &self.body.queue).field("cancelled", &self.is_cancelled()).finish()
    }
}

/// A [`Source`] that may be gone: for what signals it and must not keep it.
///
/// ```
/// use singletrack_queues::{Queue, Source};
///
/// let source = Source::new(&Queue::new("bits"), |_| ());
/// let weak = source.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(source);
/// assert!(weak.upgrade().is_none());
/// ```
#[derive(Clone)]
pub struct WeakSource(Weak<Body>);

impl Source {
    /// A handle that does not keep the source from ending.
    #[must_use]
    pub fn downgrade(&self) -> WeakSource {
        WeakSource(Arc::downgrade(&self.body))
    }
}

impl WeakSource {
    /// The source, unless its last handle was dropped. What comes back is a handle like any other: dropping it may end the
    /// source, and drop what its handlers captured.
    #[must_use]
    pub fn upgrade(&self) -> Option<Source> {
        self.0.upgrade().map(|body| Source { body })
    }
}

impl fmt::Debug for WeakSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSource").finish_non_exhaustive()
    }
}
