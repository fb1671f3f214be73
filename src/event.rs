//! Events of the system on a queue: descriptors, signals, processes, files, memory pressure.
//!
//! An [`EventSource`] is a [`Source`] that the system signals: its handler runs on its queue, never twice at once; what happens
//! while it runs or is suspended is merged into one call. Here is the handle and the way from a descriptor to a handler; each
//! kind of event has a file of its own. Who waits for the descriptors is [`Io::of`]'s answer: nobody needs to know.
//! Not for: reading, writing, or reaping what is told of; that is the handler's business.
//!
//! Rules:
//! - A source has a descriptor of its own, a duplicate of the one that it was given: so any number of sources watch one
//!   descriptor, and one that is closed too early and whose number is used again never mixes up two owners.
//! - The descriptor lives in the handler. So it is closed before the cancel handler runs, and after the last event.
//! - What cannot be watched is an error at once, with the label of the queue and the reason.
//!
//! ```
//! use singletrack::{EventSource, Queue};
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
mod look;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(target_os = "linux")]
mod process;
mod signal;

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, OnceLock};

use singletrack_queues::{Merge, NotSuspended, Queue, Source, SourceBuilder, WeakSource};

use crate::io::{FIRST_FREE_BIT, Interest, Io};

pub use descriptor::More;
pub use error::EventError;
pub use files::{Change, Changes};
#[cfg(target_os = "linux")]
pub use memory::Pressure;
#[cfg(target_os = "linux")]
pub use process::ProcessEnd;
pub use signal::signals;

/// A source looks again by itself: its handler ran, and there may be more.
const AGAIN: u64 = FIRST_FREE_BIT;
/// The program wants it to look.
const ASKED: u64 = FIRST_FREE_BIT << 1;

/// A handler on a queue that the system calls.
///
/// Made by a function per kind of event: [`readable`](Self::readable), [`writable`](Self::writable), [`signal`](Self::signal),
/// [`process_exit`](Self::process_exit), [`file_changes`](Self::file_changes), [`memory_pressure`](Self::memory_pressure). Each
/// takes a queue, or a [`Source::builder`] with handlers for the beginning and the end:
///
/// ```
/// # use singletrack::{EventSource, Queue, Source};
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
/// A handle; cloning it does not clone the handler. When the last one is dropped the source ends: what waits is still handled,
/// then it is as if cancelled.
#[derive(Clone)]
#[must_use = "an event source ends when its last handle is dropped"]
pub struct EventSource {
    source: Source,
}

impl EventSource {
    /// The queue that the handler runs on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        self.source.queue()
    }

    /// Holds the handler until [`resume`](Self::resume): what happens meanwhile is one call then. See [`Source::suspend`].
    ///
    /// # Panics
    /// When it is suspended 2^31 - 1 times already.
    pub fn suspend(&self) {
        self.source.suspend();
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.source.resume()
    }

    /// Has the source look at what it watches, and call the handler if there is something: for a handler that left bytes
    /// where they were, or that had nothing to write then. From any thread; many calls are one look.
    pub fn again(&self) {
        self.source.merge(ASKED);
    }

    /// Ends the source: the handler does not begin to run any more; the one that runs ends, then what it captured is dropped,
    /// then the [cancel handler](SourceBuilder::on_cancel) runs. See [`Source::cancel`].
    #[track_caller]
    pub fn cancel(&self) {
        self.source.cancel();
    }

    /// Was it cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.source.is_cancelled()
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource").field("queue", self.queue()).field("cancelled", &self.is_cancelled()).finish()
    }
}

/// A source as its own handler sees it: it does not keep itself.
#[derive(Clone, Default)]
struct Own(Arc<OnceLock<WeakSource>>);

impl Own {
    fn merge(&self, bits: u64) {
        if let Some(source) = self.0.get().and_then(WeakSource::upgrade) {
            source.merge(bits);
        }
    }
}

/// Makes the source that `turn` is the handler of; nothing signals it yet.
#[track_caller]
fn unsignalled(builder: SourceBuilder, own: &Own, turn: impl FnMut(u64) + Send + 'static) -> EventSource {
    let source = builder.merging(Merge::Or).build(turn);
    own.0.get_or_init(|| source.downgrade());
    EventSource { source }
}

/// Has a poller watch `watched`, which `turn` gets whenever something happened.
#[track_caller]
fn watched<D: AsFd + AsRawFd + Send + 'static>(
    builder: SourceBuilder,
    watched: D,
    interest: Interest,
    own: &Own,
    mut turn: impl FnMut(&D, u64) + Send + 'static,
) -> std::io::Result<EventSource> {
    let (registered, attach) = Io::of(builder.queue())?.register(watched, interest)?;
    let made = unsignalled(builder, own, move |signals| turn(&registered, signals));
    attach.to_weak(&made.source);
    Ok(made)
}
