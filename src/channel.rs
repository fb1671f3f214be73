//! Channels: reading and writing files, pipes, sockets and terminals without waiting, with handlers on a queue.
//!
//! A [`Channel`] owns a descriptor, or opens a path when first used. Operations are submitted in order and tell their handler
//! as they go, or give a [`Task`]. The story of a read: [`Channel::read`] puts an operation into the line of the descriptor
//! (`core`), which begins it when its turn comes, moves bytes (`descriptor`; for files on the threads of `ground`) until
//! there is enough for a delivery (`operation`), and calls the handler on its queue (`sink`). Not for: knowing what the
//! bytes mean; for waiting for readiness alone, use [`io`](crate::io).
//!
//! # Backpressure
//! While a handler runs, or a [`Hold`] of its delivery lives, its read gathers up to the high water and stops. So at most
//! twice the high water of one read is in memory, and no read begins while the handlers of those before it hold more.

mod barrier;
mod core;
mod descriptor;
mod error;
mod ground;
mod line;
mod once;
mod operation;
mod sink;
mod step;

use std::fmt;
use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use singletrack_queues::{Promise, Task};

use self::barrier::Barrier;
use self::core::{Cleanup, Core, Desk, Order, Place, at};
pub use self::error::{ChannelError, Incomplete};
use self::ground::Ground;
use self::line::{Entry, Sink, Whole};
pub use self::once::{read, write};
use self::operation::{Interval, Marks, Operation};
pub use self::sink::{Delivery, HandlerQueue, Hold};
use crate::data::Data;

/// A descriptor that is read and written without waiting.
///
/// **A stream** goes on where it stands. Its reads are done one after the other, and so are its writes. Of a pipe, socket or
/// terminal reads and writes go on beside one another; a file has one position, so there all operations take turns. **A
/// random** channel is for files: each operation says its offset, and several are under way at once, in no order.
///
/// Handlers run on the channel's queue, never two calls of one handler at once; the last call says `done`. Of a stream,
/// handlers are called in the order of the operations. Dropping the last handle closes the channel: what was submitted is
/// still done. An operation that cannot be done ends with an error that names the file, what was tried, and the remedy;
/// the end of a file or stream is no error.
///
/// Files are read by a few threads that may block; all else only when it is ready. Neither ever takes a worker of the
/// queues. A pipe or terminal is made non-blocking while its channel has it, for everybody who shares it, and is given back
/// as it was.
///
/// A handle: clones are the same channel.
///
/// ```
/// use singletrack::{Channel, Queue};
///
/// let queue = Queue::new("reader");
/// let file = Channel::random_path("Cargo.toml", std::fs::OpenOptions::new().read(true), &queue)?;
/// let begin = file.call_read(0, 9).wait().unwrap()?;
/// assert_eq!(begin.flatten(), "[workspac");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Channel {
    handle: Arc<Handle>,
}

struct Handle {
    desk: Desk,
    name: Arc<str>,
    order: Order,
    id: u64,
    queue: HandlerQueue,
    marks: Mutex<Marks>,
    closed: AtomicBool,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let id = self.id;
        at(&self.desk, move |core, desk| core.close(desk, id, false));
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: a name, nothing more.
    NEXT.fetch_add(1, Relaxed)
}

impl Channel {
    /// As a length: all there is.
    pub const TO_END: u64 = u64::MAX;

    /// Makes a channel of the descriptor, to be read and written from where it stands.
    ///
    /// # Errors
    /// When the descriptor is not open, or the system cannot watch it; it is closed then.
    pub fn stream(fd: impl Into<OwnedFd>, queue: impl Into<HandlerQueue>) -> Result<Channel, ChannelError> {
        Channel::builder(queue).stream(fd)
    }

    /// Makes a channel of the descriptor of a file, to be read and written at offsets.
    ///
    /// # Errors
    /// [`ChannelError::NoOffsets`] for a pipe, socket or terminal; else as for [`stream`](Self::stream).
    pub fn random(fd: impl Into<OwnedFd>, queue: impl Into<HandlerQueue>) -> Result<Channel, ChannelError> {
        Channel::builder(queue).random(fd)
    }

    /// As [`stream`](Self::stream), of a file that is opened by the first operation. Whether it can be opened is told to its
    /// operations; a relative path means what it means now, also if the current folder changes until then.
    ///
    /// A FIFO is opened without waiting for its other end: to read, it waits for a writer as any pipe does; to write, it has
    /// to have a reader.
    ///
    /// # Errors
    /// When the threads that serve channels cannot be started, or the current folder is gone.
    pub fn stream_path(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        queue: impl Into<HandlerQueue>,
    ) -> Result<Channel, ChannelError> {
        Channel::builder(queue).stream_path(path, options)
    }

    /// As [`random`](Self::random), of a file that is opened by the first operation; see [`stream_path`](Self::stream_path).
    ///
    /// # Errors
    /// As `stream_path`.
    pub fn random_path(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        queue: impl Into<HandlerQueue>,
    ) -> Result<Channel, ChannelError> {
        Channel::builder(queue).random_path(path, options)
    }

    /// Starts to describe a channel whose descriptor is wanted back.
    pub fn builder(queue: impl Into<HandlerQueue>) -> ChannelBuilder {
        ChannelBuilder { queue: queue.into(), cleanup: None }
    }

    /// Another channel for the same descriptor, with its own queue, water marks and end. Operations and barriers of all of
    /// them stand in one line; the descriptor is given back when all are closed. Of a closed channel it is a closed one.
    #[must_use]
    pub fn sibling(&self, queue: impl Into<HandlerQueue>) -> Channel {
        let Handle { desk, name, order, .. } = &*self.handle;
        let id = next_id();
        at(desk, move |core, _| core.join(id));
        Channel::new(desk.clone(), name.clone(), *order, id, queue.into())
    }

    fn new(desk: Desk, name: Arc<str>, order: Order, id: u64, queue: HandlerQueue) -> Channel {
        Channel {
            handle: Arc::new(Handle {
                desk,
                name,
                order,
                id,
                queue,
                marks: Mutex::new(Marks::DEFAULT),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// The path; of a descriptor, its number and what the system calls it, such as "descriptor 7 (/etc/hosts)".
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// Reads up to `length` bytes: `offset` counts from the beginning of the file, and is 0 for a stream.
    ///
    /// The handler is called on the channel's queue whenever enough has arrived (see [`set_low_water`](Self::set_low_water)),
    /// at last with `done`: after `length` bytes, at the end of the file or stream, or with an error.
    ///
    /// ```
    /// # use singletrack::{Channel, Queue};
    /// # use std::{io::Write, sync::mpsc};
    /// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    /// let (tell, told) = mpsc::channel();
    /// let channel = Channel::stream(ours, &Queue::new("socket"))?;
    /// channel.read(0, Channel::TO_END, move |read| {
    ///     assert!(read.error.is_none());
    ///     tell.send((read.data.flatten(), read.done)).unwrap();
    /// });
    /// theirs.write_all(b"hello")?;
    /// assert_eq!(told.recv()?, ("hello".into(), false));
    /// drop(theirs);
    /// assert_eq!(told.recv()?, ("".into(), true));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read<F: FnMut(Delivery) + Send + 'static>(&self, offset: u64, length: u64, handler: F) {
        let operation = Operation::read(self.place(offset), length, self.marks());
        self.submit(operation, self.check("read", offset, length), self.tell(handler));
    }

    /// Writes `data`: `offset` counts from the beginning of the file, and is 0 for a stream.
    ///
    /// The handler is called as the writing goes on, each high water and with each interval, and at last with `done`;
    /// [`Delivery::data`] is what has not been written. A peer that went away is an error, never a SIGPIPE.
    pub fn write<F: FnMut(Delivery) + Send + 'static>(&self, offset: u64, data: impl Into<Data>, handler: F) {
        let data = data.into();
        let check = self.check("write", offset, data.len() as u64);
        self.submit(Operation::write(self.place(offset), data, self.marks()), check, self.tell(handler));
    }

    /// As [`read`](Self::read), with all of it as the result of a [`Task`]. It is gathered whatever the high water is, so
    /// [`TO_END`](Self::TO_END) takes as much memory as there is to read.
    ///
    /// In a barrier's block of the same channel a wait for it is [`TaskError::Deadlock`](crate::queues::TaskError::Deadlock).
    /// In a handler do not wait for it at all: on a stream, the operation of the handler may have to end first.
    ///
    /// # Errors
    /// The task's value is [`Incomplete`], with what was read, when the read ended before its time.
    pub fn call_read(&self, offset: u64, length: u64) -> Task<Result<Data, Incomplete>> {
        let (task, promise) = self.promised();
        let whole: Whole = Box::new(move |error, data| {
            promise.fulfil(match error {
                None => Ok(data),
                Some(error) => Err(Incomplete { data, error }),
            });
        });
        let operation = Operation::read(self.place(offset), length, Marks::WHOLE);
        self.submit(operation, self.check("read", offset, length), Sink::Whole(Some(whole)));
        task
    }

    /// As [`write`](Self::write), with its end as the result of a [`Task`].
    ///
    /// # Errors
    /// The task's value is [`Incomplete`], with what was not written, when the write ended before its time.
    pub fn call_write(&self, offset: u64, data: impl Into<Data>) -> Task<Result<(), Incomplete>> {
        let (data, (task, promise)) = (data.into(), self.promised());
        let whole: Whole =
            Box::new(move |error, data| promise.fulfil(error.map_or(Ok(()), |error| Err(Incomplete { data, error }))));
        let check = self.check("write", offset, data.len() as u64);
        self.submit(Operation::write(self.place(offset), data, Marks::WHOLE), check, Sink::Whole(Some(whole)));
        task
    }

    fn promised<T: Send + 'static>(&self) -> (Task<T>, Promise<T>) {
        // What a closed channel is asked ends at once, wherever one waits for it. Relaxed: who closed it and asks, knows.
        let (desk, closed) = (self.handle.desk.clone(), self.handle.closed.load(Relaxed));
        Task::promised_by(format!("channel {}", self.name()), move || !closed && barrier::is_inside(&desk))
    }

    fn place(&self, offset: u64) -> Option<u64> {
        (self.handle.order == Order::Random).then_some(offset)
    }

    fn check(&self, operation: &'static str, offset: u64, length: u64) -> Result<(), ChannelError> {
        let channel = self.handle.name.clone();
        let length = if length == Channel::TO_END { 0 } else { length };
        match self.handle.order {
            Order::Stream if offset != 0 => Err(ChannelError::StreamOffset { channel, operation, offset }),
            Order::Random if offset.checked_add(length).is_none_or(|end| end > i64::MAX.cast_unsigned()) => {
                Err(ChannelError::Offset { channel, operation, offset, length })
            }
            _ => Ok(()),
        }
    }

    fn tell<F: FnMut(Delivery) + Send + 'static>(&self, handler: F) -> Sink {
        Sink::Handler(self.handle.queue.clone(), Some(Box::new(handler)))
    }

    fn submit(&self, mut operation: Operation, check: Result<(), ChannelError>, sink: Sink) {
        if let Err(error) = check {
            operation.fail(error);
        }
        let entry = Entry::new(self.handle.id, operation, sink);
        at(&self.handle.desk, move |core, desk| core.submit(desk, entry));
    }

    /// Runs `block` on the channel's queue after all that was submitted before it, to any channel of the descriptor, is over,
    /// its handlers included; what is submitted later begins when the block has ended.
    ///
    /// It gets the descriptor, to do with it what channels do not; a path is opened for it. An error instead of the
    /// descriptor: it cannot be opened, or the channel is closed.
    ///
    /// ```
    /// # use singletrack::{Channel, Queue};
    /// # let path = std::env::temp_dir().join(format!("singletrack-barrier-{}", std::process::id()));
    /// # let mut options = std::fs::OpenOptions::new();
    /// # options.write(true).create(true);
    /// let log = Channel::stream_path(&path, &options, &Queue::new("log"))?;
    /// log.write(0, "committed\n", |written| assert!(written.error.is_none()));
    /// let (tell, told) = std::sync::mpsc::channel();
    /// log.barrier(move |fd| {
    ///     let file = std::fs::File::from(fd.unwrap().try_clone_to_owned().unwrap());
    ///     file.sync_all().unwrap();
    ///     tell.send(()).unwrap();
    /// });
    /// told.recv()?;
    /// assert_eq!(std::fs::read(&path)?, b"committed\n");
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn barrier<F>(&self, block: F)
    where
        F: FnOnce(Result<BorrowedFd<'_>, ChannelError>) + Send + 'static,
    {
        let (id, barrier) = (self.handle.id, Barrier { queue: self.handle.queue.clone(), block: Box::new(block) });
        at(&self.handle.desk, move |core, desk| core.barrier(desk, id, barrier));
    }

    /// No delivery of operations submitted from now on has more bytes than this (default: 256 KiB; at least 1), and no read
    /// gathers more while its handler is busy.
    pub fn set_high_water(&self, bytes: usize) {
        self.change(|marks| marks.high = bytes);
    }

    /// No delivery of operations submitted from now on, except the last one, has fewer bytes than this (default: 1). If it is
    /// above the high water, that counts.
    pub fn set_low_water(&self, bytes: usize) {
        self.change(|marks| marks.low = bytes);
    }

    /// Operations submitted from now on make a delivery at each interval (of at least a millisecond) if the low water is
    /// reached, and in between at the high water only; `strict`: at each interval in any case, even without any bytes. For
    /// progress bars.
    pub fn set_interval(&self, every: Duration, strict: bool) {
        self.change(|marks| marks.interval = Some(Interval { every, strict }));
    }

    fn marks(&self) -> Marks {
        *self.handle.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, f: impl FnOnce(&mut Marks)) {
        f(&mut self.handle.marks.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Takes no operations any more: each gets [`ChannelError::Closed`]. What was submitted before is still done.
    pub fn close(&self) {
        self.end(false);
    }

    fn end(&self, stop: bool) {
        let id = self.handle.id;
        self.handle.closed.store(true, Relaxed);
        at(&self.handle.desk, move |core, desk| core.close(desk, id, stop));
    }

    /// As [`close`](Self::close), and what this channel has not done ends with [`ChannelError::Stopped`] and what was done
    /// until then. A system call that a disk is busy with is waited for, so no bytes are lost.
    pub fn stop(&self) {
        self.end(true);
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Handle { name, order, queue, .. } = &*self.handle;
        f.debug_struct("Channel")
            .field("name", name)
            .field("order", order)
            .field("queue", queue)
            .finish_non_exhaustive()
    }
}

/// Describes a channel before it is made; from [`Channel::builder`].
#[must_use = "nothing is made before one of `stream`, `random`, `stream_path` and `random_path`"]
pub struct ChannelBuilder {
    queue: HandlerQueue,
    cleanup: Option<Cleanup>,
}

impl ChannelBuilder {
    /// Runs on the queue, once, when the channel and its siblings are closed and all their operations and barriers are over:
    /// the last that is heard of them. It gets the descriptor, as it was; `None` if a path was never opened. Without this the
    /// descriptor is closed then.
    pub fn on_cleanup<F: FnOnce(Option<OwnedFd>) + Send + 'static>(mut self, cleanup: F) -> Self {
        self.cleanup = Some(Box::new(cleanup));
        self
    }

    /// See [`Channel::stream`].
    ///
    /// # Errors
    /// As there; the cleanup is dropped then, unrun.
    pub fn stream(self, fd: impl Into<OwnedFd>) -> Result<Channel, ChannelError> {
        self.of(fd.into(), Order::Stream)
    }

    /// See [`Channel::random`].
    ///
    /// # Errors
    /// As there; the cleanup is dropped then, unrun.
    pub fn random(self, fd: impl Into<OwnedFd>) -> Result<Channel, ChannelError> {
        self.of(fd.into(), Order::Random)
    }

    /// See [`Channel::stream_path`].
    ///
    /// # Errors
    /// As there.
    pub fn stream_path(self, path: impl AsRef<Path>, options: &OpenOptions) -> Result<Channel, ChannelError> {
        self.at_path(path.as_ref(), options, Order::Stream)
    }

    /// See [`Channel::random_path`].
    ///
    /// # Errors
    /// As `stream_path`.
    pub fn random_path(self, path: impl AsRef<Path>, options: &OpenOptions) -> Result<Channel, ChannelError> {
        self.at_path(path.as_ref(), options, Order::Random)
    }

    fn of(self, fd: OwnedFd, order: Order) -> Result<Channel, ChannelError> {
        let name = descriptor::name(&fd);
        let (channel, desk) = self.make(name, order, Place::Opening)?;
        desk.sync(|core| core.start(&desk, fd))?;
        Ok(channel)
    }

    fn at_path(self, path: &Path, options: &OpenOptions, order: Order) -> Result<Channel, ChannelError> {
        let path = std::path::absolute(path).map_err(|error| ChannelError::open(path.to_owned(), error))?;
        let name = path.display().to_string().into();
        Ok(self.make(name, order, Place::Path(path, options.clone()))?.0)
    }

    fn make(self, name: Arc<str>, order: Order, place: Place) -> Result<(Channel, Desk), ChannelError> {
        let ChannelBuilder { queue, cleanup } = self;
        let id = next_id();
        let cleanup = cleanup.map(|cleanup| (queue.clone(), cleanup));
        let desk = Core::new(&Ground::get()?, name.clone(), order, place, id, cleanup);
        Ok((Channel::new(desk.clone(), name, order, id, queue), desk))
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("queue", &self.queue).finish_non_exhaustive()
    }
}
