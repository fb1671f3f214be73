//! Sources that are called when a descriptor can be read or written.
//!
//! Pollers report edges, each once; users expect levels: the handler is called until nothing is
//! left. So after each call the source signals itself, and the next run looks at what the handler
//! left:
//!
//! | signalled | found | then |
//! |---|---|---|
//! | an event, or `again` | bytes | signal ourselves, call the handler |
//! | by ourselves | other bytes than before the last call | the same: the handler took some, or more came |
//! | by ourselves | exactly as many as before | none were taken: no call until an event or `again` |
//! | by ourselves | it cannot be counted | call; after [`PATIENCE`] calls in a row, one pause |
//! | any | nothing | wait for an event |
//! | any | the end | call with 0, once |
//!
//! No event is lost, because an arrival after a look is an edge that is reported after it and leads
//! to another run. So "as many as before" is wrong only when bytes came while others were taken,
//! and then the event that reports them is still to come.
//!
//! It cannot be counted whether a *writer* wrote: a fast peer has taken the bytes before the look.
//! So its handler says if it wants more. Not for: counting what is there (`look`), and waiting
//! (`poller`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use singletrack_queues::SourceBuilder;

use super::error::refused;
use super::look::{self, Found};
use super::{AGAIN, ASKED, EventError, EventSource, Own, unsignalled};
use crate::poller::Interest;
use crate::pollers::Io;

/// After this many equal looks in a row, where that proves nothing, the handler counts as one that
/// does not read.
const PATIENCE: u32 = 10_000;
/// Such a handler is called no more often than this, until an event.
const PAUSE: Duration = Duration::from_secs(1);

/// The answer of a handler that writes.
///
/// ```
/// use singletrack_io::{EventSource, event::More};
/// use singletrack_queues::Queue;
/// use std::{io::{Read, Write}, os::unix::net::UnixStream};
///
/// let (near, mut far) = UnixStream::pair()?;
/// let (mut lines, mut output) = (["one ", "two ", "three"].into_iter(), near.try_clone()?);
/// let source = EventSource::writable(&Queue::new("output"), near, move |_room| match lines.next() {
///     Some(line) => {
///         output.write_all(line.as_bytes()).unwrap();
///         More::Again
///     }
///     None => More::Wait,
/// })?;
/// let mut text = [0; 13];
/// far.read_exact(&mut text)?;
/// assert_eq!(&text, b"one two three");
/// # drop(source);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum More {
    /// It has more to write: call it as soon as there is room.
    Again,
    /// It has nothing to write now: do not call it before it has filled the buffers and room
    /// appears, or before [`EventSource::again`].
    Wait,
}

impl EventSource {
    /// Calls `handler` on the queue when `descriptor` has something to read. The argument is the
    /// approximate number of bytes. It is 1 where the system does not count, such as for
    /// connections to accept, and 0 once, when the other side has ended and everything was read.
    ///
    /// The descriptor may be any that can be polled: a socket, a pipe, a terminal, an eventfd. It
    /// is duplicated, so the caller keeps its own, and any number of sources may watch it. Until
    /// this source has ended, the duplicate keeps a socket open, so its peer does not see an end.
    /// To close it, cancel, and close it in the cancel handler.
    ///
    /// A handler need not read everything: it is called until nothing is left. A handler that takes
    /// nothing is not called again before more arrives, or before [`again`](Self::again). Where the
    /// source cannot see that (datagrams, counters, connections to accept), it calls the handler
    /// ten thousand times in a row, and then once a second, with a warning in the log. Arrivals
    /// while the handler runs, or while the source is suspended, are merged into one call. The
    /// descriptor should be non-blocking if the handler reads more than the reported number.
    ///
    /// A regular file is always ready. The handler is called with the number of bytes behind the
    /// position, as long as it moves the position, and with 0 at the end. Bytes that are appended
    /// later are reported only after [`again`](Self::again).
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::net::{TcpListener, TcpStream};
    /// use std::sync::mpsc;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let (address, (tell, told)) = (listener.local_addr()?, mpsc::channel());
    /// let source = EventSource::readable(&Queue::new("doorman"), listener.try_clone()?, move |_| {
    ///     let (_peer, address) = listener.accept().unwrap();
    ///     tell.send(address).unwrap();
    /// })?;
    /// let client = TcpStream::connect(address)?;
    /// assert_eq!(told.recv()?, client.local_addr()?);
    /// source.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the descriptor cannot be read or watched, or the system has no descriptor or memory for
    /// it, or the queue takes nothing any more (see [`EventError::gone`]).
    #[track_caller]
    #[doc(alias = "dispatch_source_get_handle")]
    pub fn readable<D, F>(on: impl Into<SourceBuilder>, descriptor: D, handler: F) -> Result<EventSource, EventError>
    where
        D: AsFd,
        F: FnMut(u64) + Send + 'static,
    {
        let builder = on.into();
        let label = builder.label().to_string();
        let own = Own::default();
        let counts = !look::is_datagram(&descriptor);
        let mut reading = Reading { handler, label, counts, own: own.clone(), told_end: false, last: None, alike: 0 };
        READ.make(builder, descriptor.as_fd(), &own, move |found, signals| reading.turn(found, signals))
    }

    /// Calls `handler` on the queue when `descriptor` has room for more bytes. The argument is the
    /// approximate room. It is 1 where the system does not say, and 0 once, when the other side is
    /// gone. The handler says whether it has [`More`].
    ///
    /// Everything else is as for [`readable`](Self::readable). A regular file always has room.
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::More};
    /// use singletrack_queues::Queue;
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (mut near, mut far) = UnixStream::pair()?;
    /// let (mut rest, watched) = (vec![7; 1 << 20], near.try_clone()?);
    /// near.set_nonblocking(true)?;
    /// let source = EventSource::writable(&Queue::new("output"), &watched, move |_room| {
    ///     if let Ok(count) = near.write(&rest) {
    ///         rest.drain(..count);
    ///     }
    ///     if rest.is_empty() { More::Wait } else { More::Again }
    /// })?;
    /// far.read_exact(&mut vec![0; 1 << 20])?;
    /// # drop(source);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`readable`](Self::readable).
    #[track_caller]
    pub fn writable<D, F>(on: impl Into<SourceBuilder>, descriptor: D, handler: F) -> Result<EventSource, EventError>
    where
        D: AsFd,
        F: FnMut(u64) -> More + Send + 'static,
    {
        let own = Own::default();
        let mut writing = Writing { handler, own: own.clone(), told_end: false };
        WRITE.make(on.into(), descriptor.as_fd(), &own, move |found, signals| writing.turn(found, signals))
    }
}

/// The direction: reading or writing.
struct Direction {
    interest: Interest,
    name: &'static str,
    /// The access mode that rules this direction out.
    other_way: OFlags,
    look: fn(&OwnedFd) -> Found,
    look_unwatched: fn(&OwnedFd) -> Found,
}

const READ: Direction = Direction {
    interest: Interest::Readable,
    name: "reading",
    other_way: OFlags::WRONLY,
    look: look::to_read,
    look_unwatched: look::to_read_unwatched,
};
const WRITE: Direction = Direction {
    interest: Interest::Writable,
    name: "writing",
    other_way: OFlags::RDONLY,
    look: look::to_write,
    look_unwatched: look::to_write_unwatched,
};

impl Direction {
    #[track_caller]
    fn make(
        &self,
        builder: SourceBuilder,
        descriptor: BorrowedFd<'_>,
        own: &Own,
        turn: impl FnMut(Found, u64) + Send + 'static,
    ) -> Result<EventSource, EventError> {
        let label = builder.label().to_string();
        let (name, number) = (self.name, descriptor.as_raw_fd());
        EventError::unless_gone(&builder, format_args!("{name} on descriptor {number}"))?;
        // Not `map_err`: `#[track_caller]` passes the place of the call on.
        match self.try_make(builder, descriptor, own, turn) {
            Ok(made) => Ok(made),
            Err(why) => Err(EventError::new(&label, format_args!("{name} on descriptor {number}"), why)),
        }
    }

    #[track_caller]
    fn try_make(
        &self,
        builder: SourceBuilder,
        descriptor: BorrowedFd<'_>,
        own: &Own,
        mut turn: impl FnMut(Found, u64) + Send + 'static,
    ) -> io::Result<EventSource> {
        if fcntl_getfl(descriptor)? & OFlags::ACCMODE == self.other_way {
            return Err(refused(io::ErrorKind::InvalidInput, format!("it is not open for {}", self.name)));
        }
        let duplicate = || fcntl_dupfd_cloexec(descriptor, 0);
        match Io::of(&builder.runtime())?.register(duplicate()?, self.interest) {
            Ok((registered, attach)) => {
                let look = self.look;
                let made = unsignalled(builder, own, move |bits| turn(look(&registered), bits));
                attach.to_weak(&made.source);
                Ok(made)
            }
            // The system's answer for a descriptor without events: it is always ready.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::PERM) => {
                if FileType::from_raw_mode(fstat(descriptor)?.st_mode) == FileType::Directory {
                    return Err(refused(
                        io::ErrorKind::IsADirectory,
                        "it is a directory: see EventSource::file_changes",
                    ));
                }
                let (descriptor, look) = (duplicate()?, self.look_unwatched);
                let made = unsignalled(builder, own, move |bits| turn(look(&descriptor), bits));
                made.again();
                Ok(made)
            }
            Err(error) => Err(error),
        }
    }
}

/// A handler that reads, and the result of the look before its last call.
struct Reading<F> {
    handler: F,
    label: String,
    /// Does the count cover everything that is there?
    counts: bool,
    own: Own,
    told_end: bool,
    last: Option<Found>,
    /// Calls in a row that followed no new event and an equal look.
    alike: u32,
}

impl<F: FnMut(u64)> Reading<F> {
    fn turn(&mut self, found: Found, signals: u64) {
        if signals != AGAIN {
            (self.last, self.alike) = (None, 0);
        }
        match found {
            Found::Nothing => (self.last, self.told_end) = (None, false),
            Found::End => {
                if !std::mem::replace(&mut self.told_end, true) || signals & ASKED != 0 {
                    (self.handler)(0);
                }
            }
            Found::Ready { exact: true, .. } if self.counts && self.last == Some(found) => {}
            Found::Ready { bytes, .. } => {
                self.alike = if self.last == Some(found) { self.alike + 1 } else { 0 };
                self.told_end = false;
                if self.alike == PATIENCE {
                    return self.pause();
                }
                self.last = Some(found);
                // Before the call, which may panic. The next run comes after it, and behind the
                // blocks that wait in the queue.
                self.own.merge(AGAIN);
                (self.handler)(bytes);
            }
        }
    }

    fn pause(&mut self) {
        self.alike = 0;
        log::warn!(
            "a source on queue \"{}\" was called {PATIENCE} times and seems to read nothing: cancel it, or suspend it",
            self.label
        );
        self.own.merge_after(PAUSE, AGAIN);
    }
}

/// A handler that writes.
struct Writing<F> {
    handler: F,
    own: Own,
    told_end: bool,
}

impl<F: FnMut(u64) -> More> Writing<F> {
    fn turn(&mut self, found: Found, signals: u64) {
        match found {
            Found::Nothing => {}
            Found::End => {
                if !std::mem::replace(&mut self.told_end, true) || signals & ASKED != 0 {
                    let _no_more = (self.handler)(0);
                }
            }
            Found::Ready { bytes, .. } => {
                if (self.handler)(bytes) == More::Again {
                    self.own.merge(AGAIN);
                }
            }
        }
    }
}
