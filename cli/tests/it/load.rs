//! `singletrack load` as a program: its reports on servers that keep the rules, and on servers that
//! do not.

mod liar;

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use singletrack::{RunningServer, SlowMember};
use singletrack_test_client::{scratch, until};

use crate::{limits, serve};
use liar::{Lie, liar};

/// The output of a run.
struct Said {
    code: Option<i32>,
    report: Value,
    error: String,
}

fn command(address: SocketAddr, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_singletrack"));
    command.arg("load").arg(format!("ws://{address}")).arg("--json").args(arguments.split_whitespace());
    command
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("run the program");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    let report = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("one JSON object") };
    assert!(!error.contains("panicked"), "{error}");
    Said { code: output.status.code(), report, error }
}

/// A short run: 50 messages of each sender, however long a busy machine takes for them.
fn load(address: SocketAddr, arguments: &str) -> Said {
    said(command(address, arguments).args(["--messages", "50"]))
}

/// A server whose members may fall as far behind as a busy machine makes them.
fn patient() -> RunningServer {
    serve(|b| b.limits(limits(|l| (l.outbox_frames, l.outbox_bytes) = (1 << 20, 1 << 30))))
}

impl Said {
    fn number(&self, name: &str) -> f64 {
        self.report.pointer(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {name} in {}", self.report))
    }

    /// Nothing was wrong, and something was measured.
    fn holds(&self) {
        assert_eq!(self.code, Some(0), "{} {}", self.report, self.error);
        assert_eq!(self.report["ok"], true);
        assert!(self.number("/deliveries") > 0.0 && self.number("/latency_us/count") > 0.0, "{}", self.report);
        assert!(self.number("/latency_us/p50") <= self.number("/latency_us/max"), "{}", self.report);
    }

    /// Something was wrong, and the report says so with `sentence`.
    fn breaks(&self, sentence: &str) {
        assert_eq!(self.code, Some(1), "{} {}", self.report, self.error);
        assert_eq!(self.report["ok"], false);
        let breach = self.report["breach"].as_str().unwrap_or_default();
        assert!(breach.contains(sentence), "`{breach}` does not say `{sentence}`");
    }
}

#[test]
fn an_echo_server_is_measured() {
    let server = serve(|b| b);
    let run = load(server.local_addr(), "--connections 5 --idle 3");
    run.holds();
    assert_eq!(run.report["pattern"], "echo");
    assert_eq!((run.number("/connections"), run.number("/idle")), (8.0, 3.0));
    assert_eq!(run.report["server"], Value::Null);
    assert!((run.number("/deliveries") - run.number("/messages")).abs() <= 5.0, "{}", run.report);
    until("all have left", || server.connections() == 0);
}

#[test]
fn rooms_are_measured_with_everybody_or_one_sending_in_text_or_bytes() {
    let server = patient();
    for (arguments, senders) in [("", 4.0), ("--senders 1", 1.0), ("--binary --bytes 48", 4.0), ("--bytes 70000", 4.0)]
    {
        let arguments = format!("--rooms 3 --members 4 --messages 20 {arguments}");
        let run = said(&mut command(server.local_addr(), &arguments));
        run.holds();
        let messages = 3.0 * senders * 20.0;
        assert_eq!((run.number("/messages"), run.number("/deliveries")), (messages, 4.0 * messages), "{}", run.report);
        assert_eq!(run.number("/latency_us/count"), 4.0 * messages, "{}", run.report);
    }
}

#[test]
fn a_rate_is_kept_and_latency_counts_from_when_a_message_was_due() {
    let server = patient();
    let arguments = "--rooms 2 --members 3 --rate 1000 --seconds 0.3 --warmup 0.1";
    let run = said(&mut command(server.local_addr(), arguments));
    run.holds();
    // Every message that was due in the 0.3 s was sent, or is reported, and every sent one came to
    // all three members.
    let sent = run.number("/late_us/count");
    assert!((299.0..=301.0).contains(&(sent + run.number("/not_sent"))), "{}", run.report);
    assert_eq!(run.number("/latency_us/count"), 3.0 * sent, "{}", run.report);
    assert!(run.number("/late_us/p50") <= run.number("/latency_us/p50"));
    // One message in five seconds is no standstill.
    said(&mut command(server.local_addr(), "--connections 1 --rate 0.2 --seconds 3 --warmup 0 --patience 1.5")).holds();
}

#[test]
fn slow_members_are_closed_or_notified_and_the_others_miss_nothing() {
    for policy in [SlowMember::Close, SlowMember::DropAndTell] {
        let small = limits(|l| (l.outbox_frames, l.send_buffer) = (100, 16 * 1024));
        // One thread on each side: no reader waits for a processor while others go on.
        let server = serve(|b| b.workers(1).slow_members(policy).limits(small));
        // More than the outbox and the system hold together.
        let arguments = "--rooms 2 --members 4 --slow 1 --bytes 8000 --messages 100 --workers 1";
        let run = said(&mut command(server.local_addr(), arguments));
        run.holds();
        assert_eq!((run.number("/messages"), run.number("/deliveries")), (600.0, 1800.0));
        assert_eq!(run.number("/senders"), 3.0);
        let ends = ["closed", "reset", "served"].map(|end| run.number(&format!("/slow_members/{end}")));
        assert_eq!(ends.iter().sum::<f64>(), 2.0, "{}", run.report);
        // A connection that was closed long ago has been reset.
        let given_up = if policy == SlowMember::Close { ends[0] + ends[1] } else { ends[2] };
        assert_eq!(given_up, 2.0, "{}", run.report);
        assert_eq!(run.number("/slow_members/missed") > 0.0, policy == SlowMember::DropAndTell, "{}", run.report);
    }
}

#[test]
fn what_a_server_did_to_a_member_that_did_not_read_is_seen_when_it_reads() {
    // The second connection is the slow member.
    let arguments = "--rooms 1 --members 2 --senders 1 --slow 1 --handshakes 1 --messages 30";
    let run = said(&mut command(liar(Lie::ResetsTheSecond), arguments));
    run.holds();
    assert_eq!(run.number("/slow_members/reset"), 1.0, "{}", run.report);
    said(&mut command(liar(Lie::SaysMuchMissed), arguments)).breaks("claims that more messages were missed than were");
}

#[test]
fn a_number_of_messages_takes_the_time_until_the_last_has_come() {
    let server = serve(|b| b);
    // The looks are 20 ms apart. An echo takes far less, unless others take the processor
    // meanwhile.
    let is_exact = || {
        let run = said(&mut command(server.local_addr(), "--connections 1 --messages 1 --workers 1"));
        run.holds();
        run.number("/seconds") * 1e6 <= run.number("/latency_us/max") + 5_000.0
    };
    assert!((0..100).any(|_| is_exact()));
}

#[test]
fn a_member_that_reads_must_not_be_given_up() {
    // An outbox that is too small for the load: the server closes members that read, which is no
    // excuse without --slow.
    let small = limits(|l| (l.outbox_frames, l.outbox_bytes, l.send_buffer) = (1, 1, 4096));
    let server = serve(|b| b.limits(small));
    load(server.local_addr(), "--rooms 1 --members 40 --bytes 60000").breaks("closed the connection with 1013");
}

#[test]
fn the_costs_of_a_process_are_reported() {
    let server = patient();
    let run = load(server.local_addr(), &format!("--rooms 2 --pid {}", std::process::id()));
    run.holds();
    assert!(run.number("/server/rss_peak_kib") >= run.number("/server/rss_connected_kib"));
    assert!(run.number("/server/rss_connected_kib") > 0.0 && run.number("/server/threads_peak") > 1.0);
    assert!(run.number("/generator/cpu_s") > 0.0);
}

#[test]
fn the_picture_is_drawn() {
    let server = patient();
    let file = scratch("load").join("run.svg");
    load(server.local_addr(), &format!("--rooms 2 --plot {}", file.display())).holds();
    let svg = std::fs::read_to_string(&file).expect("the picture");
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
    for part in [
        "singletrack load ws://",
        "2 rooms of 10 members",
        "Latency by percentile",
        "99 %",
        "Deliveries per second",
        "µs",
    ] {
        assert!(svg.contains(part), "no {part}");
    }
    let nowhere = file.with_file_name("no-such-folder").join("run.svg");
    let run = load(server.local_addr(), &format!("--connections 1 --plot {}", nowhere.display()));
    assert_eq!(run.code, Some(2), "before the run");
    assert!(run.error.contains("there is no folder"), "{}", run.error);
}

#[test]
fn an_interrupt_ends_it_early_with_the_report_so_far() {
    let server = serve(|b| b);
    let mut run = command(server.local_addr(), "--connections 3 --seconds 600 --warmup 0");
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the program");
    until("messages came", || singletrack_test_client::metric(server.local_addr(), "messages_in_total") > 100);
    kill_process(Pid::from_child(&run), Signal::INT).expect("interrupt it");
    let output = run.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(130));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((&report["ok"], &report["interrupted"]), (&Value::Bool(true), &Value::Bool(true)));
    assert!(report["deliveries"].as_u64() > Some(0), "{report}");
}

#[test]
fn an_interrupted_run_claims_no_more_than_it_saw() {
    // Nothing ever comes back.
    let mut command = Command::new(env!("CARGO_BIN_EXE_singletrack"));
    command.arg("load").arg(format!("ws://{}", liar(Lie::Silent))).args(["--connections", "1", "--patience", "60"]);
    let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the program");
    let status = format!("/proc/{}/status", run.id());
    // SigCgt is a mask of the caught signals. SIGTERM is number 15, and is registered after SIGINT.
    let catches = || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mask = text
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_some_and(|mask| mask & 1 << 14 != 0)
    };
    until("it hears of signals", catches);
    kill_process(Pid::from_child(&run), Signal::INT).expect("interrupt it");
    let output = run.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(text.contains("Interrupted. What arrived came once") && !text.contains("Every message"), "{text}");
}

#[test]
fn a_server_that_stops_meanwhile_is_reported() {
    let server = serve(|b| b);
    let address = server.local_addr();
    let mut run = command(address, "--connections 3 --seconds 600 --warmup 0");
    let run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the program");
    until("messages came", || singletrack_test_client::metric(address, "messages_in_total") > 100);
    server.shutdown(singletrack_test_client::DEADLINE);
    let output = run.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(report["breach"].as_str().is_some_and(|breach| breach.contains("with 1001")), "{report}");
}

#[test]
fn every_lie_is_reported_as_the_lie_it_is() {
    let check = |lie, arguments: &str, sentence: &str| {
        load(liar(lie), &format!("--connections 2 {arguments}")).breaks(sentence);
    };
    load(liar(Lie::None), "--connections 2").holds();
    load(liar(Lie::Fragments), "--connections 2").holds();
    check(Lie::Doubles, "", "message 20 of member 0 arrived again");
    check(Lie::Swaps, "--rate 2000", "message 20 of member 0 was lost or overtaken");
    check(Lie::Changes, "--bytes 300", "a message came back changed");
    check(Lie::ChangesTheOpcode, "", "came back with another opcode");
    // Whether a message never comes is a question of time: of the standstill behind it.
    check(Lie::Loses, "--patience 2", "message 20 of member 0 was lost or overtaken: it never came");
    check(Lie::Loses, "--rate 2000", "message 20 of member 0 was lost or overtaken");
    check(Lie::Crosses, "", "arrived, which is not in this room");
    check(Lie::Masks, "", "broke the protocol: a server must not mask its frames");
    check(Lie::Closes, "", "closed the connection with 1000");
    check(Lie::HangsUp, "", "closed the connection without a close frame");
    check(Lie::ClosesWithLines, "", "closed the connection with 1000: one\u{fffd}\u{fffd}[31mtwo");
    check(Lie::SaysMissed, "", "a message came back changed: {\\\"missed");
}

#[test]
fn a_server_that_floods_does_not_keep_the_run_from_its_end() {
    for lie in [Lie::FloodsPongs, Lie::FloodsPings] {
        // A number of messages: in a short time, no message might be sent beside the flood.
        let arguments = "--connections 4 --workers 2 --messages 1 --patience 2";
        said(&mut command(liar(lie), arguments)).breaks("it never came");
    }
}

#[test]
fn a_server_that_refuses_or_stays_silent_is_reported() {
    let check = |lie, sentence: &str| load(liar(lie), "--connections 2").breaks(sentence);
    check(Lie::NotFound, "answered the handshake with 404 Not Found instead of 101");
    check(Lie::WrongKey, "Sec-WebSocket-Accept that does not belong to the key");
    check(Lie::NoHttp, "something that is not HTTP");
    load(liar(Lie::Silent), "--connections 2 --patience 2").breaks(": the server did not answer the handshake");
    check(Lie::HangsUpAtOnce, "the server closed the connection during the handshake");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    load(nobody, "").breaks("nothing listens there");
    // The real server refuses what it does not serve.
    let server = serve(|b| b);
    load(server.local_addr(), "--path /nothing").breaks("404");
}

#[test]
fn the_help_teaches_with_examples() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_singletrack"));
    let output = command.args(["load", "--help"]).output().expect("run the program");
    let help = String::from_utf8(output.stdout).expect("UTF-8");
    for part in ["a closed loop", "an open loop", "Exit code: 0", "Examples:", "--rooms 10 --members 100 --senders 1"] {
        assert!(help.contains(part), "no `{part}` in {help}");
    }
}

#[test]
fn arguments_that_cannot_be_used_are_refused_with_a_sentence() {
    let refused = |url: &str, arguments: &str, sentence: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_singletrack"));
        let run = said(command.arg("load").arg(url).args(arguments.split_whitespace()));
        assert_eq!(run.code, Some(2), "{url} {arguments}: {}", run.error);
        assert!(run.error.contains(sentence), "{url} {arguments}: {}", run.error);
        assert_eq!(run.report, Value::Null);
    };
    let url = "ws://127.0.0.1:1";
    refused("wss://127.0.0.1:1", "", "wss:// is not supported yet");
    refused("http://127.0.0.1:1", "", "begins with ws://");
    refused("ws://no-such-host.invalid:1", "", "cannot be resolved");
    refused("ws://127.0.0.1:99999", "", "cannot be resolved");
    refused(url, "--rooms 0", "give a whole number between 1 and");
    refused(url, "--connections 0", "give a whole number between 1 and");
    refused(url, "--rooms 1 --members 0", "give a whole number between 1 and");
    refused(url, "--rooms 1 --members 3 --senders 4", "--senders 4 is more than a room of 3 members has");
    refused(url, "--rooms 1 --members 3 --senders 0", "give a whole number between 1 and");
    refused(url, "--rooms 1 --members 3 --slow 3", "--slow 3 leaves nobody who reads");
    refused(url, "--rate 0", "give messages per second");
    refused(url, "--rate NaN", "give messages per second");
    refused(url, "--rate=-1", "give messages per second");
    refused(url, "--seconds 0", "give a number of seconds");
    refused(url, "--seconds inf", "give a number of seconds");
    refused(url, "--bytes 47", "--bytes 47 is too small");
    refused(url, "--bytes 16777217", "--bytes 16777217 is too much");
    refused(url, "--connections 9999999", "raise the limit (ulimit -n)");
    refused(url, "--connections 5 --rooms 5", "cannot be used with");
    refused(url, "--messages 5 --seconds 1", "cannot be used with");
    refused(url, "--messages 0", "give a whole number between 1 and");
    refused(url, "--slow 1", "--rooms");
    refused(url, "--pid 4294967295", "no process of this machine");
    refused(url, "--plot picture.gif", "ends in .svg");
    refused(url, "--no-such-option", "unexpected argument");
    refused("", "", "give an address");
}
