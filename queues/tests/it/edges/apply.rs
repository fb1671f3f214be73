//! Calls of a parallel loop that have not begun when another one panics are left out.

use crate::{runtime, wait_until};
use singletrack_queues::ConcurrentQueue;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

type Body<'a> = &'a (dyn Fn(usize) + Sync);

/// How many calls of `n` begin when the first one panics as soon as another thread has begun one.
fn begun(n: usize, apply: &dyn Fn(usize, Body<'_>)) -> usize {
    let (begun, panics) = (AtomicUsize::new(0), AtomicBool::new(false));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        apply(n, &|number| {
            begun.fetch_add(1, SeqCst);
            if number == 0 {
                wait_until("another thread to take part", || begun.load(SeqCst) > 1);
                panics.store(true, SeqCst);
                // Without the panic hook, which takes some time.
                resume_unwind(Box::new("sour"));
            }
            wait_until("the panic", || panics.load(SeqCst));
            std::thread::yield_now();
        });
    }));
    assert!(ended.is_err(), "the panic comes to the caller");
    begun.into_inner()
}

#[test]
fn calls_that_had_not_begun_at_a_panic_are_left_out() {
    const N: usize = 160_000;
    let runtime = runtime(2);
    let together = ConcurrentQueue::builder("together").runtime(&runtime).build();
    // Eight shares for each of two threads. The panicking thread may lose its processor just then,
    // so a second attempt is allowed.
    let few = |apply: &dyn Fn(usize, Body<'_>)| begun(N, apply) < N / 32;
    wait_until("most of a share to be left out", || few(&|n, f| runtime.apply(n, f)));
    wait_until("most of a share to be left out", || few(&|n, f| together.apply(n, f)));
}
