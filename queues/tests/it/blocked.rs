//! Blocks that block: stand-ins, up to the cap, and they go away.

use crate::{Latch, runtime, wait_until};
use singletrack_queues::{Group, Queue, Runtime, blocking};
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
        assert!(other.call(|| ()).wait().is_ok());
    }
    latch.open();
    assert!(stuck.wait().is_ok());
    assert!(runtime.stats().relieved >= 1);
}

/// So that nobody has to look after it: the stand-in sleeps, and the monitor may.
#[test]
fn a_block_that_waits_long_is_stood_in_for_though_nothing_else_waits() {
    let runtime = runtime(2);
    let latch = Latch::default();
    let wait = latch.clone();
    let stuck = runtime.queue("stuck").call(move || wait.wait());
    wait_until("a stand-in takes over", || runtime.stats().relieved == 1);
    assert!(runtime.queue("other").call(|| ()).wait().is_ok(), "and it works");
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
    assert!(done.wait().is_ok());
}

/// Nobody looks after it any more: the monitor sleeps.
#[test]
fn what_a_block_submits_long_after_it_was_stood_in_for_is_not_hidden_behind_it() {
    let puts: [fn(&Queue, Latch); 2] =
        [|queue, latch| queue.submit(move || latch.open()), |queue, latch| queue.submit_later(move || latch.open())];
    for put in puts {
        let runtime = runtime(1);
        let (begin, latch) = <(Latch, Latch)>::default();
        let (begins, wait) = (begin.clone(), latch.clone());
        let (first, second) = (runtime.queue("first"), runtime.queue("second"));
        let done = first.call(move || {
            begins.wait();
            std::thread::sleep(Duration::from_millis(50)); // the block under test sleeps: longer than the monitor looks on
            put(&second, wait.clone());
            wait.wait();
        });
        wait_until("a stand-in takes over", || runtime.stats().relieved == 1);
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
    assert!(runtime.queue("other").call(|| ()).wait().is_ok());
    stop.store(1, Relaxed);
    assert!(busy.wait().is_ok());
}

#[test]
fn a_thousand_sleeping_blocks_stay_under_the_cap_and_the_stand_ins_go_away() {
    let runtime = Runtime::builder().workers(2).thread_cap(20).name("capped").build().expect("a few threads");
    let group = Group::new();
    let (now, peak) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    for i in 0..1_000 {
        let (now, peak) = (now.clone(), peak.clone());
        group.submit(&runtime.queue(format!("sleeper.{i}")), move || {
            peak.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
            std::thread::sleep(Duration::from_millis(2)); // the block under test sleeps: it is what stand-ins are for
            now.fetch_sub(1, Relaxed);
        });
    }
    group.wait();
    let stats = runtime.stats();
    assert!(stats.peak_threads <= 20 && peak.load(Relaxed) <= 20, "{stats:?}");
    assert!(stats.peak_threads > 2, "blocked workers were stood in for: {stats:?}");
    wait_until("the stand-ins to go away", || runtime.stats().threads == 2);
}

#[test]
fn a_block_that_says_it_will_block_is_stood_in_for() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let (open, wait) = (latch.clone(), latch.clone());
    let (first, second) = (runtime.queue("first"), runtime.queue("second"));
    let done = first.call(move || {
        second.submit(move || open.open());
        blocking(|| wait.wait());
    });
    assert!(done.wait().is_ok());
}
