//! Shutdown runs what it can, and reports what it could not run.

use crate::{LONG, Latch, occupy, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Parker, Qos, Runtime, TaskError, Workloop};
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
    assert!(matches!(queue.call(|| ()).wait(), Err(TaskError::Dropped { .. })));
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
    assert!(matches!(never.wait(), Err(TaskError::Dropped { .. })), "its block was dropped when the stuck one ended");
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
        // The waiter is on its way into the queue or waits in it: both must end.
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
        let runtime = counted(2, &ends);
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

/// A runtime that counts in `alive` as long as anything of it is left: a parker lives as long as
/// its pool.
fn counted(workers: usize, alive: &Arc<()>) -> Runtime {
    let alive = alive.clone();
    let parkers = move |_| Ok(Arc::new(Counted(alive.clone())) as Arc<dyn Parker>);
    Runtime::builder().workers(workers).parkers(parkers).build().expect("a few threads")
}

/// The simplest parker that is allowed: it always returns early.
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
    // Regression: the thread that dropped the last handle continued in a pool that the workers had
    // freed.
    let ends = Arc::new(());
    for _ in 0..200 {
        let queue = counted(1, &ends).queue("last");
        for _ in 0..3 {
            queue.submit(|| ());
        }
        drop(queue);
    }
    wait_until("their threads to end", || Arc::strong_count(&ends) == 1);
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

/// Dropping the blocks that did not start takes longer here than a shutdown waits for running
/// blocks.
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
    // If the machine stops the shutdown between its steps, everything has run before it drops
    // anything: then it tries again.
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

/// Each kind of queue, suspended with so many blocks in it: none is forgotten, in any order.
#[test]
fn a_shutdown_drops_the_blocks_of_several_suspended_queues_of_every_kind() {
    let runtime = runtime(2);
    let alive = Arc::new(());
    let token = || {
        let alive = alive.clone();
        move || drop(alive)
    };
    let serial: Vec<_> = (1..=3).map(|i| runtime.queue(format!("serial.{i}"))).collect();
    let concurrent: Vec<_> =
        (1..=2).map(|i| ConcurrentQueue::builder(format!("concurrent.{i}")).runtime(&runtime).build()).collect();
    let urgent: Vec<_> = (1..=2).map(|i| Workloop::builder(format!("urgent.{i}")).runtime(&runtime).build()).collect();
    for (i, queue) in serial.iter().enumerate() {
        queue.suspend();
        (0..=i).for_each(|_| queue.submit(token()));
    }
    for queue in &concurrent {
        queue.suspend();
        queue.submit(token());
        queue.barrier(token());
    }
    for workloop in &urgent {
        workloop.suspend();
        workloop.submit(Qos::Default, token());
    }
    let mut report = runtime.shutdown(LONG);
    report.suspended.sort();
    let expected = [
        ("concurrent.1", 2),
        ("concurrent.2", 2),
        ("serial.1", 1),
        ("serial.2", 2),
        ("serial.3", 3),
        ("urgent.1", 1),
        ("urgent.2", 1),
    ];
    assert_eq!(report.suspended, expected.map(|(label, blocks)| (label.to_owned(), blocks)));
    assert_eq!(report.dropped, 12, "{report}");
    assert_eq!(Arc::strong_count(&alive), 1, "captures are freed");
}

/// Work that moves between two threads while a shutdown asks whether everything is done.
#[test]
fn a_shutdown_waits_for_what_wakes_up_just_then() {
    fn hop(runtime: &Runtime, left: usize, count: Arc<AtomicUsize>) {
        count.fetch_add(1, Relaxed);
        if left > 0 {
            let own = runtime.clone();
            runtime.spawn(move || hop(&own, left - 1, count));
        }
    }
    for round in 0..400 {
        let runtime = runtime(2);
        let count = Arc::<AtomicUsize>::default();
        for _ in 0..2 {
            let (own, count) = (runtime.clone(), count.clone());
            runtime.spawn(move || hop(&own, 9, count));
        }
        let report = runtime.shutdown(LONG);
        assert!(!report.deadline_passed && report.dropped == 0 && report.stuck.is_empty(), "round {round}: {report}");
        assert_eq!((count.load(Relaxed), runtime.stats().rejected), (20, 0), "round {round}");
    }
}

#[test]
fn a_shutdown_drops_and_reports_two_of_everything() {
    let runtime = runtime(2);
    let alive = Arc::new(());
    let holds = |token: &Arc<()>| {
        let token = token.clone();
        move || drop(token)
    };
    let serial = ["serial.one", "serial.two"].map(|label| runtime.queue(label));
    let concurrent =
        ["concurrent.one", "concurrent.two"].map(|label| ConcurrentQueue::builder(label).runtime(&runtime).build());
    for queue in &serial {
        queue.suspend();
        (0..2).for_each(|_| queue.submit(holds(&alive)));
    }
    for queue in &concurrent {
        queue.suspend();
        (0..2).for_each(|_| queue.submit(holds(&alive)));
    }
    let stuck = ["stuck.one", "stuck.two"].map(|label| runtime.queue(label));
    let latches: Vec<_> = stuck.iter().map(occupy).collect();
    for queue in &stuck {
        (0..2).for_each(|_| queue.submit(holds(&alive)));
    }
    let timers: Vec<_> =
        serial.iter().map(|queue| queue.submit_after(Duration::from_secs(3600), holds(&alive))).collect();
    let report = runtime.shutdown(Duration::from_millis(20));
    let mut suspended = report.suspended.clone();
    suspended.sort();
    let expected = ["concurrent.one", "concurrent.two", "serial.one", "serial.two"].map(|label| (label.to_owned(), 2));
    assert_eq!(suspended, expected, "{report}");
    let mut labels: Vec<_> = report.stuck.iter().map(|stuck| stuck.label.as_str()).collect();
    labels.sort_unstable();
    assert_eq!(labels, ["stuck.one", "stuck.two"], "{report}");
    assert!(timers.iter().all(|timer| !timer.cancel()));
    latches.iter().for_each(Latch::open);
    wait_until("the threads to end", || runtime.stats().threads == 0);
    assert_eq!(runtime.stats().dropped, 14);
    assert_eq!(Arc::strong_count(&alive), 1, "what was dropped freed its captures");
}

#[test]
fn spawned_blocks_that_did_not_begin_by_the_deadline_are_dropped() {
    let runtime = Runtime::builder().workers(1).thread_cap(1).build().expect("one thread");
    let (started, latch) = (Latch::default(), Latch::default());
    let (tell, wait, own) = (started.clone(), latch.clone(), runtime.clone());
    let ran = Arc::new(AtomicUsize::new(0));
    let count = ran.clone();
    runtime.spawn(move || {
        for _ in 0..10 {
            let count = count.clone();
            own.spawn(move || _ = count.fetch_add(1, Relaxed));
        }
        tell.open();
        wait.wait();
    });
    started.wait();
    let report = runtime.shutdown(Duration::from_millis(20));
    assert!(report.deadline_passed, "{report}");
    latch.open();
    wait_until("the thread to end", || runtime.stats().threads == 0);
    assert_eq!((ran.load(Relaxed), runtime.stats().dropped), (0, 10));
}
