//! Fork and join: every task runs once, borrows, panics, nesting; and what a waiting thread does
//! not run.

use crate::{LONG, Latch, by_a_worker, runtime, wait_until};
use singletrack_queues::{Group, Queue, Runtime, apply, join, scope};
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

fn text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).expect("a sentence")
}

fn fib(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (a, b) = join(|| fib(n - 1), || fib(n - 2));
    a + b
}

fn tree(depth: u32) -> usize {
    let mut leaves = [0; 3];
    if depth == 0 {
        return 1;
    }
    scope(|scope| leaves.iter_mut().for_each(|leaves| scope.spawn(move || *leaves = tree(depth - 1))));
    leaves.iter().sum()
}

#[test]
fn every_task_runs_once_wherever_the_scope_is_opened() {
    for workers in [1, 2, 4] {
        let runtime = runtime(workers);
        // More tasks than a thread leaves to others at once.
        for tasks in [0, 1, 2, 100, 5_000] {
            let hits: Vec<_> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            let count = runtime.scope(|scope| {
                for hits in &hits {
                    scope.spawn(|| _ = hits.fetch_add(1, Relaxed));
                }
                hits.len()
            });
            assert!(count == tasks && hits.iter().all(|hits| hits.load(Relaxed) == 1), "{tasks} of {workers}");
        }
        assert_eq!(runtime.join(|| fib(15), || tree(6)), (610, 729));
        assert_eq!(runtime.queue("inside").sync(|| (fib(10), tree(3))), (55, 27));
        assert_eq!(by_a_worker(runtime.queue("inside").call(|| (fib(10), tree(3)))), (55, 27));
        assert_eq!(runtime.stats().panics, 0);
    }
    assert_eq!((fib(10), tree(3)), (55, 27), "on the default runtime");
}

#[test]
fn a_panic_comes_back_after_all_have_ended() {
    let runtime = runtime(2);
    let ended = AtomicUsize::new(0);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        runtime.scope(|scope| {
            for task in 0..100 {
                let ended = &ended;
                scope.spawn(move || {
                    assert_ne!(task, 50, "sour");
                    ended.fetch_add(1, Relaxed);
                });
            }
        });
    }));
    assert!(text(&*caught.expect_err("one panicked")).contains("sour"));
    assert_eq!(ended.load(Relaxed), 99);
    let caught = catch_unwind(AssertUnwindSafe(|| runtime.join(|| (), || panic!("second"))));
    assert_eq!(text(&*caught.expect_err("it panicked")), "second");
    let caught = catch_unwind(AssertUnwindSafe(|| runtime.join(|| panic!("first"), || ())));
    assert_eq!(text(&*caught.expect_err("it panicked")), "first");
    let caught = catch_unwind(AssertUnwindSafe(|| {
        runtime.scope(|scope| {
            scope.spawn(|| _ = ended.fetch_add(1, Relaxed));
            panic!("itself");
        })
    }));
    assert_eq!(text(&*caught.expect_err("it panicked")), "itself");
    assert_eq!(ended.load(Relaxed), 100, "the task had a right to run");
    assert_eq!(runtime.stats().panics, 0, "each had a waiter");
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` as the block of a queue; fails if the thread is already in such a block.
fn block(f: impl FnOnce()) {
    assert!(!INSIDE.replace(true), "a block runs in the middle of another one");
    f();
    INSIDE.set(false);
}

#[test]
fn no_block_runs_on_the_stack_of_one_that_waits_for_tasks() {
    let runtime = runtime(3);
    let group = Group::new();
    for queue in 0..50 {
        let queue = runtime.queue(format!("q{queue}"));
        for _ in 0..10 {
            group.submit(&queue, || block(|| assert_eq!((fib(8), tree(3)), (21, 27))));
        }
        group.enter();
        let member = group.clone();
        runtime.spawn(move || {
            block(|| assert_eq!(tree(4), 81));
            member.leave().expect("entered above");
        });
    }
    assert!(group.wait_timeout(LONG));
    assert_eq!(runtime.stats().panics, 0);
}

/// Both halves wait until the other one has begun, so they run on two threads.
fn on_two_threads(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    let begun = [AtomicBool::new(false), AtomicBool::new(false)];
    let meet = |me: usize| {
        begun[me].store(true, Relaxed);
        wait_until("the other half to begin", || begun[1 - me].load(Relaxed));
    };
    join(
        || {
            meet(0);
            a();
        },
        || {
            meet(1);
            b();
        },
    );
}

#[test]
fn a_task_is_in_the_queues_of_its_block_wherever_it_runs() {
    let runtime = runtime(2);
    let target = runtime.queue("target");
    let queue = Queue::builder("above").target(&target).build();
    let task = queue.call({
        let queue = queue.clone();
        move || {
            let reported = AtomicUsize::new(0);
            let look = || {
                assert!(queue.is_current());
                for held in [&queue, &target] {
                    let caught = catch_unwind(AssertUnwindSafe(|| held.sync(|| ())));
                    assert!(text(&*caught.expect_err("it would never return")).contains("deadlock"));
                    reported.fetch_add(1, Relaxed);
                }
            };
            on_two_threads(look, look);
            reported.into_inner()
        }
    });
    assert_eq!(task.wait().ok(), Some(4));
    assert!(!Queue::new("other").sync(|| queue.is_current()));
}

#[test]
fn a_helper_of_a_loop_is_in_the_queues_of_its_block() {
    let runtime = runtime(2);
    let queue = runtime.queue("loop");
    let task = queue.call({
        let queue = queue.clone();
        move || {
            let reported = AtomicUsize::new(0);
            let begun = AtomicUsize::new(0);
            apply(2, |_| {
                begun.fetch_add(1, Relaxed);
                wait_until("the other thread to take part", || begun.load(Relaxed) == 2);
                assert!(catch_unwind(AssertUnwindSafe(|| queue.sync(|| ()))).is_err());
                reported.fetch_add(1, Relaxed);
            });
            reported.into_inner()
        }
    });
    assert_eq!(by_a_worker(task), 2);
}

#[test]
fn who_waits_for_a_task_is_replaced() {
    let runtime = runtime(2);
    let latch = Latch::default();
    let (open, wait) = (latch.clone(), latch.clone());
    let begun = Arc::new(AtomicBool::new(false));
    let (tell, told) = (begun.clone(), begun);
    let queue = runtime.queue("forks");
    let task = queue.call(move || {
        join(
            || wait_until("the other half to begin", || told.load(Relaxed)),
            || {
                tell.store(true, Relaxed);
                wait.wait();
            },
        );
    });
    // Both workers wait, one of them for the other.
    let other = runtime.queue("other").call(move || open.open());
    by_a_worker(other);
    by_a_worker(task);
}

#[test]
fn tasks_of_a_blocked_block_are_run_by_a_replacement() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let open = latch.clone();
    runtime.scope(|scope| {
        scope.spawn(move || open.open());
        latch.wait();
    });
}

#[test]
fn a_shutdown_lets_a_block_end_its_scope() {
    let runtime = runtime(2);
    let latch = Latch::default();
    let (wait, begun) = (latch.clone(), Latch::default());
    let begins = begun.clone();
    let task = runtime.queue("late").call(move || {
        begins.open();
        wait.wait();
        tree(6)
    });
    begun.wait();
    let ending = runtime.clone();
    let shutdown = thread::spawn(move || ending.shutdown(Duration::ZERO));
    wait_until("the end to begin", || runtime.queue("refused").try_submit(|| ()).is_err());
    latch.open();
    assert_eq!(task.wait().ok(), Some(729));
    shutdown.join().expect("no panic");
    assert_eq!(runtime.join(|| fib(10), || runtime.scope(|_| tree(3))), (55, 27), "on this thread, if need be");
}

#[test]
fn a_scope_of_another_runtime_is_waited_for() {
    let (one, other): (Runtime, Runtime) = (runtime(1), runtime(1));
    let sum = one.scope(|scope| {
        let (mut a, mut b) = (0, 0);
        let _ = scope;
        other.scope(|inner| {
            inner.spawn(|| a = one.join(|| fib(10), || 1).0);
            b = 1;
        });
        a + b
    });
    assert_eq!(sum, 56);
}

#[test]
fn what_waits_for_a_worker_is_not_starved_by_tasks() {
    // No replacement thread can run for the one that leaves tasks.
    let runtime = Runtime::builder().workers(2).thread_cap(2).build().expect("two threads");
    let (spawner, ran, helped) = (runtime.clone(), Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
    let helped = &helped;
    let in_time = runtime.scope(|scope| {
        let (begin, own, mut waits) = (Instant::now(), thread::current().id(), false);
        while !ran.load(Relaxed) && begin.elapsed() < Duration::from_secs(5) {
            scope.spawn(move || {
                if thread::current().id() != own {
                    helped.fetch_add(1, Relaxed);
                    // So long that a thousand of them last even while the other thread has no
                    // processor.
                    let begin = Instant::now();
                    while begin.elapsed() < Duration::from_micros(200) {}
                }
            });
            // The other thread is fully occupied by now.
            if !waits && helped.load(Relaxed) > 10 {
                let ran = ran.clone();
                spawner.spawn(move || ran.store(true, Relaxed));
                waits = true;
            }
        }
        ran.load(Relaxed)
    });
    assert!(in_time, "tasks went first for seconds");
}

#[test]
fn a_scope_inside_a_block_runs_where_the_block_runs() {
    let runtime = runtime(2);
    let on_it = runtime.queue("home").call(|| {
        let here = thread::current().id();
        scope(|_| thread::current().id() == here) && join(|| thread::current().id(), || ()).0 == here
    });
    assert_eq!(on_it.wait().ok(), Some(true));
}
