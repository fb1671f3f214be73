//! What a program gives to serve a path of its own: callbacks that run on the connection's queue.
//!
//! A [`Handler`] belongs to one connection and is confined to its queue, so it may keep state without locks; a [`Conn`] is a handle
//! to the connection that may be kept and used anywhere. Not for: how bytes get in and out (`conn`).
//! Rule: whatever a handler is told, it is told on the connection's queue: `open` first, `close` once and last.

use std::fmt;
use std::sync::Arc;

use singletrack_queues::Queue;

use crate::directory::Seat;
use crate::http::{Reject, Request};
use crate::room::Member;
use crate::ws::{Close, CloseCode, Message};

/// Serves one WebSocket. All callbacks run on the connection's queue, one at a time.
///
/// A panic in a callback is logged and counted, and closes this connection with 1011; nobody else notices. A callback that
/// blocks delays its own connection only, but occupies a thread: see [`blocking`](singletrack_queues::blocking).
pub trait Handler: Send + 'static {
    /// The handshake is done.
    fn open(&mut self, _conn: &Conn, _request: &Request) {}

    /// A whole text or binary message has arrived. No more is read while too much waits to be written to this peer.
    fn message(&mut self, conn: &Conn, message: Message);

    /// The connection is over. `close` is what the peer said, or what it was told; 1006 if it just went away.
    fn close(&mut self, _conn: &Conn, _close: &Close) {}

    /// The server is about to stop and reads no more: the last occasion to send something. Close 1001 follows.
    fn drain(&mut self, _conn: &Conn) {}
}

/// A handle to a WebSocket: may be kept, cloned, and used from any thread, also after the connection is gone.
#[derive(Clone)]
pub struct Conn {
    member: Member,
}

impl Conn {
    pub(crate) fn new(member: Member) -> Conn {
        Conn { member }
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// A number that no other connection of this server has or had.
    pub fn id(&self) -> u64 {
        self.member.id()
    }

    /// The queue on which the handler is called: submit to it to do something between two callbacks.
    pub fn queue(&self) -> &Queue {
        self.member.queue()
    }

    /// Sends a message. Clones of a message share its bytes, so one message for many connections is encoded once.
    ///
    /// Does not wait: the message is queued and leaves in order. From the handler's callbacks it is always queued; from elsewhere
    /// a peer that does not keep up is treated as the server's policy for slow members says.
    ///
    /// `false`: the message was not queued, since the connection is closing or the peer is too slow.
    pub fn send(&self, message: Message) -> bool {
        let sent = self.member.answer(message.into_frame());
        self.member.count_sent(sent);
        sent
    }

    /// Sends a text message; see [`send`](Self::send).
    pub fn send_text(&self, text: &str) -> bool {
        self.send(Message::text(text))
    }

    /// Sends a binary message; see [`send`](Self::send).
    pub fn send_binary(&self, payload: &[u8]) -> bool {
        self.send(Message::binary(payload))
    }

    /// Closes the connection behind what was sent so far. A code that may not be sent is left out.
    pub fn close(&self, code: CloseCode, reason: impl Into<std::borrow::Cow<'static, str>>) {
        let close = Close::new(code, reason);
        let frame = close.frame();
        self.member.close(close, frame);
    }

    /// Bytes that wait to be written to this peer.
    pub fn buffered(&self) -> usize {
        self.member.output().outbox.bytes()
    }
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn").field("id", &self.id()).finish()
    }
}

/// Makes the handler of a connection from its handshake, or refuses it.
pub(crate) type Factory = Arc<dyn Fn(&Request) -> Result<Box<dyn Handler>, Reject> + Send + Sync>;

/// Sends every message back: what `/echo` does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Handler for Echo {
    fn message(&mut self, conn: &Conn, message: Message) {
        conn.send(message);
    }
}

/// A member of a room: tells it whatever the peer says.
#[derive(Debug)]
pub(crate) struct InRoom {
    pub(crate) seat: Seat,
}

impl Handler for InRoom {
    fn open(&mut self, conn: &Conn, _request: &Request) {
        self.seat.join(conn.member());
    }

    fn message(&mut self, conn: &Conn, message: Message) {
        self.seat.say(conn.member(), message);
    }
}
