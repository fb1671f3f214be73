//! Readers run together, a barrier runs alone, nothing overtakes a barrier.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Runtime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

fn queue(runtime: &Runtime) -> ConcurrentQueue {
    ConcurrentQueue::builder("table").runtime(runtime).build()
}

#[test]
fn readers_run_together() {
    let runtime = runtime(2);
    let queue = queue(&runtime);
    let (one, two) = (Latch::default(), Latch::default());
    let (open_one, wait_two) = (one.clone(), two.clone());
    let first = queue.call(move || {
        open_one.open();
        wait_two.wait();
    });
    let second = queue.call(move || {
        two.open();
        one.wait();
    });
    assert!(first.wait().is_ok() && second.wait().is_ok(), "each waited for the other to have begun");
}

#[test]
fn barriers_are_alone_and_in_order_under_load() {
    let runtime = runtime(4);
    let queue = queue(&runtime);
    let (readers, writing, generation) = <(Arc<AtomicUsize>, Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
    let rounds = 500;
    for round in 0..rounds {
        for _ in 0..20 {
            let (readers, writing, generation) = (readers.clone(), writing.clone(), generation.clone());
            queue.submit(move || {
                readers.fetch_add(1, Relaxed);
                assert!(!writing.load(Relaxed), "a reader beside a barrier");
                assert_eq!(generation.load(Relaxed), round, "a block overtook a barrier, or was overtaken");
                readers.fetch_sub(1, Relaxed);
            });
        }
        let (readers, writing, generation) = (readers.clone(), writing.clone(), generation.clone());
        queue.barrier(move || {
            assert!(!writing.swap(true, Relaxed), "two barriers at once");
            assert_eq!(readers.load(Relaxed), 0, "a barrier beside readers");
            assert_eq!(generation.fetch_add(1, Relaxed), round);
            writing.store(false, Relaxed);
        });
    }
    queue.barrier_sync(|| ());
    assert_eq!(generation.load(Relaxed), rounds);
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn sync_readers_and_writers_of_many_threads_exclude_one_another() {
    let runtime = runtime(2);
    let queue = queue(&runtime);
    let (readers, value) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for who in 0..4 {
            let (queue, readers, value) = (&queue, &readers, &value);
            scope.spawn(move || {
                for i in 0..10_000 {
                    if (i + who) % 20 == 0 {
                        queue.barrier_sync(|| {
                            assert_eq!(readers.load(Relaxed), 0, "a barrier beside readers");
                            // Not atomic on purpose: only exclusion makes the sum correct.
                            value.store(value.load(Relaxed) + 1, Relaxed);
                        });
                    } else {
                        queue.sync(|| {
                            readers.fetch_add(1, Relaxed);
                            std::hint::black_box(value.load(Relaxed));
                            readers.fetch_sub(1, Relaxed);
                        });
                    }
                }
            });
        }
    });
    assert_eq!(value.load(Relaxed), 4 * 500);
}

#[test]
fn a_sync_inside_a_sync_is_allowed_even_while_a_barrier_waits() {
    let runtime = runtime(2);
    let queue = queue(&runtime);
    let written = queue.sync(|| {
        let written = queue.barrier_call(|| ());
        assert_eq!(queue.sync(|| 3), 3);
        written
    });
    assert!(written.wait().is_ok());
}

#[test]
fn a_barrier_inside_a_reader_is_reported_not_a_hang() {
    let runtime = runtime(2);
    let queue = queue(&runtime);
    let caught = catch_unwind(AssertUnwindSafe(|| queue.sync(|| queue.barrier_sync(|| ()))));
    let payload = caught.expect_err("it would wait for itself");
    let text = payload.downcast_ref::<String>().expect("a sentence");
    assert!(text.contains("deadlock") && text.contains("table"), "{text}");
    let caught = catch_unwind(AssertUnwindSafe(|| queue.barrier_sync(|| queue.sync(|| ()))));
    assert!(caught.is_err());
    assert_eq!(queue.barrier_sync(|| 1), 1, "the queue goes on");
}

#[test]
fn a_dropped_handle_still_runs_what_was_submitted() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..500 {
        let queue = queue(&runtime);
        for i in 0..10 {
            let count = count.clone();
            let add = move || {
                count.fetch_add(1, Relaxed);
            };
            if i % 3 == 0 { queue.barrier(add) } else { queue.submit(add) }
        }
    }
    wait_until("all blocks", || count.load(Relaxed) == 5_000);
}

#[test]
fn a_reader_that_comes_while_a_barrier_runs_waits_for_it() {
    let runtime = runtime(3);
    let queue = queue(&runtime);
    let (reads, submits) = (Latch::default(), Latch::default());
    let wait = reads.clone();
    queue.submit(move || wait.wait());
    // Behind a reader the barrier is listed, and enters later.
    let (runs, barrier_runs) = channel();
    let (tell, told) = channel();
    let wait = submits.clone();
    let alone = queue.barrier_call(move || {
        runs.send(()).expect("the test waits");
        wait.wait();
        told.recv_timeout(Duration::from_millis(100)).is_err()
    });
    reads.open();
    barrier_runs.recv_timeout(LONG).expect("the reader has left");
    queue.submit(move || _ = tell.send(()));
    submits.open();
    assert_eq!(alone.wait().ok(), Some(true), "a reader ran beside the barrier");
}

#[test]
fn handles_of_one_queue_are_equal_and_others_are_not() {
    let runtime = runtime(1);
    let (one, other) = (queue(&runtime), queue(&runtime));
    assert!(one == one.clone() && one != other);
    assert_eq!(std::collections::HashSet::from([one.clone(), other, one]).len(), 2);
}
