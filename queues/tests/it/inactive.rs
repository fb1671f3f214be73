//! An inactive queue holds its blocks until it is activated.

use crate::{LONG, by_a_worker, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Queue};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn nothing_runs_before_it_is_activated_and_everything_in_order_afterwards() {
    let runtime = runtime(2);
    let log = Isolated::new(&Queue::builder("later").runtime(&runtime).inactive().build(), Vec::new());
    for i in 0..100 {
        log.submit(move |log| log.push(i));
    }
    let other = runtime.queue("other");
    for _ in 0..100 {
        by_a_worker(other.call(|| ()));
    }
    assert!(log.queue().try_sync(|| ()).is_err());
    assert!(log.queue().sync_timeout(Duration::from_millis(1), || ()).is_err());
    log.queue().activate();
    log.queue().activate();
    assert!(log.sync(|log| log.iter().copied().eq(0..100)));
}

#[test]
fn resume_does_not_activate_and_activate_does_not_resume() {
    let runtime = runtime(1);
    let queue = Queue::builder("both").runtime(&runtime).inactive().build();
    assert!(queue.resume().is_err(), "it is inactive, not suspended");
    queue.suspend();
    queue.activate();
    assert!(queue.try_sync(|| ()).is_err(), "suspended still");
    queue.resume().expect("suspended above");
    assert!(queue.try_sync(|| ()).is_ok());
}

#[test]
fn dropping_the_last_handle_of_an_inactive_queue_runs_what_it_holds() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let target = runtime.queue("target");
        let queue = Queue::builder("abandoned").target(&target).inactive().build();
        let count = count.clone();
        queue.submit(move || {
            count.fetch_add(1, Relaxed);
        });
    }
    wait_until("the abandoned blocks", || count.load(Relaxed) == 100);
}

#[test]
fn a_shutdown_drops_what_an_inactive_queue_holds_and_tells() {
    let runtime = runtime(1);
    let queue = Queue::builder("never").runtime(&runtime).inactive().build();
    let task = queue.call(|| ());
    let report = runtime.shutdown(LONG);
    assert_eq!(report.suspended, [("never".to_owned(), 1)]);
    assert!(task.wait().is_err());
}

#[test]
fn an_inactive_concurrent_queue_holds_everything_until_it_is_activated() {
    let runtime = runtime(2);
    let queue = ConcurrentQueue::builder("later").runtime(&runtime).inactive().build();
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..10 {
        let count = count.clone();
        queue.submit(move || add_one(&count));
    }
    assert!(queue.try_sync(|| ()).is_err() && queue.resume().is_err());
    assert!(queue.sync_timeout(Duration::from_millis(1), || ()).is_err());
    assert_eq!(count.load(Relaxed), 0);
    queue.activate();
    queue.activate();
    queue.barrier_sync(|| ());
    assert_eq!(count.load(Relaxed), 10);
}

#[test]
fn an_inactive_concurrent_queue_without_handles_runs_and_one_that_is_shut_down_tells() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let queue = ConcurrentQueue::builder("abandoned").runtime(&runtime).inactive().build();
        let count = count.clone();
        queue.barrier(move || add_one(&count));
    }
    wait_until("the abandoned blocks", || count.load(Relaxed) == 100);
    let queue = ConcurrentQueue::builder("never").runtime(&runtime).inactive().build();
    let leaf = Queue::builder("leaf").target(&queue).build();
    let tasks = [queue.call(|| ()), queue.barrier_call(|| ()), leaf.call(|| ())];
    let report = runtime.shutdown(LONG);
    assert_eq!(report.suspended, [("never".to_owned(), 3)]);
    assert!(!report.deadline_passed, "{report}");
    assert!(tasks.into_iter().all(|task| task.wait().is_err()));
}

fn add_one(count: &AtomicUsize) {
    count.fetch_add(1, Relaxed);
}
