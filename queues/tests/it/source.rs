//! Sources merge their signals and run their handler on their queue.

use crate::{by_a_worker, runtime, wait_until};
use singletrack_queues::Source;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

#[test]
fn signals_are_merged_while_the_handler_waits() {
    let runtime = runtime(1);
    let queue = runtime.queue("merged");
    let (runs, bits) = <(Arc<AtomicUsize>, Arc<AtomicU64>)>::default();
    let (count, got) = (runs.clone(), bits.clone());
    let source = Source::new(&queue, move |bits| {
        count.fetch_add(1, Relaxed);
        got.fetch_or(bits, Relaxed);
    });
    queue.suspend();
    for bit in 0..63 {
        source.merge(1 << bit);
    }
    source.merge(0);
    queue.resume().expect("suspended above");
    queue.sync(|| ());
    assert_eq!((runs.load(Relaxed), bits.load(Relaxed)), (1, u64::MAX >> 1));
}

#[test]
fn no_signal_is_lost_under_load_and_the_handler_is_alone() {
    let runtime = runtime(4);
    let queue = runtime.queue("storm");
    let tickets = Arc::new(AtomicU64::new(0));
    let (seen, inside) = <(Arc<AtomicU64>, Arc<AtomicBool>)>::default();
    let (read, see, alone) = (tickets.clone(), seen.clone(), inside.clone());
    let source = Source::new(&queue, move |_| {
        assert!(!alone.swap(true, Relaxed), "two handlers at once");
        see.store(read.load(Relaxed), Relaxed);
        alone.store(false, Relaxed);
    });
    std::thread::scope(|scope| {
        for later in [false, true] {
            let (source, tickets) = (&source, &tickets);
            scope.spawn(move || {
                for _ in 0..50_000 {
                    tickets.fetch_add(1, Relaxed);
                    if later { source.merge_deferred(1) } else { source.merge(1) }
                }
            });
        }
    });
    wait_until("the handler to see the last ticket", || seen.load(Relaxed) == 100_000);
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_cancelled_source_does_not_run_and_frees_its_handler() {
    let runtime = runtime(1);
    let queue = runtime.queue("cancelled");
    let (runs, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    let (count, token) = (runs.clone(), alive.clone());
    let source = Source::new(&queue, move |_| {
        let _token = &token;
        count.fetch_add(1, Relaxed);
    });
    queue.suspend();
    source.merge(1);
    source.cancel();
    source.cancel();
    source.merge(2);
    queue.resume().expect("suspended above");
    queue.sync(|| ());
    assert_eq!(runs.load(Relaxed), 0);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(source.is_cancelled());
}

#[test]
fn a_source_may_signal_itself_and_lets_others_in_between() {
    let runtime = runtime(1);
    let queue = runtime.queue("again");
    let runs = Arc::new(AtomicUsize::new(0));
    let slot: Arc<std::sync::OnceLock<Source>> = Arc::default();
    let (count, own) = (runs.clone(), slot.clone());
    let source = Source::new(&queue, move |_| {
        if count.fetch_add(1, Relaxed) < 1_000 {
            own.get().expect("set before the first signal").merge_deferred(1);
        }
    });
    slot.set(source.clone()).expect("set once");
    source.merge(1);
    wait_until("a thousand runs", || runs.load(Relaxed) > 500);
    by_a_worker(runtime.queue("other").call(|| ()));
    wait_until("all runs", || runs.load(Relaxed) == 1_001);
    source.cancel();
}

#[test]
fn runs_of_a_handler_count_as_blocks() {
    // The monitor uses this count to distinguish a worker that runs many handlers from one that is
    // stuck in a block.
    let runtime = runtime(1);
    let queue = runtime.queue("counted");
    let source = Source::new(&queue, |_| ());
    let before = runtime.stats().blocks;
    for _ in 0..10 {
        source.merge(1);
        by_a_worker(runtime.queue("other").call(|| ()));
        queue.sync(|| ());
    }
    wait_until("ten runs and ten blocks", || runtime.stats().blocks >= before + 20);
}
