//! The frames of RFC 6455, as little of them as an echo needs: whole messages, ping, close.
//!
//! Not for: checking clients. Rule: a payload is unmasked in place.

/// The opcode of a farewell.
pub(crate) const CLOSE: u8 = 8;
/// The opcode of an answer to a ping.
pub(crate) const PONG: u8 = 10;

/// A frame from a client.
#[derive(Debug, PartialEq)]
pub(crate) enum Frame<'a> {
    /// Text or binary, as its opcode says.
    Message(u8, &'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(&'a [u8]),
}

/// A frame that this server does not support.
#[derive(Debug, PartialEq)]
pub(crate) struct Unknown;

impl Frame<'_> {
    /// The frame at the beginning of `bytes` and its length, or `None` while it is not whole.
    pub(crate) fn read(bytes: &mut [u8]) -> Result<Option<(Frame<'_>, usize)>, Unknown> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Unknown);
        }
        let (length, head) = match (second & 0x7f, &bytes[2..]) {
            (126, [a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
            (127, _) => return Err(Unknown),
            (126, _) => return Ok(None),
            (short, _) => (usize::from(short), 2),
        };
        let end = head + 4 + length;
        if bytes.len() < end {
            return Ok(None);
        }
        let mask = [bytes[head], bytes[head + 1], bytes[head + 2], bytes[head + 3]];
        let payload = &mut bytes[head + 4..end];
        unmask(payload, mask);
        let frame = match first {
            0x81 | 0x82 => Frame::Message(first & 15, payload),
            0x88 => Frame::Close(payload),
            0x89 => Frame::Ping(payload),
            0x8a => Frame::Pong,
            _ => return Err(Unknown),
        };
        Ok(Some((frame, end)))
    }
}

fn unmask(payload: &mut [u8], [a, b, c, d]: [u8; 4]) {
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for eight in words {
        *eight = (u64::from_ne_bytes(*eight) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip([a, b, c, d, a, b, c, d]) {
        *byte ^= key;
    }
}

/// Appends a whole frame.
pub(crate) fn write(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match u16::try_from(payload.len()) {
        Ok(short @ 0..126) => out.push(short as u8),
        Ok(length) => {
            out.push(126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::{Frame, Unknown, write};

    #[test]
    fn the_masked_hello_of_the_rfc() {
        let mut bytes = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        for cut in 0..bytes.len() {
            assert_eq!(Frame::read(&mut bytes[..cut]), Ok(None));
        }
        assert_eq!(Frame::read(&mut bytes), Ok(Some((Frame::Message(1, b"Hello"), 11))));
        let mut out = Vec::new();
        write(1, b"Hello", &mut out);
        assert_eq!(out, b"\x81\x05Hello");
    }

    #[test]
    fn lengths_of_both_kinds() {
        for length in [0, 1, 7, 8, 64, 125, 126, 1000, 65535] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut frame = Vec::new();
            write(2, &payload, &mut frame);
            let head = if length < 126 { 2 } else { 4 };
            assert_eq!((frame.len(), &frame[head..]), (head + length, &payload[..]));
            frame[1] |= 0x80;
            frame.splice(head..head, [9, 8, 7, 6]);
            let end = frame.len();
            for (at, byte) in frame[head + 4..].iter_mut().enumerate() {
                *byte ^= [9, 8, 7, 6][at % 4];
            }
            assert_eq!(Frame::read(&mut frame), Ok(Some((Frame::Message(2, &payload), end))));
        }
    }

    #[test]
    fn what_it_does_not_speak_is_said() {
        assert_eq!(Frame::read(&mut [0x81, 0x05, 0, 0]), Err(Unknown), "not masked");
        assert_eq!(Frame::read(&mut [0x01, 0x80, 0, 0, 0, 0]), Err(Unknown), "a fragment");
        assert_eq!(Frame::read(&mut [0x81, 0xff, 0, 0]), Err(Unknown), "longer than any buffer here");
    }
}
