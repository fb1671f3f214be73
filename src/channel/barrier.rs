//! A barrier: a block that waits for all before it and holds all behind it.
//!
//! Not for: when its turn comes (`core`). Rule: however its block ends, even unrun, the others go on afterwards, and it no
//! longer has the descriptor then. A block that waits for what is behind its own barrier is told so ([`is_inside`]).

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use singletrack_queues::Queue;

use super::core::{Core, Desk, at};
use super::error::ChannelError;
use super::sink::HandlerQueue;

type Block = Box<dyn FnOnce(Result<BorrowedFd<'_>, ChannelError>) + Send>;

/// See the module.
pub(super) struct Barrier {
    pub(super) queue: HandlerQueue,
    pub(super) block: Block,
}

impl Barrier {
    /// Runs the block with the error in place of the descriptor, whoever else is about.
    pub(super) fn refuse(self, error: ChannelError) {
        self.queue.submit(move || (self.block)(Err(error)));
    }
}

/// Runs the block, and tells the core when that is over.
pub(super) fn run(desk: &Desk, Barrier { queue, block }: Barrier, fd: Result<Arc<OwnedFd>, ChannelError>) {
    let turn = Turn { fd, end: End(desk.clone()) };
    queue.submit(move || {
        let turn = turn;
        let _inside = Inside::enter(turn.end.0.queue());
        block(turn.fd.as_ref().map(|fd| fd.as_fd()).map_err(Clone::clone));
    });
}

/// A barrier on its way: the descriptor goes first, then everybody else may go on.
struct Turn {
    fd: Result<Arc<OwnedFd>, ChannelError>,
    end: End,
}

struct End(Desk);

impl Drop for End {
    fn drop(&mut self) {
        at(&self.0, Core::barrier_is_over);
    }
}

thread_local! {
    /// The cores in whose barrier this thread is, by their queue.
    static INSIDE: RefCell<Vec<Queue>> = const { RefCell::new(Vec::new()) };
}

/// Is this thread in a barrier of that core? Then nothing that was submitted to it since will end before the block has.
pub(super) fn is_inside(desk: &Desk) -> bool {
    INSIDE.with_borrow(|inside| inside.contains(desk.queue()))
}

struct Inside;

impl Inside {
    fn enter(queue: &Queue) -> Inside {
        INSIDE.with_borrow_mut(|inside| inside.push(queue.clone()));
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Out of the borrow before it is dropped: the last handle of a queue runs code of its own.
        let left = INSIDE.with_borrow_mut(Vec::pop);
        drop(left);
    }
}
