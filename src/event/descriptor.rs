//! Sources that are called when a descriptor can be read or written.
//!
//! Pollers tell of edges, each once; users expect levels: the handler is called until nothing is left. So after each call the
//! source signals itself, and the next run looks at what the handler left:
//!
//! | signalled | found | then |
//! |---|---|---|
//! | an event, or `again` | bytes | signal ourselves, call the handler |
//! | by ourselves | other bytes than before the last call | the same: the handler took some, or more came |
//! | by ourselves | exactly as many as before | nothing was taken: no call until an event or `again` |
//! | by ourselves | it cannot be counted | call; after [`PATIENCE`] calls in a row, one pause |
//! | any | nothing | wait for an event |
//! | any | the end | call with 0, once |
//!
//! Why no event is lost: what arrives after a look is an edge, told after it, and leads to another run. So "as many as before"
//! may be wrong only when bytes came while others were taken, and then the event that tells of them is still to come.
//!
//! Whether a *writer* wrote cannot be counted: a fast peer has taken it before we look. So its handler says if it wants more.
//! Not for: what is there (`look`), and who waits (`io/poller`).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use singletrack_queues::{Queue, SourceBuilder};

use super::error::refused;
use super::look::{self, Found};
use super::{AGAIN, ASKED, EventError, EventSource, Own, unsignalled};
use crate::io::{Interest, Io};

/// So many calls in a row after which it looked the same, where that proves nothing, are those of a handler that does not read.
const PATIENCE: u32 = 10_000;
/// Then it is called no more often than that, until something happens.
const PAUSE: Duration = Duration::from_secs(1);

/// What a handler that writes wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum More {
    /// It has more to write: call it as soon as there is room.
    Again,
    /// It has nothing to write now: do not call it before it filled the buffers and room appears, or
    /// [`EventSource::again`] says that there is something.
    Wait,
}

impl EventSource {
    /// Calls `handler` on the queue when `descriptor` has something to read, with the number of bytes, about; 1 where the system
    /// does not count, such as connections to accept; 0 once, when the other side has ended and all was read.
    ///
    /// Any descriptor that can be polled: a socket, a pipe, a terminal, an eventfd. It is duplicated: the caller keeps the
    /// one that was given, and any number of sources may watch it. Until this source has ended the duplicate keeps a socket
    /// open, so that its peer does not see an end: cancel, and close it in the cancel handler.
    ///
    /// A handler need not read everything: it is called until nothing is left. One that takes nothing is not called again before
    /// more arrives, or [`again`](Self::again). Where that cannot be told (datagrams, counters, connections to accept) it is
    /// called ten thousand times in a row, then, with a warning in the log, once a second. What arrives while the handler runs,
    /// or the source is suspended, is one call. The descriptor should be non-blocking if the handler reads more than it was told.
    ///
    /// A regular file is always ready: the handler is called with what is left behind the position, while it moves it, and with
    /// 0 at the end. Of bytes that are appended later only [`again`](Self::again) tells.
    ///
    /// # Errors
    /// When the descriptor is none that can be read or watched, or the system has no descriptor or memory for it.
    #[track_caller]
    pub fn readable<D, F>(on: impl Into<SourceBuilder>, descriptor: D, handler: F) -> Result<EventSource, EventError>
    where
        D: AsFd,
        F: FnMut(u64) + Send + 'static,
    {
        let builder = on.into();
        let queue = builder.queue().clone();
        let own = Own::default();
        let counts = !look::is_datagram(&descriptor);
        let mut reading = Reading { handler, queue, counts, own: own.clone(), told_end: false, last: None, alike: 0 };
        READ.make(builder, descriptor.as_fd(), &own, move |found, signals| reading.turn(found, signals))
    }

    /// Calls `handler` on the queue when `descriptor` has room for more bytes: for how many, about; 1 where the system does not
    /// say; 0 once, when the other side is gone. The handler says whether it has [`More`].
    ///
    /// As [`readable`](Self::readable) in everything else. A regular file always has room.
    ///
    /// ```
    /// use singletrack::{EventSource, Queue, event::More};
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

/// Reading or writing.
struct Direction {
    interest: Interest,
    name: &'static str,
    /// What cannot be done with a descriptor that is open for this alone.
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
        let queue = builder.queue().clone();
        // Not `map_err`: the place of the call is handed down.
        match self.try_make(builder, descriptor, own, turn) {
            Ok(made) => Ok(made),
            Err(why) => {
                let (name, number) = (self.name, descriptor.as_raw_fd());
                Err(EventError::new(&queue, format_args!("{name} on descriptor {number}"), why))
            }
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
        match Io::of(builder.queue())?.register(duplicate()?, self.interest) {
            Ok((registered, attach)) => {
                let look = self.look;
                let made = unsignalled(builder, own, move |bits| turn(look(&registered), bits));
                attach.to_weak(&made.source);
                Ok(made)
            }
            // How the system says that it has no events for this: it is always ready.
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

/// A handler that reads, and what was found before its last call.
struct Reading<F> {
    handler: F,
    queue: Queue,
    /// Does what was found say all that there is?
    counts: bool,
    own: Own,
    told_end: bool,
    last: Option<Found>,
    /// Calls in a row that were for no new event and found the same.
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
                // Before the call, which may panic. The run comes after it, and behind what waits in the queue.
                self.own.merge(AGAIN);
                (self.handler)(bytes);
            }
        }
    }

    fn pause(&mut self) {
        self.alike = 0;
        let label = self.queue.label();
        log::warn!(
            "a source on queue \"{label}\" was called {PATIENCE} times and seems to read nothing: cancel it, or suspend it"
        );
        let own = self.own.clone();
        self.queue.submit_after(PAUSE, move || own.merge(AGAIN));
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
