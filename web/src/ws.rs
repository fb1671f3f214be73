//! WebSocket (RFC 6455) as pure data: frames in, events out; messages in, frames out. The only door
//! to tungstenite.
//!
//! Tungstenite provides the opcodes, the table of close codes and the handshake's key. The
//! assembler of messages ([`Decoder`]) is our own, because a room server needs three things that
//! tungstenite's cannot give: no buffers while idle, refusal of a header before its payload
//! arrives, and bad UTF-8 found in the middle of a frame. The frame header is our own too: reading
//! and writing it takes a dozen lines. Tungstenite's reader costs three times as much, and accepts
//! lengths written in more bytes than needed.
//!
//! Not for: sockets, time, sending pings, membership of rooms. Extensions are never negotiated, so
//! a reserved bit is an error. Rules: a message is copied once, straight behind room for its
//! header, so that [`Message::frame`] is ready to be sent to any number of peers without another
//! copy. Nothing is allocated for a peer that is between messages.

mod decode;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::{self, Control, Data, OpCode};

pub use decode::{Decoder, Event, Role};

use crate::http::{self, Upgrade};

/// The most payload bytes that a control frame (ping, pong, close) may have.
pub const CONTROL_BYTES: usize = 125;
/// The most bytes of an unmasked frame's header: two, and eight for a long length.
const HEAD_ROOM: usize = 10;

/// The kind of a frame.
///
/// ```
/// use singletrack_web::ws::{Opcode, encode};
///
/// assert_eq!(encode(Opcode::Text, b"hi")[0], 0x81);
/// assert_eq!(encode(Opcode::Binary, b"hi")[0], 0x82);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of the message begun before.
    Continuation,
    /// Text (or its first fragment).
    Text,
    /// Bytes (or their first fragment).
    Binary,
    /// The last frame of a side.
    Close,
    /// A request for a pong with the same payload.
    Ping,
    /// The answer to a ping, or a sign of life.
    Pong,
}

impl Opcode {
    fn coding(self) -> OpCode {
        match self {
            Opcode::Continuation => OpCode::Data(Data::Continue),
            Opcode::Text => OpCode::Data(Data::Text),
            Opcode::Binary => OpCode::Data(Data::Binary),
            Opcode::Close => OpCode::Control(Control::Close),
            Opcode::Ping => OpCode::Control(Control::Ping),
            Opcode::Pong => OpCode::Control(Control::Pong),
        }
    }

    /// The opcode of `first`, a frame's first byte; `None` for the reserved ones.
    fn of(first: u8) -> Option<Opcode> {
        match OpCode::from(first & 0x0F) {
            OpCode::Data(Data::Continue) => Some(Opcode::Continuation),
            OpCode::Data(Data::Text) => Some(Opcode::Text),
            OpCode::Data(Data::Binary) => Some(Opcode::Binary),
            OpCode::Control(Control::Close) => Some(Opcode::Close),
            OpCode::Control(Control::Ping) => Some(Opcode::Ping),
            OpCode::Control(Control::Pong) => Some(Opcode::Pong),
            OpCode::Data(Data::Reserved(_)) | OpCode::Control(Control::Reserved(_)) => None,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// One whole text or binary message, kept as the frame that a server sends for it.
///
/// A clone shares the bytes. Text is valid UTF-8, whatever the source of the message.
///
/// ```
/// use singletrack_web::Message;
///
/// let message = Message::text("hello");
/// let for_another = message.clone(); // shares the bytes
/// assert_eq!(for_another.as_text(), Some("hello"));
/// assert_eq!(message.frame().as_ptr(), for_another.frame().as_ptr());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Header and payload, unmasked.
    frame: Bytes,
    head: u8,
    text: bool,
}

impl Message {
    /// A text message.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// assert_eq!(Message::text("grüezi").as_text(), Some("grüezi"));
    /// ```
    pub fn text(text: &str) -> Message {
        Message::copied(true, text.as_bytes())
    }

    /// A binary message.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// let pixels = Message::binary(&[255, 0, 0]);
    /// assert_eq!((pixels.is_text(), pixels.payload()), (false, &[255, 0, 0][..]));
    /// ```
    pub fn binary(payload: &[u8]) -> Message {
        Message::copied(false, payload)
    }

    fn copied(text: bool, payload: &[u8]) -> Message {
        let mut buffer = Vec::with_capacity(head_len(payload.len() as u64) + payload.len());
        write_head(&mut buffer, true, data_opcode(text), payload.len(), None);
        let head = buffer.len() as u8;
        buffer.extend_from_slice(payload);
        Message { frame: Bytes::from(buffer), head, text }
    }

    /// Makes a message of `buffer`, whose payload begins behind [`HEAD_ROOM`] unused bytes.
    fn from_room(text: bool, mut buffer: Vec<u8>) -> Message {
        let payload = buffer.len() - HEAD_ROOM;
        let mut head = Vec::with_capacity(HEAD_ROOM);
        write_head(&mut head, true, data_opcode(text), payload, None);
        let start = HEAD_ROOM - head.len();
        buffer[start..HEAD_ROOM].copy_from_slice(&head);
        // Growth left spare room in the buffer, and an outbox counts only the bytes of the frame.
        let frame = Bytes::from(buffer.into_boxed_slice()).slice(start..);
        Message { frame, head: head.len() as u8, text }
    }

    /// Returns whether it was sent as text.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// assert!(Message::text("hello").is_text());
    /// assert!(!Message::binary(b"hello").is_text());
    /// ```
    pub fn is_text(&self) -> bool {
        self.text
    }

    /// The text, if it was sent as text.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// assert_eq!(Message::text("hello").as_text(), Some("hello"));
    /// assert_eq!(Message::binary(b"hello").as_text(), None);
    /// ```
    pub fn as_text(&self) -> Option<&str> {
        if self.text { std::str::from_utf8(self.payload()).ok() } else { None }
    }

    /// The payload, whatever its kind.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// assert_eq!(Message::text("hello").payload(), b"hello");
    /// ```
    pub fn payload(&self) -> &[u8] {
        &self.frame[usize::from(self.head)..]
    }

    /// The payload as shared bytes.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// let message = Message::binary(&[1, 2, 3]);
    /// let bytes = message.bytes(); // no copy
    /// assert_eq!(bytes.as_ptr(), message.payload().as_ptr());
    /// ```
    pub fn bytes(&self) -> Bytes {
        self.frame.slice(usize::from(self.head)..)
    }

    /// The message as the one unmasked frame that a server sends for it; a clone of it shares the
    /// bytes.
    ///
    /// ```
    /// use singletrack_web::Message;
    ///
    /// assert_eq!(&Message::text("hi").frame()[..], b"\x81\x02hi");
    /// ```
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// As [`frame`](Message::frame), without keeping the message.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("hi").into_frame());
    /// assert_eq!(outbox.bytes(), 4);
    /// ```
    pub fn into_frame(self) -> Bytes {
        self.frame
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_text() {
            Some(text) => f.debug_tuple("Text").field(&text).finish(),
            None => f.debug_tuple("Binary").field(&self.bytes()).finish(),
        }
    }
}

/// The reason for a close, as a number that both sides know.
///
/// ```
/// use singletrack_web::{Close, CloseCode};
///
/// let close = Close::new(CloseCode::POLICY, "no shouting");
/// assert_eq!(close.code, CloseCode(1008));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// 1000: done.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server shuts down, or the browser left the page.
    pub const AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL: CloseCode = CloseCode(1002);
    /// 1003: this kind of message is not understood here.
    pub const UNSUPPORTED: CloseCode = CloseCode(1003);
    /// 1007: text that is not UTF-8.
    pub const INVALID: CloseCode = CloseCode(1007);
    /// 1008: against the rules of this server.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: a message beyond the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: the server failed.
    pub const FAILED: CloseCode = CloseCode(1011);
    /// 1012: the server restarts.
    pub const RESTART: CloseCode = CloseCode(1012);
    /// 1013: overloaded, or the peer was too slow: try again later.
    pub const TRY_AGAIN: CloseCode = CloseCode(1013);

    /// Returns whether a peer may put this code into a close frame.
    ///
    /// ```
    /// use singletrack_web::CloseCode;
    ///
    /// assert!(CloseCode::NORMAL.may_be_sent());
    /// assert!(CloseCode(4000).may_be_sent(), "for programs");
    /// assert!(!CloseCode(1006).may_be_sent(), "it means that no close came");
    /// ```
    pub fn may_be_sent(self) -> bool {
        // 1014 (bad gateway) was registered with IANA after the table was written.
        self.0 == 1014 || coding::CloseCode::from(self.0).is_allowed()
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A close code and a sentence: the content of a close frame, and a [`Decoder`]'s answer to bytes
/// that break the rules.
///
/// ```
/// use singletrack_web::{Close, CloseCode};
///
/// let close = Close::new(CloseCode::RESTART, "back in a minute");
/// assert_eq!(close.to_string(), "1012: back in a minute");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The code.
    pub code: CloseCode,
    /// The sentence, at most 123 bytes.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// Makes a close with a code and a sentence. A sentence that is too long is cut off between two
    /// characters.
    ///
    /// ```
    /// use singletrack_web::{Close, CloseCode};
    ///
    /// let close = Close::new(CloseCode::POLICY, "a".repeat(1_000));
    /// assert_eq!(close.reason.len(), 123, "what fits into a control frame");
    /// ```
    pub fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Close {
        let mut reason = reason.into();
        let most = CONTROL_BYTES - 2;
        if reason.len() > most {
            let end = (0..=most).rev().find(|&i| reason.is_char_boundary(i)).unwrap_or(0);
            reason.to_mut().truncate(end);
        }
        Close { code, reason }
    }

    /// The unmasked close frame. A code that may not be sent makes it a close frame without a code.
    ///
    /// ```
    /// use singletrack_web::{Close, CloseCode};
    ///
    /// let frame = Close::new(CloseCode::NORMAL, "done").frame();
    /// assert_eq!(&frame[..], b"\x88\x06\x03\xE8done");
    /// assert_eq!(&Close::new(CloseCode(1006), "").frame()[..], b"\x88\x00", "without a code");
    /// ```
    pub fn frame(&self) -> Bytes {
        if !self.code.may_be_sent() {
            return encode(Opcode::Close, &[]);
        }
        encode(Opcode::Close, &self.payload())
    }

    /// The payload of a close frame: the code, then the sentence.
    ///
    /// ```
    /// use singletrack_web::{Close, CloseCode};
    ///
    /// assert_eq!(Close::new(CloseCode::NORMAL, "done").payload(), b"\x03\xE8done");
    /// ```
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(2 + self.reason.len());
        payload.extend_from_slice(&self.code.0.to_be_bytes());
        payload.extend_from_slice(self.reason.as_bytes());
        payload
    }
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.reason)
    }
}

impl std::error::Error for Close {}

/// The frame that answers a peer's close: it returns the peer's code, as RFC 6455 5.5.1 advises.
///
/// ```
/// use singletrack_web::{Close, CloseCode, ws};
///
/// let theirs = Close::new(CloseCode::AWAY, "I leave the page");
/// assert_eq!(ws::close_reply(Some(&theirs)), Close::new(CloseCode::AWAY, "").frame());
/// assert_eq!(&ws::close_reply(None)[..], b"\x88\x00");
/// ```
pub fn close_reply(theirs: Option<&Close>) -> Bytes {
    match theirs {
        Some(close) => Close::new(close.code, "").frame(),
        None => encode(Opcode::Close, &[]),
    }
}

/// One whole unmasked frame, as a server sends it: header and payload in one buffer, encoded once
/// and shared.
///
/// ```
/// use singletrack_web::ws::{self, Opcode};
///
/// assert_eq!(&ws::encode(Opcode::Text, b"hi")[..], b"\x81\x02hi");
/// ```
pub fn encode(opcode: Opcode, payload: &[u8]) -> Bytes {
    Bytes::from(encode_frame(true, opcode, payload, None))
}

/// A ping. A payload that does not fit into a control frame is cut off.
///
/// ```
/// use singletrack_web::ws;
///
/// assert_eq!(&ws::ping(b"7")[..], b"\x89\x017");
/// ```
pub fn ping(payload: &[u8]) -> Bytes {
    encode(Opcode::Ping, &payload[..payload.len().min(CONTROL_BYTES)])
}

/// The answer to a ping. A payload that does not fit into a control frame is cut off.
///
/// ```
/// use singletrack_web::ws;
///
/// assert_eq!(&ws::pong(b"7")[..], b"\x8A\x017");
/// ```
pub fn pong(payload: &[u8]) -> Bytes {
    encode(Opcode::Pong, &payload[..payload.len().min(CONTROL_BYTES)])
}

/// Any frame, whole or a fragment, masked (as clients must) or not. The caller chooses the mask:
/// this file has no randomness.
///
/// ```
/// use singletrack_web::ws::{self, Opcode};
///
/// // A message in two fragments, as a server sends it.
/// let first = ws::encode_frame(false, Opcode::Text, b"hel", None);
/// let last = ws::encode_frame(true, Opcode::Continuation, b"lo", None);
/// assert_eq!((&first[..], &last[..]), (&b"\x01\x03hel"[..], &b"\x80\x02lo"[..]));
/// ```
pub fn encode_frame(last: bool, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut frame = Vec::with_capacity(head_len(payload.len() as u64) + 4 + payload.len());
    write_head(&mut frame, last, opcode, payload.len(), mask);
    let head = frame.len();
    frame.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut frame[head..], mask);
    }
    frame
}

/// The response to a valid handshake: 101 and the key that proves that it was understood.
///
/// ```
/// use singletrack_web::{Limits, http, ws};
///
/// let head = b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
///              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// let (request, _) = http::parse(head, &Limits::default())?.expect("a whole head");
/// let answer = ws::accept(request.upgrade().expect("a handshake"));
/// let text = std::str::from_utf8(&answer).unwrap();
/// assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
/// # Ok::<(), http::Reject>(())
/// ```
pub fn accept(upgrade: &Upgrade) -> Bytes {
    http::switching_protocols(&accept_key(upgrade.key()))
}

/// The value of `Sec-WebSocket-Accept` for a client's key.
///
/// ```
/// use singletrack_web::ws;
///
/// assert_eq!(ws::accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

fn data_opcode(text: bool) -> Opcode {
    if text { Opcode::Text } else { Opcode::Binary }
}

/// Bytes of an unmasked frame's header for a payload of this length.
fn head_len(payload: u64) -> usize {
    match payload {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => HEAD_ROOM,
    }
}

fn write_head(to: &mut Vec<u8>, is_final: bool, opcode: Opcode, payload: usize, mask: Option<[u8; 4]>) {
    let first = u8::from(is_final) << 7 | u8::from(opcode.coding());
    let masked = u8::from(mask.is_some()) << 7;
    match payload {
        0..=125 => to.extend_from_slice(&[first, masked | payload as u8]),
        126..=0xFFFF => {
            let [high, low] = (payload as u16).to_be_bytes();
            to.extend_from_slice(&[first, masked | 126, high, low]);
        }
        _ => {
            to.extend_from_slice(&[first, masked | 127]);
            to.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
    if let Some(mask) = mask {
        to.extend_from_slice(&mask);
    }
}

/// Masks or unmasks in place, as many bytes at a time as the processor can.
fn apply_mask(payload: &mut [u8], mask: [u8; 4]) {
    let (words, rest) = payload.as_chunks_mut();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

/// Whether a whole text is valid. Most texts are all ASCII, and that check is several times faster.
#[inline]
fn is_text(payload: &[u8]) -> bool {
    payload.is_ascii() || std::str::from_utf8(payload).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_twice_gives_the_same_bytes_at_every_length() {
        let plain: Vec<u8> = (0..64u8).collect();
        for len in 0..plain.len() {
            let mut bytes = plain[..len].to_vec();
            apply_mask(&mut bytes, [1, 2, 3, 4]);
            assert!(bytes.iter().enumerate().all(|(i, b)| *b == plain[i] ^ [1, 2, 3, 4][i & 3]));
            apply_mask(&mut bytes, [1, 2, 3, 4]);
            assert_eq!(bytes, &plain[..len]);
        }
    }

    #[test]
    fn lengths_are_written_in_the_shortest_form() {
        for (len, head) in [(0, 2), (125, 2), (126, 4), (0xFFFF, 4), (0x10000, 10)] {
            let payload = vec![7; len];
            assert_eq!(encode(Opcode::Binary, &payload).len(), head + len);
            assert_eq!(Message::binary(&payload).frame().len(), head + len);
            assert_eq!(Message::binary(&payload).payload(), payload);
            let mut room = vec![0; HEAD_ROOM];
            room.extend_from_slice(&payload);
            assert_eq!(Message::from_room(false, room), Message::binary(&payload));
        }
    }

    #[test]
    fn a_text_message_is_the_frame_that_is_sent() {
        let message = Message::text("hi");
        assert_eq!(&message.frame()[..], b"\x81\x02hi");
        assert_eq!(message.as_text(), Some("hi"));
        assert_eq!(&message.bytes()[..], b"hi");
        assert_eq!(Message::binary(b"hi").as_text(), None);
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let close = Close::new(CloseCode::POLICY, "é".repeat(100));
        assert_eq!(close.reason.len(), 122);
        assert_eq!(close.frame().len(), 2 + 2 + 122);
        let fits = Close::new(CloseCode::POLICY, "x".repeat(123));
        assert_eq!(fits.frame().len(), 2 + CONTROL_BYTES);
        assert_eq!(Close::new(CloseCode::POLICY, "x".repeat(124)), fits);
    }

    #[test]
    fn a_code_that_may_not_be_sent_is_left_out() {
        assert_eq!(&Close::new(CloseCode(1005), "").frame()[..], b"\x88\x00");
        assert_eq!(&Close::new(CloseCode::NORMAL, "").frame()[..], b"\x88\x02\x03\xe8");
        assert_eq!(&close_reply(None)[..], b"\x88\x00");
        let theirs = Close::new(CloseCode(4000), "bye");
        assert_eq!(&close_reply(Some(&theirs))[..], b"\x88\x02\x0f\xa0");
    }

    #[test]
    fn codes_follow_the_registry() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert!(CloseCode(code).may_be_sent(), "{code}");
        }
        for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(!CloseCode(code).may_be_sent(), "{code}");
        }
    }

    #[test]
    fn the_handshake_answer_is_the_one_of_the_standard() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_message_and_a_ping_are_what_they_are_made_of() {
        let (text, binary) = (Message::text("a"), Message::binary(b"a"));
        assert!(text.is_text() && !binary.is_text());
        assert_eq!(text.clone().into_frame(), *text.frame());
        assert_eq!(ping(b"a"), encode(Opcode::Ping, b"a"));
        assert_eq!(ping(&[1; 126]), encode(Opcode::Ping, &[1; 125]));
    }
}
