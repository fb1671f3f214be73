//! The life of a queue: its handles, and the end of its memory.
//!
//! Handles are counted; the queue itself is not, because a queue with blocks in it is reached through its target. Dropping the
//! last handle takes the drain right of an idle queue and frees it; of a busy one it submits a last node, which the drain
//! meets after all blocks, and frees the queue there. So nothing is counted per schedule.

use std::ptr::NonNull;

use super::Queue;
use super::core::QueueCore;
use crate::block::{self, Kind, Node, VTable};
use crate::catch::Payload;
use crate::state::Cleared;
use crate::sync::atomic::{
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

impl QueueCore {
    /// The node behind which nothing comes.
    const LAST: VTable = VTable {
        kind: Kind::Last,
        run: Self::last_does_not_run,
        finish: Self::free_last,
        discard: Self::last_discarded,
        label: block::no_label,
    };

    /// A handle, made by somebody who has one, or knows of one.
    pub(super) fn handle(&self) -> Queue {
        self.add_handle();
        Queue { core: NonNull::from(self) }
    }

    /// A handle, unless the last one is gone.
    pub(super) fn try_handle(&self) -> Option<Queue> {
        let step = |handles: usize| if handles == 0 { None } else { Some(handles + 1) };
        // Relaxed: as in `add_handle`.
        self.handles.fetch_update(Relaxed, Relaxed, step).is_ok().then(|| Queue { core: NonNull::from(self) })
    }

    pub(super) fn add_handle(&self) {
        // Relaxed: a new handle is made from one that exists. The count cannot overflow before memory does.
        self.handles.fetch_add(1, Relaxed);
    }

    /// # Safety
    /// One handle of the caller's ends with this call.
    pub(super) unsafe fn drop_handle(this: NonNull<Self>) {
        // SAFETY: the handle kept it alive until here.
        let core = unsafe { this.as_ref() };
        // Release: what was done through this handle happens before the end; partner: the fence below.
        if core.handles.fetch_sub(1, Release) == 1 {
            fence(Acquire);
            // SAFETY: no handle is left.
            unsafe { Self::retire(this) };
        }
    }

    /// The last handle is gone: nothing will be pushed any more but the last node.
    #[cold]
    unsafe fn retire(this: NonNull<Self>) {
        // SAFETY: alive until the drain right is given up below.
        let core = unsafe { this.as_ref() };
        let before = core.state.clear();
        if before.drainer_left {
            core.warn_retired(before);
            core.schedule_held();
        }
        let hold = Node::new(&Self::LAST, core.node.site);
        // SAFETY: `hold` stays until the queue is freed, right below; the last node is a fresh one.
        unsafe {
            if core.mail.try_hold(NonNull::from(&hold)) {
                Self::free(this);
            } else {
                if !before.drainer_left && (before.suspended || before.inactive) {
                    core.warn_retired(before);
                }
                // If the push turns the queue on, a worker may free it, its runtime and with that the pool before
                // `schedule` returns: nothing but this holds the pool then.
                let _pool = core.pool().clone();
                let last = Box::leak(Box::new(Node::new(&Self::LAST, core.node.site)));
                core.push(NonNull::from(last));
            }
        }
    }

    /// See [`Queue::let_go`].
    pub(super) fn let_go(&self, busy: bool) {
        let before = self.state.clear();
        if before.drainer_left || busy && (before.suspended || before.inactive) {
            self.warn_retired(before);
        }
        if before.drainer_left {
            self.schedule_held();
        }
    }

    fn warn_retired(&self, before: Cleared) {
        let why = if before.inactive { "before it was activated" } else { "while suspended" };
        log::warn!("queue \"{}\" lost its last handle {why}; what it holds runs now", self.label());
    }

    /// # Safety
    /// The caller has the drain right, nothing else is in the mailbox, and no handle is left.
    pub(super) unsafe fn free(this: NonNull<Self>) {
        // SAFETY: made by `Box` in `new`; the caller's promise makes this the only pointer to it.
        let core = unsafe {
            this.as_ref().pool().before_free();
            Box::from_raw(this.as_ptr())
        };
        drop(core);
    }

    unsafe fn last_does_not_run(_: NonNull<Node>) -> Option<Payload> {
        unreachable!("the drain frees the queue instead")
    }

    unsafe fn last_discarded(_: NonNull<Node>) -> u64 {
        unreachable!("the drain frees the queue instead")
    }

    unsafe fn free_last(node: NonNull<Node>) {
        // SAFETY: made by `Box` in `retire`, met once.
        drop(unsafe { Box::from_raw(node.as_ptr()) });
    }
}
