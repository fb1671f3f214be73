//! The program and the limits of its machine: descriptors, ports, arguments.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use singletrack_test_client::{Client, connect, get, metric, try_read_answer, until};

/// A `serve` process, ended with the test.
struct Serving {
    child: Child,
    address: SocketAddr,
}

impl Serving {
    fn start() -> Serving {
        let mut child = Command::new(env!("CARGO_BIN_EXE_singletrack"))
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "2"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect(&line).parse().unwrap();
        Serving { child, address }
    }

    fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64
    }

    fn limit_descriptors(&self, to: u64) {
        let limit = Rlimit { current: Some(to), maximum: Some(1 << 14) };
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_connections_wait_or_get_503_and_the_server_goes_on() {
    let serving = Serving::start();
    let address = serving.address;
    let mut witness = Client::open(address, "/echo");
    let mut say = |text: &str| {
        witness.send_text(text);
        assert_eq!(witness.text(), text);
    };
    say("before");
    let room = 10;
    serving.limit_descriptors(serving.descriptors() + room);
    let mut streams: Vec<TcpStream> = (0..60).map(|_| connect(address)).collect();
    let (mut served, mut refused, mut waiting) = (0, 0, 0);
    for stream in &mut streams {
        // The server may have closed refused connections already.
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        match stream.peek(&mut [0]) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => waiting += 1,
            _ => match try_read_answer(stream).map(|answer| answer.status) {
                Some(200) => served += 1,
                Some(503) | None => refused += 1,
                Some(other) => panic!("status {other}"),
            },
        }
    }
    assert!(served > 0 && served <= room + 1, "served {served}");
    assert!(refused + waiting > 0, "refused {refused}, waiting {waiting}");
    say("during");
    // A failure to accept must not become a loop: checked by a count, not by a clock.
    drop(streams);
    until("there is room again", || {
        let mut stream = connect(address);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").is_ok()
            && try_read_answer(&mut stream).is_some_and(|answer| answer.status == 200)
    });
    assert!(metric(address, "accept_errors_total") < 1_000);
    assert!(metric(address, "accept_errors_total") > 0);
    say("after");
}

#[test]
#[cfg(target_os = "linux")]
fn a_limit_that_leaves_no_room_is_said_at_the_start() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 20; exec \"$0\" serve --listen 127.0.0.1:0", env!("CARGO_BIN_EXE_singletrack")]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ulimit -n"), "{output:?}");
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_singletrack")).args(arguments).output().unwrap()
}

#[test]
fn bad_arguments_exit_2_with_a_sentence_that_names_them() {
    for (arguments, named) in [
        (&["serve", "--nonsense"][..], "--nonsense"),
        (&["serve", "--workers", "none"], "none"),
        (&["serve", "--workers", "0"], "0"),
        (&["serve", "--listen", "here"], "`here`"),
        (&["serve", "--slow-members", "maybe"], "maybe"),
        (&["serve", "--message-bytes", "0"], "message_bytes"),
        (&["serve", "--drain", "soon"], "soon"),
        (&["serve", "--drain", "1e18"], "drain"),
        (&["serve", "--ping-interval", "1.8e19"], "ping_interval"),
        (&["serve", "--origin", "https://a.example, chat.example"], "`chat.example`"),
        (&["dance"], "dance"),
    ] {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(named), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_taken_port_exits_1_with_a_sentence() {
    let serving = Serving::start();
    let output = run(&["serve", "--listen", &serving.address.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("already in use"), "{output:?}");
    assert_eq!(get(serving.address, "/healthz").status, 200);
}

#[test]
#[cfg(target_os = "linux")]
fn the_status_is_the_same_when_standard_error_takes_nothing() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_singletrack"));
    let status = command.args(["serve", "--listen", "here"]).stderr(full).status().unwrap();
    assert_eq!(status.code(), Some(2));
}

#[test]
fn help_teaches() {
    let output = run(&["serve", "--help"]);
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stdout);
    for word in ["--listen", "--workers", "--slow-members", "--origin", "127.0.0.1:8080"] {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn the_version_is_said_under_the_name_of_the_program() {
    let said = run(&["--version"]).stdout;
    assert_eq!(String::from_utf8_lossy(&said).trim(), concat!("singletrack ", env!("CARGO_PKG_VERSION")));
}
