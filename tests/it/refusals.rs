//! Bad input: the right status or close code for that peer alone. Nobody else notices.

use std::io::Write;

use singletrack::OriginPolicy;
use singletrack::ws::{Opcode, encode_frame};
use singletrack_test_client::{Client, connect, handshake, raw, read_answer, until};

use crate::{limits, serve};

const MASK: Option<[u8; 4]> = Some([1, 2, 3, 4]);

#[test]
fn malformed_requests_and_handshakes_get_their_status() {
    let server = serve(|b| b);
    let address = server.local_addr();
    let mut witness = Client::open(address, "/echo");
    let without = |line: &str| handshake("/echo").replace(line, "");
    let many_headers = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Header: y\r\n".repeat(100));
    for (name, request, status) in [
        ("nonsense", "nonsense\r\n\r\n".to_owned(), 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n".into(), 400),
        ("bare line feed", "GET / HTTP/1.1\nHost: x\n\n".into(), 400),
        ("wrong version", "GET / HTTP/2.0\r\nHost: x\r\n\r\n".into(), 505),
        (
            "both lengths",
            "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            400,
        ),
        ("large body", "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n".into(), 413),
        ("large head", format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(20_000)), 431),
        ("long line", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(20_000)), 414),
        ("many headers", many_headers, 431),
        ("no key", without("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), 400),
        ("old version", handshake("/echo").replace("Version: 13", "Version: 8"), 426),
        ("no upgrade", without("Upgrade: websocket\r\n"), 426),
    ] {
        let answer = raw(address, request.as_bytes());
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        witness.send_text(name);
        assert_eq!(witness.text(), name);
    }
}

#[test]
fn malformed_frames_get_their_close_code() {
    let server = serve(|b| b.limits(limits(|l| l.message_bytes = 1000)));
    let address = server.local_addr();
    let mut witness = Client::open(address, "/echo");
    let fragment = |last, opcode, payload: &[u8]| encode_frame(last, opcode, payload, MASK);
    for (name, bytes, code) in [
        ("not masked", encode_frame(true, Opcode::Text, b"x", None), 1002),
        ("reserved bit", vec![0xC1, 0x80, 0, 0, 0, 0], 1002),
        ("unknown opcode", vec![0x83, 0x80, 0, 0, 0, 0], 1002),
        ("long ping", encode_frame(true, Opcode::Ping, &[0; 126], MASK), 1002),
        ("a fragmented ping", fragment(false, Opcode::Ping, b""), 1002),
        ("a continuation of nothing", fragment(true, Opcode::Continuation, b"x"), 1002),
        ("long form of a short length", vec![0x81, 0xFE, 0, 1, 0, 0, 0, 0, b'x'], 1002),
        ("text that is none", fragment(true, Opcode::Text, &[0xC3, 0x28]), 1007),
        ("too big", fragment(true, Opcode::Binary, &[0; 1001]), 1009),
        (
            "too big together",
            [fragment(false, Opcode::Text, &[b'x'; 600]), fragment(true, Opcode::Continuation, &[b'x'; 600])].concat(),
            1009,
        ),
        ("a close code that is none", fragment(true, Opcode::Close, &999_u16.to_be_bytes()), 1002),
        ("a close of one byte", fragment(true, Opcode::Close, &[3]), 1002),
    ] {
        let mut client = Client::open(address, "/echo");
        client.send_raw(&bytes);
        assert_eq!(client.closed(), code, "{name}");
        witness.send_text(name);
        assert_eq!(witness.text(), name);
    }
    let mut edge = Client::open(address, "/echo");
    edge.send(Opcode::Binary, &[7; 1000]);
    assert_eq!(edge.message().payload(), [7; 1000]);
}

#[test]
fn the_close_code_arrives_although_much_more_was_sent() {
    let server = serve(|b| b);
    let mut client = Client::open(server.local_addr(), "/echo");
    let mut bytes = vec![0xC1, 0x80, 0, 0, 0, 0];
    bytes.extend(std::iter::repeat_n(0, 200_000));
    client.send_raw(&bytes);
    assert_eq!(client.closed(), 1002);
}

#[test]
fn a_peer_that_closes_gets_its_own_code_back() {
    let server = serve(|b| b);
    for (payload, code) in [(&b""[..], 1005), (&1000_u16.to_be_bytes(), 1000), (&4321_u16.to_be_bytes(), 4321)] {
        let mut client = Client::open(server.local_addr(), "/echo");
        client.send(Opcode::Close, payload);
        assert_eq!(client.closed(), code);
    }
}

#[test]
fn a_head_that_does_not_arrive_in_time_gets_408() {
    let server = serve(|b| b.limits(limits(|l| l.head_time = std::time::Duration::from_millis(200))));
    let address = server.local_addr();
    for beginning in ["", "GET / HTTP/1.1\r\nHost:"] {
        let mut stream = connect(address);
        stream.write_all(beginning.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).status, 408, "{beginning:?}");
    }
    // A byte now and then does not help.
    let mut slow = connect(address);
    let mut patient = slow.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        let bytes = b"GET / HTTP/1.1\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x'));
        for byte in bytes.take(3_000) {
            if patient.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10)); // the peer under test is slow: it drips a byte at a time
        }
        panic!("the server listens for ever");
    });
    assert_eq!(read_answer(&mut slow).status, 408);
    drop(slow);
    dripping.join().unwrap();
}

#[test]
fn pages_of_other_sites_may_not_connect_unless_they_are_listed() {
    let server = serve(|b| b.origins(OriginPolicy::parse("https://friend.example")));
    let address = server.local_addr();
    let ask = |origin: &str| {
        let request = handshake("/room/a").replace("\r\n\r\n", &format!("\r\nOrigin: {origin}\r\n\r\n"));
        raw(address, request.as_bytes()).status
    };
    assert_eq!(ask("http://localhost"), 101);
    assert_eq!(ask("https://friend.example"), 101);
    assert_eq!(ask("https://evil.example"), 403);
}

#[test]
fn peers_that_vanish_in_the_middle_of_anything_leave_nothing_behind() {
    let server = serve(|b| b);
    let address = server.local_addr();
    let whole = handshake("/room/a").into_bytes();
    let frame = encode_frame(true, Opcode::Text, &[b'x'; 300], MASK);
    let all = [whole, frame].concat();
    for length in (0..all.len()).step_by(7) {
        let mut stream = connect(address);
        stream.write_all(&all[..length]).unwrap();
    }
    until("all are gone", || server.connections() == 0);
}
