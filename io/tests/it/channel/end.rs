//! Closing, stopping, and the cleanup, which comes last.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use singletrack_io::{Channel, Data};
use singletrack_queues::{Queue, Runtime};

use super::{Folder, Soon, all, channel_pair, next, open, pattern, queue, tell, to_read};

#[test]
fn a_closed_channel_refuses_by_name_and_does_what_was_submitted() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    let before = channel.call_read(0, 3);
    channel.close();
    let after = channel.call_read(0, 3).soon().unwrap_err();
    assert!(after.error.is_closed());
    assert!(
        after.to_string().contains("cannot read descriptor ") && after.to_string().contains("is closed"),
        "{after}"
    );
    let (handler, told) = tell();
    channel.write(0, "late", handler);
    let (done, data, error) = next(&told);
    assert!(done && data == Data::from("late") && error.is_some());
    let (tell, told) = channel_pair();
    channel.barrier(move |fd| tell.send(fd.map(|_| ()).unwrap_err().is_closed()).unwrap());
    assert!(next(&told));
    theirs.write_all(b"abc").unwrap();
    assert_eq!(before.soon().unwrap().flatten(), "abc");
}

#[test]
fn a_stop_ends_what_is_under_way_with_what_came_until_then() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let look = ours.try_clone().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    channel.set_low_water(1_000);
    let (handler, told) = tell();
    channel.read(0, 5_000, handler);
    let waiting = channel.call_read(0, 10);
    theirs.write_all(b"some").unwrap();
    crate::until("the bytes to be read", || rustix::io::ioctl_fionread(&look).unwrap() == 0);
    channel.stop();
    let (bytes, error) = all(&told);
    assert_eq!(bytes, b"some");
    let error = error.unwrap();
    assert!(error.contains("was stopped before the read was complete"), "{error}");
    let waiting = waiting.soon().unwrap_err();
    assert!(waiting.error.is_closed() && waiting.data.is_empty());
}

#[test]
fn a_stopped_write_gives_back_what_was_not_written() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let channel = Channel::stream(ours, &queue()).unwrap();
    let bytes = pattern(5_000_000);
    let write = channel.call_write(0, bytes.clone());
    let behind = channel.call_write(0, "behind");
    let mut got = vec![0; 100_000];
    theirs.read_exact(&mut got).unwrap();
    channel.stop();
    let rest = write.soon().unwrap_err();
    assert_eq!(behind.soon().unwrap_err().data, Data::from("behind"));
    drop(channel);
    theirs.read_to_end(&mut got).unwrap();
    assert!(got.len() < bytes.len() && !rest.data.is_empty());
    got.extend_from_slice(&rest.data.flatten());
    assert_eq!(got, bytes, "what went and what came back are all of it");
}

#[test]
fn a_stop_of_one_channel_leaves_its_siblings_and_does_not_wait_for_them() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let first = Channel::stream(ours, &queue()).unwrap();
    let second = first.sibling(&queue());
    let long = first.call_read(0, 4);
    let behind = second.call_read(0, 4);
    second.stop();
    assert!(behind.soon().unwrap_err().error.is_closed());
    theirs.write_all(b"late").unwrap();
    assert_eq!(long.soon().unwrap().flatten(), "late");
}

#[test]
fn a_stop_in_the_middle_of_a_file_gives_what_was_read() {
    let folder = Folder::new();
    let bytes = pattern(20_000_000);
    let file = Channel::stream(open(&folder.file("big", &bytes)), &queue()).unwrap();
    let stop = file.clone();
    let (handler, told) = tell();
    let mut handler = handler;
    file.read(0, Channel::TO_END, move |read| {
        stop.stop();
        handler(read);
    });
    let (got, error) = all(&told);
    assert!(error.is_some() && got.len() < bytes.len());
    assert_eq!(got, bytes[..got.len()]);
}

#[test]
fn the_cleanup_comes_once_and_last_with_the_descriptor() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (tell, told) = channel_pair();
    let note = order.clone();
    let last = queue();
    let channel = Channel::builder(&last)
        .on_cleanup(move |fd| {
            note.lock().unwrap().push("cleanup".to_owned());
            tell.send(fd).unwrap();
        })
        .stream(ours)
        .unwrap();
    let sibling = channel.sibling(&Queue::new("test.slow"));
    for i in 0..5 {
        let note = order.clone();
        sibling.write(0, format!("{i}"), move |_| note.lock().unwrap().push(format!("write {i}")));
    }
    let note = order.clone();
    sibling.barrier(move |_| note.lock().unwrap().push("barrier".to_owned()));
    channel.close();
    channel.close();
    drop(channel);
    let (keep, kept) = channel_pair();
    sibling.write(0, "held", move |written| keep.send(written.hold()).unwrap());
    drop(sibling);
    let hold = next(&kept);
    assert!(told.try_recv().is_err(), "a handler is not over yet");
    order.lock().unwrap().push("let go".to_owned());
    drop(hold);
    let fd = next(&told).expect("it was open");
    let expected = ["write 0", "write 1", "write 2", "write 3", "write 4", "barrier", "let go", "cleanup"];
    assert_eq!(*order.lock().unwrap(), expected);
    assert!(told.recv().is_err(), "it comes once");
    // It is whole: the program may continue to use it.
    let mut stream = UnixStream::from(fd);
    stream.write_all(b"!").unwrap();
    drop(stream);
    let mut text = String::new();
    theirs.read_to_string(&mut text).unwrap();
    assert_eq!(text, "01234held!");
}

#[test]
fn a_path_that_was_never_opened_is_cleaned_up_without_a_descriptor() {
    let (tell, told) = channel_pair();
    let builder = Channel::builder(&queue()).on_cleanup(move |fd| tell.send(fd.is_none()).unwrap());
    drop(builder.stream_path("/no/such/file", &to_read()).unwrap());
    assert!(next(&told));
}

#[test]
fn dropping_the_last_handle_still_does_what_was_submitted() {
    let folder = Folder::new();
    let path = folder.path("out");
    let (tell, told) = channel_pair();
    let builder = Channel::builder(&queue()).on_cleanup(move |_| tell.send(()).unwrap());
    let file = builder.stream_path(&path, &super::to_write()).unwrap();
    for i in 0..100 {
        file.write(0, format!("{i}\n"), |written| assert!(written.error.is_none()));
    }
    drop(file);
    next(&told);
    let expected: String = (0..100).map(|i| format!("{i}\n")).collect();
    assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
}

#[test]
fn a_stop_while_a_system_call_is_under_way_takes_effect_when_it_returns() {
    // The file has no end, so there is always a call under way, or a handler that is about to ask
    // for the next.
    for _ in 0..20 {
        let zeros = Channel::stream_path("/dev/zero", &to_read(), &queue()).unwrap();
        let (tell, told) = channel_pair();
        zeros.read(0, Channel::TO_END, move |read| tell.send((read.done, read.error.is_some())).unwrap());
        assert_eq!(next(&told), (false, false));
        zeros.stop();
        let (mut more, end) = (0, std::iter::from_fn(|| Some(next(&told))));
        let end = end.inspect(|_| more += 1).take(10_000).find(|(done, _)| *done);
        assert_eq!(end, Some((true, true)), "it went on for {more} deliveries");
    }
}

#[test]
fn a_descriptor_is_closed_also_when_the_runtime_of_its_handlers_is_gone() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let channel = Channel::stream(ours, &runtime.queue("test.gone")).unwrap();
    channel.read(0, Channel::TO_END, |_| {});
    runtime.shutdown(crate::DEADLINE);
    theirs.write_all(b"to nobody").unwrap();
    drop(channel);
    // The far end sees the end of the stream, or a reset, because sent bytes were not read.
    theirs.set_read_timeout(Some(crate::DEADLINE)).unwrap();
    let end = theirs.read(&mut [0; 1]);
    assert!(
        matches!(&end, Ok(0)) || end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset),
        "{end:?}"
    );
}
