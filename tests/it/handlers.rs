//! Handlers of a program's own: callbacks on the connection's queue, and a handle that works from
//! anywhere.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use singletrack::{Close, CloseCode, Conn, Echo, Handler, Message, Reject, Request, Server};
use singletrack_test_client::{Client, DEADLINE};

use crate::serve;

/// Reports every callback to a test.
struct Teller {
    tell: Sender<String>,
    count: usize,
}

impl Handler for Teller {
    fn open(&mut self, conn: &Conn, request: &Request) {
        assert!(conn.queue().is_current());
        self.tell.send(format!("open {}", request.query().unwrap_or("-"))).unwrap();
        conn.send_text("welcome");
    }

    fn message(&mut self, conn: &Conn, message: Message) {
        assert!(conn.queue().is_current());
        self.count += 1;
        match message.as_text() {
            Some("bye") => conn.close(CloseCode(4000), "as you wish"),
            Some("panic") => panic!("as you wish"),
            _ => assert!(conn.send_text(&format!("{} so far", self.count))),
        }
    }

    fn close(&mut self, _: &Conn, close: &Close) {
        let _ = self.tell.send(format!("close {}", close.code));
    }

    fn drain(&mut self, conn: &Conn) {
        conn.send_text("last words");
        let _ = self.tell.send("drain".into());
    }
}

fn teller() -> (singletrack::RunningServer, std::sync::mpsc::Receiver<String>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let server = serve(|b| b.handler("/tell", move |_| Teller { tell: tell.lock().unwrap().clone(), count: 0 }));
    (server, told)
}

#[test]
fn a_handler_is_told_of_the_whole_life_of_its_connection() {
    let (server, told) = teller();
    let hear = || told.recv_timeout(DEADLINE).unwrap();
    let mut client = Client::open(server.local_addr(), "/tell?from=me");
    assert_eq!(hear(), "open from=me");
    assert_eq!(client.text(), "welcome");
    for n in 1..=3 {
        client.send_text("x");
        assert_eq!(client.text(), format!("{n} so far"));
    }
    client.send_text("bye");
    assert_eq!(client.closed(), 4000);
    assert_eq!(hear(), "close 4000");
    drop(Client::open(server.local_addr(), "/tell"));
    assert_eq!(hear(), "open -");
    assert_eq!(hear(), "close 1006");
    Client::open(server.local_addr(), "/tell").stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!((hear().as_str(), hear().as_str()), ("open -", "close 1006"));
}

#[test]
fn a_handler_that_panics_costs_its_own_connection_only() {
    let (server, told) = teller();
    let mut witness = Client::open(server.local_addr(), "/tell");
    let mut client = Client::open(server.local_addr(), "/tell");
    client.send_text("panic");
    assert_eq!(client.closed(), 1011);
    assert_eq!(witness.text(), "welcome");
    witness.send_text("x");
    assert_eq!(witness.text(), "1 so far");
    let heard: Vec<String> = (0..3).map(|_| told.recv_timeout(DEADLINE).unwrap()).collect();
    assert_eq!(heard, ["open -", "open -", "close 1011"]);
}

#[test]
fn a_handshake_is_refused_if_its_handler_cannot_be_made() {
    let server = serve(|b| b.handler("/fails", |_| -> Echo { panic!("as you wish") }));
    let (answer, _) = Client::ask(server.local_addr(), "/fails");
    assert_eq!(answer.status, 500, "{}", answer.body);
}

#[test]
fn a_handler_has_the_last_word_when_the_server_stops() {
    let (server, told) = teller();
    let mut client = Client::open(server.local_addr(), "/tell");
    assert_eq!(client.text(), "welcome");
    let reader = std::thread::spawn(move || (client.text(), client.closed()));
    let report = server.shutdown(DEADLINE);
    assert_eq!((report.cut_off, report.orderly), (0, true));
    assert_eq!(reader.join().unwrap(), ("last words".to_owned(), 1001));
    let heard: Vec<String> = told.try_iter().collect();
    assert_eq!(heard, ["open -", "drain", "close 1001"]);
}

#[test]
fn a_handle_sends_from_any_thread_and_does_nothing_once_the_connection_is_gone() {
    struct Give(Sender<Conn>);
    impl Handler for Give {
        fn open(&mut self, conn: &Conn, _: &Request) {
            self.0.send(conn.clone()).unwrap();
        }
        fn message(&mut self, _: &Conn, _: Message) {}
    }
    let (give, given) = channel();
    let give = Mutex::new(give);
    let server = serve(|b| b.handler("/give", move |_| Give(give.lock().unwrap().clone())));
    let mut client = Client::open(server.local_addr(), "/give");
    let conn = given.recv_timeout(DEADLINE).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|me| {
            let conn = conn.clone();
            std::thread::spawn(move || {
                for n in 0..500 {
                    assert!(conn.send_text(&format!("{me} {n}")));
                }
            })
        })
        .collect();
    let mut next = [0; 4];
    for _ in 0..2_000 {
        let text = client.text();
        let (from, n) = text.split_once(' ').unwrap();
        let from: usize = from.parse().unwrap();
        assert_eq!(n, next[from].to_string());
        next[from] += 1;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let queue = conn.queue().clone();
    let late = conn.clone();
    queue.submit(move || assert!(late.send_text("between two callbacks")));
    assert_eq!(client.text(), "between two callbacks");
    client.leave();
    singletrack_test_client::until("it is gone", || !conn.send_text("too late"));
    let lost = Client::open(server.local_addr(), "/give");
    let conn = given.recv_timeout(DEADLINE).unwrap();
    drop(lost);
    singletrack_test_client::until("it is lost", || !conn.send_text("too late"));
    assert_eq!(singletrack_test_client::metric(server.local_addr(), "slow_members_total"), 0);
    assert_eq!(conn.buffered(), 0);
    assert_eq!(conn.buffered(), 0);
}

#[test]
fn a_handshake_can_be_refused_and_paths_can_be_replaced() {
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let server = serve(|b| {
        b.try_handler("/secret/*", move |request| match request.query() {
            Some("key=1") => {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(Echo)
            }
            _ => Err(Reject::new(401, "no key")),
        })
        .handler("/echo", |_| Silent)
    });
    let address = server.local_addr();
    assert_eq!(Client::ask(address, "/secret/a").0.status, 401);
    let mut client = Client::open(address, "/secret/b?key=1");
    client.send_text("x");
    assert_eq!(client.text(), "x");
    assert_eq!(made.load(Ordering::Relaxed), 1);
    let mut silent = Client::open(address, "/echo");
    silent.send_text("x");
    silent.leave();
}

struct Silent;

impl Handler for Silent {
    fn message(&mut self, _: &Conn, _: Message) {}
}

#[test]
fn what_cannot_be_served_is_said_when_building() {
    let error = Server::builder().listen("nowhere").build().unwrap_err().to_string();
    assert!(error.contains("`nowhere`"), "{error}");
    let error = Server::builder().handler("no-slash", |_| Echo).build().unwrap_err().to_string();
    assert!(error.contains("`no-slash`"), "{error}");
    let first = Server::builder().listen("127.0.0.1:0").build().unwrap();
    let error = Server::builder().listen(first.local_addr()).build().unwrap_err().to_string();
    assert!(error.contains("already in use"), "{error}");
}

/// Answers with so many frames at once.
struct Many(usize);

impl Handler for Many {
    fn message(&mut self, conn: &Conn, _: Message) {
        for n in 0..self.0 {
            assert!(conn.send_text(&n.to_string()), "frame {n} was refused");
        }
    }
}

#[test]
fn an_answer_of_more_frames_than_one_turn_writes_comes_to_its_end() {
    const FRAMES: usize = 20_000;
    let server = serve(|b| b.handler("/many", |_| Many(FRAMES)));
    let mut client = Client::open(server.local_addr(), "/many");
    client.send_text("go");
    for n in 0..FRAMES {
        assert_eq!(client.text(), n.to_string());
    }
}
