//! Merges what is signalled and runs one handler on its queue: what readiness of sockets plugs into.
//!
//! However often it is signalled, the handler waits in its queue at most once: the signals that came since its last run
//! are merged (by "or") into one word. Signalling allocates nothing: the source itself is the node that is queued.

pub(crate) mod pending;

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::pool::Mark;
use crate::queue::Queue;

use pending::Pending;

/// A handler on a queue, and bits that wait for it.
///
/// A handle; cloning it does not clone the handler. The handler never runs twice at once, and does not begin to run after
/// [`cancel`](Self::cancel) was called.
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

type Handler = Box<dyn FnMut(u64) + Send>;

#[repr(C)]
struct Body {
    /// In the queue from the first merge until its run begins.
    node: Node,
    /// What was merged and not handled yet; zero: not in the queue.
    pending: Pending,
    queue: Queue,
    handler: UnsafeCell<Option<Handler>>,
}

// SAFETY: `handler` is touched by the queue's blocks alone, one at a time; the rest is shared by design.
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
        let taken = body.pending.take();
        // SAFETY: in a block of the queue; the handler cannot come back here, because nothing runs in the middle of it.
        let handler = unsafe { &mut *body.handler.get() };
        let Some(bits) = taken else {
            catch::drop_quietly(handler.take());
            catch::drop_quietly(body);
            return None;
        };
        if let Some(handler) = handler.as_mut() {
            // A run is a block to the monitor: a worker that runs many is not stuck in one.
            Mark::here().block(body.node.site);
            if let Err(payload) = catch::catch(|| handler(bits)) {
                body.queue.runtime().pool().count_panic();
                catch::report(body.queue.label(), body.node.site, payload);
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

impl Source {
    /// Makes a source whose `handler` runs on `queue` with the bits that were merged since its last run.
    #[track_caller]
    pub fn new<F: FnMut(u64) + Send + 'static>(queue: &Queue, handler: F) -> Self {
        let body = Body {
            node: Node::new(&Body::VTABLE, Location::caller()),
            pending: Pending::new(),
            queue: queue.clone(),
            handler: UnsafeCell::new(Some(Box::new(handler))),
        };
        Self { body: Arc::new(body) }
    }

    /// The queue that the handler runs on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.body.queue
    }

    /// Adds `bits` (the lower 63; none is nothing) to what the next run of the handler gets.
    ///
    /// From any thread. The handler sees what happened before the merge.
    #[inline]
    pub fn merge(&self, bits: u64) {
        if let Some(node) = self.turn_on(bits) {
            // SAFETY: see `turn_on`.
            unsafe { self.body.queue.push_node(node) };
        }
    }

    /// As [`merge`](Self::merge), but the queue goes behind everything that already waits for this worker, so that others
    /// may add to it: output is written once, after all input of a turn.
    #[inline]
    pub fn merge_later(&self, bits: u64) {
        if let Some(node) = self.turn_on(bits) {
            // SAFETY: see `turn_on`.
            unsafe { self.body.queue.push_node_later(node) };
        }
    }

    /// Merges; if that turned the source on, its node, with a count of its own, to be pushed.
    #[inline]
    fn turn_on(&self, bits: u64) -> Option<NonNull<Node>> {
        // Only the merge that found nothing pending gets the node.
        if !self.body.pending.add(bits) {
            return None;
        }
        let body = Arc::into_raw(self.body.clone());
        // SAFETY: an `Arc` is never null. The node is in no list: it was detached before the run that emptied `pending`.
        Some(unsafe { NonNull::new_unchecked(body.cast_mut()) }.cast())
    }

    /// The handler does not begin to run any more, and is dropped by a block of its queue. A run that has begun ends.
    #[track_caller]
    pub fn cancel(&self) {
        if !self.body.pending.cancel() {
            return;
        }
        let body = self.body.clone();
        self.body.queue.submit_at(
            move || {
                // SAFETY: in a block of the queue, as in `run`.
                let handler = unsafe { (*body.handler.get()).take() };
                catch::drop_quietly(handler);
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
