//! A program that has done nothing about SIGPIPE, as those in other languages, does not die of a channel.

use std::process::Command;

use singletrack::Channel;

use super::{Soon, pipe, queue};

const CHILD: &str = "SINGLETRACK_TEST_OF_SIGPIPE";

#[test]
fn a_process_in_which_sigpipe_kills_survives_a_write_to_a_pipe_that_nobody_reads() {
    if std::env::var_os(CHILD).is_some() {
        return in_a_process_in_which_it_kills();
    }
    let this = std::env::current_exe().unwrap();
    let name = "channel::sigpipe::a_process_in_which_sigpipe_kills_survives_a_write_to_a_pipe_that_nobody_reads";
    let child = Command::new(this).args(["--exact", name]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{}: {said}", child.status);
}

#[allow(unsafe_code)]
fn in_a_process_in_which_it_kills() {
    // SAFETY: a plain system call without pointers; this process runs no other test.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_eq!(before, libc::SIG_IGN, "Rust programs ignore it from their start");
    let (reader, writer) = pipe();
    drop(reader);
    let channel = Channel::stream(writer, &queue()).unwrap();
    let failed = channel.call_write(0, "anybody?").soon().unwrap_err();
    assert!(failed.to_string().contains("the other end is gone"), "{failed}");
}
