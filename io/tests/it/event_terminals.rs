//! A source on a terminal: it reports lines, and the end when all openers have closed it; it may be
//! opened again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use singletrack_io::EventSource;
use singletrack_queues::Queue;

use crate::DEADLINE;

/// Makes a terminal: the side that a terminal program holds, and the path of the other side.
fn terminal() -> (File, String) {
    let near: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let path = ptsname(&near, Vec::new()).unwrap().into_string().unwrap();
    (near.into(), path)
}

#[test]
fn what_a_program_writes_to_its_terminal_is_told_and_when_it_goes_and_comes_back() {
    let (mut near, path) = terminal();
    let open = || OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (tell, told) = channel();
    let mut far = open();
    let watched = near.try_clone().unwrap();
    let source = EventSource::readable(&Queue::new("terminal"), &watched, move |bytes| {
        let mut buffer = vec![0; bytes as usize];
        near.read_exact(&mut buffer).unwrap();
        tell.send(buffer).unwrap();
    });
    let _source = source.unwrap();
    let next = || told.recv_timeout(DEADLINE).unwrap();
    for text in ["first", "second"] {
        far.write_all(text.as_bytes()).unwrap();
        let mut sum = Vec::new();
        while sum.len() < text.len() {
            sum.extend(next());
        }
        assert_eq!(sum, text.as_bytes());
        drop(far);
        assert_eq!(next(), b"", "no process has it open");
        far = open();
    }
}
