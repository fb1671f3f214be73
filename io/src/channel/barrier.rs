//! A barrier is a block that waits for everything before it and holds back everything behind it.
//!
//! Not for: deciding when its turn comes (`core`). Rule: however the block ends, even if it never
//! runs, the line continues afterwards, and by then the block no longer has the descriptor. A block
//! that waits for an operation behind its own barrier gets a deadlock error ([`is_inside`]).

use std::cell::RefCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use singletrack_queues::{Queue, Submitter};

use super::error::ChannelError;

type Block = Box<dyn FnOnce(Result<BorrowedFd<'_>, ChannelError>) + Send>;

/// See the module.
pub(super) struct Barrier {
    pub(super) queue: Submitter,
    pub(super) block: Block,
}

impl Barrier {
    /// Runs the block with the error in place of the descriptor, without waiting for other
    /// operations.
    pub(super) fn refuse(self, error: ChannelError) {
        self.queue.submit(move || (self.block)(Err(error)));
    }
}

/// Runs the block inside a barrier of the core on the queue `core`, and calls `over` when that has
/// ended, however it ended.
pub(super) fn run(
    barrier: Barrier,
    core: &Queue,
    fd: Result<Arc<OwnedFd>, ChannelError>,
    over: impl FnOnce() + Send + 'static,
) {
    let Barrier { queue, block } = barrier;
    let (core, turn) = (core.clone(), Turn { fd, _end: End(Some(over)) });
    queue.submit(move || {
        let turn = turn;
        let _inside = Inside::enter(&core);
        block(turn.fd.as_ref().map(|fd| fd.as_fd()).map_err(Clone::clone));
    });
}

/// A barrier under way. Its descriptor is dropped first; then the line continues.
struct Turn<F: FnOnce()> {
    fd: Result<Arc<OwnedFd>, ChannelError>,
    _end: End<F>,
}

struct End<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for End<F> {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|over| over());
    }
}

thread_local! {
    /// The cores in whose barrier this thread is, by their queue.
    static INSIDE: RefCell<Vec<Queue>> = const { RefCell::new(Vec::new()) };
}

/// Is this thread in a barrier of the core on that queue? Then nothing that was submitted to it
/// since will end before the block has.
pub(super) fn is_inside(core: &Queue) -> bool {
    INSIDE.with_borrow(|inside| inside.contains(core))
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
