//! Channels read and write files, pipes, sockets and terminals without waiting, with handlers on a
//! queue.
//!
//! A [`Channel`] owns a descriptor, or opens a path when it is first used. Operations are submitted
//! in order. Each reports its progress to a handler, or returns a [`Task`]. A read takes this way:
//! [`Channel::read`] puts an operation into the line of the descriptor (`core`). The core begins
//! the operation when its turn comes and moves bytes (`descriptor`; for files on the threads of
//! `disk_pool`) until there is enough for a delivery (`operation`). Then it calls the handler on
//! its queue (`sink`). Not for: interpreting the bytes. To wait for readiness alone, use
//! [`Io`](crate::Io).
//!
//! # Backpressure
//! While a handler runs, or a [`Hold`] of its delivery lives, its read gathers up to the high water
//! and then stops. So at most twice the high water of one read is in memory, and no read begins
//! while the handlers of earlier reads hold more than that.

mod barrier;
mod core;
mod descriptor;
mod disk_pool;
mod error;
mod line;
mod once;
mod operation;
mod place;
mod sink;
mod step;

use std::fmt;
use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use singletrack_queues::{Promise, Submitter, Task};

use self::barrier::Barrier;
use self::core::{Cleanup, Core, Desk, Order, at};
use self::disk_pool::DiskPool;
pub use self::error::{ChannelError, Incomplete};
use self::line::{Entry, Sink, Whole};
pub use self::once::{read, write};
use self::operation::{Interval, Marks, Operation};
use self::place::Place;
pub use self::sink::{Delivery, HandlerQueue, Hold};
use crate::data::Data;

/// A descriptor that is read and written without waiting.
///
/// **A stream** continues at its current position. Its reads are done one after the other, and so
/// are its writes. On a pipe, socket or terminal, reads and writes run side by side. A file has one
/// position, so there all operations take turns. **A random** channel is for files: each operation
/// gives its offset, and several are under way at once, in no order.
///
/// Handlers run on the channel's queue. Two calls of one handler never overlap, and the last call
/// sets `done`. On a stream, handlers are called in the order of the operations. Dropping the last
/// handle closes the channel; operations that were already submitted still complete. An operation
/// that cannot be done ends with an error that names the file, the attempt, and the remedy. The end
/// of a file or stream is no error.
///
/// Files are read by a few threads that may block; everything else is read only when it is ready.
/// Neither ever takes a worker of the queues. While a channel has a pipe or terminal, that is
/// non-blocking for everybody who shares it; afterwards its former mode is restored.
///
/// A handle: clones are the same channel. It is no handle of its queue: when the last handle of a
/// suspended queue is dropped, the queue runs what it holds. A panic of a handler is reported with
/// the call that the handler was given to.
///
/// ```
/// use singletrack_io::Channel;
/// use singletrack_queues::Queue;
///
/// let queue = Queue::new("reader");
/// let file = Channel::random_path("Cargo.toml", std::fs::OpenOptions::new().read(true), &queue)?;
/// let begin = file.call_read(0, 9).wait().unwrap()?;
/// assert_eq!(begin.flatten(), "[package]");
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
    queue: Submitter,
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
    // Relaxed: only a unique name.
    NEXT.fetch_add(1, Relaxed)
}

impl Channel {
    /// A length without a limit: everything up to the end.
    pub const TO_END: u64 = u64::MAX;

    /// Makes a channel for the descriptor, which is read and written from its current position.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// far.write_all(b"hello, world")?;
    /// assert_eq!(peer.call_read(0, 5).wait()??.flatten(), "hello");
    /// assert_eq!(peer.call_read(0, 7).wait()??.flatten(), ", world");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the descriptor is not open, or has no bytes, as a listening socket; or when the system
    /// cannot watch it. It is closed then.
    #[doc(alias = "dispatch_io_create")]
    #[doc(alias = "dispatch_io_create_f")]
    #[doc(alias = "DISPATCH_IO_STREAM")]
    pub fn stream(fd: impl Into<OwnedFd>, queue: impl Into<HandlerQueue>) -> Result<Channel, ChannelError> {
        Channel::builder(queue).stream(fd)
    }

    /// Makes a channel for the descriptor of a file, which is read and written at offsets.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    ///
    /// let file = std::fs::File::open("Cargo.toml")?;
    /// let manifest = Channel::random(file, &Queue::new("reader"))?;
    /// assert_eq!(manifest.call_read(1, 7).wait()??.flatten(), "package");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ChannelError::NoOffsets`] for a pipe, socket or terminal; else as for
    /// [`stream`](Self::stream).
    #[doc(alias = "dispatch_io_create")]
    #[doc(alias = "dispatch_io_create_f")]
    #[doc(alias = "DISPATCH_IO_RANDOM")]
    pub fn random(fd: impl Into<OwnedFd>, queue: impl Into<HandlerQueue>) -> Result<Channel, ChannelError> {
        Channel::builder(queue).random(fd)
    }

    /// As [`stream`](Self::stream), for a file that the first operation opens. If the file cannot
    /// be opened, its operations report the error. A relative path is resolved now, so a later
    /// change of the current folder does not matter.
    ///
    /// A FIFO is opened without waiting for its other end. A read waits for a writer, as on any
    /// pipe; a write needs a reader that is already there.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::fs::OpenOptions;
    ///
    /// let manifest = Channel::stream_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
    /// let all = manifest.call_read(0, Channel::TO_END).wait()??;
    /// assert_eq!(all.len() as u64, std::fs::metadata("Cargo.toml")?.len());
    ///
    /// let missing = Channel::stream_path("no such file", OpenOptions::new().read(true), &Queue::new("reader"))?;
    /// println!("{}", missing.call_read(0, 1).wait()?.unwrap_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the threads that serve channels cannot be started, or the current folder is gone.
    #[doc(alias = "dispatch_io_create_with_path")]
    #[doc(alias = "dispatch_io_create_with_path_f")]
    pub fn stream_path(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        queue: impl Into<HandlerQueue>,
    ) -> Result<Channel, ChannelError> {
        Channel::builder(queue).stream_path(path, options)
    }

    /// As [`random`](Self::random), for a file that the first operation opens; see
    /// [`stream_path`](Self::stream_path).
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::fs::OpenOptions;
    ///
    /// let manifest = Channel::random_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
    /// let (second, first) = (manifest.call_read(4, 4), manifest.call_read(0, 4)); // both are under way
    /// assert_eq!((first.wait()??.flatten(), second.wait()??.flatten()), ("[pac".into(), "kage".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `stream_path`.
    #[doc(alias = "dispatch_io_create_with_path")]
    #[doc(alias = "dispatch_io_create_with_path_f")]
    pub fn random_path(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        queue: impl Into<HandlerQueue>,
    ) -> Result<Channel, ChannelError> {
        Channel::builder(queue).random_path(path, options)
    }

    /// Starts to describe a channel that gives its descriptor back at the end.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let (near, _far) = UnixStream::pair()?;
    /// let peer = Channel::builder(&Queue::new("peer"))
    ///     .on_cleanup(move |fd| tell.send(fd).unwrap())
    ///     .stream(near)?;
    /// drop(peer);
    /// let near = UnixStream::from(told.recv()?.expect("the descriptor comes back"));
    /// # drop(near);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(queue: impl Into<HandlerQueue>) -> ChannelBuilder {
        ChannelBuilder { queue: queue.into(), cleanup: None }
    }

    /// Makes another channel for the same descriptor, with its own queue, water marks and end.
    /// Operations and barriers of all these channels stand in one line. The descriptor is given
    /// back when all of them are closed. A sibling of a closed channel is closed.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// far.write_all(b"head and body")?;
    /// let head = Channel::stream(near, &Queue::new("head"))?;
    /// let body = head.sibling(&Queue::new("body"));
    /// // One line for both: the body comes behind the head.
    /// let (first, second) = (head.call_read(0, 4), body.call_read(0, 9));
    /// assert_eq!((first.wait()??.flatten(), second.wait()??.flatten()), ("head".into(), " and body".into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    #[doc(alias = "dispatch_io_create_with_io")]
    #[doc(alias = "dispatch_io_create_with_io_f")]
    pub fn sibling(&self, queue: impl Into<HandlerQueue>) -> Channel {
        let Handle { desk, name, order, .. } = &*self.handle;
        let id = next_id();
        at(desk, move |core, _| core.join(id));
        Channel::new(desk.clone(), name.clone(), *order, id, &queue.into())
    }

    fn new(desk: Desk, name: Arc<str>, order: Order, id: u64, queue: &HandlerQueue) -> Channel {
        Channel {
            handle: Arc::new(Handle {
                desk,
                name,
                order,
                id,
                queue: queue.submitter(),
                marks: Mutex::new(Marks::DEFAULT),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Returns the path, or for a descriptor its number and the system's name for it, such as
    /// "descriptor 7 (/etc/hosts)".
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::fs::OpenOptions;
    ///
    /// let manifest = Channel::random_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
    /// assert!(manifest.name().ends_with("Cargo.toml"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.handle.name
    }

    /// Reads up to `length` bytes: `offset` counts from the beginning of the file, and is 0 for a
    /// stream.
    ///
    /// The handler is called on the channel's queue whenever enough has arrived (see
    /// [`set_low_water`](Self::set_low_water)). Its last call has `done`: after `length` bytes, at
    /// the end of the file or stream, or with an error.
    ///
    /// ```
    /// # use singletrack_io::Channel;
    /// # use std::{io::Write, sync::mpsc};
    /// let (ours, mut theirs) = std::os::unix::net::UnixStream::pair()?;
    /// let (tell, told) = mpsc::channel();
    /// let channel = Channel::stream(ours, &singletrack_queues::Queue::new("socket"))?;
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
    #[track_caller]
    #[doc(alias = "dispatch_io_read")]
    #[doc(alias = "dispatch_io_read_f")]
    pub fn read<F: FnMut(Delivery) + Send + 'static>(&self, offset: u64, length: u64, handler: F) {
        let operation = Operation::read(self.place(offset), length, self.marks());
        self.submit(operation, self.check("read", offset, length), self.tell(handler));
    }

    /// Writes `data`: `offset` counts from the beginning of the file, and is 0 for a stream.
    ///
    /// The handler is called as the writing proceeds, after each high water and at each interval,
    /// and at last with `done`. [`Delivery::data`] is the part that has not been written. A peer
    /// that went away is an error, never a SIGPIPE.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Read, os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let (tell, told) = mpsc::channel();
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// peer.write(0, "hello", move |written| {
    ///     if written.done {
    ///         tell.send((written.data.len(), written.error.is_none())).unwrap();
    ///     }
    /// });
    /// assert_eq!(told.recv()?, (0, true), "nothing is left to write");
    /// let mut bytes = [0; 5];
    /// far.read_exact(&mut bytes)?;
    /// assert_eq!(&bytes, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    #[doc(alias = "dispatch_io_write")]
    #[doc(alias = "dispatch_io_write_f")]
    pub fn write<F: FnMut(Delivery) + Send + 'static>(&self, offset: u64, data: impl Into<Data>, handler: F) {
        let data = data.into();
        let check = self.check("write", offset, data.len() as u64);
        self.submit(Operation::write(self.place(offset), data, self.marks()), check, self.tell(handler));
    }

    /// As [`read`](Self::read), with all of the data as the result of a [`Task`]. The high water
    /// does not limit it, so [`TO_END`](Self::TO_END) takes as much memory as there is to read.
    ///
    /// Waiting for the task in a barrier's block of the same channel fails with
    /// `TaskError::Deadlock`. Do not wait in a handler: on a stream, the operation of the handler
    /// may have to end first.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// let length = peer.call_read(0, 1);
    /// far.write_all(b"\x03abc")?;
    /// let length = length.wait()??.flatten()[0];
    /// assert_eq!(peer.call_read(0, length.into()).wait()??.flatten(), "abc");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The task's value is [`Incomplete`], with what was read, when the read ended before its time.
    #[doc(alias = "dispatch_io_read")]
    #[doc(alias = "dispatch_io_read_f")]
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

    /// As [`write`](Self::write), with its outcome as the result of a [`Task`].
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Read, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// let (hello, goodbye) = (peer.call_write(0, "hello, "), peer.call_write(0, "goodbye"));
    /// hello.wait()??;
    /// goodbye.wait()??;
    /// drop(peer);
    /// let mut text = String::new();
    /// far.read_to_string(&mut text)?;
    /// assert_eq!(text, "hello, goodbye");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The task's value is [`Incomplete`], with what was not written, when the write ended before
    /// its time.
    #[doc(alias = "dispatch_io_write")]
    #[doc(alias = "dispatch_io_write_f")]
    pub fn call_write(&self, offset: u64, data: impl Into<Data>) -> Task<Result<(), Incomplete>> {
        let (data, (task, promise)) = (data.into(), self.promised());
        let whole: Whole =
            Box::new(move |error, data| promise.fulfil(error.map_or(Ok(()), |error| Err(Incomplete { data, error }))));
        let check = self.check("write", offset, data.len() as u64);
        self.submit(Operation::write(self.place(offset), data, Marks::WHOLE), check, Sink::Whole(Some(whole)));
        task
    }

    fn promised<T: Send + 'static>(&self) -> (Task<T>, Promise<T>) {
        // An operation of a closed channel ends at once, wherever a thread waits for it. Relaxed: a
        // caller that closed the channel itself sees its own store.
        let (desk, closed) = (self.handle.desk.clone(), self.handle.closed.load(Relaxed));
        Task::promised_by(format!("channel {}", self.name()), move || !closed && barrier::is_inside(desk.queue()))
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

    #[track_caller]
    fn tell<F: FnMut(Delivery) + Send + 'static>(&self, handler: F) -> Sink {
        Sink::Handler(self.handle.queue.here(), Some(Box::new(handler)))
    }

    fn submit(&self, mut operation: Operation, check: Result<(), ChannelError>, sink: Sink) {
        if let Err(error) = check {
            operation.fail(error);
        }
        let entry = Entry::new(self.handle.id, operation, sink);
        at(&self.handle.desk, move |core, desk| core.submit(desk, entry));
    }

    /// Runs `block` on the channel's queue. It runs when everything that was submitted before it,
    /// to any channel of the descriptor, is over, handlers included. Anything submitted later
    /// begins when the block has ended.
    ///
    /// The block gets the descriptor, for calls that channels do not make; a path is opened for it.
    /// It gets an error instead of the descriptor if that cannot be opened or the channel is
    /// closed.
    ///
    /// ```
    /// # use singletrack_io::Channel;
    /// # let path = std::env::temp_dir().join(format!("singletrack-barrier-{}", std::process::id()));
    /// # let mut options = std::fs::OpenOptions::new();
    /// # options.write(true).create(true);
    /// let log = Channel::stream_path(&path, &options, &singletrack_queues::Queue::new("log"))?;
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
    #[track_caller]
    #[doc(alias = "dispatch_io_barrier")]
    #[doc(alias = "dispatch_io_get_descriptor")]
    pub fn barrier<F>(&self, block: F)
    where
        F: FnOnce(Result<BorrowedFd<'_>, ChannelError>) + Send + 'static,
    {
        let (id, barrier) = (self.handle.id, Barrier { queue: self.handle.queue.here(), block: Box::new(block) });
        at(&self.handle.desk, move |core, desk| core.barrier(desk, id, barrier));
    }

    /// Sets the high water of operations submitted from now on (default: 256 KiB; at least 1). No
    /// delivery of theirs has more bytes than this, and no read gathers more while its handler is
    /// busy.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{fs::OpenOptions, sync::mpsc};
    ///
    /// let manifest = Channel::stream_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
    /// manifest.set_high_water(64);
    /// let (tell, told) = mpsc::channel();
    /// manifest.read(0, Channel::TO_END, move |read| tell.send(read.data.len()).unwrap());
    /// assert!(told.iter().all(|bytes| bytes <= 64));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "dispatch_io_set_high_water")]
    pub fn set_high_water(&self, bytes: usize) {
        self.change(|marks| marks.high = bytes);
    }

    /// Sets the low water of operations submitted from now on (default: 1). No delivery of theirs
    /// has fewer bytes than this, except the last one. If it is above the high water, the high
    /// water counts.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let records = Channel::stream(near, &Queue::new("records"))?;
    /// records.set_low_water(6); // no half records
    /// let (tell, told) = mpsc::channel();
    /// records.read(0, 6, move |read| tell.send(read.data.len()).unwrap());
    /// far.write_all(b"abc")?;
    /// far.write_all(b"def")?;
    /// assert_eq!(told.iter().filter(|bytes| *bytes > 0).collect::<Vec<_>>(), [6]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "dispatch_io_set_low_water")]
    pub fn set_low_water(&self, bytes: usize) {
        self.change(|marks| marks.low = bytes);
    }

    /// Sets the interval of operations submitted from now on (at least a millisecond). They make a
    /// delivery at each interval if the low water is reached, and in between only at the high
    /// water. With `strict` they make one at each interval in any case, even without any bytes. For
    /// progress bars.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{os::unix::net::UnixStream, sync::mpsc, time::Duration};
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// peer.set_interval(Duration::from_millis(1), true);
    /// let (tell, told) = mpsc::channel();
    /// peer.read(0, 5, move |read| tell.send((read.data.len(), read.done)).unwrap_or_default());
    /// assert_eq!(told.recv()?, (0, false), "still waiting");
    /// peer.stop();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "dispatch_io_set_interval")]
    #[doc(alias = "DISPATCH_IO_STRICT_INTERVAL")]
    pub fn set_interval(&self, every: Duration, strict: bool) {
        self.change(|marks| marks.interval = Some(Interval { every, strict }));
    }

    fn marks(&self) -> Marks {
        *self.handle.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, f: impl FnOnce(&mut Marks)) {
        f(&mut self.handle.marks.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Closes the channel to new operations: each gets [`ChannelError::Closed`]. Operations that
    /// were submitted before still complete.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// let before = peer.call_read(0, 5);
    /// peer.close();
    /// let after = peer.call_read(0, 5);
    /// far.write_all(b"hello")?;
    /// assert_eq!(before.wait()??.flatten(), "hello");
    /// assert!(after.wait()?.unwrap_err().error.is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "dispatch_io_close")]
    pub fn close(&self) {
        self.end(false);
    }

    fn end(&self, stop: bool) {
        let id = self.handle.id;
        self.handle.closed.store(true, Relaxed);
        at(&self.handle.desk, move |core, desk| core.close(desk, id, stop));
    }

    /// As [`close`](Self::close), but unfinished operations of this channel end with
    /// [`ChannelError::Stopped`] and the part that was done. A system call on a busy disk is waited
    /// for, so no bytes are lost.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _silent) = UnixStream::pair()?;
    /// let peer = Channel::stream(near, &Queue::new("peer"))?;
    /// let read = peer.call_read(0, 5);
    /// peer.stop();
    /// assert!(read.wait()?.unwrap_err().error.is_closed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "DISPATCH_IO_STOP")]
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
///
/// ```
/// use singletrack_io::channel::{Channel, ChannelBuilder};
/// use singletrack_queues::Queue;
/// use std::os::unix::net::UnixStream;
///
/// fn logged(label: &'static str) -> ChannelBuilder {
///     Channel::builder(&Queue::new(label)).on_cleanup(move |_| println!("{label} has ended"))
/// }
/// let (near, _far) = UnixStream::pair()?;
/// let peer = logged("peer").stream(near)?;
/// # drop(peer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is made before one of `stream`, `random`, `stream_path` and `random_path`"]
pub struct ChannelBuilder {
    queue: HandlerQueue,
    cleanup: Option<(Submitter, Cleanup)>,
}

impl ChannelBuilder {
    /// Runs `cleanup` on the queue, once, when the channel and its siblings are closed and all
    /// their operations and barriers are over; nothing of theirs runs afterwards. It gets the
    /// descriptor, as it was, or `None` if a path was never opened. Without this the descriptor is
    /// closed then.
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::{fs::OpenOptions, sync::mpsc};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let manifest = Channel::builder(&Queue::new("reader"))
    ///     .on_cleanup(move |fd| tell.send(fd.is_some()).unwrap())
    ///     .random_path("Cargo.toml", OpenOptions::new().read(true))?;
    /// drop(manifest);
    /// assert!(!told.recv()?, "it was never opened");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn on_cleanup<F: FnOnce(Option<OwnedFd>) + Send + 'static>(mut self, cleanup: F) -> Self {
        self.cleanup = Some((self.queue.submitter(), Box::new(cleanup)));
        self
    }

    /// See [`Channel::stream`].
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let peer = Channel::builder(&Queue::new("peer")).on_cleanup(|_| println!("ended")).stream(near)?;
    /// peer.close();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there; the cleanup is then dropped without running.
    #[doc(alias = "dispatch_io_create")]
    #[doc(alias = "dispatch_io_create_f")]
    #[doc(alias = "DISPATCH_IO_STREAM")]
    pub fn stream(self, fd: impl Into<OwnedFd>) -> Result<Channel, ChannelError> {
        self.of(fd.into(), Order::Stream)
    }

    /// See [`Channel::random`].
    ///
    /// ```
    /// use singletrack_io::{Channel, ChannelError};
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let error = Channel::builder(&Queue::new("peer")).random(near).unwrap_err();
    /// assert!(matches!(error, ChannelError::NoOffsets { .. }), "a socket has none");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As there; the cleanup is then dropped without running.
    #[doc(alias = "dispatch_io_create")]
    #[doc(alias = "dispatch_io_create_f")]
    #[doc(alias = "DISPATCH_IO_RANDOM")]
    pub fn random(self, fd: impl Into<OwnedFd>) -> Result<Channel, ChannelError> {
        self.of(fd.into(), Order::Random)
    }

    /// See [`Channel::stream_path`].
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::fs::OpenOptions;
    ///
    /// let manifest = Channel::builder(&Queue::new("reader"))
    ///     .on_cleanup(|fd| println!("closing {fd:?}"))
    ///     .stream_path("Cargo.toml", OpenOptions::new().read(true))?;
    /// assert_eq!(manifest.call_read(0, 9).wait()??.flatten(), "[package]");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As there.
    #[doc(alias = "dispatch_io_create_with_path")]
    #[doc(alias = "dispatch_io_create_with_path_f")]
    pub fn stream_path(self, path: impl AsRef<Path>, options: &OpenOptions) -> Result<Channel, ChannelError> {
        self.at_path(path.as_ref(), options, Order::Stream)
    }

    /// See [`Channel::random_path`].
    ///
    /// ```
    /// use singletrack_io::Channel;
    /// use singletrack_queues::Queue;
    /// use std::fs::OpenOptions;
    ///
    /// let manifest = Channel::builder(&Queue::new("reader"))
    ///     .on_cleanup(|fd| println!("closing {fd:?}"))
    ///     .random_path("Cargo.toml", OpenOptions::new().read(true))?;
    /// assert_eq!(manifest.call_read(1, 7).wait()??.flatten(), "package");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As `stream_path`.
    #[doc(alias = "dispatch_io_create_with_path")]
    #[doc(alias = "dispatch_io_create_with_path_f")]
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
        let desk = Core::new(&DiskPool::get()?, name.clone(), order, place, id, cleanup);
        Ok((Channel::new(desk.clone(), name, order, id, &queue), desk))
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("queue", &self.queue).finish_non_exhaustive()
    }
}
