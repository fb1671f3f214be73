//! How the program ends on request.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use singletrack_test_client::{Client, Heard};

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
