//! The receiver of an operation's outcome: a handler, which gets deliveries on its queue, or a
//! task, which gets the whole.
//!
//! A handler is lent to the block that calls it, and comes back when the block and every [`Hold`]
//! are gone. Until then there is no handler to call, so it is never re-entered, and its operation
//! can see that it has to wait. Not for: deciding when.

use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::{ConcurrentQueue, MainHandle, Queue, Submitter};

use super::error::ChannelError;
use crate::data::Data;

/// A report of an operation to its handler.
///
/// ```
/// use singletrack_io::{Channel, channel::Delivery};
/// use singletrack_queues::Queue;
/// use std::{fs::OpenOptions, sync::mpsc};
///
/// let (tell, told) = mpsc::channel();
/// let manifest = Channel::stream_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
/// let mut size = 0;
/// manifest.read(0, Channel::TO_END, move |read: Delivery| {
///     size += read.data.len();
///     if read.done {
///         tell.send((size, read.error.is_none())).unwrap();
///     }
/// });
/// assert_eq!(told.recv()?, (std::fs::read("Cargo.toml")?.len(), true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// This is the last delivery of its operation.
    pub done: bool,
    /// Of a read, the bytes that arrived since the last delivery; of a write, the bytes that have
    /// not been written yet.
    pub data: Data,
    /// The reason why the operation ended early; only with `done`. The end of a file or stream is
    /// no error.
    pub error: Option<ChannelError>,
    turn: Arc<Turn>,
}

impl Delivery {
    /// Keeps the operation from proceeding when the handler returns, until the hold is dropped. It
    /// is for a handler that passes the data on and wants no more before that is done. A read still
    /// gathers up to its high water, and no further.
    ///
    /// ```
    /// # use singletrack_io::Channel;
    /// # use singletrack_queues::Queue;
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
///
/// ```
/// use singletrack_io::{Channel, channel::Hold};
/// use singletrack_queues::Queue;
/// use std::{fs::OpenOptions, sync::mpsc, thread};
///
/// /// A piece of a file, and what keeps the next one back.
/// struct Piece(usize, Hold);
///
/// let (pass, pieces) = mpsc::channel();
/// let manifest = Channel::stream_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
/// manifest.set_high_water(64);
/// manifest.read(0, Channel::TO_END, move |read| pass.send(Piece(read.data.len(), read.hold())).unwrap());
/// // A slow consumer: each piece lets the next one come when it is dropped.
/// let size: usize = thread::spawn(move || pieces.iter().map(|piece| piece.0).sum()).join().unwrap();
/// assert_eq!(size, std::fs::read("Cargo.toml")?.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Hold {
    _turn: Arc<Turn>,
}

pub(super) type Handler = Box<dyn FnMut(Delivery) + Send>;
/// Returns the handler to its operation, unless it is done, panicked, or was dropped with its
/// queue.
type Back = Box<dyn FnOnce(Option<Handler>) + Send + Sync>;

/// A handler that is lent to a block.
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

/// Calls `handler` on `queue` with this delivery; `back` is called when that is over, on any
/// thread.
pub(super) fn call(
    queue: &Submitter,
    mut handler: Handler,
    (done, data, error): (bool, Data, Option<ChannelError>),
    back: impl FnOnce(Option<Handler>) + Send + Sync + 'static,
) {
    // The block owns the turn before it runs: if it is dropped without running, it gives back
    // nothing.
    let turn = Arc::new(Turn { handler: Mutex::new(None), back: Some(Box::new(back)) });
    queue.submit(move || {
        handler(Delivery { done, data, error, turn: turn.clone() });
        if done {
            // The handler's captures are dropped here, on its queue.
            return drop(handler);
        }
        *turn.handler.lock().unwrap_or_else(PoisonError::into_inner) = Some(handler);
    });
}

/// The queue on which handlers run: a serial queue, the main queue, or a concurrent queue. On a
/// concurrent queue the handlers of several operations may run at once, but never one handler
/// twice.
///
/// ```
/// use singletrack_io::{Channel, channel::HandlerQueue};
/// use singletrack_queues::{ConcurrentQueue, MainQueue, Queue};
/// use std::fs::OpenOptions;
///
/// let main = MainQueue::new("main");
/// let queues: [HandlerQueue; 3] =
///     [(&Queue::new("serial")).into(), (&ConcurrentQueue::new("readers")).into(), (&main.handle()).into()];
/// for queue in queues {
///     Channel::random_path("Cargo.toml", OpenOptions::new().read(true), queue)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// Makes what the channel keeps: no handle, so that a suspended queue is let go as if the
    /// channel did not know it.
    #[track_caller]
    pub(super) fn submitter(&self) -> Submitter {
        match self {
            HandlerQueue::Serial(queue) => queue.submitter(),
            HandlerQueue::Main(main) => main.submitter(),
            HandlerQueue::Concurrent(queue) => queue.submitter(),
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
