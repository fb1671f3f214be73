//! Sources that add or replace, that are suspended, and that end.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{Isolated, Merge, Queue, Source};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, mpsc};

/// The events, in order.
type Log = Isolated<Vec<String>>;

fn log(queue: &Queue) -> Log {
    Isolated::new(queue, Vec::new())
}

fn says(log: &Log, what: &'static str) -> impl FnOnce() + Send + 'static {
    let log = log.clone();
    move || log.submit(move |log| log.push(what.to_owned()))
}

#[track_caller]
fn check(log: &Log, expected: &[&str]) {
    // Once for the blocks of the source, once for what they submitted to the log.
    wait_until("all entries", || log.sync(|log| log.len() >= expected.len()));
    log.queue().sync(|| ());
    assert_eq!(log.sync(|log| log.clone()), expected);
}

/// A source that reports what its handler gets.
fn telling(queue: &Queue, merge: Merge) -> (Source, mpsc::Receiver<u64>) {
    let (tell, told) = mpsc::channel();
    let source = Source::builder(queue).merging(merge).build(move |value| tell.send(value).expect("the test listens"));
    (source, told)
}

#[test]
fn ten_thousand_additions_while_the_handler_is_busy_are_one_run_with_the_exact_sum() {
    let runtime = runtime(2);
    let queue = runtime.queue("sum");
    let (busy, open, (tell, told)) = (Latch::default(), Latch::default(), mpsc::channel());
    let (tell_busy, wait) = (busy.clone(), open.clone());
    let sum = Source::builder(&queue).merging(Merge::Add).build(move |sum| {
        tell.send(sum).expect("the test listens");
        tell_busy.open();
        wait.wait();
    });
    sum.merge(1);
    busy.wait();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..5_000).for_each(|i| sum.merge(i)));
        }
    });
    open.open();
    assert_eq!(told.recv_timeout(LONG), Ok(1));
    assert_eq!(told.recv_timeout(LONG), Ok(2 * (4_999 * 5_000 / 2)));
    queue.sync(|| ());
    assert!(told.try_recv().is_err());
}

#[test]
fn the_last_value_wins_and_zero_is_a_value() {
    let runtime = runtime(1);
    let queue = runtime.queue("last");
    let (source, told) = telling(&queue, Merge::Replace);
    for last in [7, 0, Source::MAX] {
        source.suspend();
        (0..100).for_each(|i| source.merge(i));
        source.merge(last);
        source.resume().expect("suspended above");
        assert_eq!(told.recv_timeout(LONG), Ok(last));
    }
    source.merge(0);
    assert_eq!(told.recv_timeout(LONG), Ok(0));
    queue.sync(|| ());
    assert!(told.try_recv().is_err());
}

#[test]
fn no_addition_is_lost_under_load() {
    let runtime = runtime(4);
    let queue = runtime.queue("storm");
    let (source, told) = telling(&queue, Merge::Add);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..20_000).for_each(|_| source.merge(3)));
        }
        scope.spawn(|| {
            for _ in 0..2_000 {
                source.suspend();
                source.resume().expect("suspended above");
            }
        });
    });
    let mut sum = 0;
    while sum < 120_000 {
        sum += told.recv_timeout(LONG).expect("the rest of the sum");
    }
    queue.sync(|| ());
    assert_eq!((sum, told.try_recv()), (120_000, Err(mpsc::TryRecvError::Empty)));
}

#[test]
fn a_suspended_source_merges_and_its_queue_goes_on() {
    let runtime = runtime(1);
    let queue = runtime.queue("held");
    let (source, told) = telling(&queue, Merge::Add);
    source.suspend();
    source.suspend();
    for _ in 0..10 {
        source.merge(1);
        queue.sync(|| ());
    }
    source.resume().expect("suspended twice");
    queue.sync(|| ());
    assert!(told.try_recv().is_err(), "still suspended once");
    source.resume().expect("suspended once");
    assert_eq!(told.recv_timeout(LONG), Ok(10));
}

#[test]
fn one_resume_of_a_source_too_many_is_an_error_that_names_the_queue() {
    let runtime = runtime(1);
    let (source, _told) = telling(&runtime.queue("balanced"), Merge::Or);
    source.suspend();
    source.resume().expect("suspended");
    let error = source.resume().expect_err("resumed already");
    assert!(error.to_string().contains("source") && error.to_string().contains("balanced"), "{error}");
}

#[test]
fn the_cancel_handler_runs_once_after_the_last_event_and_the_fall_of_its_handler() {
    struct Falls(Option<Box<dyn FnOnce() + Send>>);
    impl Drop for Falls {
        fn drop(&mut self) {
            self.0.take().expect("dropped once")();
        }
    }
    let runtime = runtime(2);
    let queue = runtime.queue("end");
    let log = log(&queue);
    let (event, falls) = (log.clone(), Falls(Some(Box::new(says(&log, "dropped")))));
    let source = Source::builder(&queue)
        .on_registered(says(&log, "registered"))
        .on_cancel(says(&log, "cancelled"))
        .build(move |bits| {
            let _falls = &falls;
            event.submit(move |log| log.push(format!("event {bits}")));
        });
    source.merge(1);
    check(&log, &["registered", "event 1"]);
    queue.suspend();
    source.merge(2);
    source.cancel();
    source.cancel();
    source.merge(4);
    queue.resume().expect("suspended above");
    check(&log, &["registered", "event 1", "dropped", "cancelled"]);
    drop(source);
    check(&log, &["registered", "event 1", "dropped", "cancelled"]);
}

#[test]
fn a_source_that_is_cancelled_in_its_handler_ends_after_that_run() {
    let runtime = runtime(2);
    let queue = runtime.queue("itself");
    let log = log(&queue);
    let own: Arc<std::sync::OnceLock<Source>> = Arc::default();
    let (event, source) = (log.clone(), own.clone());
    let made = Source::builder(&queue).on_cancel(says(&log, "cancelled")).build(move |_| {
        source.get().expect("set before the first signal").cancel();
        event.submit(|log| log.push("event".to_owned()));
    });
    own.set(made.clone()).expect("set once");
    made.merge(1);
    wait_until("the end", || log.sync(|log| log.len() == 2));
    assert!(log.sync(|log| log.contains(&"cancelled".to_owned())));
}

#[test]
fn a_suspended_source_ends_when_cancelled_and_may_still_be_resumed() {
    let runtime = runtime(1);
    let queue = runtime.queue("held");
    let log = log(&queue);
    let source = Source::builder(&queue).on_cancel(says(&log, "cancelled")).build(|_| unreachable!("it is held"));
    source.suspend();
    source.merge(1);
    queue.sync(|| ());
    source.cancel();
    check(&log, &["cancelled"]);
    source.resume().expect("suspended above");
    check(&log, &["cancelled"]);
}

#[test]
fn dropping_the_last_handle_ends_a_source_after_what_waits() {
    let runtime = runtime(1);
    let queue = runtime.queue("dropped");
    let log = log(&queue);
    let event = log.clone();
    let source = Source::builder(&queue)
        .on_cancel(says(&log, "cancelled"))
        .build(move |bits| event.submit(move |log| log.push(format!("event {bits}"))));
    queue.suspend();
    source.merge(1);
    drop(source.clone());
    drop(source);
    queue.resume().expect("suspended above");
    check(&log, &["event 1", "cancelled"]);
}

#[test]
fn a_source_that_is_cancelled_first_is_not_registered() {
    let runtime = runtime(1);
    let queue = runtime.queue("never");
    let log = log(&queue);
    queue.suspend();
    let source = Source::builder(&queue)
        .on_registered(says(&log, "registered"))
        .on_cancel(says(&log, "cancelled"))
        .build(|_| ());
    source.cancel();
    queue.resume().expect("suspended above");
    check(&log, &["cancelled"]);
}

#[test]
fn panics_of_the_handlers_are_counted_and_the_end_still_comes() {
    let runtime = runtime(1);
    let queue = runtime.queue("sour");
    let ends = Arc::new(AtomicUsize::new(0));
    let count = ends.clone();
    let source = Source::builder(&queue)
        .on_registered(|| panic!("at the beginning"))
        .on_cancel(move || {
            count.fetch_add(1, Relaxed);
            panic!("at the end")
        })
        .build(|_| panic!("in the middle"));
    source.merge(1);
    queue.sync(|| ());
    source.cancel();
    queue.sync(|| ());
    wait_until("three panics", || runtime.stats().panics == 3);
    assert_eq!(ends.load(Relaxed), 1);
}

#[test]
fn after_shutdown_the_cancel_handler_is_dropped_with_what_it_captured() {
    let runtime = runtime(1);
    let alive = Arc::new(());
    let [cancelled, dropped] = [(); 2].map(|()| {
        let token = alive.clone();
        Source::builder(&runtime.queue("late")).on_cancel(move || drop(token)).build(|_| ())
    });
    runtime.shutdown(LONG);
    cancelled.cancel();
    drop(cancelled);
    drop(dropped);
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn what_a_handler_captured_may_panic_when_it_is_dropped_with_the_last_handle() {
    struct Sour;
    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("in the drop of what a handler captured");
        }
    }
    let runtime = runtime(1);
    let queue = runtime.queue("sour");
    let sour = Sour;
    let source = Source::new(&queue, move |_| {
        let _sour = &sour;
    });
    source.merge(1);
    queue.sync(|| ());
    drop(source);
    assert_eq!(queue.sync(|| "goes on"), "goes on");
}

#[test]
fn who_only_knows_of_a_source_that_has_ended_may_ask_again_and_again() {
    let source = Source::new(&Queue::new("gone"), |_| ());
    let weak = source.downgrade();
    drop(source);
    for _ in 0..3 {
        assert!(weak.upgrade().is_none());
    }
}
