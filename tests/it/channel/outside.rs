//! What the rest of a process may do to channels: leave SIGPIPE as it is. In a process of its own, which runs
//! one test and nothing else.

use std::process::Command;

use singletrack::Channel;

use super::{Soon, pipe, queue};

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
