//! The head that every source begins with, and the function table that hides its types.
//!
//! | part | accessed by | until |
//! |---|---|---|
//! | [`Head`] | every handle; weak references only its counts | the last weak reference is dropped |
//! | the shared value | every handle | the last handle is dropped |
//! | the handlers | blocks of its queue, one at a time, then the thread that drops the last handle | the source has ended |
//!
//! Not for: the handlers (`body`), counting handles (`counts`), merging (`pending`).

use std::ptr::NonNull;

use super::pending::Pending;
use crate::base::block::Node;
use crate::base::counts::Counts;
use crate::kinds::exclusive::Exclusive;

/// The head that all sources begin with.
#[repr(C)]
pub(super) struct Head {
    /// The queue's node: in the queue from the first merge until its run begins.
    pub(super) node: Node,
    /// Signals that were merged and not handled yet; zero: not in the queue.
    pub(super) pending: Pending,
    /// Runs the handlers.
    pub(super) on: Exclusive,
    pub(super) counts: Counts,
    pub(super) table: &'static Table,
}

/// There may be a hundred thousand sources that wait for sockets. (Atomics that a model watches are
/// larger.)
#[cfg(not(queues_loom))]
const _: () = assert!(size_of::<Head>() <= 64);

/// The operations that need not know the types.
pub(super) struct Table {
    /// Drops the handler and runs the cancel handler, unless that was done. Called in a block of
    /// the queue.
    pub(super) end: unsafe fn(NonNull<Head>),
    /// Ends the source and drops all but the memory. Called by the thread that dropped the last
    /// handle.
    pub(super) drop: unsafe fn(NonNull<Head>),
    /// Frees the memory.
    pub(super) free: unsafe fn(NonNull<Head>),
}

impl Head {
    /// # Safety
    /// The caller gives up one handle with this call.
    #[inline]
    pub(super) unsafe fn drop_handle(this: NonNull<Self>) {
        // SAFETY: the handle kept it. After the last one no other thread touches more than the
        // counts.
        unsafe {
            if this.as_ref().counts.remove_handle() {
                (this.as_ref().table.drop)(this);
                Self::drop_weak(this);
            }
        }
    }

    /// # Safety
    /// One weak reference ends with this call: the caller's, or that of all handles together.
    pub(super) unsafe fn drop_weak(this: NonNull<Self>) {
        // SAFETY: a weak reference keeps the memory; the table is no part of it.
        unsafe {
            let table = this.as_ref().table;
            if this.as_ref().counts.remove_weak() {
                (table.free)(this);
            }
        }
    }
}

/// The offset of the shared value is the same for all handlers.
#[repr(C)]
pub(super) struct Front<S> {
    pub(super) head: Head,
    pub(super) shared: S,
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
