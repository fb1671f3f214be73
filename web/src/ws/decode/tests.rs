//! The accepted and the refused input of the decoder, whole and cut at every place.

use super::*;
use crate::ws::{encode, encode_frame};

const MASK: Option<[u8; 4]> = Some([0x37, 0xFA, 0x21, 0x3D]);

/// Feeds `stream` in pieces that end at `cuts`, and returns the events and the error that ended
/// them.
fn run(role: Role, stream: &[u8], cuts: &[usize], limits: &Limits) -> (Vec<Event>, Option<Close>) {
    let mut decoder = Decoder::new(role);
    let mut events = Vec::new();
    let mut from = 0;
    for &to in cuts.iter().chain([&stream.len()]) {
        let mut piece = stream[from..to].to_vec();
        from = to;
        let mut input = &mut piece[..];
        loop {
            match decoder.decode(&mut input, limits) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(close) => return (events, Some(close)),
            }
        }
        assert!(input.is_empty(), "bytes were left behind");
    }
    (events, None)
}

/// Runs a stream whole and cut once at every place; all runs must agree.
fn check(stream: &[u8], limits: &Limits) -> (Vec<Event>, Option<u16>) {
    let (events, close) = run(Role::Server, stream, &[], limits);
    for cut in 0..=stream.len() {
        assert_eq!(run(Role::Server, stream, &[cut], limits), (events.clone(), close.clone()), "cut at {cut}");
    }
    let every: Vec<usize> = (0..stream.len()).collect();
    assert_eq!(run(Role::Server, stream, &every, limits), (events.clone(), close.clone()), "byte by byte");
    (events, close.map(|close| close.code.0))
}

fn text(text: &str) -> Event {
    Event::Message(Message::text(text))
}

fn frame(last: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    encode_frame(last, opcode, payload, MASK)
}

/// A header of a client with its first two bytes and the extended length given.
fn raw(first: u8, second: u8, extended: &[u8]) -> Vec<u8> {
    [&[first, second | 0x80], extended, &[0, 0, 0, 0]].concat()
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn an_idle_decoder_is_small_and_owns_nothing() {
    assert!(size_of::<Decoder>() <= 48);
    let limits = Limits::default();
    let mut decoder = Decoder::new(Role::Server);
    let mut bytes = [frame(true, Opcode::Text, b"one"), frame(false, Opcode::Binary, b"two")].concat();
    let end = bytes.len();
    let mut input = &mut bytes[..end - 1];
    assert_eq!(decoder.decode(&mut input, &limits), Ok(Some(text("one"))));
    assert!(!decoder.is_partial());
    assert_eq!(decoder.decode(&mut input, &limits), Ok(None));
    assert!(decoder.is_partial());
    let mut rest = [&bytes[end - 1..], &frame(true, Opcode::Continuation, b"!")[..]].concat();
    let mut input = &mut rest[..];
    assert_eq!(decoder.decode(&mut input, &limits), Ok(Some(Event::Message(Message::binary(b"two!")))));
    assert!(!decoder.is_partial());
}

#[test]
fn messages_arrive_whole_however_they_are_cut() {
    let stream = [
        frame(true, Opcode::Text, "grüße".as_bytes()),
        frame(true, Opcode::Binary, &[]),
        frame(false, Opcode::Text, &"ü".as_bytes()[..1]),
        frame(true, Opcode::Ping, b"now"),
        frame(false, Opcode::Continuation, &[]),
        frame(true, Opcode::Pong, &[]),
        frame(true, Opcode::Continuation, &"ü!".as_bytes()[1..]),
        frame(true, Opcode::Binary, &[9; 200]),
        frame(true, Opcode::Close, b"\x03\xe8bye"),
    ]
    .concat();
    let (events, error) = check(&stream, &Limits::default());
    assert_eq!(error, None);
    let expected = [
        text("grüße"),
        Event::Message(Message::binary(&[])),
        Event::Ping(Bytes::from_static(b"now")),
        Event::Pong(Bytes::new()),
        text("ü!"),
        Event::Message(Message::binary(&[9; 200])),
        Event::Close(Some(Close::new(CloseCode::NORMAL, "bye"))),
    ];
    assert_eq!(events, expected);
}

#[test]
fn random_streams_cut_at_random_places_decode_alike() {
    for seed in 1..=60u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..20 {
            let len = match random.below(6) {
                0 => 0,
                1 => 120 + random.below(12),
                2 => 65_530 + random.below(12),
                _ => random.below(300),
            };
            let is_text = random.below(2) == 0;
            let payload: Vec<u8> = if is_text {
                "aé日🚂".chars().cycle().skip(random.below(4)).take(len).collect::<String>().into_bytes()
            } else {
                (0..len).map(|_| random.below(256) as u8).collect()
            };
            let mut opcode = if is_text { Opcode::Text } else { Opcode::Binary };
            let mut from = 0;
            loop {
                let to =
                    if random.below(2) == 0 { payload.len() } else { from + random.below(payload.len() - from + 1) };
                let mask = [random.below(256) as u8, random.below(256) as u8, random.below(256) as u8, 7];
                let last = to == payload.len();
                stream.extend(encode_frame(last, opcode, &payload[from..to], Some(mask)));
                (opcode, from) = (Opcode::Continuation, to);
                if last {
                    break;
                }
                if random.below(3) == 0 {
                    let ping = vec![random.below(256) as u8; random.below(126)];
                    stream.extend(encode_frame(true, Opcode::Ping, &ping, Some(mask)));
                    expected.push(Event::Ping(ping.into()));
                }
            }
            expected.push(Event::Message(match str::from_utf8(&payload) {
                Ok(payload) if is_text => Message::text(payload),
                _ => Message::binary(&payload),
            }));
        }
        let mut cuts: Vec<usize> = (0..random.below(60)).map(|_| random.below(stream.len())).collect();
        cuts.sort_unstable();
        let (events, error) = run(Role::Server, &stream, &cuts, &Limits::default());
        assert_eq!(error, None, "seed {seed}");
        assert!(events == expected, "seed {seed}");
    }
}

#[test]
fn what_a_header_shows_to_be_wrong_is_refused_before_the_payload() {
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("reserved bit 1", raw(0xC1, 0, &[]), 1002),
        ("reserved bit 2", raw(0xA1, 0, &[]), 1002),
        ("reserved bit 3", raw(0x91, 0, &[]), 1002),
        ("unmasked", vec![0x81, 0x01], 1002),
        ("ping in fragments", raw(0x09, 0, &[]), 1002),
        ("ping of 126 bytes", vec![0x89, 0x80 | 126], 1002),
        ("close of 64-bit length", vec![0x88, 0x80 | 127], 1002),
        ("continuation of nothing", raw(0x80, 1, &[]), 1002),
        ("length 125 in two bytes", raw(0x81, 126, &[0, 125]), 1002),
        ("length 65535 in eight bytes", raw(0x82, 127, &[0, 0, 0, 0, 0, 0, 0xFF, 0xFF]), 1002),
        ("length with the top bit", raw(0x82, 127, &[0x80, 0, 0, 0, 0, 0, 0, 0]), 1002),
        ("length beyond all limits", raw(0x82, 127, &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), 1009),
        ("two beginnings", [frame(false, Opcode::Text, b"a"), raw(0x81, 1, &[])].concat(), 1002),
    ];
    for (name, stream, code) in cases {
        let (events, close) = check(stream, &Limits::default());
        assert_eq!((events, close), (vec![], Some(*code)), "{name}");
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        assert_eq!(check(&raw(0x80 | opcode, 0, &[]), &Limits::default()).1, Some(1002), "opcode {opcode}");
    }
}

#[test]
fn lengths_just_long_enough_for_their_form_are_taken() {
    for len in [125, 126, 65_535, 65_536] {
        let payload = vec![1; len];
        let (events, error) = run(Role::Server, &frame(true, Opcode::Binary, &payload), &[5], &Limits::default());
        assert_eq!((events, error), (vec![Event::Message(Message::binary(&payload))], None), "{len}");
    }
    let (events, error) = check(&frame(true, Opcode::Ping, &[1; 125]), &Limits::default());
    assert_eq!((events, error), (vec![Event::Ping(vec![1; 125].into())], None));
}

#[test]
fn a_message_may_fill_its_limit_and_not_one_byte_more() {
    let limits = Limits { message_bytes: 10, ..Limits::default() };
    let first = frame(false, Opcode::Binary, &[1; 4]);
    let whole = Event::Message(Message::binary(&[1; 10]));
    assert_eq!(check(&frame(true, Opcode::Binary, &[1; 10]), &limits), (vec![whole.clone()], None));
    assert_eq!(check(&frame(true, Opcode::Binary, &[1; 11]), &limits), (vec![], Some(1009)));
    let fits = [first.clone(), frame(true, Opcode::Continuation, &[1; 6])].concat();
    assert_eq!(check(&fits, &limits), (vec![whole], None));
    // Refused on the header: none of the seven bytes is there.
    let over = [first, raw(0x80, 7, &[])].concat();
    assert_eq!(check(&over, &limits), (vec![], Some(1009)));
}

#[test]
fn a_message_may_have_its_number_of_fragments_and_not_one_more() {
    let limits = Limits { message_fragments: 3, ..Limits::default() };
    let begun = [frame(false, Opcode::Text, b"a"), frame(false, Opcode::Continuation, b"")].concat();
    let fits = [begun.clone(), frame(true, Opcode::Continuation, b"b")].concat();
    assert_eq!(check(&fits, &limits), (vec![text("ab")], None));
    let over = [begun, frame(false, Opcode::Continuation, b"b"), raw(0x80, 0, &[])].concat();
    assert_eq!(check(&over, &limits), (vec![], Some(1009)));
}

#[test]
fn bad_text_is_refused_at_its_first_bad_byte() {
    let limits = Limits::default();
    // A frame of 100 bytes of which only the first ones arrive.
    for bad in [&b"ok\xFF"[..], b"\xC0\xAF", b"\xED\xA0", b"\xF4\x90", b"\xF5", b"\x80", b"\xE2\x28"] {
        let whole = [bad, &vec![b'x'; 100 - bad.len()]].concat();
        let stream = frame(true, Opcode::Text, &whole);
        assert_eq!(check(&stream[..6 + bad.len()], &limits), (vec![], Some(1007)), "{bad:?}");
        assert_eq!(check(&stream, &limits), (vec![], Some(1007)), "{bad:?}");
        assert_eq!(check(&frame(false, Opcode::Text, &whole)[..6 + bad.len()], &limits).1, Some(1007), "{bad:?}");
    }
    let cut = [frame(false, Opcode::Text, b"a\xC3"), frame(true, Opcode::Continuation, b"")].concat();
    assert_eq!(check(&cut, &limits), (vec![], Some(1007)));
    assert_eq!(check(&frame(true, Opcode::Text, b"a\xC3"), &limits), (vec![], Some(1007)));
    assert_eq!(check(&frame(true, Opcode::Binary, b"\xFF"), &limits).1, None);
}

#[test]
fn close_frames_have_a_valid_code_and_reason_or_none() {
    let limits = Limits::default();
    let close = |payload: &[u8]| check(&frame(true, Opcode::Close, payload), &limits);
    assert_eq!(close(b""), (vec![Event::Close(None)], None));
    assert_eq!(close(b"\x03"), (vec![], Some(1002)));
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        assert_eq!(close(&code.to_be_bytes()), (vec![], Some(1002)), "{code}");
    }
    assert_eq!(close(b"\x03\xe8\xFF"), (vec![], Some(1007)));
    let longest = Close::new(CloseCode(4999), "x".repeat(123));
    assert_eq!(close(&longest.payload()), (vec![Event::Close(Some(longest))], None));
}

#[test]
fn nothing_is_decoded_behind_a_close_or_an_error() {
    let stream = [frame(true, Opcode::Close, b""), frame(true, Opcode::Text, b"late"), vec![0xFF; 9]].concat();
    assert_eq!(check(&stream, &Limits::default()), (vec![Event::Close(None)], None));
    let mut decoder = Decoder::new(Role::Server);
    let mut bytes = [vec![0xFF; 3], frame(true, Opcode::Text, b"late")].concat();
    let mut input = &mut bytes[..];
    assert!(decoder.decode(&mut input, &Limits::default()).is_err());
    assert!(decoder.is_closed() && !decoder.is_partial());
    assert_eq!(decoder.decode(&mut input, &Limits::default()), Ok(None));
    assert!(input.is_empty());
}

#[test]
fn a_client_takes_unmasked_frames_only() {
    let limits = Limits::default();
    let stream = encode(Opcode::Text, b"hello");
    for cut in 0..stream.len() {
        assert_eq!(run(Role::Client, &stream, &[cut], &limits), (vec![text("hello")], None));
    }
    let (events, close) = run(Role::Client, &frame(true, Opcode::Text, b"hello"), &[], &limits);
    assert_eq!((events, close.map(|c| c.code)), (vec![], Some(CloseCode::PROTOCOL)));
}

#[test]
fn a_peer_claims_memory_by_what_it_sent_not_by_what_it_announced() {
    let limits = Limits::default();
    let mut decoder = Decoder::new(Role::Server);
    let mut bytes = frame(true, Opcode::Binary, &vec![0; limits.message_bytes]);
    let mut input = &mut bytes[..1000];
    assert_eq!(decoder.decode(&mut input, &limits), Ok(None));
    let owned = decoder.partial.as_ref().unwrap().message.as_ref().unwrap().buffer.capacity();
    assert!(owned <= 2000, "{owned}");
}

#[test]
fn a_large_message_in_small_pieces_is_moved_a_few_times_only() {
    let limits = Limits { message_bytes: 1 << 20, ..Limits::default() };
    let payload = vec![b'x'; limits.message_bytes];
    let mut bytes = frame(true, Opcode::Text, &payload);
    let mut decoder = Decoder::new(Role::Server);
    let mut grown = 0;
    let mut capacity = 0;
    let mut last = None;
    for piece in bytes.chunks_mut(16) {
        let mut input = piece;
        last = decoder.decode(&mut input, &limits).unwrap();
        if let Some(message) = decoder.partial.as_ref().and_then(|p| p.message.as_ref()) {
            grown += usize::from(message.buffer.capacity() != capacity);
            capacity = message.buffer.capacity();
        }
    }
    assert!(grown <= 20, "{grown}");
    assert!(last == Some(Event::Message(Message::copied(true, &payload))));
}

#[test]
fn a_decoder_is_closed_by_a_close_and_by_nothing_else() {
    let (mut decoder, limits) = (Decoder::new(Role::Server), Limits::default());
    for (opcode, closed) in [(Opcode::Text, false), (Opcode::Ping, false), (Opcode::Close, true)] {
        let mut bytes = frame(true, opcode, b"");
        assert!(decoder.decode(&mut &mut bytes[..], &limits).unwrap().is_some());
        assert_eq!(decoder.is_closed(), closed);
    }
}

/// A payload that arrives in pieces takes no more memory than its length, whatever the pieces are.
#[test]
fn a_payload_in_pieces_gets_no_more_room_than_it_needs() {
    for piece in [1, 7, 100, 999, 1_000] {
        let (mut message, bytes) = (Assembly::new(false), [0; 1_000]);
        let mut missing = bytes.len();
        for part in bytes.chunks(piece) {
            missing -= part.len();
            message.append(part, missing as u64).unwrap();
        }
        assert_eq!(message.len(), bytes.len());
        assert_eq!(message.buffer.capacity(), HEAD_ROOM + bytes.len(), "in pieces of {piece} bytes");
    }
}
