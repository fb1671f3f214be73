//! `sync`, `try_sync` and `sync_timeout` run on the caller's thread when the queue is idle, in turn
//! when it is busy, and never hang silently.

use crate::{Latch, by_a_worker, occupy, runtime, wait_until};
use singletrack_queues::{Isolated, SyncError, TrySyncError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn an_idle_queue_runs_on_the_callers_thread_and_may_borrow() {
    let runtime = runtime(1);
    let queue = runtime.queue("idle");
    let here = std::thread::current().id();
    let mut borrowed = 0;
    let there = queue.sync(|| {
        borrowed += 1;
        std::thread::current().id()
    });
    assert_eq!((here, 1), (there, borrowed));
}

#[test]
fn a_busy_queue_runs_it_after_what_was_submitted_before() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("busy"), Vec::new());
    let (started, latch) = (Latch::default(), Latch::default());
    let (tell, wait) = (started.clone(), latch.clone());
    log.submit(move |log| {
        tell.open();
        wait.wait();
        log.push(1);
    });
    log.submit(|log| log.push(2));
    started.wait();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| log.sync(|log| log.clone()));
        latch.open();
        assert_eq!(waiter.join().expect("no panic"), [1, 2]);
    });
}

#[test]
fn many_threads_exclude_one_another() {
    let runtime = runtime(2);
    let counter = Isolated::new(&runtime.queue("counter"), 0usize);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..20_000 {
                    if i % 16 == 0 {
                        counter.submit(|counter| *counter += 1);
                    } else {
                        counter.sync(|counter| *counter += 1);
                    }
                }
            });
        }
    });
    assert_eq!(counter.sync(|counter| *counter), 80_000);
}

#[test]
fn a_panic_comes_back_to_the_caller_and_the_queue_goes_on() {
    let runtime = runtime(1);
    let queue = runtime.queue("sour");
    let caught = catch_unwind(AssertUnwindSafe(|| queue.sync(|| panic!("sour"))));
    assert_eq!(caught.expect_err("it panicked").downcast_ref::<&str>(), Some(&"sour"));
    assert_eq!(queue.sync(|| 1), 1);
    assert_eq!(runtime.stats().panics, 0, "it was carried, not swallowed");
}

#[test]
fn a_panic_comes_back_from_a_busy_queue_too() {
    let runtime = runtime(2);
    let queue = runtime.queue("sour");
    let latch = occupy(&queue);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| catch_unwind(AssertUnwindSafe(|| queue.sync(|| panic!("sour")))));
        latch.open();
        let caught = waiter.join().expect("caught inside");
        assert_eq!(caught.expect_err("it panicked").downcast_ref::<&str>(), Some(&"sour"));
    });
    assert_eq!(queue.sync(|| 1), 1);
}

#[test]
fn self_sync_is_reported_with_the_queues_name() {
    let runtime = runtime(1);
    let queue = runtime.queue("ouroboros");
    let inner = queue.clone();
    let error = queue.call(move || inner.sync(|| ())).wait().expect_err("it would wait for itself");
    let text = error.to_string();
    assert!(text.contains("deadlock") && text.contains("ouroboros") && text.contains("sync.rs"), "{text}");
    assert_eq!(queue.sync(|| 1), 1, "the queue goes on");
}

#[test]
fn sync_on_a_queue_that_is_held_by_a_sync_of_this_thread_is_reported() {
    let runtime = runtime(1);
    let (a, b) = (runtime.queue("a"), runtime.queue("b"));
    let error = a.sync(|| b.sync(|| a.try_sync(|| ()))).expect_err("a is held by this thread");
    assert!(matches!(error, TrySyncError::Deadlock(..)), "{error}");
    let error = a.sync(|| a.sync_timeout(Duration::from_secs(1), || ())).expect_err("a is held by this thread");
    assert!(matches!(error, SyncError::Deadlock(_)), "{error}");
}

#[test]
fn try_sync_gives_the_closure_back_when_the_queue_is_busy() {
    let runtime = runtime(1);
    let queue = runtime.queue("busy");
    let latch = occupy(&queue);
    let token = String::from("mine");
    let error = queue.try_sync(move || token).expect_err("busy");
    assert!(matches!(error, TrySyncError::Busy(_)));
    assert_eq!(error.into_inner()(), "mine");
    latch.open();
    wait_until("the queue to become idle", || queue.try_sync(|| ()).is_ok());
}

#[test]
fn sync_timeout_takes_the_closure_back_in_time() {
    let runtime = runtime(1);
    let queue = runtime.queue("slow");
    let latch = occupy(&queue);
    let runs = AtomicUsize::new(0);
    let run = || runs.fetch_add(1, Relaxed);
    let error = queue.sync_timeout(Duration::from_millis(5), run).expect_err("too late");
    assert!(matches!(error, SyncError::Timeout { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("\"slow\"") && said.contains("sync.rs"), "{said}");
    latch.open();
    queue.sync(|| ());
    assert_eq!(runs.load(Relaxed), 0, "what was taken back does not run");
    assert_eq!(queue.sync_timeout(crate::LONG, run), Ok(0));
}

#[test]
fn a_worker_that_waits_in_sync_is_replaced() {
    let runtime = runtime(1);
    let (a, b) = (runtime.queue("a"), runtime.queue("b"));
    // On one worker: `a`'s block waits for `b`, whose block waits in the same worker's deque.
    let done = a.call(move || {
        b.submit(|| ());
        b.sync(|| 7)
    });
    assert_eq!(by_a_worker(done), 7);
}

#[test]
fn a_closure_of_another_thread_does_not_find_itself_panicking() {
    let runtime = runtime(2);
    let queue = runtime.queue("unwinding");
    let (inside, waits) = (Latch::default(), Latch::default());
    std::thread::scope(|scope| {
        let panics = scope.spawn(|| {
            catch_unwind(AssertUnwindSafe(|| {
                queue.sync(|| {
                    inside.open();
                    waits.wait();
                    panic!("on purpose");
                })
            }))
        });
        inside.wait();
        let others: Vec<_> = (0..4).map(|_| scope.spawn(|| queue.sync(std::thread::panicking))).collect();
        // They queue up, as far as a test can ensure it: a late one finds an idle queue, and the
        // same answer.
        queue.submit(|| ());
        waits.open();
        assert!(panics.join().expect("it was caught").is_err());
        for other in others {
            assert!(!other.join().expect("no panic"), "it ran while another thread's panic unwound");
        }
    });
}
