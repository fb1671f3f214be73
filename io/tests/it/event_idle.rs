//! A program with sources of every kind on which nothing happens does not wake up.
//!
//! The program is this test in a process of its own, so that no other test wakes it. The measure is
//! the system's count of its threads' context switches.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use singletrack_io::EventSource;
use singletrack_io::event::More;
use singletrack_io::event::signals::SIGHUP;
use singletrack_queues::Queue;

use crate::scratch;

const IN_CHILD: &str = "SINGLETRACK_TEST_IDLE";

/// The program: a test that does nothing unless the test below starts it.
#[test]
fn sources_that_wait() {
    if std::env::var_os(IN_CHILD).is_none() {
        return;
    }
    let queue = Queue::new("idle");
    let (near, _far) = UnixStream::pair().unwrap();
    let folder = scratch("idle");
    let (tell, told) = std::sync::mpsc::channel();
    let source = [
        EventSource::readable(&queue, &near, |_| ()),
        EventSource::writable(&queue, &near, |_| More::Wait),
        EventSource::readable(&queue, std::io::stdin(), move |bytes| {
            std::io::stdin().read_exact(&mut vec![0; bytes as usize]).unwrap();
            if bytes == 0 {
                tell.send(()).unwrap();
            }
        }),
        EventSource::signal(&queue, SIGHUP, |_| ()),
        EventSource::process_exit(&queue, std::os::unix::process::parent_id(), |_| ()),
        EventSource::file_changes(&queue, &folder, |_| ()),
    ];
    let sources = source.map(Result::unwrap);
    println!("\nready");
    told.recv().unwrap();
    drop(sources);
    std::fs::remove_dir_all(folder).unwrap();
}

/// Context switches of all threads of a process so far.
fn switches(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the child lives");
    let of_task = |path: std::path::PathBuf| {
        let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
        let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
        counts.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum::<u64>()
    };
    tasks.map(|task| of_task(task.expect("a thread").path())).sum()
}

#[test]
fn nothing_wakes_up_while_nothing_happens() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "event_idle::sources_that_wait", "--nocapture"])
        .env(IN_CHILD, "yes")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut lines = out.lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "ready"));
    // Replacement threads from the start may linger for a while.
    let slept = (0..60).any(|_| {
        let before = switches(child.id());
        std::thread::sleep(Duration::from_secs(1)); // between two looks: any wake-up within it is seen
        switches(child.id()) == before
    });
    assert!(slept, "not one second without a context switch");
    drop(child.stdin.take());
    assert!(lines.last().is_some());
    assert!(child.wait().unwrap().success());
}
