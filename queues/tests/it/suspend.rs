//! Suspend and resume count; waiting blocks run after the last resume.

use crate::{LONG, by_a_worker, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Queue, TrySyncError};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn nothing_runs_while_suspended_and_everything_in_order_afterwards() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("held"), Vec::new());
    log.queue().suspend();
    log.queue().suspend();
    for i in 0..100 {
        log.submit(move |log| log.push(i));
    }
    let other = runtime.queue("other");
    for _ in 0..100 {
        by_a_worker(other.call(|| ()));
    }
    assert!(log.queue().try_sync(|| ()).is_err());
    log.queue().resume().expect("suspended twice");
    assert!(log.queue().try_sync(|| ()).is_err(), "still suspended once");
    log.queue().resume().expect("suspended once");
    assert!(log.sync(|log| log.iter().copied().eq(0..100)));
}

#[test]
fn a_block_that_suspends_its_own_queue_is_the_last_to_run() {
    let runtime = runtime(2);
    let queue = runtime.queue("self-held");
    let count = Arc::new(AtomicUsize::new(0));
    let (own, add) = (queue.clone(), count.clone());
    let suspended = queue.call(move || own.suspend());
    queue.submit(move || {
        add.fetch_add(1, Relaxed);
    });
    by_a_worker(suspended);
    let other = runtime.queue("other");
    for _ in 0..100 {
        by_a_worker(other.call(|| ()));
    }
    assert_eq!(count.load(Relaxed), 0);
    queue.resume().expect("suspended by the block");
    queue.sync(|| ());
    assert_eq!(count.load(Relaxed), 1);
}

#[test]
fn one_resume_too_many_is_an_error_that_names_the_queue() {
    let runtime = runtime(1);
    let queue = runtime.queue("balanced");
    queue.suspend();
    queue.resume().expect("suspended");
    let error = queue.resume().expect_err("resumed already");
    assert!(error.to_string().contains("balanced"), "{error}");
}

#[test]
fn dropping_the_last_handle_of_a_suspended_queue_runs_what_it_holds() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    let queue = runtime.queue("abandoned");
    queue.suspend();
    for _ in 0..10 {
        let count = count.clone();
        queue.submit(move || {
            count.fetch_add(1, Relaxed);
        });
    }
    drop(queue);
    wait_until("the abandoned blocks", || count.load(Relaxed) == 10);
}

#[test]
fn storms_of_suspend_and_resume_lose_nothing() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("storm"), Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    log.queue().suspend();
                    log.queue().resume().expect("suspended above");
                }
            });
        }
        for i in 0..20_000 {
            log.submit(move |log| log.push(i));
        }
    });
    assert!(log.sync(|log| log.iter().copied().eq(0..20_000)));
}

#[test]
fn a_suspended_concurrent_queue_lets_nobody_in_until_its_last_resume() {
    let runtime = runtime(2);
    let target = ConcurrentQueue::builder("target").runtime(&runtime).build();
    for queue in [
        ConcurrentQueue::builder("held").runtime(&runtime).build(),
        ConcurrentQueue::builder("held").target(&target).width(1).build(),
    ] {
        let leaf = Queue::builder("leaf").target(&queue).build();
        let ran = Arc::new(AtomicUsize::new(0));
        queue.suspend();
        queue.suspend();
        for i in 0..30 {
            let ran = ran.clone();
            let add = move || {
                ran.fetch_add(1, Relaxed);
            };
            match i % 3 {
                0 => queue.submit(add),
                1 => queue.barrier(add),
                _ => leaf.submit(add),
            }
        }
        let other = runtime.queue("other");
        for _ in 0..100 {
            by_a_worker(other.call(|| ()));
        }
        assert!(matches!(queue.try_sync(|| ()), Err(TrySyncError::Busy(_))));
        assert!(matches!(queue.try_barrier_sync(|| ()), Err(TrySyncError::Busy(_))));
        queue.resume().expect("suspended twice");
        assert!(queue.try_sync(|| ()).is_err(), "still suspended once");
        assert_eq!(ran.load(Relaxed), 0);
        queue.resume().expect("suspended once");
        queue.barrier_sync(|| ());
        leaf.sync(|| ());
        assert_eq!(ran.load(Relaxed), 30);
        let error = queue.resume().expect_err("resumed already");
        assert!(error.to_string().contains("held"), "{error}");
    }
}

#[test]
fn dropping_the_last_handle_of_a_suspended_concurrent_queue_runs_what_it_holds() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for round in 0..200 {
        let queue = ConcurrentQueue::builder("abandoned").runtime(&runtime).build();
        queue.suspend();
        for _ in 0..5 {
            let (one, two) = (count.clone(), count.clone());
            queue.submit(move || add_one(&one));
            queue.barrier(move || add_one(&two));
        }
        if round % 2 == 0 {
            // Its leaf keeps it alive.
            let (leaf, count) = (Queue::builder("leaf").target(&queue).build(), count.clone());
            queue.resume().expect("suspended above");
            leaf.submit(move || add_one(&count));
        }
    }
    wait_until("the abandoned blocks", || count.load(Relaxed) == 200 * 10 + 100);
}

#[test]
fn storms_of_suspend_and_resume_on_a_concurrent_queue_lose_nothing() {
    let runtime = runtime(2);
    let queue = ConcurrentQueue::builder("storm").runtime(&runtime).width(2).build();
    let (inside, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..3_000 {
                    queue.suspend();
                    queue.resume().expect("suspended above");
                }
            });
        }
        for i in 0..6_000 {
            let (inside, ran) = (inside.clone(), ran.clone());
            let alone = i % 10 == 0;
            let block = move || {
                let before = inside.fetch_add(1, Relaxed);
                assert!(before < if alone { 1 } else { 2 }, "{before} beside");
                inside.fetch_sub(1, Relaxed);
                ran.fetch_add(1, Relaxed);
            };
            if alone { queue.barrier(block) } else { queue.submit(block) }
        }
    });
    queue.barrier_sync(|| ());
    assert_eq!(ran.load(Relaxed), 6_000);
    assert_eq!(runtime.stats().panics, 0);
}

fn add_one(count: &AtomicUsize) {
    count.fetch_add(1, Relaxed);
}

#[test]
fn a_closure_that_waits_for_a_queue_does_not_run_when_it_is_suspended_meanwhile() {
    const MOMENT: Duration = Duration::from_millis(50);
    let runtime = runtime(2);
    let queue = runtime.queue("held in a sync");
    let (tell, told) = channel();
    let told = Mutex::new(told);
    let ran_within = |time| told.lock().expect("no panic under it").recv_timeout(time).is_ok();
    std::thread::scope(|threads| {
        queue.sync(|| {
            threads.spawn(|| queue.sync(move || tell.send(()).expect("the test waits")));
            // The test cannot see when the other thread has queued up; if that comes later, this
            // test finds nothing.
            assert!(!ran_within(MOMENT), "it ran beside another closure");
            queue.suspend();
        });
        assert!(!ran_within(MOMENT), "it ran in a suspended queue");
        queue.resume().expect("suspended above");
        assert!(ran_within(LONG), "it runs after the resume");
    });
}

#[test]
fn dropping_the_last_handle_long_after_the_drainer_left_runs_what_it_holds() {
    let runtime = runtime(1);
    let queue = runtime.queue("left");
    let (tell, told) = channel();
    queue.suspend();
    queue.submit(move || tell.send(()).expect("the test waits"));
    // One worker, which has come to the queue by then, and left it.
    by_a_worker(runtime.queue("behind").call(|| ()));
    drop(queue);
    told.recv_timeout(LONG).expect("it runs");
}
