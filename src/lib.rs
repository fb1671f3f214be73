//! Named serial queues over every core, fed by a poller per core, and a WebSocket room server on top of them.
//!
//! The queues are a package of their own, [`queues`], and all of it is re-exported here.
//! This package adds what they have no business with: events of the system ([`event`]), files and pipes ([`channel`]), sockets
//! ([`io`]), HTTP and WebSocket, and rooms.
//!
//! The modules stand in reading order; each imports only from those below it.
#![deny(unsafe_code)]

pub use singletrack_queues as queues;
#[doc(no_inline)]
pub use singletrack_queues::*;

mod server;
pub use server::{RunningServer, Server, ServerBuilder, StopReport};

pub mod channel;
pub use channel::{Channel, ChannelError};

mod conn;

mod handler;
pub use handler::{Conn, Echo, Handler};

mod directory;

mod room;

mod metrics;

pub mod outbox;
pub use outbox::SlowMember;

pub mod data;
pub use data::Data;

pub mod route;

pub mod ws;
pub use ws::{Close, CloseCode, Message};

pub mod http;
pub use http::{OriginPolicy, Reject, Request};

pub mod event;
pub use event::{EventError, EventSource};

pub mod io;

pub mod limits;
pub use limits::Limits;

pub mod error;
pub use error::Error;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
