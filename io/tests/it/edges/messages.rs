//! A message names the place in the program, not one in the library.

use std::process::Command;
use std::sync::mpsc::channel;

use singletrack_io::Channel;
use singletrack_queues::{ConcurrentQueue, Queue};

use crate::DEADLINE;

const CHILD: &str = "SINGLETRACK_IO_EDGE";

struct ToStdout;

impl log::Log for ToStdout {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        use std::io::Write;
        writeln!(std::io::stdout(), "logged: {}", record.args()).expect("a pipe");
    }

    fn flush(&self) {}
}

/// The lines with the calls, for the parent to compare.
fn say_line(word: &str, line: u32) {
    println!("{word} is at line {line}");
}

fn panics_everywhere() {
    log::set_logger(&ToStdout).expect("the first in this process");
    log::set_max_level(log::LevelFilter::Warn);
    let queue = Queue::new("sour");
    let (reader, writer) = std::io::pipe().unwrap();
    let (tell, told) = channel::<()>();
    let together = ConcurrentQueue::new("sour");
    let reads = Channel::stream(reader, &queue).unwrap();
    say_line("apple", line!() + 1);
    reads.read(0, Channel::TO_END, |_| panic!("sour apple"));
    let writes = Channel::builder(&together);
    say_line("cherry", line!() + 1);
    let writes = writes.on_cleanup(move |_| {
        let _tell = tell;
        panic!("sour cherry")
    });
    let writes = writes.stream(writer).unwrap();
    say_line("grape", line!() + 1);
    writes.write(0, "juice", |_| panic!("sour grape"));
    say_line("plum", line!() + 1);
    writes.barrier(|_| panic!("sour plum"));
    drop(writes);
    assert!(told.recv_timeout(DEADLINE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Disconnected));
    let (done, all) = channel::<()>();
    reads.barrier(move |_| drop(done));
    assert!(all.recv_timeout(DEADLINE).is_err());
    // The last panic is logged after its closure is dropped.
    together.barrier_sync(|| ());
}

#[test]
fn a_panic_in_a_handler_names_the_call_that_it_was_given_to() {
    if std::env::var_os(CHILD).is_some() {
        panics_everywhere();
        std::process::exit(0);
    }
    let name = "edges::messages::a_panic_in_a_handler_names_the_call_that_it_was_given_to";
    let this = std::env::current_exe().unwrap();
    let child = Command::new(this).args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{}: {text}\n{}", child.status, String::from_utf8_lossy(&child.stderr));
    for word in ["apple", "grape", "plum", "cherry"] {
        let at = text.lines().find_map(|line| line.strip_prefix(&format!("{word} is at line ")));
        let place = format!("messages.rs:{}:", at.expect("it said so"));
        let logged = text.lines().find(|line| line.starts_with("logged: ") && line.contains(&format!("sour {word}")));
        assert!(logged.is_some_and(|line| line.contains(&place)), "{word} at {place} is not in: {text}");
    }
}
