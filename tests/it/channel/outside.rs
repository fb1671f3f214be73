//! What the rest of a process may do to channels: leave SIGPIPE as it is, close their descriptors. Each in a process of its
//! own, which runs one test and nothing else.

use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::process::Command;

use singletrack::Channel;

use super::{Folder, Soon, open, pattern, pipe, queue};

const CHILD: &str = "SINGLETRACK_TEST_IN_A_CHILD";

/// Runs `child` if this is the child process, and that process if it is not.
fn in_a_child(test: &str, child: fn()) {
    if std::env::var_os(CHILD).is_some() {
        child();
        println!("came to its end");
        // Without dropping anything: what was done to this process is not to be looked at again.
        std::process::exit(0);
    }
    let this = std::env::current_exe().unwrap();
    let name = format!("channel::outside::{test}");
    let child = Command::new(this).args(["--exact", &name, "--nocapture"]).env(CHILD, "1").output().unwrap();
    let (said, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && said.contains("came to its end"), "{}: {said}\n{errors}", child.status);
}

#[test]
fn sigpipe_does_not_kill_a_process_that_has_done_nothing_about_it() {
    in_a_child("sigpipe_does_not_kill_a_process_that_has_done_nothing_about_it", || {
        #[allow(unsafe_code)]
        // SAFETY: a plain system call without pointers; this process runs nothing else.
        let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        assert_eq!(before, libc::SIG_IGN, "Rust programs ignore it from their start");
        let (reader, writer) = pipe();
        drop(reader);
        let channel = Channel::stream(writer, &queue()).unwrap();
        let failed = channel.call_write(0, "anybody?").soon().unwrap_err();
        assert!(failed.to_string().contains("the other end is gone"), "{failed}");
    });
}

#[test]
fn a_descriptor_that_somebody_has_closed_is_an_error_that_says_so() {
    in_a_child("a_descriptor_that_somebody_has_closed_is_an_error_that_says_so", || {
        let folder = Folder::new();
        let file = open(&folder.file("file", &pattern(10)));
        // A number that nobody else gets: the system gives the lowest that is free.
        let file = rustix::io::fcntl_dupfd_cloexec(&file, 500).unwrap();
        let number = file.as_raw_fd();
        // Never dropped: it would close the descriptor once more, and the standard library finds that out in its own way.
        let channel = ManuallyDrop::new(Channel::random(file, &queue()).unwrap());
        assert_eq!(channel.call_read(0, 10).soon().unwrap().len(), 10);
        drop(folder);
        #[allow(unsafe_code)]
        // SAFETY: what nobody may do: this is the test of it. Nobody else gets the number meanwhile.
        let closed = unsafe { libc::close(number) };
        assert_eq!(closed, 0);
        let failed = channel.call_read(0, 10).soon().unwrap_err().to_string();
        assert!(
            failed.contains("cannot read descriptor ") && failed.contains("leave closing to the channel"),
            "{failed}"
        );
    });
}
