//! Bytes of one peer become messages and control frames, or the close that its breach of the rules deserves.
//!
//! Pure: the caller lends what it read, in pieces cut anywhere, and every byte is taken. A frame that lies whole in the lent
//! buffer is unmasked there and copied once; only a message that is not complete yet owns memory. Rules: everything that a
//! header shows to be wrong is refused on the header, before its payload; text is checked as its bytes arrive; the memory
//! that a peer can claim grows with what it sent, not with what it announced; once closed, further bytes are thrown away.

use std::str;

use bytes::Bytes;

use super::{CONTROL_BYTES, Close, CloseCode, HEAD_ROOM, Message, Opcode, apply_mask, head_len, is_text};
use crate::limits::Limits;

/// Most bytes of a frame's header: two, eight for a long length, four of mask.
const HEAD_BYTES: usize = 14;

/// Which side reads: clients mask what they send, servers do not, and either must refuse the opposite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Reads what clients send.
    Server,
    /// Reads what servers send.
    Client,
}

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A whole message, put together from its fragments.
    Message(Message),
    /// To be answered by a pong with the same payload.
    Ping(Bytes),
    /// An answer to a ping, or a sign of life.
    Pong(Bytes),
    /// The peer's last frame, with its reason if it gave one. To be answered by a close, if none was sent yet.
    Close(Option<Close>),
}

/// Puts the frames of one peer together. Two words while the peer is between messages.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    closed: bool,
    partial: Option<Box<Partial>>,
}

impl Decoder {
    /// A decoder at the start of a connection.
    pub fn new(role: Role) -> Decoder {
        Decoder { role, closed: false, partial: None }
    }

    /// Whether the peer's last frame was seen, or it broke the rules: what it still sends is thrown away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a message has begun and is not complete.
    pub fn is_partial(&self) -> bool {
        self.partial.is_some()
    }

    /// Takes bytes from the front of `input` up to the end of the next event.
    ///
    /// `None` means that all of `input` was taken. Otherwise call again with what `input` still holds. The bytes are unmasked
    /// in place, so they are garbage for anybody else afterwards.
    ///
    /// # Errors
    /// The close to send to a peer that broke the rules. All further bytes are thrown away.
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

/// A frame's header, with everything checked that does not depend on the frames before it.
#[derive(Clone, Copy, Debug)]
struct Head {
    last: bool,
    opcode: Opcode,
    mask: [u8; 4],
    payload: u64,
}

impl Head {
    /// Reads a header from the front of `input`; `None` if it is not complete. What its first two bytes show is refused then.
    // What it returns is larger than what it does.
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

/// The short way: a frame that is a whole message (or control frame) and lies completely in `input`. Otherwise takes nothing.
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

/// What there is of a message, of a frame's payload, or of a frame's header.
#[derive(Debug, Default)]
struct Partial {
    /// The first `head_len` bytes of a header that is not complete.
    head: [u8; HEAD_BYTES],
    head_len: u8,
    /// The frame whose payload is arriving, and how much of it is still to come (also its `payload`).
    frame: Option<Head>,
    /// The message whose fragments are arriving.
    message: Option<Assembly>,
    /// What arrived of a control frame.
    control: Vec<u8>,
}

#[derive(Debug)]
struct Assembly {
    text: bool,
    fragments: u32,
    /// [`HEAD_ROOM`] bytes, then the payload so far.
    buffer: Vec<u8>,
    /// Where in `buffer` the checked text ends: all but a character that is cut.
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
            // The rest of the payload goes on where the mask stopped.
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

    /// Completes a header from `input` and begins its frame; false if there are too few bytes.
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
        // The bytes kept from before were not a whole header, so this one ends in `input`.
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
            // Double, so that no byte is moved more than a few times, but not beyond what this frame can need.
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
