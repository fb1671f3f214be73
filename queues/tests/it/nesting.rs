//! Nested calls: sync in sync, suspensions on suspensions, a loop in a loop.

use crate::{LONG, by_a_worker, runtime, wait_until};
use singletrack_queues::{Isolated, Queue, Runtime, TrySyncError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Enters the queues one in another, then calls `inmost`.
fn enter(queues: &[Queue], inmost: &(dyn Fn() + Sync)) {
    match queues.split_first() {
        Some((first, rest)) => first.sync(|| enter(rest, inmost)),
        None => inmost(),
    }
}

#[test]
fn sync_nests_a_hundred_queues_deep_and_each_of_them_is_known_to_be_held() {
    let runtime = runtime(2);
    let queues: Vec<_> = (0..100).map(|i| runtime.queue(format!("nested.{i}"))).collect();
    let refused = AtomicUsize::new(0);
    enter(&queues, &|| {
        for queue in &queues {
            assert!(queue.is_current());
            match queue.try_sync(|| ()) {
                Err(TrySyncError::Deadlock(error, _)) => assert!(error.to_string().contains(queue.label()), "{error}"),
                other => panic!("not a deadlock: {other:?}"),
            }
            refused.fetch_add(1, Relaxed);
        }
    });
    assert_eq!(refused.load(Relaxed), 100);
    for queue in &queues {
        assert!(!queue.is_current() && queue.try_sync(|| ()).is_ok());
    }
}

#[test]
fn a_panic_leaves_every_queue_that_it_comes_through() {
    let runtime = runtime(2);
    let queues: Vec<_> = (0..100).map(|i| runtime.queue(format!("left.{i}"))).collect();
    let caught = catch_unwind(AssertUnwindSafe(|| enter(&queues, &|| panic!("from the bottom"))));
    assert_eq!(caught.expect_err("it comes back").downcast_ref(), Some(&"from the bottom"));
    assert!(queues.iter().all(|queue| queue.try_sync(|| ()).is_ok()));
}

#[test]
fn a_nest_under_load_of_others_loses_nothing() {
    let runtime = runtime(2);
    let logs: Vec<_> = (0..20).map(|i| Isolated::new(&runtime.queue(format!("busy.{i}")), 0)).collect();
    let queues: Vec<_> = logs.iter().map(|log| log.queue().clone()).collect();
    std::thread::scope(|scope| {
        for log in &logs {
            scope.spawn(move || {
                for _ in 0..200 {
                    log.submit(|count| *count += 1);
                    log.sync(|count| *count += 1);
                }
            });
        }
        // All in the same order, so that they cannot wait for each other.
        for _ in 0..2 {
            scope.spawn(|| (0..20).for_each(|_| enter(&queues, &|| ())));
        }
    });
    assert!(logs.iter().all(|log| log.sync(|count| *count) == 400));
}

#[test]
fn a_queue_may_be_suspended_a_thousand_deep() {
    let runtime = runtime(2);
    let queue = runtime.queue("deep");
    let ran = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..250).for_each(|_| queue.suspend()));
        }
    });
    for _ in 0..10 {
        let ran = ran.clone();
        queue.submit(move || _ = ran.fetch_add(1, Relaxed));
    }
    for _ in 0..999 {
        queue.resume().expect("suspended still");
    }
    for _ in 0..20 {
        by_a_worker(runtime.queue("other").call(|| ()));
    }
    assert_eq!(ran.load(Relaxed), 0, "suspended once");
    queue.resume().expect("suspended once");
    queue.sync(|| ());
    assert_eq!(ran.load(Relaxed), 10);
    assert!(queue.resume().is_err(), "resumed as often as suspended");
}

#[test]
fn suspensions_of_every_level_hold_a_leaf() {
    let runtime = runtime(2);
    let mut levels = vec![runtime.queue("level.0")];
    for i in 1..10 {
        levels.push(Queue::builder(format!("level.{i}")).target(&levels[i - 1]).build());
    }
    let ran = Arc::new(AtomicUsize::new(0));
    levels.iter().for_each(Queue::suspend);
    let count = ran.clone();
    levels[9].submit(move || _ = count.fetch_add(1, Relaxed));
    for level in levels.iter().rev() {
        assert_eq!(ran.load(Relaxed), 0);
        level.resume().expect("suspended above");
    }
    levels[9].sync(|| ());
    assert_eq!(ran.load(Relaxed), 1);
}

fn nested_sum(runtime: &Runtime, depth: u32, sum: &AtomicUsize) {
    if depth == 0 {
        sum.fetch_add(1, Relaxed);
    } else {
        runtime.apply(8, |_| nested_sum(runtime, depth - 1, sum));
    }
}

#[test]
fn apply_nests_and_many_threads_may_be_at_it_at_once() {
    let runtime = runtime(2);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| nested_sum(&runtime, 4, &sum));
        }
    });
    assert_eq!(sum.load(Relaxed), 6 * 8usize.pow(4));
}

#[test]
fn an_early_panic_ends_a_nest_of_loops_and_leaves_the_rest_out() {
    let runtime = runtime(2);
    for round in 0..100 {
        let (calls, inside) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let caught = catch_unwind(AssertUnwindSafe(|| {
            runtime.apply(1_000, |outer| {
                runtime.apply(1_000, |inner| {
                    inside.fetch_add(1, Relaxed);
                    calls.fetch_add(1, Relaxed);
                    inside.fetch_sub(1, Relaxed);
                    assert!((outer, inner) != (0, 0), "round {round}");
                });
            });
        }));
        let payload = caught.expect_err("the first call panics");
        assert_eq!(payload.downcast_ref::<String>(), Some(&format!("round {round}")));
        assert_eq!(inside.load(Relaxed), 0, "all that had begun have ended");
        assert!(calls.load(Relaxed) < 1_000_000, "nothing was left out");
    }
    wait_until("the runtime to be as before", || runtime.queue("after").sync_timeout(LONG, || ()).is_ok());
}
