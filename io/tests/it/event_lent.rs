//! Event sources whose handlers are lent the value of their queue.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

use rustix::process::{Signal, getpid, kill_process};
use singletrack_io::EventSource;
use singletrack_io::event::signals::SIGCONT;
use singletrack_io::event::{More, Pressure, ProcessEnd};
use singletrack_queues::{Isolated, Queue};

use crate::event_descriptors::settle;
use crate::{DEADLINE, scratch, until};

/// The reports of one source of each kind.
#[derive(Default)]
struct Seen {
    bytes: u64,
    room: u64,
    signals: u64,
    end: Option<ProcessEnd>,
    changed: usize,
    blocks: u64,
}

#[test]
fn the_handler_of_every_kind_is_lent_the_value() {
    let seen = Isolated::new(&Queue::new("seen"), Seen::default());
    let on = EventSource::on(&seen);
    let (near, mut far) = UnixStream::pair().unwrap();
    let folder = scratch("lent");
    let mut child = Command::new("sh").args(["-c", "exit 5"]).spawn().unwrap();
    let sources = [
        on.readable(&near, |seen, bytes| seen.bytes = bytes),
        on.writable(&near, |seen, room| {
            seen.room = room;
            More::Wait
        }),
        on.signal(SIGCONT, |seen, times| seen.signals += times),
        on.process_exit(child.id(), |seen, end| seen.end = Some(end)),
        on.file_changes(&folder, |seen, changes| seen.changed += changes.paths.len()),
    ];
    let sources = sources.map(|source| source.expect("it can be watched"));
    assert!(sources.iter().all(|source| source.queue() == Some(seen.queue())), "all on the queue of the value");
    far.write_all(b"hello").unwrap();
    kill_process(getpid(), Signal::from_named_raw(SIGCONT).expect("a signal with a name")).unwrap();
    fs::write(folder.join("file"), "new").unwrap();
    for _ in 0..1_000 {
        seen.submit(|seen| seen.blocks += 1);
    }
    until("every handler was called", || {
        seen.sync(|seen| seen.bytes == 5 && seen.room > 0 && seen.signals > 0 && seen.end.is_some() && seen.changed > 0)
    });
    assert_eq!(seen.sync(|seen| (seen.end, seen.blocks)), (Some(ProcessEnd::Exited(5)), 1_000));
    child.wait().unwrap();
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn memory_pressure_lends_the_value_too_or_says_why_it_does_not_tell() {
    let cache = Isolated::new(&Queue::new("cache"), vec![1]);
    match EventSource::on(&cache).memory_pressure(Pressure::Full, |cache| cache.clear()) {
        Ok(source) => assert_eq!(source.queue(), Some(cache.queue())),
        Err(error) => assert!(error.to_string().contains("cache"), "{error}"),
    }
}

#[test]
fn a_handler_that_was_lent_the_value_cannot_be_lent_it_again() {
    let state = Isolated::new(&Queue::new("lent state"), 0);
    let (near, mut far) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    let again = state.clone();
    let source = EventSource::on(&state).readable(&near, move |_, _| {
        let nested = catch_unwind(AssertUnwindSafe(|| again.sync(|_| unreachable!("the value is lent"))));
        let payload = nested.expect_err("it panics");
        tell.send(*payload.downcast::<String>().expect("a sentence")).unwrap_or_default();
    });
    far.write_all(b"x").unwrap();
    let sentence = told.recv_timeout(DEADLINE).expect("the handler ran");
    assert!(sentence.contains("lent state") && sentence.contains("sync"), "{sentence}");
    source.unwrap().cancel();
}

/// Reports its drop.
struct Tells(Sender<()>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send(()).unwrap_or_default();
    }
}

#[test]
fn the_value_is_kept_until_the_source_ends() {
    let queue = Queue::new("kept");
    let (tell, told) = channel();
    let (call, called) = channel();
    let state = Isolated::new(&queue, (Tells(tell), 0));
    let (near, mut far) = UnixStream::pair().unwrap();
    let source = EventSource::on(&state).readable(&near, move |state, _| {
        state.1 += 1;
        call.send(state.1).unwrap_or_default();
    });
    let source = source.unwrap();
    drop(state);
    for calls in 1..=3 {
        far.write_all(b"x").unwrap();
        assert_eq!(called.recv_timeout(DEADLINE), Ok(calls), "the value is still there");
    }
    settle(&queue);
    assert!(told.try_recv().is_err(), "the source keeps it");
    source.cancel();
    told.recv_timeout(DEADLINE).expect("it was dropped with the handler");
}

#[test]
fn a_source_that_cannot_be_made_does_not_keep_the_value() {
    let (tell, told) = channel();
    let state = Isolated::new(&Queue::new("refused"), Tells(tell));
    let error = EventSource::on(&state).signal(0, |_, _| ()).expect_err("no signal").to_string();
    assert!(error.contains("refused") && error.contains("signal 0"), "{error}");
    drop(state);
    told.recv_timeout(DEADLINE).expect("no handler is left");
}
