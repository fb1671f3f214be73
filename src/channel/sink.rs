//! Where the outcome of an operation goes: to a handler, in deliveries on its queue, or to whoever wants the whole.
//!
//! A handler is lent to the block that calls it and comes back when the block and every [`Hold`] are gone; until then there
//! is nobody to call, so it is never re-entered, and its operation can tell that it has to wait. Not for: deciding when.

use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::{ConcurrentQueue, MainHandle, Queue};

use super::error::ChannelError;
use crate::data::Data;

/// What an operation tells its handler.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// This is the last one of its operation.
    pub done: bool,
    /// Of a read, what arrived since the last delivery; of a write, what has not been written yet.
    pub data: Data,
    /// Why the operation ended before its time; only with `done`. The end of a file or stream is no error.
    pub error: Option<ChannelError>,
    turn: Arc<Turn>,
}

impl Delivery {
    /// Keeps the operation from going on when the handler returns, until this is dropped: for a handler that passes the data
    /// on and does not want more before that is done. A read goes on to gather up to its high water, and no further.
    ///
    /// ```
    /// # use singletrack::{Channel, Queue};
    /// # let queue = Queue::new("copy");
    /// # let dir = std::env::temp_dir();
    /// # let name = dir.join(format!("singletrack-hold-{}", std::process::id()));
    /// # let mut options = std::fs::OpenOptions::new();
    /// # options.write(true).create(true);
    /// let from = Channel::stream_path("Cargo.toml", std::fs::OpenOptions::new().read(true), &queue)?;
    /// let to = Channel::stream_path(&name, &options, &queue)?;
    /// from.read(0, Channel::TO_END, move |read| {
    ///     let hold = read.hold();
    ///     // Two deliveries at most are in memory, however slow the writing is.
    ///     to.write(0, read.data, move |written| {
    ///         // Dropped with this handler, after its last delivery.
    ///         let _hold = &hold;
    ///         assert!(written.error.is_none());
    ///     });
    /// });
    /// # let (tell, told) = std::sync::mpsc::channel();
    /// # from.barrier(move |_| tell.send(()).unwrap());
    /// # told.recv()?;
    /// # assert_eq!(std::fs::read(&name)?, std::fs::read("Cargo.toml")?);
    /// # std::fs::remove_file(name)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "dropping it lets the operation go on"]
    pub fn hold(&self) -> Hold {
        Hold { _turn: self.turn.clone() }
    }
}

/// Keeps an operation waiting; see [`Delivery::hold`].
#[derive(Clone, Debug)]
pub struct Hold {
    _turn: Arc<Turn>,
}

pub(super) type Handler = Box<dyn FnMut(Delivery) + Send>;
/// Gets the handler back, unless it is done, panicked, or was dropped with its queue.
type Back = Box<dyn FnOnce(Option<Handler>) + Send + Sync>;

/// A handler that is out.
struct Turn {
    handler: Mutex<Option<Handler>>,
    back: Option<Back>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let handler = self.handler.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(back) = self.back.take() {
            back(handler);
        }
    }
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Turn(..)")
    }
}

/// Calls `handler` on `queue` with this delivery; `back` is called when that is over, on whatever thread.
pub(super) fn call(
    queue: &HandlerQueue,
    mut handler: Handler,
    (done, data, error): (bool, Data, Option<ChannelError>),
    back: impl FnOnce(Option<Handler>) + Send + Sync + 'static,
) {
    // The block owns the turn before it runs: dropped unrun, it gives back nothing.
    let turn = Arc::new(Turn { handler: Mutex::new(None), back: Some(Box::new(back)) });
    queue.submit(move || {
        handler(Delivery { done, data, error, turn: turn.clone() });
        if done {
            // What it captured goes here, on its queue.
            return drop(handler);
        }
        *turn.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler);
    });
}

/// Where handlers run: a serial queue, the main queue, or a concurrent queue (then the handlers of several operations may
/// run at once, though never one handler twice).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HandlerQueue {
    /// One at a time.
    Serial(Queue),
    /// On the main thread.
    Main(MainHandle),
    /// Beside one another.
    Concurrent(ConcurrentQueue),
}

impl HandlerQueue {
    pub(super) fn submit(&self, block: impl FnOnce() + Send + 'static) {
        match self {
            HandlerQueue::Serial(queue) => queue.submit(block),
            HandlerQueue::Main(main) => main.submit(block),
            HandlerQueue::Concurrent(queue) => queue.submit(block),
        }
    }
}

impl From<&Queue> for HandlerQueue {
    fn from(queue: &Queue) -> HandlerQueue {
        HandlerQueue::Serial(queue.clone())
    }
}

impl From<&MainHandle> for HandlerQueue {
    fn from(main: &MainHandle) -> HandlerQueue {
        HandlerQueue::Main(main.clone())
    }
}

impl From<&ConcurrentQueue> for HandlerQueue {
    fn from(queue: &ConcurrentQueue) -> HandlerQueue {
        HandlerQueue::Concurrent(queue.clone())
    }
}
