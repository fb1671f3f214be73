//! In a fork child, what belongs to the parent is refused, and what the child makes itself works.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;

use singletrack_io::poller::Interest;
use singletrack_io::{Channel, EventSource, Io};
use singletrack_queues::{Gone, Queue, Runtime};

use crate::DEADLINE;
use crate::child::{alone, in_a_child};

/// Is a handler on `queue` called with the byte that arrives?
fn hears(queue: &Queue) -> bool {
    let (mut near, mut far) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    let watched = near.try_clone().unwrap();
    // It may be called again when the other end is dropped. It must not panic then: a thread that
    // panics during a fork holds a lock of std that never opens in the child.
    let source = EventSource::readable(queue, &watched, move |_| {
        let mut byte = [0];
        if near.read_exact(&mut byte).is_ok() {
            let _ = tell.send(byte);
        }
    });
    let Ok(_source) = source else { return false };
    far.write_all(b"x").unwrap();
    told.recv_timeout(DEADLINE / 2) == Ok([b'x'])
}

fn polled(io: &Io) -> Runtime {
    Runtime::builder().workers(1).parkers(io.parkers()).build().unwrap()
}

#[test]
fn a_source_on_a_runtime_of_the_parent_is_refused() {
    alone("edges::forked::a_source_on_a_runtime_of_the_parent_is_refused", || {
        let io = Io::new(1).unwrap();
        let runtime = polled(&io);
        let queues = [Queue::new("plain"), runtime.queue("polled")];
        assert!(queues.iter().all(hears));
        let (socket, _far) = UnixStream::pair().unwrap();
        for queue in &queues {
            let refused = || {
                let error = EventSource::readable(queue, &socket, |_| ()).unwrap_err();
                let sentence = error.to_string();
                error.gone() == Some(Gone::ForkChild)
                    && sentence.contains(queue.label())
                    && sentence.contains("fork child")
            };
            assert_eq!(in_a_child(refused), Some(true));
        }
        assert!(queues.iter().all(hears), "the parent goes on");
    });
}

#[test]
fn a_source_on_a_runtime_that_the_child_made_works() {
    alone("edges::forked::a_source_on_a_runtime_that_the_child_made_works", || {
        let parents = Queue::new("parent's");
        // From here on the pollers of the process exist.
        assert!(hears(&parents));
        let plain = || hears(&Runtime::builder().workers(1).build().unwrap().queue("own"));
        assert_eq!(in_a_child(plain), Some(true));
        assert_eq!(in_a_child(|| hears(&polled(&Io::new(1).unwrap()).queue("own"))), Some(true));
        assert_eq!(in_a_child(|| in_a_child(plain) == Some(true)), Some(true), "and in a child of the child");
        assert!(hears(&parents), "the parent goes on");
    });
}

#[test]
fn the_pollers_of_the_parent_watch_nothing_for_the_child_and_lose_nothing_to_it() {
    alone("edges::forked::the_pollers_of_the_parent_watch_nothing_for_the_child_and_lose_nothing_to_it", || {
        let io = Io::new(1).unwrap();
        let runtime = polled(&io);
        let (near, mut far) = UnixStream::pair().unwrap();
        let (tell, told) = channel();
        let source = EventSource::readable(&runtime.queue("parent's"), &near, move |_| tell.send(()).unwrap()).unwrap();
        let (kept, _far) = UnixStream::pair().unwrap();
        let (registered, _attach) = io.register(kept.try_clone().unwrap(), Interest::Readable).unwrap();
        let mut mine = Some((source, registered));
        let refused = || {
            let error = io.register(kept.try_clone().unwrap(), Interest::Readable).unwrap_err().to_string();
            // The parent still watches the descriptors that the child drops.
            drop(mine.take());
            error.contains("parent process") && error.contains("make an Io in the child")
        };
        assert_eq!(in_a_child(refused), Some(true));
        far.write_all(b"x").unwrap();
        assert_eq!(told.recv_timeout(DEADLINE), Ok(()), "the parent's poller has lost a socket");
    });
}

#[test]
fn a_channel_that_the_child_made_works() {
    alone("edges::forked::a_channel_that_the_child_made_works", || {
        let read = || {
            let (near, mut far) = UnixStream::pair().unwrap();
            far.write_all(b"x").unwrap();
            let queue = Runtime::builder().workers(1).build().unwrap().queue("own");
            let channel = Channel::stream(near, &queue).unwrap();
            let mut byte = channel.call_read(0, 1);
            let file = Channel::random_path("/proc/self/stat", std::fs::OpenOptions::new().read(true), &queue).unwrap();
            let mut word = file.call_read(0, 1);
            [&mut byte, &mut word]
                .map(|task| task.wait_timeout(DEADLINE / 2).is_some_and(|read| read.is_ok_and(|read| read.is_ok())))
                == [true, true]
        };
        // From here on the threads that serve channels exist.
        assert!(read());
        assert_eq!(in_a_child(read), Some(true));
        assert!(read(), "the parent goes on");
    });
}
