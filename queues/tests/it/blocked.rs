//! Blocks that block: replacement threads, up to the cap, and they go away.

use crate::{Latch, by_a_worker, occupy, runtime, wait_until};
use singletrack_queues::{Group, Qos, Queue, Runtime, blocking};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn a_blocked_block_does_not_stop_the_others() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let wait = latch.clone();
    let stuck = runtime.queue("stuck").call(move || wait.wait());
    let other = runtime.queue("other");
    for _ in 0..10 {
        by_a_worker(other.call(|| ()));
    }
    assert!(runtime.stats().replaced >= 1);
    latch.open();
    assert!(stuck.wait().is_ok());
}

/// So that nobody has to look after it: the replacement thread sleeps, and the monitor may.
#[test]
fn a_block_that_waits_long_is_replaced_though_nothing_else_waits() {
    let runtime = runtime(2);
    let latch = Latch::default();
    let wait = latch.clone();
    let stuck = runtime.queue("stuck").call(move || wait.wait());
    wait_until("a replacement thread takes over", || runtime.stats().replaced == 1);
    by_a_worker(runtime.queue("other").call(|| ()));
    latch.open();
    assert!(stuck.wait().is_ok());
}

#[test]
fn what_a_blocked_block_submitted_last_is_not_hidden_behind_it() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let (open, wait) = (latch.clone(), latch.clone());
    let (first, second) = (runtime.queue("first"), runtime.queue("second"));
    let done = first.call(move || {
        second.submit(move || open.open());
        wait.wait();
    });
    by_a_worker(done);
}

/// The block is no longer supervised: the monitor sleeps.
#[test]
fn what_a_block_submits_long_after_it_was_replaced_is_not_hidden_behind_it() {
    let puts: [fn(&Queue, Latch); 2] =
        [|queue, latch| queue.submit(move || latch.open()), |queue, latch| queue.submit_deferred(move || latch.open())];
    for put in puts {
        let runtime = runtime(1);
        let (begin, latch) = <(Latch, Latch)>::default();
        let (begins, wait) = (begin.clone(), latch.clone());
        let (first, second) = (runtime.queue("first"), runtime.queue("second"));
        let done = first.call(move || {
            begins.wait();
            std::thread::sleep(Duration::from_millis(50)); // the block under test sleeps: longer than the monitor looks
            put(&second, wait.clone());
            wait.wait();
        });
        wait_until("a replacement thread takes over", || runtime.stats().replaced == 1);
        begin.open();
        assert!(done.wait().is_ok());
    }
}

#[test]
fn a_computing_block_does_not_stop_the_others_for_good() {
    let runtime = runtime(1);
    let stop = Arc::new(AtomicUsize::new(0));
    let look = stop.clone();
    let busy = runtime.queue("busy").call(move || {
        while look.load(Relaxed) == 0 {
            std::hint::spin_loop();
        }
    });
    by_a_worker(runtime.queue("other").call(|| ()));
    stop.store(1, Relaxed);
    assert!(busy.wait().is_ok());
}

#[test]
fn a_thousand_sleeping_blocks_stay_under_the_cap_and_the_replacements_go_away() {
    let runtime = Runtime::builder().workers(2).thread_cap(20).name("capped").build().expect("a few threads");
    let group = Group::new();
    let (now, peak) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    for i in 0..1_000 {
        let (now, peak) = (now.clone(), peak.clone());
        group.submit(&runtime.queue(format!("sleeper.{i}")), move || {
            peak.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
            std::thread::sleep(Duration::from_millis(2)); // the block under test sleeps: it is what replacement threads are for
            now.fetch_sub(1, Relaxed);
        });
    }
    group.wait();
    let stats = runtime.stats();
    assert!(stats.peak_threads <= 20 && peak.load(Relaxed) <= 20, "{stats:?}");
    assert!(stats.peak_threads > 2, "blocked workers were replaced: {stats:?}");
    wait_until("the replacement threads to go away", || runtime.stats().threads == 2);
}

#[test]
fn a_block_that_says_it_will_block_is_replaced() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let (open, wait) = (latch.clone(), latch.clone());
    let (first, second) = (runtime.queue("first"), runtime.queue("second"));
    let done = first.call(move || {
        second.submit(move || open.open());
        blocking(|| wait.wait());
    });
    by_a_worker(done);
}

#[test]
fn the_backlog_is_what_waits_for_a_worker() {
    let runtime = Runtime::builder().workers(1).thread_cap(1).build().expect("one thread");
    assert_eq!(runtime.stats().backlog, 0);
    let latch = occupy(&runtime.queue("busy"));
    let urgent = Queue::builder("urgent").runtime(&runtime).qos(Qos::UserInteractive).build();
    for queue in [runtime.queue("one"), runtime.queue("two"), urgent] {
        // Several blocks of a queue are one runnable.
        (0..3).for_each(|_| queue.submit(|| ()));
    }
    runtime.spawn(|| ());
    assert_eq!(runtime.stats().backlog, 4);
    latch.open();
    wait_until("the worker to keep up", || runtime.stats().backlog == 0);
}
