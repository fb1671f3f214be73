//! Effects of the rest of the process on channels: it leaves SIGPIPE as it is, or closes their
//! descriptors. Each test runs alone in a process of its own.

use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;

use singletrack_io::Channel;

use crate::child::alone;

use super::{Folder, Soon, open, pattern, pipe, queue};

#[test]
fn sigpipe_does_not_kill_a_process_that_has_done_nothing_about_it() {
    alone("channel::outside::sigpipe_does_not_kill_a_process_that_has_done_nothing_about_it", || {
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
    alone("channel::outside::a_descriptor_that_somebody_has_closed_is_an_error_that_says_so", || {
        let folder = Folder::new();
        let file = open(&folder.file("file", &pattern(10)));
        // A number that no other thread gets: the system gives the lowest free one.
        let file = rustix::io::fcntl_dupfd_cloexec(&file, 500).unwrap();
        let number = file.as_raw_fd();
        // Never dropped: it would close the descriptor once more, and the standard library may
        // abort.
        let channel = ManuallyDrop::new(Channel::random(file, &queue()).unwrap());
        assert_eq!(channel.call_read(0, 10).soon().unwrap().len(), 10);
        drop(folder);
        #[allow(unsafe_code)]
        // SAFETY: a program must not do this, and that is the subject of the test. No other thread
        // gets the number meanwhile.
        let closed = unsafe { libc::close(number) };
        assert_eq!(closed, 0);
        let failed = channel.call_read(0, 10).soon().unwrap_err().to_string();
        assert!(
            failed.contains("cannot read descriptor ") && failed.contains("leave closing to the channel"),
            "{failed}"
        );
    });
}
