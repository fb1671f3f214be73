//! Sources on descriptors that can be read or written: the arguments of the handler, how often it
//! is called, and when it is not called.

use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};

use singletrack_io::event::More;
use singletrack_io::{EventSource, Io};
use singletrack_queues::{Queue, Runtime};

use crate::{DEADLINE, scratch, until};

/// Waits until all reports of the system so far have reached their queue, and the queue has run
/// them: for "nothing more comes".
///
/// A poller reports a descriptor that it begins to watch now after its earlier reports. So this
/// watches a ready descriptor now and waits for its report.
pub(crate) fn settle(queue: &Queue) {
    for _ in 0..3 {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        far.write_all(b"x").unwrap();
        let _source = EventSource::readable(queue, &near, move |_| tell.send(()).unwrap_or_default()).unwrap();
        told.recv_timeout(DEADLINE).unwrap();
        queue.sync(|| ());
    }
}

/// Makes a runtime whose one worker waits in a poller.
fn polled() -> Runtime {
    let io = Io::new(1).unwrap();
    Runtime::builder().workers(1).name("polled").parkers(io.parkers()).build().unwrap()
}

/// Runs a test with both ways of waiting: the poller of a worker, and the poller that has a thread
/// of its own.
fn on_each_kind_of_queue(test: impl Fn(&Queue)) {
    test(&Queue::new("plain"));
    test(&polled().queue("polled"));
}

fn take(mut from: impl Read, count: usize) -> Vec<u8> {
    let mut buffer = vec![0; count];
    from.read_exact(&mut buffer).expect("as many bytes as were reported");
    buffer
}

fn next<T>(told: &Receiver<T>) -> T {
    told.recv_timeout(DEADLINE).expect("a call")
}

#[test]
fn eight_bytes_read_one_by_one_are_eight_calls() {
    on_each_kind_of_queue(|queue| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        far.write_all(b"12345678").unwrap();
        let watched = near.try_clone().unwrap();
        let source = EventSource::readable(queue, &watched, move |bytes| {
            tell.send((bytes, take(&near, 1)[0])).unwrap();
        });
        let _source = source.unwrap();
        for (left, byte) in (1..=8).rev().zip(b'1'..) {
            assert_eq!(next(&told), (left, byte));
        }
        settle(queue);
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn a_handler_that_does_not_read_is_called_once_for_each_arrival() {
    on_each_kind_of_queue(|queue| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        let source = EventSource::readable(queue, &near, move |bytes| tell.send(bytes).unwrap()).unwrap();
        for sum in [3, 6, 9] {
            far.write_all(b"abc").unwrap();
            assert_eq!(next(&told), sum);
            settle(queue);
            assert!(told.try_recv().is_err());
        }
        source.again();
        assert_eq!(next(&told), 9);
        settle(queue);
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn as_many_bytes_as_were_taken_are_told_when_they_come_while_the_handler_runs() {
    on_each_kind_of_queue(|queue| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        far.write_all(b"ping").unwrap();
        let (watched, mut left) = (near.try_clone().unwrap(), 2_000);
        let _source = EventSource::readable(queue, &watched, move |bytes| {
            take(&near, bytes as usize);
            left -= 1;
            if left > 0 {
                far.write_all(b"pong").unwrap();
            } else {
                tell.send(bytes).unwrap();
            }
        });
        assert_eq!(next(&told), 4);
    });
}

#[test]
fn the_end_is_told_once_after_what_was_sent_before_it() {
    on_each_kind_of_queue(|queue| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        far.write_all(b"bye").unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let watched = near.try_clone().unwrap();
        let _source = EventSource::readable(queue, &watched, move |bytes| {
            take(&near, bytes.min(2) as usize);
            tell.send(bytes).unwrap();
        });
        assert_eq!([next(&told), next(&told), next(&told)], [3, 1, 0]);
        // The system reports this, too, and it must not count as another end.
        drop(far);
        settle(queue);
        assert!(told.try_recv().is_err());
    });
}

#[test]
fn the_end_of_a_pipe_that_is_closed_later_is_told_once() {
    let queue = Queue::new("pipe");
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (tell, told) = channel();
    let watched = reader.try_clone().unwrap();
    let _source = EventSource::readable(&queue, &watched, move |bytes| {
        take(&reader, bytes as usize);
        tell.send(bytes).unwrap();
    });
    writer.write_all(b"some").unwrap();
    assert_eq!(next(&told), 4);
    drop(writer);
    assert_eq!(next(&told), 0);
    settle(&queue);
    assert!(told.try_recv().is_err());
}

#[test]
fn ten_writes_while_suspended_are_one_call() {
    on_each_kind_of_queue(|queue| {
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        let watched = near.try_clone().unwrap();
        let source = EventSource::readable(queue, &watched, move |bytes| {
            take(&near, bytes as usize);
            tell.send(bytes).unwrap();
        });
        let source = source.unwrap();
        source.suspend();
        for _ in 0..10 {
            far.write_all(b"x").unwrap();
            settle(queue);
        }
        assert!(told.try_recv().is_err());
        source.resume().unwrap();
        assert_eq!(next(&told), 10);
        settle(queue);
        assert!(told.try_recv().is_err());
        assert!(source.resume().is_err());
    });
}

#[test]
fn reading_and_writing_are_watched_on_one_descriptor() {
    on_each_kind_of_queue(|queue| {
        let (near, mut far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        let near = Arc::new(near);
        let size = 1 << 20;
        let sent: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let (reader, writer) = (near.clone(), near.clone());
        let (mut rest, (tell, told)) = (sent.clone(), channel());
        let writing = EventSource::writable(queue, &near, move |room| {
            assert!(room > 0);
            if let Ok(count) = (&*writer).write(&rest) {
                rest.drain(..count);
            }
            if rest.is_empty() { More::Wait } else { More::Again }
        });
        let _writing = writing.unwrap();
        let reading = EventSource::readable(queue, &near, move |bytes| {
            tell.send(take(&*reader, bytes as usize)).unwrap();
        });
        let _reading = reading.unwrap();
        // The peer answers each piece with the same bytes.
        let mut piece = vec![0; 5_000];
        let (mut came, mut returned) = (Vec::new(), Vec::new());
        while came.len() < size {
            let count = far.read(&mut piece).unwrap();
            came.extend_from_slice(&piece[..count]);
            far.write_all(&piece[..count]).unwrap();
            returned.extend(told.try_iter().flatten());
        }
        while returned.len() < size {
            returned.extend(next(&told));
        }
        assert!(came == sent && returned == sent);
    });
}

#[test]
fn a_writer_that_waits_is_called_when_asked_and_when_room_appears() {
    let queue = Queue::new("writer");
    let (near, mut far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    let (tell, told) = channel();
    let (filled, watched) = (Arc::new(AtomicUsize::new(0)), near.try_clone().unwrap());
    let count = filled.clone();
    let fill = Arc::new(Mutex::new(false));
    let want = fill.clone();
    let source = EventSource::writable(&queue, &watched, move |room| {
        while *want.lock().unwrap() {
            let Ok(written) = (&near).write(&[0; 4096]) else { break };
            count.fetch_add(written, SeqCst);
        }
        tell.send(room).unwrap();
        More::Wait
    });
    let source = source.unwrap();
    assert!(next(&told) > 0, "there is room at first");
    settle(&queue);
    assert!(told.try_recv().is_err(), "it has nothing to write");
    *fill.lock().unwrap() = true;
    source.again();
    assert!(next(&told) > 0);
    settle(&queue);
    assert!(told.try_recv().is_err(), "there is no room");
    let full = filled.load(SeqCst);
    *fill.lock().unwrap() = false;
    far.read_exact(&mut vec![0; full]).unwrap();
    assert!(next(&told) > 0, "room has appeared");
    drop(far);
    while next(&told) != 0 {}
}

#[test]
fn the_room_that_is_told_can_be_written_at_once() {
    let queue = Queue::new("room");
    let (reader, writer) = std::io::pipe().unwrap();
    let (tell, told) = channel();
    let watched = writer.try_clone().unwrap();
    let _source = EventSource::writable(&queue, &watched, move |room| {
        // This would block for ever, because there is no reader.
        (&writer).write_all(&vec![0; room as usize]).unwrap();
        tell.send(room).unwrap();
        More::Again
    });
    let room = next(&told);
    assert!(room >= 4096);
    settle(&queue);
    assert!(told.try_recv().is_err());
    assert_eq!(take(&reader, room as usize).len() as u64, room);
}

#[test]
fn connections_and_datagrams_that_wait_are_told_one_by_one() {
    let queue = Queue::new("counted by nobody");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let far: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    let (tell, told) = channel();
    let watched = listener.try_clone().unwrap();
    let _accepting = EventSource::readable(&queue, &watched, move |_| {
        tell.send(listener.accept().unwrap().1).unwrap();
    });
    for stream in &far {
        assert_eq!(next(&told), stream.local_addr().unwrap());
    }

    let near = UdpSocket::bind("127.0.0.1:0").unwrap();
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in [&b"abc"[..], b"def", b"", b"ghi"] {
        far.send_to(datagram, near.local_addr().unwrap()).unwrap();
    }
    let (tell, told) = channel();
    let watched = near.try_clone().unwrap();
    let _receiving = EventSource::readable(&queue, &watched, move |_| {
        let mut buffer = [0; 8];
        let count = near.recv(&mut buffer).unwrap();
        tell.send(buffer[..count].to_vec()).unwrap();
    });
    assert_eq!([next(&told), next(&told), next(&told), next(&told)], [&b"abc"[..], b"def", b"", b"ghi"]);
    settle(&queue);
    assert!(told.try_recv().is_err());
}

#[test]
fn a_handler_that_leaves_a_connection_waiting_does_not_spin_for_ever() {
    let queue = Queue::new("ignores its listener");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let _far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = calls.clone();
    let source = EventSource::readable(&queue, &listener, move |_| {
        count.fetch_add(1, SeqCst);
    });
    let source = source.unwrap();
    until("it is called no more for a tenth of a second", || {
        let before = calls.load(SeqCst);
        std::thread::sleep(std::time::Duration::from_millis(100)); // between two looks: it pauses for a second
        before > 0 && calls.load(SeqCst) == before
    });
    source.cancel();
}

#[test]
fn a_descriptor_that_is_closed_and_used_again_mixes_up_no_owners() {
    on_each_kind_of_queue(|queue| {
        let (first, mut far_first) = UnixStream::pair().unwrap();
        let (tell, told_first) = channel();
        let source_first = EventSource::readable(queue, &first, move |bytes| tell.send(bytes).unwrap()).unwrap();
        let (near, mut far_second) = UnixStream::pair().unwrap();
        // The descriptor is closed too early, before its source has ended. Its number is used again
        // at once, before another test takes it.
        let mut second = OwnedFd::from(first);
        rustix::io::dup2(&near, &mut second).unwrap();
        drop(near);
        let (tell, told_second) = channel();
        let _source_second = EventSource::readable(queue, &second, move |bytes| tell.send(bytes).unwrap()).unwrap();
        far_second.write_all(b"second").unwrap();
        assert_eq!(next(&told_second), 6);
        settle(queue);
        assert!(told_first.try_recv().is_err());
        far_first.write_all(b"1").unwrap();
        assert_eq!(next(&told_first), 1);
        source_first.cancel();
        settle(queue);
        far_second.write_all(b"!").unwrap();
        assert_eq!(next(&told_second), 7);
    });
}

#[test]
fn a_file_is_told_while_its_position_moves_and_its_end_once() {
    let queue = Queue::new("file");
    let mut file = tempfile(b"0123456789");
    let (tell, told) = channel();
    let mut reader = file.try_clone().unwrap();
    let source = EventSource::readable(&queue, &file, move |bytes| {
        tell.send((bytes, take(&mut reader, bytes.min(4) as usize))).unwrap();
    });
    let source = source.unwrap();
    let told_all: Vec<_> = (0..4).map(|_| next(&told)).collect();
    assert_eq!(told_all.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>(), [10, 6, 2, 0]);
    assert_eq!(told_all.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(), b"0123456789");
    settle(&queue);
    assert!(told.try_recv().is_err());
    file.write_all(b"more").unwrap();
    file.seek(SeekFrom::Current(-4)).unwrap();
    source.again();
    assert_eq!(next(&told), (4, b"more".to_vec()));
    assert_eq!(next(&told).0, 0);
}

fn tempfile(content: &[u8]) -> std::fs::File {
    let path = scratch("event-file").join("file");
    std::fs::write(&path, content).unwrap();
    std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap()
}

#[test]
fn what_cannot_be_watched_is_an_error_that_says_why() {
    let queue = Queue::new("strict");
    let (reader, writer) = std::io::pipe().unwrap();
    let refused = [
        EventSource::readable(&queue, &writer, |_| ()),
        EventSource::writable(&queue, &reader, |_| More::Wait),
        EventSource::readable(&queue, std::fs::File::open("/").unwrap(), |_| ()),
        // A descriptor that stands for a place and can do nothing else: the system calls it a bad
        // one.
        EventSource::readable(&queue, place("/"), |_| ()),
    ];
    for refused in refused {
        let said = refused.expect_err("refused").to_string();
        assert!(said.contains("strict") && said.contains("descriptor"), "{said}");
    }
}

fn place(path: &str) -> OwnedFd {
    use rustix::fs::{Mode, OFlags, open};
    open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn an_eventfd_is_told_once_for_all_that_was_added() {
    use rustix::event::{EventfdFlags, eventfd};
    let queue = Queue::new("counter");
    let counter = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
    let (tell, told) = channel();
    let read = counter.clone();
    let _source = EventSource::readable(&queue, &counter, move |_| {
        let mut sum = [0; 8];
        rustix::io::read(&read, &mut sum).unwrap();
        tell.send(u64::from_ne_bytes(sum)).unwrap();
    });
    queue.sync(|| {
        for n in 1..=4_u64 {
            rustix::io::write(&counter, &n.to_ne_bytes()).unwrap();
        }
    });
    let mut sum = 0;
    while sum < 10 {
        sum += next(&told);
    }
    settle(&queue);
    assert_eq!((sum, told.try_recv().is_err()), (10, true));
}

#[test]
fn a_panic_in_a_handler_does_not_stop_its_source() {
    let queue = Queue::new("sour");
    let (near, mut far) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    far.write_all(b"123").unwrap();
    let watched = near.try_clone().unwrap();
    let _source = EventSource::readable(&queue, &watched, move |bytes| {
        take(&near, 1);
        tell.send(bytes).unwrap();
        panic!("after a byte");
    });
    assert_eq!([next(&told), next(&told), next(&told)], [3, 2, 1]);
    assert_eq!(told.recv_timeout(std::time::Duration::ZERO), Err(RecvTimeoutError::Timeout));
}
