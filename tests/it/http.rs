//! Plain HTTP: pages, keep-alive, health and figures.

use std::io::Write;

use singletrack_test_client::{Client, connect, get, metric, raw, read_answer};

use crate::{limits, serve};

#[test]
fn the_page_comes_with_its_type_and_length() {
    let server = serve(|b| b);
    let page = get(server.local_addr(), "/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("Content-Type: text/html; charset=utf-8\r\n"), "{}", page.head);
    assert!(page.body.contains("<!doctype html>") || page.body.contains("<!DOCTYPE html>"));
    let own = serve(|b| b.page("<!doctype html><p>mine"));
    assert_eq!(get(own.local_addr(), "/").body, "<!doctype html><p>mine");
}

#[test]
fn one_connection_serves_many_requests_also_in_one_piece() {
    let server = serve(|b| b);
    let mut stream = connect(server.local_addr());
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok\n"));
        assert!(answer.head.contains("Connection: keep-alive\r\n"));
    }
    let many = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(300);
    stream.write_all(many.as_bytes()).unwrap();
    for _ in 0..300 {
        assert_eq!(read_answer(&mut stream).status, 200);
    }
    // A body is skipped, and the next request follows it.
    stream
        .write_all(
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET /nope HTTP/1.1\r\nHost: x\r\n\r\n",
        )
        .unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
    assert_eq!(read_answer(&mut stream).status, 404);
}

#[test]
fn a_peer_that_has_said_all_still_gets_its_answer() {
    let server = serve(|b| b);
    let mut stream = connect(server.local_addr());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut stream).status, 200);
}

#[test]
fn frames_may_come_right_behind_the_handshake() {
    let server = serve(|b| b);
    let mut stream = connect(server.local_addr());
    let mut bytes = singletrack_test_client::handshake("/echo").into_bytes();
    bytes.extend(singletrack::ws::encode_frame(true, singletrack::ws::Opcode::Text, b"eager", Some([5; 4])));
    stream.write_all(&bytes).unwrap();
    assert_eq!(read_answer(&mut stream).status, 101);
    let mut got = [0; 7];
    std::io::Read::read_exact(&mut stream, &mut got).unwrap();
    assert_eq!(&got, b"\x81\x05eager");
}

#[test]
fn health_and_figures_are_told() {
    let server = serve(|b| b);
    let address = server.local_addr();
    assert_eq!(get(address, "/healthz").status, 200);
    let mut client = Client::open(address, "/room/a");
    client.send_text("counted");
    assert_eq!(client.text(), "counted");
    assert_eq!(metric(address, "websockets"), 1);
    assert_eq!(metric(address, "messages_in_total"), 1);
    assert_eq!(metric(address, "messages_out_total"), 1);
    let mut echo = Client::open(address, "/echo");
    echo.send_text("counted, too");
    assert_eq!(echo.text(), "counted, too");
    assert_eq!(metric(address, "messages_out_total"), 2);
    echo.leave();
    assert_eq!(metric(address, "runtime_workers"), 2);
    client.leave();
    singletrack_test_client::until("the close is counted", || {
        get(address, "/metrics").body.contains("singletrack_closes_total{code=\"1000\"} 2\n")
    });
    assert_eq!(metric(address, "websockets"), 0);
}

#[test]
fn a_server_that_is_full_says_503_and_lets_others_in_when_somebody_left() {
    let server = serve(|b| b.limits(limits(|l| l.connections = Some(3))));
    let address = server.local_addr();
    let mut held: Vec<Client> = (0..3).map(|_| Client::open(address, "/echo")).collect();
    assert_eq!(get(address, "/healthz").status, 503);
    // Nobody else notices.
    for client in &mut held {
        client.send_text("still here");
        assert_eq!(client.text(), "still here");
    }
    held.pop().unwrap().leave();
    singletrack_test_client::until("there is room again", || get(address, "/healthz").status == 200);
}

#[test]
fn those_who_wait_at_a_full_server_cost_no_timers() {
    // Three places, and the few beyond them that may wait for a 503. All of them say nothing.
    let server =
        serve(|b| b.limits(limits(|l| (l.connections, l.head_time) = (Some(3), std::time::Duration::from_secs(1000)))));
    let mut held: Vec<_> = (0..200).map(|_| connect(server.local_addr())).collect();
    let mut holds = 0;
    singletrack_test_client::until("no more are taken", || {
        let before = std::mem::replace(&mut holds, server.connections());
        holds >= 3 && holds == before && server.runtime().stats().timers == 2
    });
    for _ in 0..100 {
        let before = server.runtime().stats().blocks;
        held.push(connect(server.local_addr()));
        singletrack_test_client::until("the arrival is noticed", || server.runtime().stats().blocks > before);
    }
    // One for the deadlines of all connections, and one for the end of the pause.
    assert_eq!(server.runtime().stats().timers, 2);
}

#[test]
fn a_full_room_says_503() {
    let server = serve(|b| b.limits(limits(|l| l.room_members = 1)));
    let address = server.local_addr();
    let first = Client::open(address, "/room/a");
    assert_eq!(Client::ask(address, "/room/a").0.status, 503);
    first.leave();
    singletrack_test_client::until("the seat is free", || Client::ask(address, "/room/a").0.status == 101);
}

#[test]
fn unknown_paths_and_methods_are_refused() {
    let server = serve(|b| b);
    let address = server.local_addr();
    assert_eq!(get(address, "/nothing").status, 404);
    assert_eq!(get(address, "/echo").status, 426);
    let posted = raw(address, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(posted.status, 405);
    // The answer to a HEAD request has no body, also when it is a refusal: a body would be taken
    // for the next answer.
    for path in ["/nothing", "/echo", "/room/a%20b"] {
        let mut stream = connect(address);
        stream.write_all(format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut said = String::new();
        std::io::Read::read_to_string(&mut stream, &mut said).unwrap();
        assert!(said.starts_with("HTTP/1.1 4") && said.ends_with("\r\n\r\n"), "{path}: {said}");
    }
}
