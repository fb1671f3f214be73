//! One thing that waits for the main thread: a block, a thread in `sync`, or a value to be dropped.

use std::panic::Location;
use std::sync::Arc;

use crate::base::block::{self, Owned};
use crate::queue::waiting::Waiting;

/// See the module.
pub(super) enum Entry {
    /// Run the node.
    Run(Owned),
    /// The last handle of a local value is gone: drop the value. Nobody submitted this as a block,
    /// so it is not counted.
    Forget(u64),
}

impl Entry {
    /// A closure, on the heap.
    pub(super) fn block<F: FnOnce() + Send + 'static>(f: F, site: &'static Location<'static>) -> Self {
        // SAFETY: a fresh block.
        Self::Run(unsafe { Owned::new(block::block(f, site)) })
    }

    /// The closure of a thread that waits in `sync`. That thread must reach its wait.
    pub(super) fn waiter(waiting: Arc<Waiting>) -> Self {
        // SAFETY: the node is on the heap and counted, and in no list.
        Self::Run(unsafe { Owned::new(Waiting::into_node(waiting)) })
    }
}
