//! Stopping: nothing accepted is lost silently, everybody is told, and it ends in time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use singletrack::ws::{Opcode, encode_frame};

use crate::client::{Client, Heard, connect, read_answer};
use crate::{DEADLINE, serve};

/// Says numbers until the server is gone; returns what it said.
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

/// Hears until the end: all members' numbers must be without gaps, and a close code must come.
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
    // On a busy machine a reader may be late, which is not the subject here.
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
        // Both members of a room have heard the same, up to the very last message that was accepted.
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
    crate::until("both are there", || server.connections() == 2);
    let report = server.shutdown(Duration::from_secs(5));
    assert_eq!((report.connections, report.cut_off), (2, 0), "{report}");
    assert_eq!(read_answer(&mut half).status, 503);
    assert!(crate::client::try_read_answer(&mut probe).is_none());
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

#[test]
fn a_signal_stops_the_program_with_a_report_and_status_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_singletrack"))
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect(&line).parse().unwrap();
        let mut client = Client::open(address, "/room/a");
        client.send_text("accepted");
        kill_process(Pid::from_child(&child), signal).unwrap();
        let mut heard = Vec::new();
        let code = loop {
            match client.hear() {
                Heard::Message(message) => heard.push(message),
                Heard::Close(code) => break code,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(code, Some(1001));
        drop(client);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("stopped in"), "{said}");
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut out, &mut rest).unwrap();
        assert_eq!(rest, "", "more than one line on standard output");
    }
}
