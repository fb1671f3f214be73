//! Grand Central Dispatch for Rust, with a WebSocket room server on top: named serial queues over
//! all cores, fed by a poller per core.
//!
//! State that many threads need lives on a [`Queue`], and a program submits closures to it instead
//! of taking locks or writing `async`. The server gives each connection and each room a queue of
//! its own, so a handler keeps its state without locks.
//!
//! ```
//! use singletrack::{Conn, Handler, Isolated, Message, Queue, Server};
//! use std::time::Duration;
//!
//! struct Counter(Isolated<u64>);
//!
//! impl Handler for Counter {
//!     fn message(&mut self, conn: &Conn, _: Message) {
//!         let conn = conn.clone();
//!         self.0.submit(move |count| {
//!             *count += 1;
//!             conn.send_text(&format!("message {count} of all connections"));
//!         });
//!     }
//! }
//!
//! let count = Isolated::new(&Queue::new("count"), 0);
//! let server = Server::builder().listen("127.0.0.1:0").handler("/count", move |_| Counter(count.clone()));
//! let server = server.build()?.start()?;
//! println!("listening on ws://{}/count", server.local_addr());
//! let report = server.shutdown(Duration::from_secs(5));
//! assert_eq!(report.cut_off, 0);
//! # Ok::<(), singletrack::Error>(())
//! ```
//!
//! Where to go next:
//!
//! - [`Server`]: what it serves without a line of yours (rooms, an echo, a page), its limits, how
//!   it stops. [`Handler`] and [`Conn`]: WebSockets of your own on a path of your own.
//! - [`Queue`], [`Isolated`], [`Group`], [`Ticker`] and everything else of [`queues`] is here by
//!   its own name. A program without sockets takes that package alone, `singletrack-queues`.
//! - [`EventSource`] and [`Channel`]: events of the system, files, pipes and sockets; more in
//!   [`io`].
//! - [`web`]: HTTP and WebSocket without sockets, for a server or a test of your own.
// Contributors: the modules stand in reading order. Each imports only from those below it.
#![deny(unsafe_code)]

mod server;
pub use server::{RunningServer, Server, ServerBuilder, StopReport};

mod conn;

mod handler;
pub use handler::{Conn, Echo, Handler};

mod directory;

mod room;

mod metrics;

mod route;

pub mod error;
pub use error::Error;

pub use singletrack_web as web;
#[doc(no_inline)]
pub use singletrack_web::{
    Close, CloseCode, Limits, Message, OriginPolicy, Reject, Request, SlowMember, http, limits, ws,
};

pub use singletrack_io as io;
#[doc(no_inline)]
pub use singletrack_io::{Channel, ChannelError, Data, EventError, EventSource, channel, event};

pub use singletrack_queues as queues;
#[doc(no_inline)]
pub use singletrack_queues::*;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
