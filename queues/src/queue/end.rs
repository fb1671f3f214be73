//! The end of a serial queue.
//!
//! A queue that has blocks is reached through its target, and is not counted: so scheduling a queue
//! counts nothing. When nothing keeps an idle queue any more, its end takes the drain right and
//! frees it. A busy queue gets a last node. The drain meets that node after all blocks, and frees
//! the queue there. Not for: what keeps it (`life`).

use std::ptr::NonNull;

use super::core::QueueCore;
use crate::base::block::{self, Kind, Node, VTable};
use crate::base::catch::Payload;

impl QueueCore {
    /// The last node: nothing comes behind it.
    const LAST: VTable = VTable {
        kind: Kind::Last,
        run: Self::last_does_not_run,
        finish: Self::free_last,
        discard: Self::last_discarded,
        label: block::no_label,
    };

    /// Nothing keeps the queue any more: only the last node will still be pushed.
    ///
    /// # Safety
    /// Called once.
    pub(super) unsafe fn retire(&self) {
        let hold = Node::new(&Self::LAST, self.site());
        // SAFETY: `hold` stays until the queue is freed, right below. The last node is a fresh one.
        unsafe {
            if self.mail.try_hold(NonNull::from(&hold)) {
                Self::free(NonNull::from(self));
            } else {
                // If the push turns the queue on, a worker may free the queue, its runtime and so
                // the pool before `schedule` returns. Only this reference keeps the pool then.
                let _pool = self.pool().clone();
                let last = Box::leak(Box::new(Node::new(&Self::LAST, self.site())));
                self.push(NonNull::from(last));
            }
        }
    }

    /// # Safety
    /// The caller has the drain right, nothing else is in the mailbox, and nothing keeps the queue.
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
