//! Peers that say nothing: those that are alive stay, and those that are gone are found.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use singletrack::ws::Opcode;
use singletrack::{Conn, Handler, Limits, Message, Request, RunningServer};
use singletrack_test_client::{Client, DEADLINE, Heard, connect, metric, until};

use crate::{limits, serve};

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
    assert_eq!(singletrack_test_client::read_answer(&mut stream).status, 200);
    assert!(singletrack_test_client::try_read_answer(&mut stream).is_none());
}

/// An echo, whose connection's queue a test can occupy.
struct Occupied(Sender<Conn>);

impl Handler for Occupied {
    fn open(&mut self, conn: &Conn, _: &Request) {
        self.0.send(conn.clone()).unwrap();
    }

    fn message(&mut self, conn: &Conn, message: Message) {
        conn.send(message);
    }
}

/// A server on which the connections' queues can be occupied.
fn occupied(limits: Limits) -> (RunningServer, Receiver<Conn>) {
    let (give, given) = channel();
    let give = Mutex::new(give);
    let server = serve(|b| b.limits(limits).handler("/occupied", move |_| Occupied(give.lock().unwrap().clone())));
    (server, given)
}

/// Occupies the connection's queue until the returned sender is dropped.
fn occupy(conn: &Conn) -> Sender<()> {
    let (free, freed) = channel::<()>();
    conn.queue().submit(move || _ = freed.recv());
    free
}

#[test]
fn an_answer_to_a_ping_that_could_not_be_read_in_time_counts() {
    let (server, given) = occupied(limits(|l| {
        l.ping_interval = Duration::from_millis(50);
        l.ping_jitter = Duration::ZERO;
        l.pong_timeout = Duration::from_secs(1);
    }));
    let mut client = Client::open(server.local_addr(), "/occupied");
    assert!(matches!(client.hear(), Heard::Ping(_)));
    let free = occupy(&given.recv_timeout(DEADLINE).unwrap());
    client.send(Opcode::Pong, b"");
    // A peer that is pinged later and never answers is given up later.
    let _silent = Client::open(server.local_addr(), "/echo");
    until("the silent one is given up", || metric(server.local_addr(), "gone_total") == 1);
    drop(free);
    client.send_text("still here");
    let heard = std::iter::repeat_with(|| client.hear()).find(|heard| !matches!(heard, Heard::Ping(_)));
    assert!(matches!(heard, Some(Heard::Message(_))), "{heard:?}");
}

#[test]
fn what_a_peer_took_while_nobody_could_look_counts() {
    const SIZE: usize = 32 << 20;
    let (server, given) = occupied(limits(|l| l.write_stall = Duration::from_secs(1)));
    // Stalls, and then has its queue occupied.
    let stall = || {
        let client = Client::open(server.local_addr(), "/occupied");
        let conn = given.recv_timeout(DEADLINE).unwrap();
        conn.send_binary(&vec![7; SIZE]);
        until("it was begun", || conn.buffered() < SIZE);
        (client, occupy(&conn))
    };
    let (mut client, free) = stall();
    let reader = std::thread::spawn(move || client.message().payload().len());
    let _silent = stall().0;
    until("the stalled peer is given up", || metric(server.local_addr(), "gone_total") == 1);
    drop(free);
    assert_eq!(reader.join().unwrap(), SIZE);
}

/// Longer than any test.
const LATER: Duration = Duration::from_secs(1000);

#[test]
fn others_are_pinged_while_one_that_was_due_before_them_cannot_look() {
    let (server, given) = occupied(limits(|l| {
        (l.head_time, l.keep_alive) = (LATER, LATER);
        l.ping_interval = Duration::from_millis(300);
        l.ping_jitter = Duration::ZERO;
    }));
    let _first = Client::open(server.local_addr(), "/occupied");
    let _free = occupy(&given.recv_timeout(DEADLINE).unwrap());
    let now = std::time::Instant::now();
    until("deadlines of before are earlier ones", || now.elapsed() > Duration::from_millis(5));
    let mut second = Client::open(server.local_addr(), "/echo");
    assert!(matches!(second.hear(), Heard::Ping(_)));
}

#[test]
fn a_deadline_before_all_others_is_met() {
    let server = serve(|b| {
        b.limits(limits(|l| {
            (l.head_time, l.keep_alive) = (LATER, LATER);
            (l.ping_interval, l.ping_jitter) = (Duration::from_millis(20), Duration::ZERO);
        }))
    });
    let _silent = connect(server.local_addr());
    until("a late deadline is the earliest", || server.connections() == 1);
    let mut client = Client::open(server.local_addr(), "/echo");
    assert!(matches!(client.hear(), Heard::Ping(_)));
}

#[test]
fn a_peer_that_does_not_close_its_end_is_let_go_in_the_end() {
    let server = serve(|b| {
        b.limits(limits(|l| {
            (l.head_time, l.keep_alive, l.ping_interval) = (LATER, LATER, LATER);
            l.close_time = Duration::from_millis(100);
        }))
    });
    let mut client = Client::open(server.local_addr(), "/echo");
    client.send_raw(&[0xff; 16]);
    client.closed();
    until("its connection is over", || server.connections() == 0);
}
