//! Stopping: nothing accepted is lost silently, every peer gets a close, and it ends in time.

use std::io::Write;
use std::time::{Duration, Instant};

use singletrack::ws::{Opcode, encode_frame};
use singletrack_test_client::{Client, DEADLINE, Heard, connect, read_answer};

use crate::serve;

/// Sends numbers until the server is gone. Returns their count.
fn talk(client: &Client, me: usize) -> std::thread::JoinHandle<usize> {
    let mut writer = client.stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for n in 0.. {
            let frame = encode_frame(true, Opcode::Text, format!("{me} {n}").as_bytes(), Some([4; 4]));
            if writer.write_all(&frame).is_err() {
                return n;
            }
        }
        0
    })
}

/// Receives until the end: all members' numbers must be without gaps, and a close code must come.
fn listen(mut client: Client, members: usize, started: &std::sync::mpsc::Sender<()>) -> (Vec<usize>, Option<u16>) {
    let mut next = vec![None; members];
    loop {
        match client.hear() {
            Heard::Message(message) => {
                let (from, n) = message.as_text().unwrap().split_once(' ').unwrap();
                let (from, n): (usize, usize) = (from.parse().unwrap(), n.parse().unwrap());
                if let Some(expected) = next[from] {
                    assert_eq!(n, expected, "a gap in what {from} said");
                }
                if n % 64 == 0 {
                    let _ = started.send(());
                }
                next[from] = Some(n + 1);
            }
            Heard::Close(code) => return (next.into_iter().map(|n| n.unwrap_or(0)).collect(), code),
            Heard::End => panic!("the server left without a close frame"),
            _ => {}
        }
    }
}

#[test]
fn stopping_under_load_tells_everybody_and_loses_nothing_on_the_way() {
    const MEMBERS: usize = 6;
    // On a busy machine a reader may be late, which is not tested here.
    let server = serve(|b| {
        b.limits(crate::limits(|l| {
            l.outbox_frames = 1 << 20;
            l.outbox_bytes = 1 << 30;
        }))
    });
    let address = server.local_addr();
    let clients: Vec<Client> = (0..MEMBERS).map(|n| Client::open(address, &format!("/room/{}", n % 2))).collect();
    let talkers: Vec<_> = clients.iter().enumerate().map(|(me, client)| talk(client, me)).collect();
    let (started, has_started) = std::sync::mpsc::channel();
    let listeners: Vec<_> = clients
        .into_iter()
        .map(|client| {
            let started = started.clone();
            std::thread::spawn(move || listen(client, MEMBERS, &started))
        })
        .collect();
    for _ in 0..MEMBERS * 4 {
        has_started.recv_timeout(DEADLINE).expect("talk");
    }
    let report = server.shutdown(DEADLINE);
    assert!(report.orderly, "{report}");
    let heard: Vec<_> = listeners.into_iter().map(|listener| listener.join().unwrap()).collect();
    let said: Vec<usize> = talkers.into_iter().map(|talker| talker.join().unwrap()).collect();
    for (me, (numbers, code)) in heard.iter().enumerate() {
        assert_eq!(*code, Some(1001), "{me}");
        // Both members of a room have heard the same, up to the very last message that was
        // accepted.
        assert_eq!(*numbers, heard[me % 2].0, "{me} and {} have heard different things", me % 2);
        assert!(numbers[me] <= said[me]);
    }
}

#[test]
fn a_server_that_stops_is_not_healthy_and_serves_nobody_new() {
    let server = serve(|b| b);
    let address = server.local_addr();
    let mut probe = connect(address);
    probe.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut probe).status, 200);
    // A peer in the middle of a request gets an answer rather than silence.
    let mut half = connect(address);
    half.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    singletrack_test_client::until("both are there", || server.connections() == 2);
    let report = server.shutdown(Duration::from_secs(5));
    assert_eq!((report.connections, report.cut_off), (2, 0), "{report}");
    assert_eq!(read_answer(&mut half).status, 503);
    assert!(singletrack_test_client::try_read_answer(&mut probe).is_none());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_peer_that_does_not_leave_is_cut_off_at_the_deadline() {
    let server = serve(|b| b.limits(crate::limits(|l| l.close_time = Duration::from_secs(60))));
    let _stays = Client::open(server.local_addr(), "/echo");
    let began = Instant::now();
    let report = server.shutdown(Duration::from_millis(500));
    assert_eq!(report.cut_off, 1, "{report}");
    assert!(began.elapsed() < DEADLINE / 2);
}
