//! Frames at the speed that a load needs: whole messages are found in the read buffer, and masked
//! ones are written behind one another.
//!
//! Pure. Only the plain case is here: a message in one frame that lies whole in the read buffer.
//! Everything else (fragments, control frames, cut frames, breaches of the rules) is left to the
//! decoder of the library. Rules: no allocation, no copy of the input; each written frame has a
//! mask, as required of clients.

/// Whether messages travel as text or as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// Takes one whole message off the front of `input`. Leaves `input` alone if anything else stands
/// there.
pub(crate) fn take_message<'a>(input: &mut &'a mut [u8]) -> Option<(Kind, &'a [u8])> {
    let kind = match *input.first()? {
        first if first == LAST | TEXT => Kind::Text,
        first if first == LAST | BINARY => Kind::Binary,
        _ => return None,
    };
    // A length that is not written in the shortest form is left to the decoder, too, which refuses
    // it.
    let (head, payload) = match *input.get(1)? {
        length @ 0..126 => (2, usize::from(length)),
        126 => (4, usize::from(u16::from_be_bytes(input.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(input.get(2..10)?.try_into().ok()?)).ok()?),
        _ => return None,
    };
    if head != head_bytes(payload) || payload > input.len() - head {
        return None;
    }
    let (frame, rest) = std::mem::take(input).split_at_mut(head + payload);
    *input = rest;
    Some((kind, &frame[head..]))
}

fn head_bytes(payload: usize) -> usize {
    match payload {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    }
}

/// Appends a masked message of `payload` bytes, which `fill` writes.
pub(crate) fn append_message(
    to: &mut Vec<u8>,
    kind: Kind,
    payload: usize,
    mask: [u8; 4],
    fill: impl FnOnce(&mut [u8]),
) {
    to.push(LAST | if kind == Kind::Text { TEXT } else { BINARY });
    match head_bytes(payload) {
        2 => to.push(MASKED | payload as u8),
        4 => {
            to.push(MASKED | 126);
            to.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            to.push(MASKED | 127);
            to.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
    to.extend_from_slice(&mask);
    let start = to.len();
    to.resize(start + payload, 0);
    fill(&mut to[start..]);
    let [a, b, c, d] = mask;
    let wide = [a, b, c, d, a, b, c, d];
    // Eight bytes at a time, in a form that compilers turn into wide instructions.
    let mut words = to[start..].chunks_exact_mut(8);
    for word in &mut words {
        word.iter_mut().zip(wide).for_each(|(byte, mask)| *byte ^= mask);
    }
    words.into_remainder().iter_mut().zip(wide).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;
    use singletrack::Limits;
    use singletrack::ws::{Decoder, Event, Opcode, Role, encode, encode_frame};

    #[test]
    fn whole_messages_are_found_and_nothing_else_is_taken() {
        for bytes in [0, 1, 125, 126, 127, 0xffff, 0x1_0000] {
            let payload = vec![b'x'; bytes];
            for (kind, opcode) in [(Kind::Text, Opcode::Text), (Kind::Binary, Opcode::Binary)] {
                let mut read = encode(opcode, &payload).to_vec();
                read.extend_from_slice(b"more");
                for cut in (0..10.min(bytes + 2)).chain([bytes + 1]) {
                    let mut input = &mut read[..cut];
                    assert_eq!(take_message(&mut input), None, "{bytes} cut at {cut}");
                    assert_eq!(input.len(), cut);
                }
                let mut input = &mut read[..];
                assert_eq!(take_message(&mut input), Some((kind, &payload[..])), "{bytes}");
                assert_eq!(input, b"more");
            }
        }
    }

    #[test]
    fn what_is_not_plain_is_left_to_the_decoder() {
        let masked = encode_frame(true, Opcode::Text, b"masked", Some([1, 2, 3, 4]));
        let fragment = encode_frame(false, Opcode::Text, b"fragment", None);
        let long_length = b"\x81\x7e\x00\x02hi".to_vec();
        let longer_length = b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x02hi".to_vec();
        let reserved = b"\xc1\x02hi".to_vec();
        let ping = encode(Opcode::Ping, b"").to_vec();
        for mut read in [masked, fragment, long_length, longer_length, reserved, ping, Vec::new()] {
            let mut input = &mut read[..];
            assert_eq!(take_message(&mut input), None);
            let left = input.len();
            assert_eq!(left, read.len());
        }
    }

    #[test]
    fn what_is_written_is_what_servers_read() {
        let mut limits = Limits::default();
        limits.message_bytes = 1 << 20;
        let mut decoder = Decoder::new(Role::Server);
        for bytes in [0, 1, 2, 3, 64, 125, 126, 0xffff, 0x1_0000] {
            for kind in [Kind::Text, Kind::Binary] {
                let mut written = Vec::new();
                append_message(&mut written, kind, bytes, [9, 8, 7, 200], |payload| payload.fill(b'y'));
                let mut input = &mut written[..];
                let event = decoder.decode(&mut input, &limits).unwrap();
                let Some(Event::Message(message)) = event else { panic!("{event:?}") };
                assert_eq!(message.payload(), vec![b'y'; bytes]);
                assert_eq!(message.is_text(), kind == Kind::Text);
                assert!(input.is_empty());
            }
        }
    }
}
