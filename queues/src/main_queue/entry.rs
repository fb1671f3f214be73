//! One thing that waits for the main thread: a block, a thread in `sync`, or a value to be dropped.
//!
//! The safe owner of a [`Node`]: it is run or discarded exactly once, by whoever has the entry.

use std::mem::ManuallyDrop;
use std::panic::Location;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::block::{self, Node, Runnable};
use crate::catch::Payload;
use crate::queue::timed::Timed;

/// See the module.
pub(super) enum Entry {
    /// Run it.
    Run(Body),
    /// The last handle of a local value is gone: drop the value. No block of anybody's, so it is not counted.
    Forget(u64),
}

/// A node that was not run yet; dropping it discards the node.
pub(super) struct Body(Runnable);

impl Entry {
    /// A closure, on the heap.
    pub(super) fn block<F: FnOnce() + Send + 'static>(f: F, site: &'static Location<'static>) -> Self {
        Self::Run(Body(Runnable(block::block(f, site))))
    }

    /// The closure of a thread that waits. That thread must come to [`Timed::wait`].
    pub(super) fn waiter(timed: Arc<Timed>) -> Self {
        Self::Run(Body(Runnable(Timed::into_node(timed))))
    }
}

impl Body {
    fn node(&self) -> NonNull<Node> {
        self.0.0
    }

    /// Who submitted it.
    pub(super) fn site(&self) -> &'static Location<'static> {
        // SAFETY: the node is ours and was not finished.
        unsafe { self.node().as_ref() }.site
    }

    /// Runs it; a panic that nobody waits for comes back.
    pub(super) fn run(self) -> Option<Payload> {
        let node = ManuallyDrop::new(self).node();
        // SAFETY: the entry is the node's one holder (it is not `Clone`), and is gone: it runs once, then is finished once.
        unsafe {
            let vtable = node.as_ref().vtable;
            let payload = (vtable.run)(node);
            (vtable.finish)(node);
            payload
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let node = self.node();
        // SAFETY: the node's one holder drops it: it did not run (`run` forgets its entry) and never will.
        unsafe { (node.as_ref().vtable.discard)(node) };
    }
}
