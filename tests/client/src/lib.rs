//! A small blocking WebSocket and HTTP client for tests, on `std` sockets and the frames of
//! singletrack-web in the client's role.
//!
//! It can also wait with a deadline, read a figure of a server's metrics, and make an empty folder.
//! Not for: programs; every failure is a panic. Rule: nothing waits for longer than [`DEADLINE`].

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use singletrack_web::Limits;
use singletrack_web::ws::{CloseCode, Decoder, Event, Message, Opcode, Role, encode_frame};

/// The limit after which a wait has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An event from the server: what it sent, or how it left.
#[derive(Debug)]
pub enum Heard {
    /// A whole message.
    Message(Message),
    /// A ping and its payload.
    Ping(Vec<u8>),
    /// A pong and its payload.
    Pong(Vec<u8>),
    /// A close frame, with its code if it had one.
    Close(Option<u16>),
    /// The end of the stream, or a reset.
    End,
}

/// A WebSocket.
pub struct Client {
    /// The underlying socket.
    pub stream: TcpStream,
    decoder: Decoder,
    heard: VecDeque<Event>,
    limits: Limits,
}

/// Opens a connection whose reads have a deadline.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// The request of a handshake.
pub fn handshake(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

impl Client {
    /// Opens a WebSocket.
    pub fn open(address: SocketAddr, path: &str) -> Client {
        let (answer, client) = Client::ask(address, path);
        assert_eq!(answer.status, 101, "{path}: {}", answer.body);
        client
    }

    /// Tries to open one, and returns the server's answer.
    pub fn ask(address: SocketAddr, path: &str) -> (Answer, Client) {
        let mut stream = connect(address);
        stream.write_all(handshake(path).as_bytes()).expect("send");
        let answer = read_answer(&mut stream);
        let limits = {
            let mut limits = Limits::default();
            limits.message_bytes = 64 << 20;
            limits
        };
        (answer, Client { stream, decoder: Decoder::new(Role::Client), heard: VecDeque::new(), limits })
    }

    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        self.send(Opcode::Text, text.as_bytes());
    }

    /// Sends one frame.
    pub fn send(&mut self, opcode: Opcode, payload: &[u8]) {
        self.send_raw(&encode_frame(true, opcode, payload, Some([1, 2, 3, 4])));
    }

    /// Sends raw bytes.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send");
    }

    /// Sends, and ignores an error if the server is gone.
    pub fn try_send(&mut self, text: &str) -> bool {
        self.stream.write_all(&encode_frame(true, Opcode::Text, text.as_bytes(), Some([9, 8, 7, 6]))).is_ok()
    }

    /// Waits for the next event from the server. Pings are returned, not answered.
    pub fn hear(&mut self) -> Heard {
        loop {
            match self.heard.pop_front() {
                Some(Event::Message(message)) => return Heard::Message(message),
                Some(Event::Ping(payload)) => return Heard::Ping(payload.to_vec()),
                Some(Event::Pong(payload)) => return Heard::Pong(payload.to_vec()),
                Some(Event::Close(close)) => return Heard::Close(close.map(|close| close.code.0)),
                None => {}
            }
            let mut buffer = vec![0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => {
                    let mut input = &mut buffer[..count];
                    while let Some(event) =
                        self.decoder.decode(&mut input, &self.limits).expect("a server keeps the rules")
                    {
                        self.heard.push_back(event);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Heard::End,
                Err(error) => panic!("nothing heard: {error}"),
            }
        }
    }

    /// The next message.
    pub fn message(&mut self) -> Message {
        match self.hear() {
            Heard::Message(message) => message,
            other => panic!("expected a message, heard {other:?}"),
        }
    }

    /// Waits for the next message, as text.
    pub fn text(&mut self) -> String {
        let message = self.message();
        message.as_text().unwrap_or_else(|| panic!("expected text, got {message:?}")).to_owned()
    }

    /// Reads everything up to the close frame and the end of the stream after it; returns the code.
    pub fn closed(&mut self) -> u16 {
        let code = loop {
            match self.hear() {
                Heard::Close(code) => break code.unwrap_or(1005),
                Heard::End => panic!("the server left without a close frame"),
                _ => {}
            }
        };
        assert!(matches!(self.hear(), Heard::End), "something came behind the close");
        code
    }

    /// Closes with a handshake.
    pub fn leave(mut self) {
        self.send(Opcode::Close, &CloseCode::NORMAL.0.to_be_bytes());
        assert_eq!(self.closed(), 1000);
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head, the empty line included.
    pub head: String,
    /// Its body.
    pub body: String,
}

/// Requests a page.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    raw(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
}

/// Sends any bytes and reads one answer.
pub fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = connect(address);
    stream.write_all(request).expect("send");
    read_answer(&mut stream)
}

/// Reads one answer, byte by byte so that nothing after it is consumed.
pub fn read_answer(stream: &mut TcpStream) -> Answer {
    try_read_answer(stream).expect("an answer")
}

/// Like `read_answer`; `None` if the server left without one.
pub fn try_read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => return None,
            Ok(_) => head.push(byte[0]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no answer: {error}"),
        }
    }
    let head = String::from_utf8(head).expect("ASCII");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let length =
        head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().expect("length"));
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the body");
    Some(Answer { status, head, body: String::from_utf8(body).expect("text") })
}

/// Waits until a condition holds.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "still not so after {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2)); // between two looks: the condition has a deadline
    }
}

/// Reads one figure of `/metrics`.
pub fn metric(address: SocketAddr, name: &str) -> u64 {
    let page = get(address, "/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("singletrack_{name} ")));
    line.map_or(0, |value| value.parse().expect("a number"))
}

/// Makes an empty folder that no other test uses.
pub fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("singletrack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a place for temporary files");
    folder
}
