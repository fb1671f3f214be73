//! First in, first out; never two blocks at once; nothing is lost; nothing runs twice.

use crate::{by_a_worker, runtime, wait_until};
use singletrack_queues::{Group, Isolated, Queue};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

#[test]
fn blocks_of_one_submitter_run_in_its_order() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("log"), Vec::new());
    for i in 0..10_000 {
        log.submit(move |log| log.push(i));
    }
    assert!(log.sync(|log| log.iter().copied().eq(0..10_000)));
}

#[test]
fn blocks_of_many_submitters_keep_each_ones_order_and_exclude_one_another() {
    let runtime = runtime(4);
    let queue = runtime.queue("shared");
    let seen = Isolated::new(&queue, vec![0usize; 4]);
    let inside = Arc::new(AtomicBool::new(false));
    std::thread::scope(|scope| {
        for who in 0..4 {
            let (seen, inside) = (seen.clone(), inside.clone());
            scope.spawn(move || {
                for i in 0..20_000 {
                    let inside = inside.clone();
                    seen.submit(move |seen| {
                        assert!(!inside.swap(true, Relaxed), "two blocks of one queue at once");
                        assert_eq!(seen[who], i, "submitter {who} is out of order");
                        seen[who] += 1;
                        inside.store(false, Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(seen.sync(|seen| seen.clone()), [20_000; 4]);
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn blocks_submitted_by_blocks_run_after_what_was_there() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("log"), Vec::new());
    let again = log.clone();
    log.sync(|_| ());
    log.queue().suspend();
    log.submit(move |log| {
        log.push(1);
        again.submit(|log| log.push(3));
    });
    log.submit(|log| log.push(2));
    log.queue().resume().expect("suspended above");
    wait_until("all three", || log.sync(|log| log.len() == 3));
    assert_eq!(log.sync(|log| log.clone()), [1, 2, 3]);
}

#[test]
fn a_dropped_handle_still_runs_what_was_submitted() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for _ in 0..1_000 {
        let queue = runtime.queue("short-lived");
        for _ in 0..10 {
            let count = count.clone();
            queue.submit(move || {
                count.fetch_add(1, Relaxed);
            });
        }
    }
    wait_until("all blocks", || count.load(Relaxed) == 10_000);
}

#[test]
fn the_last_handle_may_be_dropped_in_the_queues_own_block() {
    let runtime = runtime(2);
    let group = Group::new();
    for _ in 0..1_000 {
        let queue = runtime.queue("self-owned");
        let own = queue.clone();
        group.submit(&queue, move || drop(own));
    }
    group.wait();
}

#[test]
fn two_busy_queues_do_not_starve_a_third() {
    let runtime = runtime(1);
    let stop = Arc::new(AtomicBool::new(false));
    fn again(queue: Queue, stop: Arc<AtomicBool>) {
        if !stop.load(Relaxed) {
            let next = queue.clone();
            queue.submit(move || again(next, stop));
        }
    }
    for label in ["busy.a", "busy.b"] {
        again(runtime.queue(label), stop.clone());
    }
    let third = runtime.queue("third");
    for _ in 0..100 {
        by_a_worker(third.call(|| ()));
    }
    stop.store(true, Relaxed);
}

#[test]
fn two_queues_that_feed_each_other_do_not_starve_a_third() {
    let runtime = runtime(1);
    let stop = Arc::new(AtomicBool::new(false));
    fn hop(to: Queue, from: Queue, stop: Arc<AtomicBool>) {
        if !stop.load(Relaxed) {
            let (next, back) = (from, to.clone());
            to.submit(move || hop(next, back, stop));
        }
    }
    hop(runtime.queue("ping"), runtime.queue("pong"), stop.clone());
    let third = runtime.queue("third");
    for _ in 0..100 {
        by_a_worker(third.call(|| ()));
    }
    stop.store(true, Relaxed);
}

#[test]
fn a_large_closure_is_run_and_dropped_like_a_small_one() {
    let runtime = runtime(1);
    let big = [7u64; 1024];
    let sum = runtime.queue("big").call(move || big.iter().sum::<u64>());
    assert_eq!(sum.wait().ok(), Some(7 * 1024));
}

#[test]
fn blocks_of_every_size_and_alignment_behind_others_keep_what_they_captured() {
    #[repr(align(64))]
    #[derive(Clone, Copy)]
    struct Line([u8; 64]);
    #[repr(align(32))]
    #[derive(Clone, Copy)]
    struct Half(u8);
    let runtime = runtime(1);
    let queue = runtime.queue("busy");
    let (latch, wrong) = (crate::occupy(&queue), Arc::new(AtomicUsize::new(0)));
    for byte in 0..100u8 {
        let (large, line, half) = ([byte; 3_000], Line([byte; 64]), Half(byte));
        let [of_large, of_line, of_half] = [(); 3].map(|()| wrong.clone());
        queue.submit(move || _ = of_large.fetch_add(usize::from(large.iter().any(|&other| other != byte)), Relaxed));
        queue.submit(move || {
            // The whole capture, which is aligned.
            let line = &line;
            let fault = std::hint::black_box(line).0 != [byte; 64] || std::ptr::from_ref(line).addr() % 64 != 0;
            of_line.fetch_add(usize::from(fault), Relaxed);
        });
        queue.submit(move || {
            let half = &half;
            let fault = std::hint::black_box(half).0 != byte || std::ptr::from_ref(half).addr() % 32 != 0;
            of_half.fetch_add(usize::from(fault), Relaxed);
        });
    }
    latch.open();
    queue.sync(|| ());
    assert_eq!(wrong.load(Relaxed), 0);
}
