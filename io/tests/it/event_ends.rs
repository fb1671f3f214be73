//! How event sources end: once, after the last event, and with nothing left behind.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;

use singletrack_io::{EventSource, Io};
use singletrack_queues::{Queue, Runtime, Source};

use crate::event_descriptors::settle;
use crate::{DEADLINE, until};

#[test]
fn under_a_storm_of_events_the_cancel_handler_runs_once_and_last() {
    let queues = [Queue::new("storm"), {
        let io = Io::new(2).unwrap();
        Runtime::builder().workers(2).parkers(io.parkers()).build().unwrap().queue("polled storm")
    }];
    for round in 0..300 {
        let queue = &queues[round % 2];
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        let (ended, events, late) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (tell, told) = channel();
        let watched = near.try_clone().unwrap();
        let builder = Source::builder(queue).on_cancel({
            let (ended, reader) = (ended.clone(), near.try_clone().unwrap());
            move || {
                ended.fetch_add(1, SeqCst);
                drop(reader);
                tell.send(()).unwrap();
            }
        });
        let (is_over, is_late, count) = (ended.clone(), late.clone(), events.clone());
        let source = EventSource::readable(builder, &watched, move |bytes| {
            count.fetch_add(1, SeqCst);
            is_late.fetch_or(is_over.load(SeqCst) > 0, SeqCst);
            let mut buffer = vec![0; bytes as usize];
            (&near).read_exact(&mut buffer).unwrap();
        });
        let source = source.unwrap();
        drop(watched);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let _full = (&far).write(b"event");
                }
            });
            until("some events", || events.load(SeqCst) > round % 7);
            scope.spawn(|| source.cancel());
            source.cancel();
            told.recv_timeout(DEADLINE).unwrap();
            let at_the_end = events.load(SeqCst);
            stop.store(true, SeqCst);
            queue.sync(|| ());
            assert_eq!(events.load(SeqCst), at_the_end);
        });
        assert!(!late.load(SeqCst), "an event after the cancel handler");
        assert_eq!(ended.load(SeqCst), 1);
        // All of ours are closed. A child that another test is about to start has copies of them
        // until its program begins.
        let is_closed = || matches!((&far).write(b"x"), Err(error) if error.kind() == ErrorKind::BrokenPipe);
        until("the other end is closed", is_closed);
        assert!(told.try_recv().is_err());
    }
}

#[test]
fn dropping_the_last_handle_ends_the_source_after_what_waits() {
    let queue = Queue::new("dropped");
    let (near, mut far) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    let end = tell.clone();
    let builder = Source::builder(&queue).on_cancel(move || end.send("end").unwrap());
    let source = EventSource::readable(builder, &near, move |_| tell.send("event").unwrap()).unwrap();
    queue.suspend();
    far.write_all(b"x").unwrap();
    settle(&Queue::new("witness"));
    drop(source.clone());
    drop(source);
    queue.resume().unwrap();
    assert_eq!(told.iter().collect::<Vec<_>>(), ["event", "end"]);
}

#[test]
fn an_ended_source_leaves_nothing_in_its_poller() {
    let io = Io::new(1).unwrap();
    let runtime = Runtime::builder().workers(1).parkers(io.parkers()).build().unwrap();
    let queue = runtime.queue("clean");
    let (near, _far) = UnixStream::pair().unwrap();
    let cancelled = EventSource::readable(&queue, &near, |_| ()).unwrap();
    let dropped = EventSource::readable(&queue, &near, |_| ()).unwrap();
    assert_eq!(io.watched(), 2, "a runtime that waits in pollers uses them");
    cancelled.cancel();
    drop(dropped);
    queue.sync(|| ());
    assert_eq!(io.watched(), 0);
}

#[test]
fn after_shutdown_nothing_is_left_when_the_handle_is_dropped() {
    let io = Io::new(1).unwrap();
    let runtime = Runtime::builder().workers(1).parkers(io.parkers()).build().unwrap();
    let (near, _far) = UnixStream::pair().unwrap();
    let held = Arc::new(());
    let in_handler = held.clone();
    let source = EventSource::readable(&runtime.queue("late"), &near, move |_| drop(in_handler.clone())).unwrap();
    runtime.shutdown(DEADLINE);
    source.cancel();
    drop(source);
    until("the handler and its registration are gone", || Arc::strong_count(&held) == 1 && io.watched() == 0);
}

#[test]
fn the_last_handle_of_a_held_source_may_go_while_events_arrive() {
    let io = Io::new(1).unwrap();
    let runtime = Runtime::builder().workers(1).parkers(io.parkers()).build().unwrap();
    let queue = runtime.queue("held");
    for _ in 0..300 {
        let (near, far) = UnixStream::pair().unwrap();
        far.set_nonblocking(true).unwrap();
        near.set_nonblocking(true).unwrap();
        let source = EventSource::readable(&queue, &near, |_| ()).unwrap();
        source.suspend();
        let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    (&far).write_all(b"x").unwrap();
                    (&near).read_exact(&mut [0]).unwrap();
                    sent.fetch_add(1, SeqCst);
                }
            });
            // From now on a run is held back, so that events only reach the weak handle in the
            // poller.
            until("many events", || sent.load(SeqCst) > 100);
            // The handler owns the registration. The thread that drops the last handle takes it out
            // of the poller's table, and that thread may be the poller.
            drop(source);
            until("it is out of the poller", || io.watched() == 0);
            stop.store(true, SeqCst);
        });
    }
}

#[test]
fn the_registration_handler_runs_first() {
    let queue = Queue::new("first");
    let (near, mut far) = UnixStream::pair().unwrap();
    far.write_all(b"x").unwrap();
    let (tell, told) = channel();
    let registered = tell.clone();
    let builder = Source::builder(&queue).on_registered(move || registered.send("registered").unwrap());
    let source = EventSource::readable(builder, &near, move |_| tell.send("event").unwrap()).unwrap();
    assert_eq!(told.recv_timeout(DEADLINE), Ok("registered"));
    assert_eq!(told.recv_timeout(DEADLINE), Ok("event"));
    drop(source);
}
