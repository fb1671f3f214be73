//! A block that is stuck stops its own connection only. There are as many of them as workers.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use singletrack::{Conn, Handler, Message};
use singletrack_test_client::{Client, DEADLINE};

use crate::serve;

/// Blocks in its first message until it is let go.
struct Stuck {
    began: Sender<()>,
    go: Arc<Mutex<Receiver<()>>>,
}

impl Handler for Stuck {
    fn message(&mut self, conn: &Conn, _: Message) {
        self.began.send(()).unwrap();
        let _ = self.go.lock().unwrap().recv_timeout(DEADLINE * 2);
        conn.send_text("free again");
    }
}

fn median_round_trip(clients: &mut [Client]) -> Duration {
    let mut times: Vec<Duration> = (0..300)
        .map(|n| {
            let client = &mut clients[n % 8];
            let began = Instant::now();
            client.send_text("x");
            assert_eq!(client.text(), "x");
            began.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

#[test]
fn blocked_handlers_on_every_worker_do_not_delay_an_echo_elsewhere() {
    let (began, has_begun) = channel();
    let mut releases = Vec::new();
    let gates = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let (release, go) = channel::<()>();
        releases.push(release);
        gates.lock().unwrap().push(Arc::new(Mutex::new(go)));
    }
    let began = Mutex::new(began);
    let server = serve(|b| {
        b.handler("/stuck", move |_| Stuck {
            began: began.lock().unwrap().clone(),
            go: gates.lock().unwrap().pop().unwrap(),
        })
    });
    let address = server.local_addr();
    // On both pollers, so that each of them has echoes to serve.
    let mut clients: Vec<Client> = (0..8).map(|_| Client::open(address, "/echo")).collect();
    let mut stuck: Vec<Client> = (0..3).map(|_| Client::open(address, "/stuck")).collect();
    let before = median_round_trip(&mut clients);
    for client in &mut stuck {
        client.send_text("block");
        has_begun.recv_timeout(DEADLINE).expect("a block behind a stuck one begins all the same");
    }
    let during = median_round_trip(&mut clients);
    assert!(during < before * 20 + Duration::from_millis(20), "before {before:?}, during {during:?}");
    // A new connection gets in, too.
    Client::open(address, "/echo").leave();
    drop(releases);
    for client in &mut stuck {
        assert_eq!(client.text(), "free again");
    }
}
