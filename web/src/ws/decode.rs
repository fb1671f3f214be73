//! Turns the bytes of one peer into messages and control frames, or into the close for a breach of
//! the rules.
//!
//! Pure: the caller lends the bytes that it read, in pieces cut anywhere, and every byte is taken.
//! A frame that lies whole in the lent buffer is unmasked there and copied once; only a message
//! that is not complete yet owns memory. Rules: a header that is wrong is refused at once, before
//! its payload. Text is checked as its bytes arrive. The memory that a peer can claim grows with
//! the bytes that it sent, not with the length that it announced. Once closed, further bytes are
//! dropped.

use std::str;

use bytes::Bytes;

use super::{CONTROL_BYTES, Close, CloseCode, HEAD_ROOM, Message, Opcode, apply_mask, head_len, is_text};
use crate::limits::Limits;

/// The most bytes of a frame's header: two, eight for a long length, four of mask.
const HEAD_BYTES: usize = 14;

/// The reading side. Clients mask their frames, servers do not, and either must refuse the
/// opposite.
///
/// ```
/// use singletrack_web::{Limits, Message, ws::{Decoder, Event, Role}};
///
/// let mut bytes = Message::text("hi").frame().to_vec();
/// let mut client = Decoder::new(Role::Client);
/// let event = client.decode(&mut &mut bytes[..], &Limits::default())?;
/// assert_eq!(event, Some(Event::Message(Message::text("hi"))));
///
/// let mut bytes = Message::text("hi").frame().to_vec();
/// assert!(Decoder::new(Role::Server).decode(&mut &mut bytes[..], &Limits::default()).is_err(), "not masked");
/// # Ok::<(), singletrack_web::Close>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads the frames of clients.
    Server,
    /// Reads the frames of servers.
    Client,
}

/// An event from a peer.
///
/// ```
/// use singletrack_web::ws::{self, Event};
/// use singletrack_web::{Message, Outbox};
///
/// fn answer(event: Event, outbox: &mut Outbox) {
///     match event {
///         Event::Message(message) => outbox.push_own(message.into_frame()),
///         Event::Ping(payload) => outbox.push_pong(&payload),
///         Event::Close(close) => outbox.push_close(ws::close_reply(close.as_ref())),
///         Event::Pong(_) => return,
///     };
/// }
/// let mut outbox = Outbox::new();
/// answer(Event::Message(Message::text("hi")), &mut outbox);
/// answer(Event::Close(None), &mut outbox);
/// assert_eq!((outbox.len(), outbox.is_closing()), (2, true));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message, put together from its fragments.
    Message(Message),
    /// A request for a pong with the same payload.
    Ping(Bytes),
    /// An answer to a ping, or a sign of life.
    Pong(Bytes),
    /// The peer's last frame, with its reason if it gave one. If no close was sent yet, answer with
    /// one.
    Close(Option<Close>),
}

/// Puts the frames of one peer together. It takes two words while the peer is between messages.
///
/// ```
/// use singletrack_web::ws::{Decoder, Event, Opcode, Role, encode_frame};
/// use singletrack_web::{Limits, Message};
///
/// let mut decoder = Decoder::new(Role::Server);
/// // As a client sends it: masked, and cut anywhere.
/// let bytes = encode_frame(true, Opcode::Text, b"hello", Some([1, 2, 3, 4]));
/// let (mut first, mut rest) = (bytes[..4].to_vec(), bytes[4..].to_vec());
/// assert_eq!(decoder.decode(&mut &mut first[..], &Limits::default())?, None);
/// let event = decoder.decode(&mut &mut rest[..], &Limits::default())?;
/// assert_eq!(event, Some(Event::Message(Message::text("hello"))));
/// # Ok::<(), singletrack_web::Close>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    closed: bool,
    partial: Option<Box<Partial>>,
}

impl Decoder {
    /// Makes a decoder for the start of a connection.
    ///
    /// ```
    /// use singletrack_web::ws::{Decoder, Role};
    ///
    /// let decoder = Decoder::new(Role::Server);
    /// assert!(!decoder.is_closed() && !decoder.is_partial());
    /// ```
    pub fn new(role: Role) -> Decoder {
        Decoder { role, closed: false, partial: None }
    }

    /// Returns whether the peer's last frame has arrived, or the peer broke the rules: further
    /// bytes are dropped.
    ///
    /// ```
    /// use singletrack_web::ws::{Decoder, Opcode, Role, encode_frame};
    /// use singletrack_web::Limits;
    ///
    /// let mut decoder = Decoder::new(Role::Server);
    /// let mut bytes = encode_frame(true, Opcode::Close, b"", Some([1, 2, 3, 4]));
    /// decoder.decode(&mut &mut bytes[..], &Limits::default())?;
    /// assert!(decoder.is_closed());
    /// # Ok::<(), singletrack_web::Close>(())
    /// ```
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns whether a message has begun and is not complete.
    ///
    /// ```
    /// use singletrack_web::ws::{Decoder, Opcode, Role, encode_frame};
    /// use singletrack_web::Limits;
    ///
    /// let mut decoder = Decoder::new(Role::Server);
    /// let mut bytes = encode_frame(false, Opcode::Text, b"hel", Some([1, 2, 3, 4]));
    /// assert_eq!(decoder.decode(&mut &mut bytes[..], &Limits::default())?, None);
    /// assert!(decoder.is_partial(), "the rest is to come");
    /// # Ok::<(), singletrack_web::Close>(())
    /// ```
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Takes bytes from the front of `input` up to the end of the next event.
    ///
    /// `None` means that all of `input` was taken. Otherwise call again with the rest of `input`.
    /// The bytes are unmasked in place, so they are garbage for other readers afterwards.
    ///
    /// ```
    /// use singletrack_web::ws::{Decoder, Event, Opcode, Role, encode_frame};
    /// use singletrack_web::{CloseCode, Limits};
    ///
    /// let mut decoder = Decoder::new(Role::Server);
    /// let mut bytes = encode_frame(true, Opcode::Text, b"one", Some([1, 2, 3, 4]));
    /// bytes.extend(encode_frame(true, Opcode::Ping, b"two", Some([5, 6, 7, 8])));
    /// let (mut input, mut events) = (&mut bytes[..], Vec::new());
    /// while let Some(event) = decoder.decode(&mut input, &Limits::default())? {
    ///     events.push(event);
    /// }
    /// assert!(matches!(&events[..], [Event::Message(_), Event::Ping(_)]));
    ///
    /// let mut bad = encode_frame(true, Opcode::Text, &[0xFF], Some([1, 2, 3, 4]));
    /// let close = decoder.decode(&mut &mut bad[..], &Limits::default()).unwrap_err();
    /// assert_eq!(close.code, CloseCode::INVALID);
    /// # Ok::<(), singletrack_web::Close>(())
    /// ```
    ///
    /// # Errors
    /// The close to send to a peer that broke the rules. All further bytes are dropped.
    pub fn decode(&mut self, input: &mut &mut [u8], limits: &Limits) -> Result<Option<Event>, Close> {
        if self.closed {
            *input = &mut [];
            return Ok(None);
        }
        let outcome = self.next(input, limits);
        if matches!(outcome, Err(_) | Ok(Some(Event::Close(_)))) {
            self.closed = true;
            self.partial = None;
        }
        outcome
    }

    fn next(&mut self, input: &mut &mut [u8], limits: &Limits) -> Result<Option<Event>, Close> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None if input.is_empty() => return Ok(None),
            None => match whole_frame(self.role, input, limits)? {
                Some(event) => return Ok(Some(event)),
                None => Box::default(),
            },
        };
        let event = partial.step(self.role, input, limits)?;
        if !partial.is_idle() {
            self.partial = Some(partial);
        }
        Ok(event)
    }
}

/// A frame's header; every check that does not depend on the frames before it is done.
#[derive(Clone, Copy, Debug)]
struct Head {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    payload: u64,
}

impl Head {
    /// Reads a header from the front of `input`; `None` if it is not complete. An error in its
    /// first two bytes is reported at once.
    // Inlined, because moving the result costs more than the function itself.
    #[inline(always)]
    fn read(role: Role, input: &[u8]) -> Result<Option<(Head, usize)>, Close> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(breach("a reserved bit is set and no extension was agreed"));
        }
        let Some(opcode) = Opcode::of(first) else {
            return Err(breach("unknown opcode"));
        };
        let last = first & 0x80 != 0;
        if opcode.is_control() && !last {
            return Err(breach("a control frame cannot be a fragment"));
        }
        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        let is_masked = second & 0x80 != 0;
        match (role, is_masked) {
            (Role::Server, false) => return Err(breach("a client must mask its frames")),
            (Role::Client, true) => return Err(breach("a server must not mask its frames")),
            _ => {}
        }
        if opcode.is_control() && usize::from(second & 0x7F) > CONTROL_BYTES {
            return Err(breach("a control frame has at most 125 bytes"));
        }
        let (payload, used) = match second & 0x7F {
            126 => {
                let Some(long) = input[2..].first_chunk() else { return Ok(None) };
                (u16::from_be_bytes(*long).into(), 4)
            }
            127 => {
                let Some(long) = input[2..].first_chunk() else { return Ok(None) };
                (u64::from_be_bytes(*long), 10)
            }
            short => (short.into(), 2),
        };
        if payload >> 63 != 0 {
            return Err(breach("the top bit of a length must be clear"));
        }
        if used != head_len(payload) {
            return Err(breach("a length must be written in as few bytes as possible"));
        }
        if !is_masked {
            return Ok(Some((Head { last, opcode, mask: [0; 4], payload }, used)));
        }
        let Some(mask) = input[used..].first_chunk() else { return Ok(None) };
        Ok(Some((Head { last, opcode, mask: *mask, payload }, used + mask.len())))
    }
}

/// The fast path: a frame that is a whole message (or control frame) and lies completely in
/// `input`. Otherwise takes nothing.
fn whole_frame(role: Role, input: &mut &mut [u8], limits: &Limits) -> Result<Option<Event>, Close> {
    let Some((head, used)) = Head::read(role, input)? else {
        return Ok(None);
    };
    if !head.opcode.is_control() {
        check_start(head, limits)?;
        if !head.last {
            return Ok(None);
        }
    }
    let available = (input.len() - used) as u64;
    if head.payload > available {
        return Ok(None);
    }
    let payload = &mut take(input, used + head.payload as usize)[used..];
    apply_mask(payload, head.mask);
    if head.opcode.is_control() {
        return control(head.opcode, payload).map(Some);
    }
    let text = head.opcode == Opcode::Text;
    if text && !is_text(payload) {
        return Err(not_utf8());
    }
    Ok(Some(Event::Message(Message::copied(text, payload))))
}

/// Refuses a data frame that cannot begin a message.
fn check_start(head: Head, limits: &Limits) -> Result<(), Close> {
    if head.opcode == Opcode::Continuation {
        return Err(breach("a continuation without a message"));
    }
    check_size(0, head.payload, limits)
}

fn check_size(before: usize, payload: u64, limits: &Limits) -> Result<(), Close> {
    if payload > limits.message_bytes.saturating_sub(before) as u64 {
        return Err(Close::new(CloseCode::TOO_BIG, format!("a message has at most {} bytes", limits.message_bytes)));
    }
    Ok(())
}

/// The incomplete part of a message, of a frame's payload, or of a frame's header.
#[derive(Debug, Default)]
struct Partial {
    /// The first `head_len` bytes of a header that is not complete.
    head: [u8; HEAD_BYTES],
    head_len: u8,
    /// The frame whose payload is arriving; its `payload` is the number of bytes that are still
    /// missing.
    frame: Option<Head>,
    /// The message whose fragments are arriving.
    message: Option<Assembly>,
    /// The bytes of a control frame that have arrived.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Assembly {
    text: bool,
    fragments: u32,
    /// [`HEAD_ROOM`] bytes, then the payload so far.
    buffer: Vec<u8>,
    /// The end of the checked text in `buffer`: everything except a character that is cut.
    checked: usize,
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.head_len == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn step(&mut self, role: Role, input: &mut &mut [u8], limits: &Limits) -> Result<Option<Event>, Close> {
        loop {
            if self.frame.is_none() && !self.next_head(role, input, limits)? {
                return Ok(None);
            }
            let Some(head) = self.frame.as_mut() else {
                return Ok(None);
            };
            let count = head.payload.min(input.len() as u64) as usize;
            let piece = take(input, count);
            apply_mask(piece, head.mask);
            // The rest of the payload continues where the mask stopped.
            head.mask.rotate_left(count % 4);
            head.payload -= count as u64;
            let Head { last, opcode, payload: missing, .. } = *head;
            if opcode.is_control() {
                self.control.extend_from_slice(piece);
                if missing == 0 {
                    self.frame = None;
                    return control(opcode, &std::mem::take(&mut self.control)).map(Some);
                }
                return Ok(None);
            }
            let Some(message) = self.message.as_mut() else {
                return Ok(None);
            };
            message.append(piece, missing)?;
            if missing > 0 {
                return Ok(None);
            }
            self.frame = None;
            if last {
                return self.message.take().map(Assembly::finish).transpose();
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Completes a header from `input` and begins its frame; `false` if there are too few bytes.
    fn next_head(&mut self, role: Role, input: &mut &mut [u8], limits: &Limits) -> Result<bool, Close> {
        let before = usize::from(self.head_len);
        let count = input.len().min(HEAD_BYTES - before);
        self.head[before..before + count].copy_from_slice(&input[..count]);
        let Some((head, used)) = Head::read(role, &self.head[..before + count])? else {
            self.head_len = (before + count) as u8;
            take(input, count);
            return Ok(false);
        };
        self.head_len = 0;
        // The kept bytes were not a whole header, so this one ends in `input`.
        take(input, used - before);
        match (&mut self.message, head.opcode) {
            (_, opcode) if opcode.is_control() => {}
            (Some(message), Opcode::Continuation) => {
                check_size(message.len(), head.payload, limits)?;
                message.fragments += 1;
                if message.fragments > limits.message_fragments {
                    let most = limits.message_fragments;
                    return Err(Close::new(CloseCode::TOO_BIG, format!("a message has at most {most} frames")));
                }
            }
            (Some(_), _) => return Err(breach("a new message began inside another")),
            (empty @ None, opcode) => {
                check_start(head, limits)?;
                *empty = Some(Assembly::new(opcode == Opcode::Text));
            }
        }
        self.frame = Some(head);
        Ok(true)
    }
}

impl Assembly {
    fn new(text: bool) -> Assembly {
        Assembly { text, fragments: 1, buffer: Vec::new(), checked: HEAD_ROOM }
    }

    /// Payload bytes so far.
    fn len(&self) -> usize {
        self.buffer.len().saturating_sub(HEAD_ROOM)
    }

    /// Appends a piece of a payload of which `missing` bytes are still to come.
    fn append(&mut self, piece: &[u8], missing: u64) -> Result<(), Close> {
        let needed = HEAD_ROOM + self.len() + piece.len();
        if needed > self.buffer.capacity() {
            // Doubles the room, so that no byte is moved more than a few times, but not beyond the
            // need of this frame.
            let most = needed.saturating_add(usize::try_from(missing).unwrap_or(usize::MAX));
            let grown = needed.max(self.buffer.capacity() * 2).min(most).max(HEAD_ROOM);
            self.buffer.reserve_exact(grown - self.buffer.len());
        }
        if self.buffer.is_empty() {
            self.buffer.resize(HEAD_ROOM, 0);
        }
        self.buffer.extend_from_slice(piece);
        if self.text {
            match str::from_utf8(&self.buffer[self.checked..]) {
                Ok(_) => self.checked = self.buffer.len(),
                Err(error) if error.error_len().is_some() => return Err(not_utf8()),
                Err(error) => self.checked += error.valid_up_to(),
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Event, Close> {
        if self.text && self.checked != self.buffer.len() {
            return Err(not_utf8());
        }
        Ok(Event::Message(Message::from_room(self.text, self.buffer)))
    }
}

/// The event of a whole control frame.
fn control(opcode: Opcode, payload: &[u8]) -> Result<Event, Close> {
    match opcode {
        Opcode::Ping => Ok(Event::Ping(Bytes::copy_from_slice(payload))),
        Opcode::Pong => Ok(Event::Pong(Bytes::copy_from_slice(payload))),
        _ => match *payload {
            [] => Ok(Event::Close(None)),
            [_] => Err(breach("a close frame has no payload or a code of two bytes")),
            [high, low, ref reason @ ..] => {
                let code = CloseCode(u16::from_be_bytes([high, low]));
                if !code.may_be_sent() {
                    return Err(breach("this close code may not be sent"));
                }
                let reason = str::from_utf8(reason).map_err(|_| not_utf8())?;
                Ok(Event::Close(Some(Close::new(code, reason.to_owned()))))
            }
        },
    }
}

/// Cuts `count` bytes off the front of `input`.
fn take<'a>(input: &mut &'a mut [u8], count: usize) -> &'a mut [u8] {
    let (front, rest) = std::mem::take(input).split_at_mut(count);
    *input = rest;
    front
}

fn breach(sentence: &'static str) -> Close {
    Close::new(CloseCode::PROTOCOL, sentence)
}

fn not_utf8() -> Close {
    Close::new(CloseCode::INVALID, "text must be UTF-8")
}

#[cfg(test)]
mod tests;
