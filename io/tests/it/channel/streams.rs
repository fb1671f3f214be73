//! Pipes, sockets and FIFOs: order, both directions at once, and ends that are data.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::fs::{OFlags, fcntl_getfl};
use singletrack_io::{Channel, Data, channel};
use singletrack_queues::MainQueue;

use super::{Folder, Soon, all, next, pattern, pipe, queue, tell, to_read};

#[test]
fn reads_are_done_in_order_and_get_the_bytes_in_order() {
    let (ours, theirs) = pipe();
    let reader = Channel::stream(ours, &queue()).unwrap();
    let reads: Vec<_> = (0..50).map(|_| reader.call_read(0, 100)).collect();
    let bytes = pattern(4_950);
    std::fs::File::from(theirs).write_all(&bytes).unwrap();
    let got: Vec<u8> = reads.into_iter().flat_map(|read| read.soon().unwrap().flatten()).collect();
    assert_eq!(got, bytes, "the last read finds the end halfway");
}

#[test]
fn reading_and_writing_go_on_beside_one_another() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (ours, theirs) = (Channel::stream(ours, &queue()).unwrap(), Channel::stream(theirs, &queue()).unwrap());
    let bytes = pattern(3_000_000);
    // Far more than the socket holds: each write ends only because the other side reads meanwhile.
    let reads = [&ours, &theirs].map(|side| side.call_read(0, 3_000_000));
    let writes = [&ours, &theirs].map(|side| side.call_write(0, bytes.clone()));
    for write in writes {
        write.soon().unwrap();
    }
    for read in reads {
        assert_eq!(read.soon().unwrap().flatten(), bytes);
    }
}

#[test]
fn what_arrives_is_delivered_when_it_arrives_and_the_end_is_no_error() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    let (handler, told) = tell();
    channel.read(0, Channel::TO_END, handler);
    for word in ["one", "two"] {
        theirs.write_all(word.as_bytes()).unwrap();
        assert_eq!(next(&told), (false, word.into(), None));
    }
    drop(theirs);
    assert_eq!(next(&told), (true, Data::new(), None));
    assert_eq!(channel.call_read(0, 10).soon().unwrap(), Data::new(), "and the end stays");
}

#[test]
fn a_write_to_a_pipe_or_socket_that_nobody_reads_is_an_error_and_no_signal() {
    let (reader, writer) = pipe();
    drop(reader);
    let (ours, theirs) = UnixStream::pair().unwrap();
    drop(theirs);
    for channel in [Channel::stream(writer, &queue()).unwrap(), Channel::stream(ours, &queue()).unwrap()] {
        let failed = channel.call_write(0, "anybody?").soon().unwrap_err();
        assert!(failed.to_string().contains("the other end is gone"), "{failed}");
        assert_eq!(failed.data, Data::from("anybody?"));
    }
}

#[test]
fn a_fifo_is_opened_without_its_other_end_and_waits_for_it() {
    let folder = Folder::new();
    let path = folder.path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    // There is no reader yet: a write is refused, with the remedy.
    let early = Channel::stream_path(
        &path,
        &{
            let mut options = std::fs::OpenOptions::new();
            options.write(true);
            options
        },
        &queue(),
    );
    let refused = early.unwrap().call_write(0, "x").soon().unwrap_err().to_string();
    assert!(refused.contains("fifo") && refused.contains("open its reading end first"), "{refused}");
    let reader = Channel::stream_path(&path, &to_read(), &queue()).unwrap();
    let (handler, told) = tell();
    reader.read(0, Channel::TO_END, handler);
    // Opening the writing end blocks until the channel has opened the reading end.
    let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(b"through a name").unwrap();
    drop(writer);
    assert_eq!(all(&told), (b"through a name".to_vec(), None));
}

#[test]
fn a_pipe_is_given_back_with_the_mode_it_had() {
    let (ours, theirs) = pipe();
    let is_blocking = |fd: &std::os::fd::OwnedFd| !fcntl_getfl(fd).unwrap().contains(OFlags::NONBLOCK);
    assert!(is_blocking(&ours) && is_blocking(&theirs));
    let (tell, told) = super::channel_pair();
    let reader = Channel::builder(&queue()).on_cleanup(move |fd| tell.send(fd).unwrap()).stream(ours).unwrap();
    channel::write(&theirs, "x").soon().unwrap();
    assert!(is_blocking(&theirs), "a one-shot is over when the descriptor is as it was");
    assert_eq!(reader.call_read(0, 1).soon().unwrap().flatten(), "x");
    drop(reader);
    let ours = next(&told).expect("it was open");
    assert!(is_blocking(&ours));
}

#[test]
fn a_terminal_is_read_and_its_hangup_is_the_end() {
    let Ok(master) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx") else { return };
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let mut slave = std::fs::OpenOptions::new().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let channel = Channel::stream(master, &queue()).unwrap();
    let (handler, told) = tell();
    channel.read(0, Channel::TO_END, handler);
    slave.write_all(b"prompt> ").unwrap();
    assert_eq!(next(&told), (false, "prompt> ".into(), None));
    channel.call_write(0, "typed\n").soon().unwrap();
    let mut typed = [0; 6];
    slave.read_exact(&mut typed).unwrap();
    assert_eq!(&typed, b"typed\n");
    drop(slave);
    assert_eq!(all(&told).1, None);
}

#[test]
fn handlers_can_run_on_the_main_queue() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let main = MainQueue::new("main");
    let thread = std::thread::current().id();
    let channel = Channel::stream(ours, &main.handle()).unwrap();
    theirs.write_all(b"x").unwrap();
    let stop = main.handle();
    channel.read(0, 1, move |read| {
        assert_eq!(std::thread::current().id(), thread);
        assert!(read.done);
        stop.stop();
    });
    main.run();
}
