//! A descriptor without bytes is refused, instead of waited for.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use singletrack_io::{Channel, channel};
use singletrack_queues::Queue;

use crate::DEADLINE;

#[track_caller]
fn is_refused(fd: impl Into<OwnedFd>, sentence: &str) {
    let fd = fd.into();
    let again = fd.try_clone().unwrap();
    let error = Channel::stream(fd, &Queue::new("never")).expect_err("it has no bytes").to_string();
    assert!(error.starts_with("cannot make a channel for descriptor ") && error.contains(sentence), "{error}");
    let once = channel::read(&again, 1).wait_timeout(DEADLINE).expect("no hang").unwrap();
    assert!(once.unwrap_err().to_string().contains(sentence));
}

#[test]
fn a_listening_socket_is_refused() {
    is_refused(TcpListener::bind("127.0.0.1:0").unwrap(), "it is a listening socket, which has no bytes of its own");
    let path = std::env::temp_dir().join(format!("singletrack-listens-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    is_refused(UnixListener::bind(&path).unwrap(), "accept connections in the handler of an EventSource::readable");
    std::fs::remove_file(path).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn an_epoll_descriptor_is_refused() {
    use rustix::event::epoll;
    let fd = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    is_refused(fd, "it can be neither read nor written; wait for it with EventSource::readable");
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_descriptor_is_refused() {
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    is_refused(pidfd_open(getpid(), PidfdFlags::empty()).unwrap(), "it can be neither read nor written");
}

#[cfg(target_os = "linux")]
#[test]
fn a_counter_has_bytes() {
    use rustix::event::{EventfdFlags, eventfd};
    let channel = Channel::stream(eventfd(7, EventfdFlags::empty()).unwrap(), &Queue::new("counter")).unwrap();
    let count = channel.call_read(0, 8).wait_timeout(DEADLINE).expect("no hang").unwrap().unwrap();
    assert_eq!(count.flatten(), &7_u64.to_ne_bytes()[..]);
}
