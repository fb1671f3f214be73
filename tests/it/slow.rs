//! Members that do not keep up are closed or informed. Nobody else notices.

use singletrack::SlowMember;
use singletrack::ws::Opcode;
use singletrack_test_client::{Client, Heard, metric, until};

use crate::{limits, serve};

const SIZE: usize = 16 * 1024;

fn numbered(n: usize) -> Vec<u8> {
    let mut message = vec![b'.'; SIZE];
    let digits = format!("{n} ");
    message[..digits.len()].copy_from_slice(digits.as_bytes());
    message
}

fn number(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}

/// A member that reads, one that does not, and a server on which that soon matters.
fn pair(policy: SlowMember) -> (singletrack::RunningServer, Client, Client) {
    let server = serve(|b| b.slow_members(policy).limits(limits(|l| l.outbox_frames = 20)));
    let mut lazy = Client::open(server.local_addr(), "/room/a");
    lazy.send_text("in");
    assert_eq!(lazy.text(), "in");
    let diligent = Client::open(server.local_addr(), "/room/a");
    (server, lazy, diligent)
}

#[test]
fn a_member_that_does_not_read_is_closed_with_1013_and_the_others_miss_nothing() {
    let (server, mut lazy, mut diligent) = pair(SlowMember::Close);
    let mut sent = 0;
    until("the lazy member is too slow", || {
        for _ in 0..50 {
            diligent.send(Opcode::Binary, &numbered(sent));
            assert_eq!(number(diligent.message().payload()), sent);
            sent += 1;
        }
        metric(server.local_addr(), "slow_members_total") == 1
    });
    // The messages that it got before are whole and in order, and then the close gives the reason.
    let mut next = 0;
    let code = loop {
        match lazy.hear() {
            Heard::Message(message) => {
                assert_eq!(number(message.payload()), next);
                next += 1;
            }
            Heard::Close(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(1013));
    assert!(next < sent);
    diligent.send(Opcode::Binary, &numbered(sent));
    assert_eq!(number(diligent.message().payload()), sent);
}

#[test]
fn a_member_that_does_not_read_is_told_how_many_it_missed() {
    let (server, mut lazy, mut diligent) = pair(SlowMember::DropAndTell);
    let mut sent = 0;
    until("the lazy member has missed some", || {
        for _ in 0..50 {
            diligent.send(Opcode::Binary, &numbered(sent));
            assert_eq!(number(diligent.message().payload()), sent);
            sent += 1;
        }
        metric(server.local_addr(), "missed_messages_total") > 10
    });
    let mut next = 0;
    while next < sent {
        let message = lazy.message();
        match message.as_text() {
            Some(notice) => {
                let missed: usize = notice.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
                assert!(missed > 0);
                next += missed;
            }
            None => {
                assert_eq!(number(message.payload()), next, "neither told nor missed");
                next += 1;
            }
        }
    }
    // Afterwards it is a member like any other.
    diligent.send(Opcode::Binary, &numbered(sent));
    assert_eq!(number(lazy.message().payload()), sent);
    assert_eq!(metric(server.local_addr(), "slow_members_total"), 0);
}

#[test]
fn a_peer_that_takes_nothing_is_not_read_and_given_up_in_the_end() {
    let server = serve(|b| b.limits(limits(|l| l.write_stall = std::time::Duration::from_millis(300))));
    let mut client = Client::open(server.local_addr(), "/echo");
    // Its own echoes pile up, so the server stops reading. In the end nothing more can be sent,
    // until it is cut off.
    let message = "x".repeat(SIZE);
    let began = std::time::Instant::now();
    while client.try_send(&message) {
        assert!(began.elapsed() < singletrack_test_client::DEADLINE, "the server takes everything and gives up nobody");
    }
    until("it was given up", || server.connections() == 0);
    assert_eq!(metric(server.local_addr(), "gone_total"), 1);
}
