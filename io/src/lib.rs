//! Sockets, files, pipes, signals and processes on the queues of [`singletrack_queues`], without a
//! thread per descriptor and without `async`.
//!
//! A program gives a descriptor and a handler; the handler runs on a queue of the program, so it
//! needs no lock for the state that it shares with other blocks of that queue.
//!
//! ```
//! use singletrack_io::{Channel, EventSource};
//! use singletrack_queues::Queue;
//! use std::{fs::OpenOptions, io::Write, os::unix::net::UnixStream, sync::mpsc};
//!
//! // A handler that is called when there is something to read.
//! let (near, mut far) = UnixStream::pair()?;
//! let (tell, told) = mpsc::channel();
//! let source = EventSource::readable(&Queue::new("input"), near, move |bytes| {
//!     tell.send(bytes).unwrap_or_default();
//! })?;
//! far.write_all(b"hello")?;
//! assert_eq!(told.recv()?, 5);
//! source.cancel();
//!
//! // A whole read, as a task.
//! let file = Channel::random_path("Cargo.toml", OpenOptions::new().read(true), &Queue::new("reader"))?;
//! assert_eq!(file.call_read(0, 9).wait()??.flatten(), "[package]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where to go next:
//!
//! - [`EventSource`]: readable and writable descriptors, signals, the end of a process, changes of
//!   files, memory pressure.
//! - [`Channel`]: reads and writes in order, with high and low water, barriers and backpressure.
//!   [`Data`] is what it reads and writes: bytes that are joined and cut without copies.
//! - [`Io`]: a poller for each worker of a [`Runtime`](singletrack_queues::Runtime), so that the
//!   thread that sees a socket ready is the one that handles it. Without it, one more thread waits
//!   for all descriptors, and programs need do nothing.
//! - [`signal::on_end`]: end in order when the process is asked to.
//! - [`socket`] and [`Poller`]: for servers that register their own sockets.
//!
//! Nothing here interprets the bytes; `singletrack-web` does, for HTTP and WebSocket.
// Contributors: the modules stand in reading order. Each imports only from those below it.
#![deny(unsafe_code)]

pub mod channel;
pub use channel::{Channel, ChannelError};

pub mod data;
pub use data::Data;

pub mod event;
pub use event::{EventError, EventSource};

pub mod signal;

mod pollers;
pub use pollers::Io;

pub mod poller;
pub use poller::{Attach, FIRST_FREE_BIT, HANGUP, Interest, Poller, READABLE, Registered, WRITABLE};

pub mod socket;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
