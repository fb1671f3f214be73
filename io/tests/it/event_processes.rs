//! Sources on processes: the code of a child stays for the wait of its parent.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;

use singletrack_io::EventSource;
use singletrack_io::event::ProcessEnd;
use singletrack_queues::Queue;

use crate::{DEADLINE, until};

fn shell(script: &str) -> Child {
    Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell")
}

fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it has not been waited for");
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

#[test]
fn a_child_that_exits_is_told_once_and_can_still_be_waited_for() {
    let (tell, told) = channel();
    // The child ends when its input does.
    let mut child = shell("cat; exit 7");
    let source = EventSource::process_exit(&Queue::new("children"), child.id(), move |end| tell.send(end).unwrap());
    let source = source.unwrap();
    assert!(told.try_recv().is_err());
    source.again();
    drop(child.stdin.take());
    assert_eq!(told.recv_timeout(DEADLINE), Ok(ProcessEnd::Exited(7)));
    assert!(told.recv_timeout(DEADLINE).is_err(), "its handler ran once, and is gone");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}

#[test]
fn a_child_that_is_killed_says_by_which_signal() {
    let (tell, told) = channel();
    let mut child = shell("cat");
    let queue = Queue::new("children");
    let _source = EventSource::process_exit(&queue, child.id(), move |end| tell.send(end).unwrap()).unwrap();
    child.kill().unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(ProcessEnd::Killed(9)));
    child.wait().unwrap();
}

#[test]
fn a_child_that_has_ended_already_is_told() {
    let (tell, told) = channel();
    let mut child = shell("exit 1");
    until("the child has ended", || has_ended(child.id()));
    let queue = Queue::new("children");
    let _source = EventSource::process_exit(&queue, child.id(), move |end| tell.send(end).unwrap()).unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok(ProcessEnd::Exited(1)));
    child.wait().unwrap();
}

#[test]
fn of_a_process_that_is_not_ours_the_end_is_told_and_not_how() {
    use std::io::{BufRead, BufReader};
    // A grandchild, which prints its number and lives until the end of its input.
    let mut child = shell("exec 3<&0; cat <&3 >/dev/null & echo $!; wait");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (tell, told) = channel();
    let grandchild = line.trim().parse().unwrap();
    let queue = Queue::new("strangers");
    let _source = EventSource::process_exit(&queue, grandchild, move |end| tell.send(end).unwrap()).unwrap();
    drop(child.stdin.take());
    assert_eq!(told.recv_timeout(DEADLINE), Ok(ProcessEnd::Unknown));
    child.wait().unwrap();
}

#[test]
fn a_process_that_does_not_exist_is_an_error_at_once() {
    let mut child = shell("exit 0");
    child.wait().unwrap();
    let queue = Queue::new("nobody");
    for pid in [0, child.id(), u32::MAX, i32::MAX as u32] {
        let error = EventSource::process_exit(&queue, pid, |_| ()).expect_err("refused").to_string();
        assert!(error.contains("nobody") && error.contains(&pid.to_string()), "{error}");
    }
}
