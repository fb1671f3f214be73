//! Peers that say nothing: those who are there stay, those who are gone are found.

use std::time::Duration;

use singletrack::ws::Opcode;

use crate::client::{Client, Heard, connect};
use crate::{limits, metric, serve, until};

#[test]
fn a_silent_peer_is_pinged_and_stays_if_it_answers() {
    let server = serve(|b| {
        b.limits(limits(|l| {
            l.ping_interval = Duration::from_millis(20);
            l.ping_jitter = Duration::from_millis(10);
            l.pong_timeout = Duration::from_secs(15);
        }))
    });
    let mut client = Client::open(server.local_addr(), "/echo");
    for _ in 0..5 {
        match client.hear() {
            Heard::Ping(payload) => client.send(Opcode::Pong, &payload),
            other => panic!("{other:?}"),
        }
    }
    client.send_text("still here");
    while !matches!(client.hear(), Heard::Message(message) if message.as_text() == Some("still here")) {}
    assert_eq!(metric(server.local_addr(), "gone_total"), 0);
}

#[test]
fn a_peer_that_answers_no_ping_is_given_up() {
    let server = serve(|b| {
        b.limits(limits(|l| {
            l.ping_interval = Duration::from_millis(50);
            l.ping_jitter = Duration::from_millis(10);
            l.pong_timeout = Duration::from_millis(100);
        }))
    });
    let mut client = Client::open(server.local_addr(), "/room/a");
    assert!(matches!(client.hear(), Heard::Ping(_)));
    assert!(matches!(client.hear(), Heard::End));
    until("its room is gone, too", || metric(server.local_addr(), "rooms") == 0);
    assert_eq!(metric(server.local_addr(), "gone_total"), 1);
}

#[test]
fn a_connection_between_requests_is_closed_without_a_word() {
    let server = serve(|b| b.limits(limits(|l| l.keep_alive = Duration::from_millis(100))));
    let mut stream = connect(server.local_addr());
    std::io::Write::write_all(&mut stream, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(crate::client::read_answer(&mut stream).status, 200);
    assert!(crate::client::try_read_answer(&mut stream).is_none());
}
