//! Shutdown runs what it can, and says what it could not.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Parker, Runtime, TaskError};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn everything_that_was_submitted_runs_before_the_deadline() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for i in 0..1_000 {
        let (queue, count) = (runtime.queue(format!("q{i}")), count.clone());
        let next = queue.clone();
        queue.submit(move || {
            let count = count.clone();
            next.submit(move || {
                count.fetch_add(1, Relaxed);
            });
        });
    }
    let report = runtime.shutdown(LONG);
    assert_eq!(count.load(Relaxed), 1_000, "blocks may submit while the runtime closes");
    assert!(!report.deadline_passed && report.dropped == 0 && report.stuck.is_empty(), "{report}");
    assert_eq!(runtime.stats().threads, 0);
}

#[test]
fn submissions_afterwards_are_refused_and_come_back() {
    let runtime = runtime(1);
    let queue = runtime.queue("closed");
    let concurrent = ConcurrentQueue::builder("closed").runtime(&runtime).build();
    runtime.shutdown(LONG);
    assert!(queue.try_submit(|| ()).is_err());
    queue.submit(|| unreachable!("refused"));
    concurrent.submit(|| unreachable!("refused"));
    runtime.spawn(|| unreachable!("refused"));
    assert_eq!(runtime.stats().rejected, 4);
    assert!(matches!(queue.call(|| ()).wait(), Err(TaskError::Dropped)));
    assert_eq!(queue.sync(|| 5), 5, "an idle queue needs no worker");
}

#[test]
fn a_stuck_block_is_reported_by_queue_and_place_and_what_waits_behind_it_is_dropped() {
    let runtime = runtime(2);
    let (latch, started) = (Latch::default(), Latch::default());
    let (wait, tell) = (latch.clone(), started.clone());
    let queue = runtime.queue("the.stuck.one");
    queue.submit(move || {
        tell.open();
        wait.wait();
    });
    let never = queue.call(|| ());
    started.wait();
    let report = runtime.shutdown(Duration::from_millis(20));
    assert!(report.deadline_passed);
    assert_eq!(report.stuck.len(), 1, "{report}");
    assert_eq!(report.stuck[0].label, "the.stuck.one");
    assert!(report.stuck[0].site.is_some_and(|site| site.file().ends_with("shutdown.rs")));
    assert!(report.to_string().contains("the.stuck.one"), "{report}");
    latch.open();
    assert!(matches!(never.wait(), Err(TaskError::Dropped)), "its block was dropped when the stuck one ended");
}

#[test]
fn suspended_queues_and_timers_are_dropped_and_told() {
    let runtime = runtime(1);
    let queue = runtime.queue("suspended.one");
    let alive = Arc::new(());
    queue.suspend();
    for _ in 0..3 {
        let token = alive.clone();
        queue.submit(move || drop(token));
    }
    let token = alive.clone();
    let timer = queue.submit_after(Duration::from_secs(3600), move || drop(token));
    let report = runtime.shutdown(Duration::from_secs(1));
    assert_eq!(report.suspended, [("suspended.one".to_owned(), 3)]);
    assert_eq!(report.dropped, 4, "{report}");
    assert_eq!(Arc::strong_count(&alive), 1, "captures are freed");
    assert!(!timer.cancel());
}

#[test]
fn a_sync_that_waits_when_its_runtime_ends_panics_instead_of_hanging() {
    let runtime = runtime(1);
    let queue = runtime.queue("ended");
    queue.suspend();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| queue.sync(|| ()));
        // It is on its way into the queue or waits in it: both must end.
        let report = runtime.shutdown(Duration::from_secs(1));
        let ended = waiter.join();
        assert!(ended.is_err() || report.suspended.is_empty());
    });
}

#[test]
fn a_queue_keeps_its_runtime() {
    let state = Isolated::new(&runtime(2).queue("kept"), 0);
    state.submit(|n| *n += 1);
    assert_eq!(state.sync(|n| *n), 1);
}

#[test]
fn a_runtime_that_nobody_holds_any_more_runs_what_it_has_and_ends() {
    let (count, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
    for _ in 0..20 {
        let alive = ends.clone();
        // A parker lives as long as its pool.
        let parkers = move |_| Ok(Arc::new(Counted(alive.clone())) as Arc<dyn Parker>);
        let runtime = Runtime::builder().workers(2).parkers(parkers).build().expect("a few threads");
        for _ in 0..100 {
            let count = count.clone();
            runtime.spawn(move || {
                count.fetch_add(1, Relaxed);
            });
        }
    }
    wait_until("the blocks of the dropped runtimes", || count.load(Relaxed) == 2_000);
    wait_until("their threads to end", || Arc::strong_count(&ends) == 1);
}

/// The plainest parker that is allowed: it always returns early.
struct Counted(#[expect(dead_code, reason = "it is counted")] Arc<()>);

impl Parker for Counted {
    fn park(&self, _: Option<Duration>, awake: &mut dyn FnMut()) {
        std::thread::yield_now();
        awake();
    }

    fn poll(&self) {}

    fn unpark(&self) {}
}

#[test]
#[should_panic(expected = "from another thread")]
fn shutdown_in_a_block_is_refused() {
    let runtime = runtime(1);
    let own = runtime.clone();
    let error = runtime.queue("own").call(move || own.shutdown(LONG).ran).wait().expect_err("it panicked");
    panic!("{error}");
}

#[test]
fn a_refused_block_whose_captures_panic_on_drop_harms_nobody() {
    struct Sour;
    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let runtime = runtime(1);
    let queue = runtime.queue("late");
    runtime.shutdown(LONG);
    let sour = Sour;
    queue.submit(move || {
        let _kept = &sour;
    });
    assert_eq!(runtime.stats().rejected, 1);
}

#[test]
fn a_runtime_may_end_with_a_queue_that_is_dropped_while_busy() {
    // Regression: the thread that dropped the last handle went on in a pool that the workers had freed.
    for _ in 0..200 {
        let queue = runtime(1).queue("last");
        for _ in 0..3 {
            queue.submit(|| ());
        }
        drop(queue);
    }
}

#[test]
fn blocks_behind_a_sync_of_another_thread_are_waited_for() {
    let runtime = runtime(2);
    let (serial, together) =
        (runtime.queue("held outside"), ConcurrentQueue::builder("read outside").runtime(&runtime).build());
    let (inside, leave) = (Latch::default(), Latch::default());
    let ran = Arc::new(AtomicUsize::new(0));
    let count = || {
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, Relaxed);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            serial.sync(|| {
                together.sync(|| {
                    inside.open();
                    leave.wait();
                });
            });
        });
        inside.wait();
        serial.submit(count());
        together.barrier(count());
        let report = scope.spawn(|| runtime.shutdown(LONG));
        // The shutdown has begun once it refuses; only then the thread outside lets go.
        wait_until("the shutdown to begin", || serial.try_submit(|| ()).is_err());
        leave.open();
        let report = report.join().expect("no panic");
        assert!(!report.deadline_passed && report.dropped == 0, "{report}");
    });
    assert!(ran.load(Relaxed) >= 2, "what was submitted before the shutdown runs");
}

/// Dropping what did not start takes longer here than a shutdown waits for blocks that run.
#[test]
fn a_report_waits_for_threads_that_are_still_dropping() {
    struct Slow(Arc<AtomicUsize>, bool);
    impl Slow {
        fn ran(mut self) {
            self.1 = true;
        }
    }
    impl Drop for Slow {
        fn drop(&mut self) {
            if !self.1 {
                std::thread::sleep(Duration::from_millis(1)); // the block under test sleeps: its destructor is slow
                self.0.fetch_add(1, Relaxed);
            }
        }
    }
    // On a machine that stops the shutdown between its steps, everything has run before it drops anything: once more.
    wait_until("a shutdown that has something to drop", || {
        let runtime = runtime(1);
        let (queue, latch, dropped) = (runtime.queue("slow"), Latch::default(), Arc::new(AtomicUsize::new(0)));
        let (first, open) = (latch.clone(), latch);
        queue.submit(move || first.wait());
        for _ in 0..300 {
            let slow = Slow(dropped.clone(), false);
            queue.submit(move || slow.ran());
        }
        let opener = std::thread::spawn(move || {
            wait_until("the shutdown to begin", || queue.try_submit(|| ()).is_err());
            open.open();
        });
        let report = runtime.shutdown(Duration::ZERO);
        opener.join().expect("no panic");
        wait_until("its thread to end", || runtime.stats().threads == 0);
        assert!(report.stuck.is_empty(), "{report}");
        assert_eq!(report.dropped, runtime.stats().dropped, "{report}");
        dropped.load(Relaxed) > 100
    });
}
