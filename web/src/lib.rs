//! HTTP/1.1 request heads and WebSocket (RFC 6455) as pure state machines: bytes in, events out;
//! messages in, frames out.
//!
//! There is no socket, thread, clock, queue or log in here. A server reads and writes in its own
//! way, and passes the bytes; so does a test.
//!
//! ```
//! use singletrack_web::ws::{self, Decoder, Event, Opcode, Role};
//! use singletrack_web::{Limits, Message, http};
//!
//! // The head of a request, and the answer that makes the connection a WebSocket.
//! let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
//!              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
//! let limits = Limits::default();
//! let (request, _) = http::parse(head, &limits)?.expect("a whole head");
//! let answer = ws::accept(request.upgrade().expect("a handshake"));
//! assert!(answer.starts_with(b"HTTP/1.1 101"));
//!
//! // A frame of the client, and the frame that answers it.
//! let mut bytes = ws::encode_frame(true, Opcode::Text, b"hi", Some([1, 2, 3, 4]));
//! let event = Decoder::new(Role::Server).decode(&mut &mut bytes[..], &limits)?;
//! assert_eq!(event, Some(Event::Message(Message::text("hi"))));
//! assert_eq!(&Message::text("hi").frame()[..], b"\x81\x02hi");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where to go next:
//!
//! - [`http::parse`] reads a [`Request`] or says why not, with a [`Reject`]. [`http::Response`] is
//!   an answer. [`OriginPolicy`] says which pages may connect.
//! - [`ws::Decoder`] puts the frames of a peer together to messages. [`Message`] and [`Close`] are
//!   encoded once, for any number of peers.
//! - [`Outbox`]: the frames that wait for one peer, bounded, with a policy for those that do not
//!   keep up.
//! - [`Limits`]: every limit on what comes from outside, with its unit and its default.
// Contributors: the modules stand in reading order. Each imports only from those below it. Nothing
// of the other packages is imported.
#![forbid(unsafe_code)]

pub mod outbox;
pub use outbox::{Outbox, SlowMember};

pub mod ws;
pub use ws::{Close, CloseCode, Message};

pub mod http;
pub use http::{OriginPolicy, Reject, Request};

pub mod limits;
pub use limits::Limits;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
