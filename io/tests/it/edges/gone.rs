//! A source on a queue that takes nothing any more is refused, and changes nothing in the process.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;

use singletrack_io::event::More;
use singletrack_io::event::signals::{SIGINT, SIGTERM, SIGVTALRM};
use singletrack_io::{EventError, EventSource, Io, signal};
use singletrack_queues::{Gone, Queue, Runtime};

use crate::DEADLINE;

/// Does this process catch `signal`, instead of dying of it?
#[cfg(target_os = "linux")]
fn catches(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("every process has one");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
    u64::from_str_radix(mask.trim(), 16).expect("a number") >> (signal - 1) & 1 == 1
}

fn of_each_kind(queue: &Queue) -> Vec<Result<EventSource, EventError>> {
    let (socket, _far) = UnixStream::pair().unwrap();
    let file = std::env::current_exe().unwrap();
    vec![
        EventSource::signal(queue, SIGVTALRM, |_| ()),
        EventSource::readable(queue, &socket, |_| ()),
        EventSource::writable(queue, &socket, |_| More::Wait),
        EventSource::readable(queue, std::fs::File::open(&file).unwrap(), |_| ()),
        EventSource::file_changes(queue, &file, |_| ()),
        #[cfg(target_os = "linux")]
        EventSource::process_exit(queue, std::process::id(), |_| ()),
        #[cfg(target_os = "linux")]
        EventSource::memory_pressure(queue, singletrack_io::event::Pressure::Full, || ()),
    ]
}

#[test]
fn a_source_of_any_kind_on_a_runtime_that_was_shut_down_is_an_error_with_the_cause() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let queue = runtime.queue("late");
    runtime.shutdown(DEADLINE);
    for source in of_each_kind(&queue) {
        let error = source.expect_err("its handler would never run");
        assert_eq!((error.gone(), error.kind()), (Some(Gone::ShutDown), ErrorKind::Other));
        let error = error.to_string();
        assert!(error.starts_with("queue \"late\" cannot be notified of "), "{error}");
        assert!(error.ends_with(": its runtime was shut down"), "{error}");
    }
    #[cfg(target_os = "linux")]
    assert!(!catches(SIGVTALRM), "the signal has lost its default action, and has no handler");
}

#[test]
fn the_end_of_the_process_is_left_alone_by_a_queue_that_would_not_hear_of_it() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let queue = runtime.queue("late");
    runtime.shutdown(DEADLINE);
    let error = signal::on_end(&Io::new(1).unwrap(), &queue, || ()).expect_err("it would never run").to_string();
    assert_eq!(error, "queue \"late\" cannot be notified of the end: its runtime was shut down");
    #[cfg(target_os = "linux")]
    assert!(!catches(SIGTERM) && !catches(SIGINT), "a first signal would do nothing");
}

#[test]
fn a_block_that_runs_while_its_runtime_shuts_down_may_still_make_a_source() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let (socket, _far) = UnixStream::pair().unwrap();
    let queue = runtime.queue("closing");
    let own = queue.clone();
    let (tell, go_on) = std::sync::mpsc::channel();
    let made = queue.call(move || {
        go_on.recv_timeout(DEADLINE).unwrap();
        EventSource::readable(&own, &socket, |_| ()).map(drop)
    });
    std::thread::scope(|scope| {
        scope.spawn(|| runtime.shutdown(DEADLINE));
        let refused = || runtime.queue("outside").try_submit(|| ()).is_err();
        crate::until("the runtime closes", refused);
        tell.send(()).unwrap();
    });
    assert!(made.wait().unwrap().is_ok());
}
