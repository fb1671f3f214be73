//! The handlers of a source: their runs, their end, and the memory of the whole.
//!
//! Not for: who accesses which part of a source (`head`), handles (`handle`).

use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::Location;
use std::ptr::{self, NonNull};

use super::handle::Source;
use super::head::{Front, Head, Table};
use super::pending::{Begin, Merge, Pending};
use crate::base::block::{Node, VTable};
use crate::base::catch::{self, Payload};
use crate::base::counts::Counts;
use crate::kinds::exclusive::Exclusive;
use crate::pool::Mark;

pub(super) type Once = Box<dyn FnOnce() + Send>;

/// The whole source; see the module. `C` is the cancel handler, or nothing.
#[repr(C)]
pub(super) struct Body<S, F, C> {
    front: Front<S>,
    handlers: UnsafeCell<Option<Handlers<F, C>>>,
}

/// The program's handlers; dropped once the source has ended.
struct Handlers<F, C> {
    event: F,
    cancelled: C,
}

/// The cancel handler, if there is one.
pub(super) trait Cancelled: Send + 'static {
    /// Whether it must run in a block of the queue when the source has ended.
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
    /// Called in a block of the queue, after the last run. The captures of `event` are dropped
    /// first: the cancel handler may close what it used.
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
    const VTABLE: VTable = VTable::lane(Self::run, Self::discard);

    const TABLE: Table = Table { end: Self::end, drop: Self::drop, free: Self::free };

    /// Makes a source with one handle.
    pub(super) fn source(
        on: Exclusive,
        merge: Merge,
        shared: S,
        event: F,
        cancelled: C,
        site: &'static Location<'static>,
    ) -> Source<S> {
        let head = Head {
            node: Node::new(const { &Self::VTABLE }, site),
            pending: Pending::new(merge),
            on,
            counts: Counts::new(),
            table: const { &Self::TABLE },
        };
        let handlers = UnsafeCell::new(Some(Handlers { event, cancelled }));
        let body = Box::new(Self { front: Front { head, shared }, handlers });
        Source { head: NonNull::from(Box::leak(body)).cast(), shared: PhantomData }
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        let this: NonNull<Self> = node.cast();
        // The count that `merge` gave to the queue: kept until the handler has run, and dropped
        // quietly below.
        let own = ManuallyDrop::new(Source::<S> { head: node.cast(), shared: PhantomData });
        // SAFETY: that count keeps it.
        let (head, handlers) = unsafe { (&this.as_ref().front.head, &this.as_ref().handlers) };
        // From here on a merge queues the source again: the drain has detached the node.
        if let Begin::Run(value) = head.pending.begin() {
            // SAFETY: this is a block of the queue. The handler cannot re-enter here, because no
            // other block of the queue runs within it.
            let handlers = unsafe { &mut *handlers.get() };
            if let Some(handlers) = handlers.as_mut() {
                // For the monitor a run is a block: a worker that runs many of them is not stuck in
                // one.
                Mark::block_here(head.node.site);
                if let Err(payload) = catch::catch(|| (handlers.event)(&own, value)) {
                    head.on.report_panic(head.node.site, payload);
                }
            }
        }
        // This may be the last handle: then the handler is dropped here, and may panic.
        catch::drop_quietly(ManuallyDrop::into_inner(own));
        None
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // The count that `merge` gave to the queue.
        catch::drop_quietly(Source::<S> { head: node.cast(), shared: PhantomData });
        1
    }

    unsafe fn end(head: NonNull<Head>) {
        // SAFETY: this is a block of the queue, as in `run`; the caller has a handle.
        let handlers = unsafe { (*head.cast::<Self>().as_ref().handlers.get()).take() };
        if let Some(handlers) = handlers {
            handlers.end();
        }
    }

    /// Ends the source: no thread can signal any more and nothing is pending. If the source was
    /// cancelled before, or has no cancel handler, this only drops the handlers; else a block of
    /// the queue ends it.
    unsafe fn drop(head: NonNull<Head>) {
        let this: NonNull<Self> = head.cast();
        // SAFETY: no handle is left, so other threads touch only the counts, and none touches the
        // handlers.
        let (on, shared) = unsafe {
            let body = this.as_ref();
            let head = &body.front.head;
            if let Some(handlers) = (*body.handlers.get()).take() {
                // If it was cancelled, the block that should have run the cancel handler was
                // dropped with the runtime.
                if !C::IS_TOLD || head.pending.is_cancelled() {
                    // The thread that drops the last handle may be one that only signals: it goes
                    // on after a panic here.
                    catch::drop_quietly(handlers);
                } else {
                    head.on.submit_at(move || handlers.end(), head.node.site);
                }
            }
            // Each is read once, here; `free` drops nothing.
            (ptr::read(&raw const (*this.as_ptr()).front.head.on), ptr::read(&raw const (*this.as_ptr()).front.shared))
        };
        catch::drop_quietly(shared);
        drop(on);
    }

    unsafe fn free(head: NonNull<Head>) {
        // SAFETY: a `Box` made it in `source`. Its content was dropped: `MaybeUninit` makes this
        // free the memory only.
        drop(unsafe { Box::from_raw(head.cast::<MaybeUninit<Self>>().as_ptr()) });
    }
}
