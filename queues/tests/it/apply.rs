//! Parallel for: every number once, borrows, panics, nesting.

use crate::runtime;
use singletrack_queues::{apply, apply_chunks};
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
        assert_eq!(task.wait().ok(), Some(45 * 45));
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
