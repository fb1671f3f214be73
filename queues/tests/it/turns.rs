//! A queue with much work lets others in between: its turn ends after a number of blocks, and after
//! a time.

use crate::{LONG, by_a_worker, runtime};
use singletrack_queues::{ConcurrentQueue, Queue, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// How many blocks of a busy queue ran before the block of another one, when each of them does
/// `work`.
fn before_the_other<S: Fn(Box<dyn FnOnce() + Send>) + Send + 'static>(
    runtime: &Runtime,
    submit_to_busy: S,
    blocks: usize,
    work: fn(),
) -> usize {
    let other = runtime.queue("other");
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    // On the worker itself, so that both queues wait in its own line, the busy one in front.
    let mut first = runtime.queue("first").call(move || {
        let seen = count.clone();
        let before = other.call(move || seen.load(Relaxed));
        for _ in 0..blocks {
            let count = count.clone();
            submit_to_busy(Box::new(move || {
                work();
                count.fetch_add(1, Relaxed);
            }));
        }
        before
    });
    // With a time limit, because otherwise this thread would run it.
    let mut before = first.wait_timeout(LONG).expect("in time").expect("it ran");
    let before = before.wait_timeout(LONG).expect("the other queue has its turn");
    assert!(!runtime.shutdown(LONG).deadline_passed);
    assert_eq!(ran.load(Relaxed), blocks);
    before.expect("it ran")
}

#[test]
fn a_turn_ends_after_so_many_blocks_and_the_queue_goes_behind_the_others() {
    let runtime = runtime(1);
    let queue = runtime.queue("busy");
    let before = before_the_other(&runtime, move |block| queue.submit(block), 4_000, || ());
    assert!((1..=300).contains(&before), "{before} blocks of the one queue ran before the other had a turn");
}

#[test]
fn a_turn_of_a_concurrent_queue_ends_too() {
    let runtime = runtime(1);
    let queue = ConcurrentQueue::builder("busy").runtime(&runtime).build();
    let before = before_the_other(&runtime, move |block| queue.barrier(block), 4_000, || ());
    assert!((1..=300).contains(&before), "{before} barriers of the one queue ran before the other had a turn");
}

#[test]
fn a_turn_of_long_blocks_ends_by_time() {
    // One thread: no other takes over while it is in a long block.
    let runtime = Runtime::builder().workers(1).thread_cap(1).build().expect("a thread");
    let queue = runtime.queue("busy");
    let millisecond = || std::thread::sleep(Duration::from_millis(1)); // the block under test sleeps: turns end by time
    let before = before_the_other(&runtime, move |block| queue.submit(block), 250, millisecond);
    assert!(before < 200, "{before} blocks of a millisecond ran before the other queue had a turn");
}

/// A block of `to` that submits the next one to `from`, and so on, so many times.
fn hop(to: Queue, from: Queue, left: usize, count: Arc<AtomicUsize>) {
    let next = to.clone();
    to.submit(move || {
        count.fetch_add(1, Relaxed);
        if left > 0 {
            hop(from, next, left - 1, count);
        }
    });
}

#[test]
fn two_queues_that_feed_each_other_on_one_thread_let_a_third_in() {
    const HOPS: usize = 20_000;
    let runtime = Runtime::builder().workers(1).thread_cap(1).build().expect("a thread");
    let [ping, pong, third] = ["ping", "pong", "third"].map(|label| runtime.queue(label));
    let count = Arc::new(AtomicUsize::new(0));
    let before = runtime.queue("first").call(move || {
        let seen = count.clone();
        let before = third.call(move || seen.load(Relaxed));
        hop(ping, pong, HOPS, count);
        before
    });
    let before = by_a_worker(by_a_worker(before));
    assert!((1..HOPS / 2).contains(&before), "{before} blocks of the two ran before the third had a turn");
}
