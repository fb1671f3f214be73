//! What a source is made of, and what is known of its types: a table of functions.
//!
//! | part | who touches it | until |
//! |---|---|---|
//! | [`Head`] | everybody who has a handle; who only knows of the source, its counts | the last who knows is gone |
//! | the shared value | everybody who has a handle | the last handle is gone |
//! | the handlers | blocks of the queue, one at a time, then whoever drops the last handle | the source has ended |
//!
//! Not for: handles (`source`), counting them (`counts`), merging (`pending`).

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::Location;
use std::ptr::{self, NonNull};

use super::Source;
use super::builder::Once;
use super::counts::Counts;
use super::pending::{Begin, Merge, Pending};
use crate::block::{self, Kind, Node, VTable};
use crate::catch::{self, Payload};
use crate::pool::Mark;
use crate::queue::Queue;

/// What all sources have in front.
#[repr(C)]
pub(super) struct Head {
    /// In the queue from the first merge until its run begins.
    pub(super) node: Node,
    /// What was merged and not handled yet; zero: not in the queue.
    pub(super) pending: Pending,
    pub(super) queue: Queue,
    pub(super) counts: Counts,
    pub(super) table: &'static Table,
}

/// A source that waits for a socket, one of a hundred thousand. (Atomics that are watched by a model are larger.)
#[cfg(not(queues_loom))]
const _: () = assert!(size_of::<Head>() <= 64);

/// What can be done without knowing the types.
pub(super) struct Table {
    /// Drops the handler and runs the one for the end, unless that was done. In a block of the queue.
    pub(super) end: unsafe fn(NonNull<Head>),
    /// Ends and drops all but the memory. By whoever dropped the last handle.
    drop: unsafe fn(NonNull<Head>),
    /// Frees the memory.
    free: unsafe fn(NonNull<Head>),
}

impl Head {
    /// # Safety
    /// One handle of the caller's ends with this call.
    #[inline]
    pub(super) unsafe fn drop_handle(this: NonNull<Self>) {
        // SAFETY: the handle kept it; after the last one nobody but this thread touches more than the counts.
        unsafe {
            if this.as_ref().counts.remove_handle() {
                (this.as_ref().table.drop)(this);
                Self::drop_knowing(this);
            }
        }
    }

    /// # Safety
    /// One of those who know ends with this call: the caller, or all handles together.
    pub(super) unsafe fn drop_knowing(this: NonNull<Self>) {
        // SAFETY: who knows keeps the memory; the table is no part of it.
        unsafe {
            let table = this.as_ref().table;
            if this.as_ref().counts.remove_knowing() {
                (table.free)(this);
            }
        }
    }
}

/// Where the shared value stands is the same for all handlers.
#[repr(C)]
struct Front<S> {
    head: Head,
    shared: S,
}

/// The shared value behind `head`.
///
/// # Safety
/// The body was made for an `S`, or `S` has no content.
pub(super) unsafe fn shared<S>(head: NonNull<Head>) -> NonNull<S> {
    let front: NonNull<Front<S>> = head.cast();
    // SAFETY: within the allocation; nothing is read, and no reference made.
    unsafe { NonNull::new_unchecked(&raw mut (*front.as_ptr()).shared) }
}

/// See the module. `C` is the handler for the end, or nothing.
#[repr(C)]
pub(super) struct Body<S, F, C> {
    front: Front<S>,
    handlers: UnsafeCell<Option<Handlers<F, C>>>,
}

/// What the program gave; gone once the source has ended.
struct Handlers<F, C> {
    event: F,
    cancelled: C,
}

/// The handler for the end, if there is one.
pub(super) trait Cancelled: Send + 'static {
    /// Must it be told that the source has ended, in a block of the queue?
    const IS_TOLD: bool;
    fn tell(self);
}

impl Cancelled for () {
    const IS_TOLD: bool = false;
    fn tell(self) {}
}

impl Cancelled for Once {
    const IS_TOLD: bool = true;
    fn tell(self) {
        self();
    }
}

impl<F, C: Cancelled> Handlers<F, C> {
    /// In a block of the queue, after the last run. What `event` captured goes first: the cancel handler may close what it
    /// used.
    fn end(self) {
        catch::drop_quietly(self.event);
        self.cancelled.tell();
    }
}

impl<S, F, C> Body<S, F, C>
where
    S: Send + Sync + 'static,
    F: FnMut(&Source<S>, u64) + Send + 'static,
    C: Cancelled,
{
    const VTABLE: VTable = VTable {
        kind: Kind::Lane,
        run: Self::run,
        finish: block::nothing_to_finish,
        discard: Self::discard,
        label: block::no_label,
    };

    const TABLE: Table = Table { end: Self::end, drop: Self::drop, free: Self::free };

    /// Makes a source, which is one handle.
    pub(super) fn source(
        queue: Queue,
        merge: Merge,
        shared: S,
        event: F,
        cancelled: C,
        site: &'static Location<'static>,
    ) -> Source<S> {
        let head = Head {
            node: Node::new(const { &Self::VTABLE }, site),
            pending: Pending::new(merge),
            queue,
            counts: Counts::new(),
            table: const { &Self::TABLE },
        };
        let handlers = UnsafeCell::new(Some(Handlers { event, cancelled }));
        let body = Box::new(Self { front: Front { head, shared }, handlers });
        Source { head: NonNull::from(Box::leak(body)).cast(), shared: PhantomData }
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        let this: NonNull<Self> = node.cast();
        // The count that `merge` gave to the queue: kept until the handler has run, and dropped quietly below.
        let own = ManuallyDrop::new(Source::<S> { head: node.cast(), shared: PhantomData });
        // SAFETY: that count keeps it.
        let (head, handlers) = unsafe { (&this.as_ref().front.head, &this.as_ref().handlers) };
        // From here on a merge queues the source again: the drain has detached the node.
        if let Begin::Run(value) = head.pending.begin() {
            // SAFETY: in a block of the queue; the handler cannot come back here, because nothing runs in the middle of it.
            let handlers = unsafe { &mut *handlers.get() };
            if let Some(handlers) = handlers.as_mut() {
                // A run is a block to the monitor: a worker that runs many is not stuck in one.
                Mark::block_here(head.node.site);
                if let Err(payload) = catch::catch(|| (handlers.event)(&own, value)) {
                    head.queue.report_panic(head.node.site, payload);
                }
            }
        }
        // The last handle may be gone: then the handler is dropped here, and may panic.
        catch::drop_quietly(ManuallyDrop::into_inner(own));
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // The count that `merge` gave to the queue.
        catch::drop_quietly(Source::<S> { head: node.cast(), shared: PhantomData });
        1
    }

    unsafe fn end(head: NonNull<Head>) {
        // SAFETY: in a block of the queue, as in `run`; the caller has a handle.
        let handlers = unsafe { (*head.cast::<Self>().as_ref().handlers.get()).take() };
        if let Some(handlers) = handlers {
            handlers.end();
        }
    }

    /// Nobody can signal any more and nothing waits: the end, unless it was cancelled before, or has no end to be told.
    unsafe fn drop(head: NonNull<Head>) {
        let this: NonNull<Self> = head.cast();
        // SAFETY: no handle is left, so nothing but the counts is touched by others, and the handlers by nobody else.
        let (queue, shared) = unsafe {
            let body = this.as_ref();
            let head = &body.front.head;
            if let Some(handlers) = (*body.handlers.get()).take() {
                // If it was cancelled, the block that should have run the end was dropped, with the runtime.
                if !C::IS_TOLD || head.pending.is_cancelled() {
                    // The thread that drops the last handle may be one that only signals, and goes on.
                    catch::drop_quietly(handlers);
                } else {
                    head.queue.submit_at(move || handlers.end(), head.node.site);
                }
            }
            // Each is read once, here; `free` drops nothing.
            (
                ptr::read(&raw const (*this.as_ptr()).front.head.queue),
                ptr::read(&raw const (*this.as_ptr()).front.shared),
            )
        };
        catch::drop_quietly(shared);
        drop(queue);
    }

    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: made by `Box` in `source`. Its content was dropped: `MaybeUninit` makes this free the memory only.
        drop(unsafe { Box::from_raw(head.cast::<MaybeUninit<Self>>().as_ptr()) });
    }
}
