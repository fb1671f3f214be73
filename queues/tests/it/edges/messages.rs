//! The content of a message: the queue, the call, the location of the caller, the cause that
//! applies, and the remedy.

use super::told;
use crate::{Latch, occupy, runtime, wait_until};
use singletrack_queues::{
    BuildError, ConcurrentQueue, Gone, MainQueue, Qos, Queue, Runtime, SyncError, TrySyncError, Workloop,
};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

#[track_caller]
fn says(text: &str, parts: &[&str], never: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not all in: {text}");
    assert!(!never.iter().any(|part| text.contains(part)), "one of {never:?} is in: {text}");
}

#[test]
fn a_barrier_in_a_reader_is_named_and_its_advice_does_no_harm() {
    let runtime = runtime(1);
    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let text = table.sync(|| told(|| table.barrier_sync(|| ()))).expect_err("a deadlock");
    says(&text, &["barrier_sync on \"table\"", "messages.rs", "leave it before", "look again"], &["directly"]);
    // A barrier cannot be upgraded.
    let text = table.barrier_sync(|| told(|| table.barrier_sync(|| ()))).expect_err("a deadlock");
    says(&text, &["barrier_sync on \"table\"", "messages.rs", "directly"], &["look again"]);
    let error = table.sync(|| table.try_barrier_sync(|| ())).expect_err("a deadlock");
    let TrySyncError::Deadlock(error, _) = error else { panic!("{error}") };
    assert_eq!((error.call(), error.wanted(), error.inside()), ("try_barrier_sync", "table", "table"));
    assert!(error.site().file().ends_with("messages.rs"));
}

#[test]
fn a_loop_that_would_wait_for_itself_is_told_as_one() {
    let runtime = runtime(1);
    let serial = runtime.queue("serial");
    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let text = serial.sync(|| told(|| serial.apply(3, |_| ()))).expect_err("a deadlock");
    says(&text, &["deadlock: apply on \"serial\"", "messages.rs", "function apply"], &["sync on"]);
    let text = table.barrier_sync(|| told(|| table.apply(3, |_| ()))).expect_err("a deadlock");
    says(&text, &["deadlock: apply on \"table\"", "messages.rs", "function apply"], &["sync on"]);
    table.sync(|| table.apply(3, |_| ()));
}

#[test]
fn the_cause_that_applies_is_told_alone() {
    let runtime = runtime(1);
    let queue = runtime.queue("gone");
    queue.suspend();
    queue.submit(|| ());
    runtime.shutdown(Duration::ZERO);
    queue.suspend();
    let error = queue.sync_timeout(Duration::from_secs(5), || ()).expect_err("nothing runs any more");
    assert_eq!(error, SyncError::Gone { label: "gone".into(), why: Gone::ShutDown });
    says(&error.to_string(), &["\"gone\"", "its runtime was shut down"], &["main queue", "fork"]);
}

#[test]
fn a_block_that_comes_back_says_from_where_and_why() {
    let runtime = runtime(1);
    let (serial, main) = (runtime.queue("gone"), MainQueue::new("gone"));
    let together = ConcurrentQueue::builder("gone").runtime(&runtime).build();
    let (workloop, handle) = (Workloop::builder("gone").runtime(&runtime).build(), main.handle());
    runtime.shutdown(Duration::ZERO);
    drop(main);
    let refusals = [
        (serial.try_submit(|| ()).map_err(|error| error.to_string()), "its runtime was shut down"),
        (together.try_submit(|| ()).map_err(|error| error.to_string()), "its runtime was shut down"),
        (workloop.try_submit(Qos::Default, || ()).map_err(|error| error.to_string()), "its runtime was shut down"),
        (handle.try_submit(|| ()).map_err(|error| error.to_string()), "its main queue was dropped"),
    ];
    for (refusal, why) in refusals {
        let text = refusal.expect_err("it comes back");
        assert_eq!(text, format!("\"gone\" takes nothing any more: {why}; the block comes back"));
    }
}

#[test]
fn a_name_with_a_nul_is_an_error_of_ours() {
    let error = Runtime::builder().name("a\0b").build().expect_err("no thread has such a name");
    assert!(matches!(&error, BuildError::Name(name) if name == "a\0b"));
    says(&error.to_string(), &["\"a\\0b\"", "NUL", "leave it out"], &[]);
}

#[test]
fn a_queue_whose_blocks_were_dropped_does_not_say_that_they_run() {
    let name = "edges::messages::a_queue_whose_blocks_were_dropped_does_not_say_that_they_run";
    let (ended, text) = crate::child::in_a_process(name, || {
        super::logging::log_to_stderr();
        let runtime = runtime(1);
        let (serial, idle) = (runtime.queue("dropped"), Queue::builder("idle").runtime(&runtime).inactive().build());
        let together = ConcurrentQueue::builder("dropped").runtime(&runtime).build();
        serial.suspend();
        together.suspend();
        serial.submit(|| ());
        together.submit(|| ());
        runtime.shutdown(Duration::from_millis(1));
        drop((serial, together, idle));
    })
    .expect("no hang");
    assert!(ended, "{text}");
    says(&text, &[], &["runs now"]);
}

#[test]
fn blocks_that_wait_at_the_cap_of_threads_are_reported_once_with_the_holders() {
    let name = "edges::messages::blocks_that_wait_at_the_cap_of_threads_are_reported_once_with_the_holders";
    let (ended, text) = crate::child::in_a_process(name, || {
        static SAID: AtomicUsize = AtomicUsize::new(0);
        super::logging::log_by(|line| {
            writeln!(std::io::stderr(), "logged: {line}").expect("stderr");
            // Only now: the process ends when it was said.
            SAID.fetch_add(usize::from(line.contains("thread_cap")), SeqCst);
        });
        let runtime = Runtime::builder().workers(1).thread_cap(2).name("small").build().expect("two threads");
        let latches = ["first", "second"].map(|label| occupy(&runtime.queue(label)));
        runtime.queue("waits").submit(|| ());
        wait_until("the report", || SAID.load(SeqCst) == 1);
        latches.iter().for_each(Latch::open);
    })
    .expect("no hang");
    assert!(ended, "{text}");
    says(&text, &["\"small\"", "thread_cap of 2", "\"first\"", "\"second\"", "main.rs", "raise"], &[]);
}
