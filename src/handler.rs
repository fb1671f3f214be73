//! Handlers, with which a program serves a path of its own: callbacks that run on the connection's
//! queue.
//!
//! A [`Handler`] belongs to one connection and is confined to its queue, so it may keep state
//! without locks. A [`Conn`] is a handle to the connection that may be kept and used anywhere. Not
//! for: how bytes get in and out (`conn`). Rule: every callback runs on the connection's queue:
//! `open` first, `close` once and last.

use std::fmt;
use std::sync::Arc;

use singletrack_queues::Queue;
use singletrack_web::http::{Reject, Request};
use singletrack_web::ws::{Close, CloseCode, Message};

use crate::directory::Membership;
use crate::room::Member;

/// Serves one WebSocket. All callbacks run on the connection's queue, one at a time.
///
/// A panic in a callback is logged and counted, and closes this connection with 1011. Nobody else
/// notices. A callback that blocks delays its own connection only, but occupies a thread: see
/// [`blocking`](singletrack_queues::blocking).
///
/// ```
/// use singletrack::{Conn, Handler, Message, Server};
/// # use singletrack_test_client::Client;
///
/// /// Answers in capitals, and counts.
/// struct Shout(u32);
///
/// impl Handler for Shout {
///     fn message(&mut self, conn: &Conn, message: Message) {
///         self.0 += 1; // no lock: all calls are on the queue of this connection
///         let text = message.as_text().unwrap_or("?").to_uppercase();
///         conn.send_text(&format!("{}: {text}", self.0));
///     }
/// }
///
/// let server = Server::builder().listen("127.0.0.1:0").handler("/shout", |_| Shout(0)).build()?.start()?;
/// let mut ada = Client::open(server.local_addr(), "/shout"); // any WebSocket client
/// ada.send_text("hello");
/// assert_eq!(ada.text(), "1: HELLO");
/// # Ok::<(), singletrack::Error>(())
/// ```
pub trait Handler: Send + 'static {
    /// The handshake is done.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Request, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Welcome;
    ///
    /// impl Handler for Welcome {
    ///     fn open(&mut self, conn: &Conn, request: &Request) {
    ///         conn.send_text(&format!("welcome to {}", request.path()));
    ///     }
    ///     fn message(&mut self, _: &Conn, _: Message) {}
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/inn", |_| Welcome).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/inn"); // any WebSocket client
    /// assert_eq!(ada.text(), "welcome to /inn");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    fn open(&mut self, _conn: &Conn, _request: &Request) {}

    /// A whole text or binary message has arrived. No more is read while too much waits to be
    /// written to this peer.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Isolated, Message, Queue, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// /// Adds up the numbers of all connections.
    /// struct Adder(Isolated<i64>);
    ///
    /// impl Handler for Adder {
    ///     fn message(&mut self, conn: &Conn, message: Message) {
    ///         let number = message.as_text().and_then(|text| text.parse().ok()).unwrap_or(0);
    ///         let conn = conn.clone();
    ///         self.0.submit(move |sum: &mut i64| {
    ///             *sum += number;
    ///             conn.send_text(&sum.to_string());
    ///         });
    ///     }
    /// }
    ///
    /// let sum = Isolated::new(&Queue::new("sum"), 0);
    /// let server = Server::builder()
    ///     .listen("127.0.0.1:0")
    ///     .handler("/add", move |_| Adder(sum.clone()))
    ///     .build()?
    ///     .start()?;
    /// let mut ada = Client::open(server.local_addr(), "/add"); // any WebSocket client
    /// ada.send_text("40");
    /// assert_eq!(ada.text(), "40");
    /// ada.send_text("2");
    /// assert_eq!(ada.text(), "42");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    fn message(&mut self, conn: &Conn, message: Message);

    /// The connection is over. `close` is the close that the peer sent or received, or 1006 if the
    /// peer just went away.
    ///
    /// ```
    /// use singletrack::{Close, CloseCode, Conn, Handler, Message, Server};
    /// use std::sync::mpsc::{Sender, channel};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Guest(Sender<CloseCode>);
    ///
    /// impl Handler for Guest {
    ///     fn message(&mut self, _: &Conn, _: Message) {}
    ///     fn close(&mut self, _: &Conn, close: &Close) {
    ///         self.0.send(close.code).unwrap();
    ///     }
    /// }
    ///
    /// let (tell, told) = channel();
    /// let server = Server::builder()
    ///     .listen("127.0.0.1:0")
    ///     .handler("/inn", move |_| Guest(tell.clone()))
    ///     .build()?
    ///     .start()?;
    /// let ada = Client::open(server.local_addr(), "/inn"); // any WebSocket client
    /// ada.leave();
    /// assert_eq!(told.recv(), Ok(CloseCode::NORMAL));
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    fn close(&mut self, _conn: &Conn, _close: &Close) {}

    /// The server is about to stop and reads no more: the last chance to send something. Close 1001
    /// follows.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Server};
    /// use std::{thread, time::Duration};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Polite;
    ///
    /// impl Handler for Polite {
    ///     fn open(&mut self, conn: &Conn, _: &singletrack::Request) {
    ///         conn.send_text("hello");
    ///     }
    ///     fn message(&mut self, _: &Conn, _: Message) {}
    ///     fn drain(&mut self, conn: &Conn) {
    ///         conn.send_text("goodbye");
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/inn", |_| Polite).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/inn"); // any WebSocket client
    /// assert_eq!(ada.text(), "hello");
    /// let stop = thread::spawn(move || server.shutdown(Duration::from_secs(10)));
    /// assert_eq!(ada.text(), "goodbye");
    /// # drop(ada);
    /// # stop.join().unwrap();
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    fn drain(&mut self, _conn: &Conn) {}
}

/// A handle to a WebSocket. It may be kept, cloned, and used from any thread, also after the
/// connection is gone.
///
/// ```
/// use singletrack::{Conn, Handler, Isolated, Message, Queue, Request, Server};
/// # use singletrack_test_client::Client;
///
/// /// Sends what one says to all who are here.
/// struct Member(Isolated<Vec<Conn>>);
///
/// impl Handler for Member {
///     fn open(&mut self, conn: &Conn, _: &Request) {
///         let conn = conn.clone();
///         self.0.submit(|all| all.push(conn));
///     }
///     fn message(&mut self, _: &Conn, message: Message) {
///         self.0.submit(move |all| all.retain(|conn| conn.send(message.clone())));
///     }
/// }
///
/// let all = Isolated::new(&Queue::new("all"), Vec::new());
/// let server = Server::builder()
///     .listen("127.0.0.1:0")
///     .handler("/all", move |_| Member(all.clone()))
///     .build()?
///     .start()?;
/// let mut ada = Client::open(server.local_addr(), "/all"); // any WebSocket client
/// ada.send_text("anybody here?");
/// assert_eq!(ada.text(), "anybody here?");
/// # Ok::<(), singletrack::Error>(())
/// ```
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
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Request, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Numbered;
    ///
    /// impl Handler for Numbered {
    ///     fn open(&mut self, conn: &Conn, _: &Request) {
    ///         conn.send_text(&conn.id().to_string());
    ///     }
    ///     fn message(&mut self, _: &Conn, _: Message) {}
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/number", |_| Numbered).build()?.start()?;
    /// let [mut ada, mut bob] = [(); 2].map(|()| Client::open(server.local_addr(), "/number")); // any WebSocket client
    /// assert_ne!(ada.text(), bob.text());
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn id(&self) -> u64 {
        self.member.id()
    }

    /// The queue on which the handler is called: submit to it to do something between two
    /// callbacks.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Server};
    /// use std::time::Duration;
    /// # use singletrack_test_client::Client;
    ///
    /// /// Answers a little later, without a thread that waits.
    /// struct Slow;
    ///
    /// impl Handler for Slow {
    ///     fn message(&mut self, conn: &Conn, message: Message) {
    ///         let later = conn.clone();
    ///         conn.queue().submit_after(Duration::from_millis(1), move || {
    ///             later.send(message);
    ///         });
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/slow", |_| Slow).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/slow"); // any WebSocket client
    /// ada.send_text("hello");
    /// assert_eq!(ada.text(), "hello");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn queue(&self) -> &Queue {
        self.member.queue()
    }

    /// Sends a message. Clones of a message share its bytes, so one message for many connections is
    /// encoded once.
    ///
    /// Does not wait: the message is queued and leaves in order. From the handler's callbacks it is
    /// always queued. From elsewhere, the server's policy for slow members applies to a peer that
    /// does not keep up.
    ///
    /// `false`: the message was not queued, since the connection is closing or the peer is too
    /// slow.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Twice;
    ///
    /// impl Handler for Twice {
    ///     fn message(&mut self, conn: &Conn, message: Message) {
    ///         conn.send(message.clone()); // shares the bytes
    ///         conn.send(message);
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/twice", |_| Twice).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/twice"); // any WebSocket client
    /// ada.send_text("hello");
    /// assert_eq!((ada.text(), ada.text()), ("hello".into(), "hello".into()));
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn send(&self, message: Message) -> bool {
        let sent = self.member.answer(message.into_frame());
        self.member.count_sent(sent);
        sent
    }

    /// Sends a text message; see [`send`](Self::send).
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Length;
    ///
    /// impl Handler for Length {
    ///     fn message(&mut self, conn: &Conn, message: Message) {
    ///         conn.send_text(&format!("{} bytes", message.payload().len()));
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/length", |_| Length).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/length"); // any WebSocket client
    /// ada.send_text("hello");
    /// assert_eq!(ada.text(), "5 bytes");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn send_text(&self, text: &str) -> bool {
        self.send(Message::text(text))
    }

    /// Sends a binary message; see [`send`](Self::send).
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Length;
    ///
    /// impl Handler for Length {
    ///     fn message(&mut self, conn: &Conn, message: Message) {
    ///         conn.send_binary(&(message.payload().len() as u64).to_be_bytes());
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/length", |_| Length).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/length"); // any WebSocket client
    /// ada.send_text("hello");
    /// assert_eq!(ada.message().payload(), 5_u64.to_be_bytes());
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn send_binary(&self, payload: &[u8]) -> bool {
        self.send(Message::binary(payload))
    }

    /// Closes the connection behind what was sent so far. A code that may not be sent is left out.
    ///
    /// ```
    /// use singletrack::{CloseCode, Conn, Handler, Message, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// struct Quiet;
    ///
    /// impl Handler for Quiet {
    ///     fn message(&mut self, conn: &Conn, _: Message) {
    ///         conn.close(CloseCode::POLICY, "quiet, please");
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/quiet", |_| Quiet).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/quiet"); // any WebSocket client
    /// ada.send_text("hello?");
    /// assert_eq!(ada.closed(), 1008);
    /// # Ok::<(), singletrack::Error>(())
    /// ```
    pub fn close(&self, code: CloseCode, reason: impl Into<std::borrow::Cow<'static, str>>) {
        let close = Close::new(code, reason);
        let frame = close.frame();
        self.member.close(close, frame);
    }

    /// Bytes that wait to be written to this peer.
    ///
    /// ```
    /// use singletrack::{Conn, Handler, Message, Server};
    /// # use singletrack_test_client::Client;
    ///
    /// /// Leaves pictures out for a peer that does not keep up.
    /// struct Camera;
    ///
    /// impl Handler for Camera {
    ///     fn message(&mut self, conn: &Conn, _next: Message) {
    ///         if conn.buffered() < 64 * 1024 {
    ///             conn.send_binary(b"a picture");
    ///         }
    ///     }
    /// }
    ///
    /// let server = Server::builder().listen("127.0.0.1:0").handler("/camera", |_| Camera).build()?.start()?;
    /// let mut ada = Client::open(server.local_addr(), "/camera"); // any WebSocket client
    /// ada.send_text("next");
    /// assert_eq!(ada.message().payload(), b"a picture");
    /// # Ok::<(), singletrack::Error>(())
    /// ```
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
///
/// ```
/// use singletrack::{Echo, Server};
/// # use singletrack_test_client::Client;
///
/// let server = Server::builder().listen("127.0.0.1:0").handler("/mirror", |_| Echo).build()?.start()?;
/// let mut ada = Client::open(server.local_addr(), "/mirror"); // any WebSocket client
/// ada.send_text("hello");
/// assert_eq!(ada.text(), "hello");
/// # Ok::<(), singletrack::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Handler for Echo {
    fn message(&mut self, conn: &Conn, message: Message) {
        conn.send(message);
    }
}

/// A member of a room: broadcasts whatever the peer says.
#[derive(Debug)]
pub(crate) struct InRoom {
    pub(crate) membership: Membership,
}

impl Handler for InRoom {
    fn open(&mut self, conn: &Conn, _request: &Request) {
        self.membership.join(conn.member());
    }

    fn message(&mut self, conn: &Conn, message: Message) {
        self.membership.say(conn.member(), message);
    }
}
