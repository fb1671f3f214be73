//! A barrier runs after everything before it and before everything behind it, across the channels
//! of a descriptor.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use singletrack_io::Channel;
use singletrack_queues::Queue;
use singletrack_queues::TaskError;

use super::{Folder, Soon, channel_pair, next, open, pattern, queue, to_read, to_write};

#[test]
fn a_barrier_is_alone_between_random_operations_of_two_channels() {
    let folder = Folder::new();
    let path = folder.file("table", &[b'.'; 1_000]);
    let first = Channel::random(open(&path), &queue()).unwrap();
    let second = first.sibling(&Queue::new("test.other"));
    let over = Arc::new(AtomicUsize::new(0));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = channel_pair();
    for round in 0..20 {
        for i in 0..10_u64 {
            let channel = if i % 2 == 0 { &first } else { &second };
            let over = over.clone();
            let byte = vec![b'a' + round; 1];
            channel.write(i * 100, byte, move |write| {
                assert!(write.error.is_none());
                over.fetch_add(usize::from(write.done), Relaxed);
            });
        }
        let (over, seen, tell, path) = (over.clone(), seen.clone(), tell.clone(), path.clone());
        let channel = if round % 2 == 0 { &second } else { &first };
        channel.barrier(move |fd| {
            assert!(fd.is_ok());
            let bytes = std::fs::read(path).unwrap();
            let written = bytes.iter().filter(|byte| **byte == b'a' + round).count();
            seen.lock().unwrap().push((over.load(Relaxed), written));
            tell.send(()).unwrap();
        });
    }
    (0..20).for_each(|_| next(&told));
    let expected: Vec<_> = (1..=20).map(|round| (round * 10, 10)).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_barrier_waits_for_handlers_and_holds_the_next_operation_back() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    let (keep, kept) = channel_pair();
    let order = Arc::new(Mutex::new(Vec::new()));
    channel.write(0, "before", move |written| keep.send(written.hold()).unwrap());
    let hold = next(&kept);
    let (note, tell, told) = {
        let (tell, told) = channel_pair();
        (order.clone(), tell, told)
    };
    channel.barrier(move |_| note.lock().unwrap().push("barrier"));
    let note = order.clone();
    channel.write(0, "after", move |written| {
        if written.done {
            note.lock().unwrap().push("after");
            tell.send(()).unwrap();
        }
    });
    let mut bytes = [0; 6];
    theirs.read_exact(&mut bytes).unwrap();
    assert!(order.lock().unwrap().is_empty(), "the handler before it has not returned");
    order.lock().unwrap().push("let go");
    drop(hold);
    next(&told);
    assert_eq!(*order.lock().unwrap(), ["let go", "barrier", "after"]);
    theirs.read_exact(&mut bytes[..5]).unwrap();
}

#[test]
fn a_barrier_that_panics_lets_the_others_go_on() {
    let folder = Folder::new();
    let file = Channel::stream_path(folder.path("log"), &to_write(), &queue()).unwrap();
    file.barrier(|_| panic!("on purpose"));
    file.call_write(0, "goes on").soon().unwrap();
}

#[test]
fn a_barrier_opens_a_path_and_gets_its_descriptor_or_why_not() {
    let folder = Folder::new();
    let path = folder.file("there", &pattern(10));
    let (tell, told) = channel_pair();
    let file = Channel::random_path(&path, &to_read(), &queue()).unwrap();
    let yes = tell.clone();
    file.barrier(move |fd| {
        let mut text = Vec::new();
        std::fs::File::from(fd.unwrap().try_clone_to_owned().unwrap()).read_to_end(&mut text).unwrap();
        yes.send(text.len().to_string()).unwrap();
    });
    assert_eq!(next(&told), "10");
    let missing = Channel::random_path(folder.path("missing"), &to_read(), &queue()).unwrap();
    missing.barrier(move |fd| tell.send(fd.unwrap_err().to_string()).unwrap());
    let error = next(&told);
    assert!(error.starts_with("cannot open ") && error.contains("missing"), "{error}");
}

#[test]
fn writes_beside_a_barrier_of_the_other_end_do_not_wait_for_it() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    let read = channel.call_read(0, 1);
    let (tell, told) = channel_pair();
    channel.barrier(move |_| tell.send(()).unwrap());
    let write = channel.call_write(0, "behind the barrier");
    assert!(told.try_recv().is_err() && !write.is_done(), "the read before them has not ended");
    theirs.write_all(b"!").unwrap();
    next(&told);
    assert!(read.is_done());
    write.soon().unwrap();
}

#[test]
fn a_barrier_that_waits_for_what_is_behind_it_is_told_so() {
    let folder = Folder::new();
    let file = Channel::stream_path(folder.path("log"), &to_write(), &queue()).unwrap();
    let (tell, told) = channel_pair();
    let inside = file.clone();
    file.barrier(move |_| tell.send(inside.call_write(0, "behind").wait()).unwrap());
    assert!(matches!(next(&told), Err(TaskError::Deadlock { label, .. }) if label.ends_with("log")));
    file.call_write(0, "goes on").soon().unwrap();
    assert_eq!(std::fs::read(folder.path("log")).unwrap(), b"behindgoes on");
}

#[test]
fn nothing_begins_while_the_block_of_a_barrier_runs() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    let (tell, told) = channel_pair();
    let inside = channel.clone();
    channel.barrier(move |_| {
        let write = inside.call_write(0, "early");
        super::round_trip(&inside);
        // There is room in the socket: only the barrier keeps the bytes from being written.
        let early = theirs.read(&mut [0; 5]).map_err(|error| error.kind());
        tell.send((write, early, theirs)).unwrap();
    });
    let (write, early, _theirs) = next(&told);
    assert_eq!(early, Err(std::io::ErrorKind::WouldBlock));
    write.soon().unwrap();
}
