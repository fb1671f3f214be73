//! Events of the system on a queue: descriptors, signals, processes, files, memory pressure.
//!
//! An [`EventSource`] is a [`Source`] that the system signals. Its handler runs on its queue, never
//! twice at once. Events while it runs or is suspended are merged into one call. This file has the
//! handle and the way from a descriptor to a handler; each kind of event has a file of its own.
//! [`Io::of`] finds the thread that waits for the descriptors; the program does not need to know
//! it. Not for: reading, writing, or reaping; the handler does that.
//!
//! Rules:
//! - A source has a descriptor of its own, a duplicate of the one that it was given. So any number
//!   of sources watch one descriptor. If one is closed too early and its number is used again, the
//!   two owners never mix.
//! - The descriptor lives in the handler. So it is closed before the cancel handler runs, and after
//!   the last event.
//! - A descriptor that cannot be watched is an error at once, with the label of the queue and the
//!   reason.
//!
//! ```
//! use singletrack_io::EventSource;
//! use singletrack_queues::Queue;
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//!
//! let (mut near, mut far) = UnixStream::pair()?;
//! let (tell, told) = std::sync::mpsc::channel();
//! let source = EventSource::readable(&Queue::new("input"), near.try_clone()?, move |bytes| {
//!     let mut buffer = vec![0; bytes as usize];
//!     near.read_exact(&mut buffer).unwrap();
//!     tell.send(buffer).unwrap();
//! })?;
//! far.write_all(b"hello")?;
//! assert_eq!(told.recv()?, b"hello");
//! source.cancel();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod descriptor;
mod error;
mod files;
mod lent;
mod look;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod process;
mod signal;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use singletrack_queues::{Merge, NotSuspended, Queue, Source, SourceBuilder, WeakSource};

use crate::poller::{FIRST_FREE_BIT, Interest};
use crate::pollers::Io;

pub use descriptor::More;
pub use error::EventError;
pub use files::{Change, Changes};
pub use lent::Lent;
#[cfg(target_os = "linux")]
pub use memory::Pressure;
#[cfg(target_os = "linux")]
pub use process::ProcessEnd;
pub use signal::signals;

/// The source looks again by itself: its handler ran, and there may be more.
const AGAIN: u64 = FIRST_FREE_BIT;
/// The program asked the source to look.
const ASKED: u64 = FIRST_FREE_BIT << 1;

/// A handler on a queue that the system calls.
///
/// Made by a function per kind of event: [`readable`](Self::readable),
/// [`writable`](Self::writable), [`signal`](Self::signal), [`process_exit`](Self::process_exit),
/// [`file_changes`](Self::file_changes), [`memory_pressure`](Self::memory_pressure). Each takes a
/// queue of any kind, or a [`Source::builder`] with handlers for the beginning and the end:
///
/// ```
/// # use singletrack_io::EventSource;
/// # use singletrack_queues::{Queue, Source};
/// # use std::os::unix::net::UnixStream;
/// # let (socket, _far) = UnixStream::pair()?;
/// # let (tell, told) = std::sync::mpsc::channel();
/// let watched = socket.try_clone()?;
/// let builder = Source::builder(&Queue::new("input")).on_cancel(move || {
///     drop(socket); // after the last event: the place to close it
///     tell.send("closed").unwrap();
/// });
/// let source = EventSource::readable(builder, &watched, |bytes| println!("{bytes} bytes"))?;
/// source.cancel();
/// # assert_eq!(told.recv()?, "closed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`on`](Self::on) makes the same sources with handlers that borrow an
/// [`Isolated`](singletrack_queues::Isolated) value.
///
/// A handle; cloning it does not clone the handler. When the last handle is dropped the source
/// ends: pending events are still handled, then the source ends as if cancelled.
#[derive(Clone)]
#[must_use = "an event source ends when its last handle is dropped"]
pub struct EventSource {
    source: Source,
}

impl EventSource {
    /// Returns the name of the queue that the handler runs on.
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let input = Queue::new("input");
    /// let source = EventSource::readable(&input, &near, |bytes| println!("{bytes} bytes"))?;
    /// assert_eq!(source.label(), "input");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.source.label()
    }

    /// Returns the serial queue that the handler runs on; see [`Source::queue`].
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let input = Queue::new("input");
    /// let source = EventSource::readable(&input, &near, |bytes| println!("{bytes} bytes"))?;
    /// assert_eq!(source.queue(), Some(&input));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        self.source.queue()
    }

    /// Holds the handler back until [`resume`](Self::resume), which merges the events in between
    /// into one call. See [`Source::suspend`].
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let (tell, told) = mpsc::channel();
    /// let source = EventSource::readable(&Queue::new("input"), &near, move |bytes| {
    ///     tell.send(bytes).unwrap_or_default();
    /// })?;
    /// source.suspend();
    /// far.write_all(b"hello, ")?;
    /// far.write_all(b"world")?;
    /// source.resume()?;
    /// assert_eq!(told.recv()?, 12, "one call for both");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When it is suspended 2^31 - 1 times already.
    pub fn suspend(&self) {
        self.source.suspend();
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let source = EventSource::readable(&Queue::new("input"), &near, |_| ())?;
    /// source.suspend();
    /// assert!(source.resume().is_ok());
    /// assert!(source.resume().is_err(), "it is not suspended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.source.resume()
    }

    /// Makes the source look at its descriptor, and call the handler if it is ready. This is for a
    /// handler that left bytes unread, or that had nothing to write before. It may be called from
    /// any thread; many calls are merged into one look.
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let (tell, told) = mpsc::channel();
    /// let source = EventSource::readable(&Queue::new("input"), &near, move |bytes| {
    ///     tell.send(bytes).unwrap_or_default();
    /// })?;
    /// far.write_all(b"hello")?;
    /// assert_eq!(told.recv()?, 5);
    /// // The handler took nothing, so it is not called before more arrives.
    /// source.again();
    /// assert_eq!(told.recv()?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn again(&self) {
        self.source.merge(ASKED);
    }

    /// Ends the source. The handler does not begin to run any more; a running call ends. Then the
    /// handler's captures are dropped, and the [cancel handler](SourceBuilder::on_cancel) runs. See
    /// [`Source::cancel`].
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::{os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let (tell, told) = mpsc::channel();
    /// let source = EventSource::readable(&Queue::new("input"), &near, move |bytes| tell.send(bytes).unwrap())?;
    /// source.cancel();
    /// assert!(told.recv().is_err(), "the handler was dropped");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn cancel(&self) {
        self.source.cancel();
    }

    /// Is it cancelled?
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::Queue;
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let source = EventSource::readable(&Queue::new("input"), &near, |_| ())?;
    /// assert!(!source.is_cancelled());
    /// source.cancel();
    /// assert!(source.is_cancelled());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.source.is_cancelled()
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource").field("queue", &self.label()).field("cancelled", &self.is_cancelled()).finish()
    }
}

/// A handler's reference to its own source, which does not keep the source.
#[derive(Clone, Default)]
struct Own(Arc<OnceLock<WeakSource>>);

impl Own {
    fn merge(&self, bits: u64) {
        if let Some(source) = self.0.get().and_then(WeakSource::upgrade) {
            source.merge(bits);
        }
    }

    fn merge_after(&self, delay: Duration, bits: u64) {
        if let Some(source) = self.0.get().and_then(WeakSource::upgrade) {
            source.merge_after(delay, bits);
        }
    }
}

/// Makes the source whose handler is `turn`; nothing signals it yet.
#[track_caller]
fn unsignalled(builder: SourceBuilder, own: &Own, turn: impl FnMut(u64) + Send + 'static) -> EventSource {
    let source = builder.merging(Merge::Or).build(turn);
    own.0.get_or_init(|| source.downgrade());
    EventSource { source }
}

/// Makes a poller watch `watched`; `turn` gets it at each event.
#[track_caller]
fn watched<D: AsFd + AsRawFd + Send + 'static>(
    builder: SourceBuilder,
    watched: D,
    interest: Interest,
    own: &Own,
    mut turn: impl FnMut(&D, u64) + Send + 'static,
) -> std::io::Result<EventSource> {
    let (registered, attach) = Io::of(&builder.runtime())?.register(watched, interest)?;
    let made = unsignalled(builder, own, move |signals| turn(&registered, signals));
    attach.to_weak(&made.source);
    Ok(made)
}
