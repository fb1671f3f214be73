//! A thread that waits in the mailbox of a concurrent queue until the gate lets it in.

use std::panic::Location;
use std::ptr::NonNull;

use crate::block::{self, Kind, Node, VTable};
use crate::catch::Payload;
use crate::handoff::{Ended, Waiter};
use crate::pool;

/// A thread that waits for its turn, on its stack.
#[repr(C)]
pub(super) struct Grant {
    node: Node,
    waiter: Waiter,
    /// A barrier's closure, run by the drain while its thread waits. Without one the thread goes on by itself.
    run: Option<*mut (dyn FnMut() + 'static)>,
}

impl Grant {
    const READER: VTable = Self::vtable(Kind::Sync);
    const BARRIER: VTable = Self::vtable(Kind::SyncBarrier);

    /// Waits to come in, as a barrier or not.
    pub(super) fn turn(barrier: bool, site: &'static Location<'static>) -> Self {
        let vtable = if barrier { &Self::BARRIER } else { &Self::READER };
        Self { node: Node::new(vtable, site), waiter: Waiter::new(), run: None }
    }

    /// Waits until the drain ran `run` as a barrier.
    ///
    /// # Safety
    /// The caller keeps `run` until [`wait`](Self::wait) has returned, if it pushes the node.
    pub(super) unsafe fn closure(run: &mut (dyn FnMut() + '_), site: &'static Location<'static>) -> Self {
        // SAFETY: only the lifetime changes; the caller's promise.
        let run = unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut (dyn FnMut() + 'static)>(run) };
        Self { node: Node::new(&Self::BARRIER, site), waiter: Waiter::new(), run: Some(run) }
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Waits for its turn; to be called once, after the node was pushed.
    pub(super) fn wait(&self) -> Ended {
        pool::wait_for(&self.waiter)
    }

    const fn vtable(kind: Kind) -> VTable {
        VTable { kind, run: Self::run, finish: Self::finish, discard: Self::discard, label: block::no_label }
    }

    unsafe fn run(node: NonNull<Node>) -> Option<Payload> {
        // SAFETY: the waiting thread stays until the waiter ended; the closure is called once, and keeps its own panic.
        unsafe {
            if let Some(run) = node.cast::<Self>().as_ref().run {
                (*run)();
            }
        }
        None
    }

    unsafe fn finish(node: NonNull<Node>) {
        // SAFETY: detached, ended once, dead afterwards.
        unsafe { Waiter::end(&raw const (*node.cast::<Self>().as_ptr()).waiter, Ended::Ran) };
    }

    unsafe fn discard(node: NonNull<Node>) -> u64 {
        // SAFETY: as in `finish`.
        unsafe { Waiter::end(&raw const (*node.cast::<Self>().as_ptr()).waiter, Ended::Dropped) };
        1
    }
}
