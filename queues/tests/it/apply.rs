//! Parallel for: every number once, borrows, panics, nesting.

use crate::{by_a_worker, runtime};
use singletrack_queues::{ConcurrentQueue, Queue, apply, apply_chunks};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[test]
fn every_number_comes_once() {
    let runtime = runtime(4);
    for n in [0, 1, 2, 7, 1_000] {
        let hits: Vec<_> = (0..n).map(|_| AtomicUsize::new(0)).collect();
        runtime.apply(n, |i| {
            hits[i].fetch_add(1, Relaxed);
        });
        assert!(hits.iter().all(|hits| hits.load(Relaxed) == 1), "n = {n}");
    }
}

#[test]
fn chunks_cover_the_range() {
    let sum = AtomicUsize::new(0);
    apply_chunks(100_000, |range| {
        sum.fetch_add(range.sum::<usize>(), Relaxed);
    });
    assert_eq!(sum.load(Relaxed), 100_000 * 99_999 / 2);
}

#[test]
fn a_panic_comes_back_after_the_others_have_ended() {
    let inside = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        apply(1_000, |i| {
            inside.fetch_add(1, Relaxed);
            let panics = i == 500;
            inside.fetch_sub(1, Relaxed);
            assert!(!panics, "number {i}");
        });
    }));
    let payload = caught.expect_err("one panicked");
    assert_eq!(payload.downcast_ref::<String>().map(String::as_str), Some("number 500"));
    assert_eq!(inside.load(Relaxed), 0);
}

#[test]
fn it_nests_and_works_inside_blocks_of_a_busy_runtime() {
    let runtime = runtime(2);
    let outer: Vec<_> = (0..4)
        .map(|i| {
            runtime.queue(format!("q{i}")).call(|| {
                let sum = AtomicUsize::new(0);
                apply(10, |i| {
                    apply(10, |j| {
                        sum.fetch_add(i * j, Relaxed);
                    });
                });
                sum.load(Relaxed)
            })
        })
        .collect();
    for task in outer {
        assert_eq!(by_a_worker(task), 45 * 45);
    }
}

#[test]
fn the_longest_range_ends() {
    let runtime = runtime(2);
    let (sum, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
    runtime.queue("caller").sync(|| {
        apply_chunks(usize::MAX, |range| {
            calls.fetch_add(1, Relaxed);
            sum.fetch_add(range.len(), Relaxed);
        });
    });
    assert_eq!(sum.load(Relaxed), usize::MAX, "in {} chunks", calls.load(Relaxed));
}

#[test]
fn on_a_serial_queue_it_is_one_block_and_on_its_own_a_reported_deadlock() {
    let runtime = runtime(4);
    let queue = runtime.queue("serial");
    let order = std::sync::Mutex::new(Vec::new());
    queue.apply(100, |i| order.try_lock().expect("one at a time").push(i));
    assert!(order.into_inner().expect("no panic").into_iter().eq(0..100));
    let own = queue.clone();
    let caught = catch_unwind(AssertUnwindSafe(|| queue.sync(|| own.apply(3, |_| ()))));
    let said = *caught.expect_err("it must panic").downcast::<String>().expect("text");
    assert!(said.contains("deadlock") && said.contains("\"serial\""), "{said}");
}

#[test]
fn on_a_concurrent_queue_it_stays_in_the_width_and_away_from_barriers() {
    let runtime = runtime(4);
    let serial = runtime.queue("serial");
    let queues = [
        ConcurrentQueue::builder("wide").runtime(&runtime).build(),
        ConcurrentQueue::builder("narrow").runtime(&runtime).width(2).build(),
        ConcurrentQueue::builder("single").runtime(&runtime).width(1).build(),
        ConcurrentQueue::builder("serial below").target(&serial).build(),
    ];
    for (queue, width) in queues.iter().zip([usize::MAX, 2, 1, 1]) {
        let (inside, hits) = (std::sync::Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        for _ in 0..20 {
            let beside = inside.clone();
            queue.barrier(move || assert_eq!(beside.load(Relaxed), 0, "a barrier beside a loop"));
            queue.apply(200, |_| {
                assert!(inside.fetch_add(1, Relaxed) < width, "more than the width at once");
                hits.fetch_add(1, Relaxed);
                inside.fetch_sub(1, Relaxed);
            });
        }
        assert_eq!(hits.into_inner(), 20 * 200, "{queue:?}");
        queue.sync(|| queue.apply(3, |_| ()));
        let caught = catch_unwind(AssertUnwindSafe(|| queue.apply(100, |i| assert_ne!(i, 50, "sour"))));
        assert!(caught.is_err(), "{queue:?}");
        queue.barrier_sync(|| ());
    }
    assert_eq!(runtime.stats().panics, 0);
}

/// A waiting thread holds everything that the loop needs: the loop does not wait for helpers that
/// cannot arrive.
#[test]
fn a_loop_needs_no_helper() {
    let runtime = runtime(2);
    let wide = ConcurrentQueue::builder("wide").runtime(&runtime).build();
    let leaf = Queue::builder("leaf").target(&wide).build();
    leaf.sync(|| {
        wide.barrier(|| ());
        wide.apply(100, |_| ());
    });
}

#[test]
fn results_are_put_together_from_left_to_right_in_the_same_parts_on_any_number_of_workers() {
    for n in [0, 1, 2, 255, 256, 257, 1_000] {
        let texts = runtime(3).apply_reduce(n, "<".to_owned(), |i| format!("{i} "), |a, b| a + &b);
        let expected = (0..n).fold("<".to_owned(), |all, i| all + &format!("{i} "));
        assert_eq!(texts, expected, "{n}");
    }
    let sums =
        [1, 2, 4].map(|workers| runtime(workers).apply_reduce(10_001, 0.0, |i| 1.0 / (i as f64 + 0.1), |a, b| a + b));
    assert!(sums.iter().all(|sum: &f64| sum.to_bits() == sums[0].to_bits()), "{sums:?}");
}

#[test]
fn a_panic_of_a_reduction_comes_back() {
    let runtime = runtime(2);
    let sum = || runtime.apply_reduce(1_000, 0, |i| i, |_, b| if b == 999 { panic!("at the end") } else { b });
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(sum)).is_err());
    assert_eq!(runtime.apply_reduce(4, 0, |i| i, |a, b| a + b), 6, "it goes on");
}
