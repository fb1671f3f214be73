//! Echo and rooms: every message arrives, unchanged, in order, at all its receivers.

use std::net::SocketAddr;

use rustix::process::{Resource, getrlimit, setrlimit};

use singletrack::ws::{Opcode, encode_frame};
use singletrack_test_client::{Client, Heard, get, metric, until};

use crate::serve;

#[test]
fn an_echo_sends_text_and_bytes_back_unchanged() {
    let server = serve(|b| b);
    let mut client = Client::open(server.local_addr(), "/echo");
    for text in ["", "hello", "Grüße, 世界 🚂", &"x".repeat(70_000)] {
        client.send_text(text);
        assert_eq!(client.text(), text);
    }
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    client.send(Opcode::Binary, &bytes);
    let message = client.message();
    assert!(!message.is_text());
    assert_eq!(message.payload(), bytes);
    client.leave();
}

#[test]
fn a_ping_is_answered_between_the_fragments_of_a_message() {
    let server = serve(|b| b);
    let mut client = Client::open(server.local_addr(), "/echo");
    client.send_raw(&encode_frame(false, Opcode::Text, b"one ", Some([1; 4])));
    client.send(Opcode::Ping, b"are you there");
    client.send_raw(&encode_frame(true, Opcode::Continuation, b"two", Some([2; 4])));
    assert!(matches!(client.hear(), Heard::Pong(payload) if payload == b"are you there"));
    assert_eq!(client.text(), "one two");
}

#[test]
fn bytes_may_come_one_at_a_time_or_all_at_once() {
    let server = serve(|b| b);
    let mut client = Client::open(server.local_addr(), "/echo");
    for byte in encode_frame(true, Opcode::Text, b"slowly", Some([7, 7, 7, 7])) {
        client.send_raw(&[byte]);
    }
    assert_eq!(client.text(), "slowly");
    // Far more than a turn's share of frames, in one piece.
    let all: Vec<u8> = (0..5_000)
        .flat_map(|n| encode_frame(true, Opcode::Text, format!("{n}").as_bytes(), Some([n as u8; 4])))
        .collect();
    let mut writer = client.stream.try_clone().expect("clone");
    let sender = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &all).expect("send"));
    for n in 0..5_000 {
        assert_eq!(client.text(), n.to_string());
    }
    sender.join().expect("sender");
}

#[test]
fn what_a_member_says_reaches_all_members_of_its_room_and_nobody_else() {
    let server = serve(|b| b);
    let address = server.local_addr();
    let mut here: Vec<Client> = Vec::new();
    for n in 0..5 {
        here.push(Client::open(address, "/room/here"));
        // A new member's message reaches everybody, so the member has joined, and everybody has
        // read the same.
        here[n].send_text(&format!("in {n}"));
        for member in &mut here {
            assert_eq!(member.text(), format!("in {n}"));
        }
    }
    let mut there = joined(address, "/room/there");
    for n in 0..5 {
        here[n].send_text(&format!("from {n}"));
        for member in &mut here {
            assert_eq!(member.text(), format!("from {n}"));
        }
    }
    there.send_text("alone");
    assert_eq!(there.text(), "alone");
}

/// Joins, and returns when it has joined: its own message comes back.
fn joined(address: SocketAddr, path: &str) -> Client {
    let mut client = Client::open(address, path);
    client.send_text("joined");
    assert_eq!(client.text(), "joined");
    client
}

#[test]
fn messages_of_one_member_stay_in_order_at_every_member() {
    // On a busy machine a reader may be late, which is not tested here.
    let server = serve(|b| b.limits(crate::limits(|l| l.outbox_frames = 1 << 20)));
    let address = server.local_addr();
    const SENDERS: usize = 4;
    const EACH: usize = 2_000;
    let mut members: Vec<Client> = (0..SENDERS).map(|_| Client::open(address, "/room/order")).collect();
    // All have joined before anybody speaks: a room sends a message to its members at that time.
    for (n, member) in members.iter_mut().enumerate() {
        member.send_text(&format!("in {n}"));
        while member.text() != format!("in {n}") {}
    }
    let threads: Vec<_> = members
        .into_iter()
        .enumerate()
        .map(|(me, mut member)| {
            std::thread::spawn(move || {
                let mut writer = member.stream.try_clone().expect("clone");
                let sender = std::thread::spawn(move || {
                    for n in 0..EACH {
                        let frame = encode_frame(true, Opcode::Text, format!("{me} {n}").as_bytes(), Some([3; 4]));
                        std::io::Write::write_all(&mut writer, &frame).expect("send");
                    }
                });
                let mut next = [0; SENDERS];
                while next.iter().sum::<usize>() < SENDERS * EACH {
                    let text = member.text();
                    let (from, n) = text.split_once(' ').expect("two parts");
                    if from == "in" {
                        continue;
                    }
                    let from: usize = from.parse().expect("a number");
                    assert_eq!(n, next[from].to_string(), "from {from} at {me}");
                    next[from] += 1;
                }
                sender.join().expect("sender");
                member
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("member").leave();
    }
}

#[test]
fn a_huge_room_hears_all_in_one_order() {
    // More members than a room needs for all workers to take part. Each takes a descriptor here and
    // one in the server.
    const MEMBERS: usize = 2_200;
    const EACH: usize = 10;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).expect("a process may have as many files as its hard limit says");
    assert!(files.maximum.is_none_or(|most| most > 6_000), "this test needs 6,000 descriptors: raise the hard limit");
    let server = serve(|b| b);
    let address = server.local_addr();
    let mut members: Vec<Client> = (0..MEMBERS).map(|_| Client::open(address, "/room/huge")).collect();
    // The last one to join hears itself, so all have joined.
    members[MEMBERS - 1].send_text("in");
    for member in &mut members {
        assert_eq!(member.text(), "in");
    }
    for n in 0..EACH {
        for sender in [0, MEMBERS / 2, MEMBERS - 1] {
            members[sender].send_text(&format!("{sender} {n}"));
        }
    }
    let all: Vec<String> = (0..3 * EACH).map(|_| members[0].text()).collect();
    for sender in [0, MEMBERS / 2, MEMBERS - 1] {
        let own: Vec<&str> = all.iter().filter_map(|text| text.strip_prefix(&format!("{sender} "))).collect();
        assert_eq!(own, (0..EACH).map(|n| n.to_string()).collect::<Vec<_>>(), "from {sender}");
    }
    for member in &mut members[1..] {
        let heard: Vec<String> = (0..3 * EACH).map(|_| member.text()).collect();
        assert_eq!(heard, all);
    }
}

#[test]
fn a_room_is_made_by_its_first_member_and_goes_with_its_last() {
    let server = serve(|b| b);
    let address = server.local_addr();
    assert_eq!(metric(address, "rooms"), 0);
    let one = joined(address, "/room/short");
    let two = joined(address, "/room/lived");
    assert_eq!(metric(address, "rooms"), 2);
    one.leave();
    drop(two);
    until("both rooms are gone", || metric(address, "rooms") == 0);
    // The name can be used again, by many threads at once, while the room comes and goes.
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for n in 0..50 {
                    let mut client = Client::open(address, "/room/hot");
                    let mine = format!("{n} {:?}", std::thread::current().id());
                    client.send_text(&mine);
                    // After a lost join, this would wait for ever.
                    while client.text() != mine {}
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("joins");
    }
    until("the hot room is gone", || metric(address, "rooms") == 0);
}

#[test]
fn names_of_rooms_are_checked() {
    let server = serve(|b| b);
    let address = server.local_addr();
    assert_eq!(Client::ask(address, "/room/").0.status, 404);
    assert_eq!(Client::ask(address, "/room/a%20b").0.status, 400);
    assert_eq!(Client::ask(address, &format!("/room/{}", "a".repeat(65))).0.status, 400);
    joined(address, "/room/%E4%B8%96%E7%95%8C").leave();
    assert_eq!(get(address, "/room/x").status, 426);
}

#[test]
fn a_descriptor_that_is_used_again_gets_no_events_of_its_former_owner() {
    let server = serve(|b| b);
    let address = server.local_addr();
    let threads: Vec<_> = (0..4)
        .map(|me| {
            std::thread::spawn(move || {
                for n in 0..200 {
                    let mut client = Client::open(address, "/echo");
                    let mine = format!("{me} {n}");
                    client.send_text(&mine);
                    assert_eq!(client.text(), mine);
                    // Half of them leave in the middle of something, so that events are on their
                    // way.
                    if n % 2 == 0 {
                        client.send_text("unread");
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("clients");
    }
    until("all are gone", || metric(address, "connections") <= 1);
}
