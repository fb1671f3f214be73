//! A workloop: the highest class first, first in first out within one class, no starvation;
//! otherwise it is a serial queue.

use crate::{occupy, runtime, wait_until};
use singletrack_queues::{Group, Qos, Queue, Runtime, SyncError, TrySyncError, WorkEnd, WorkItem, Workloop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The blocks that ran, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Qos, usize)>>>);

impl Log {
    fn line(&self, qos: Qos, number: usize) -> impl FnOnce() + Send + 'static {
        let log = self.clone();
        move || log.0.lock().expect("no panic under it").push((qos, number))
    }

    fn take(&self) -> Vec<(Qos, usize)> {
        std::mem::take(&mut self.0.lock().expect("no panic under it"))
    }
}

/// Waits for everything that was submitted: nothing is below the lowest class.
fn settle(workloop: &Workloop) {
    workloop.sync(Qos::Background, || ());
    wait_until("an idle workloop", || workloop.try_sync(|| ()).is_ok());
}

#[test]
fn the_highest_class_goes_first_and_each_class_keeps_its_order() {
    let runtime = runtime(2);
    let workloop = Workloop::builder("urgent").runtime(&runtime).build();
    let log = Log::default();
    workloop.suspend();
    for number in 0..5 {
        for qos in [Qos::Default, Qos::Background, Qos::UserInteractive, Qos::Utility, Qos::UserInitiated] {
            workloop.submit(qos, log.line(qos, number));
        }
    }
    workloop.resume().expect("suspended above");
    settle(&workloop);
    let expected: Vec<_> = Qos::ALL.into_iter().rev().flat_map(|qos| (0..5).map(move |number| (qos, number))).collect();
    assert_eq!(log.take(), expected);
}

#[test]
fn a_lower_class_waits_for_no_more_than_the_bound() {
    let runtime = runtime(2);
    let workloop = Workloop::builder("crowded").runtime(&runtime).inactive().build();
    let log = Log::default();
    for number in 0..400 {
        for qos in Qos::ALL {
            workloop.submit(qos, log.line(qos, number));
        }
    }
    workloop.activate();
    settle(&workloop);
    let log = log.take();
    assert_eq!(log.len(), 2_000);
    for qos in Qos::ALL {
        let places: Vec<_> = log.iter().enumerate().filter(|(_, (of, _))| *of == qos).map(|(at, _)| at).collect();
        let widest = places.windows(2).map(|two| two[1] - two[0] - 1).max().expect("there are 400");
        assert!(places[0] <= 36 && widest <= 36, "{qos} waited for {widest} blocks");
        assert!(log.iter().filter(|(of, _)| *of == qos).map(|(_, number)| *number).eq(0..400));
    }
    let first_400 = log[..400].iter().filter(|(of, _)| *of == Qos::UserInteractive).count();
    assert!(first_400 > 300, "the highest class has most turns, not {first_400} of 400");
}

#[test]
fn a_flood_of_urgent_blocks_does_not_starve_a_lower_one() {
    let runtime = runtime(2);
    let workloop = Workloop::builder("flood").runtime(&runtime).build();
    fn again(workloop: &Workloop, stop: &Arc<AtomicUsize>) {
        if stop.load(Relaxed) == 0 {
            let (own, stop) = (workloop.clone(), stop.clone());
            workloop.submit(Qos::UserInteractive, move || again(&own, &stop));
        }
    }
    let stop = Arc::new(AtomicUsize::new(0));
    again(&workloop, &stop);
    again(&workloop, &stop);
    let low = workloop.call(Qos::Background, || 7);
    assert_eq!(low.wait().ok(), Some(7));
    stop.store(1, Relaxed);
}

#[test]
fn one_block_at_a_time_each_after_the_one_before() {
    let runtime = runtime(2);
    let workloop = Workloop::builder("one").runtime(&runtime).build();
    let inside = AtomicUsize::new(0);
    let log = Log::default();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (workloop, inside, log) = (&workloop, &inside, &log);
            scope.spawn(move || {
                for number in 0..2_000 {
                    let qos = Qos::ALL[(thread + number) % 5];
                    if number % 8 == 0 {
                        workloop.sync(qos, || {
                            assert_eq!(inside.fetch_add(1, Relaxed), 0);
                            log.line(qos, number)();
                            inside.fetch_sub(1, Relaxed);
                        });
                    } else {
                        workloop.submit(qos, log.line(qos, number));
                    }
                }
            });
        }
    });
    settle(&workloop);
    assert_eq!(log.take().len(), 8_000);
}

#[test]
fn a_sync_comes_in_the_turn_of_its_class() {
    let runtime = runtime(2);
    let workloop = Workloop::builder("turns").runtime(&runtime).build();
    let log = Log::default();
    let mut patience = 1;
    // A test cannot see whether a thread waits already: if one came too late, the test tries again,
    // with more time.
    wait_until("a sync that goes before the lower class", || {
        patience *= 2;
        workloop.suspend();
        workloop.submit(Qos::Background, log.line(Qos::Background, 0));
        let seen = std::thread::scope(|scope| {
            let waits = scope.spawn(|| workloop.sync(Qos::UserInitiated, || log.take()));
            (0..patience).for_each(|_| std::thread::yield_now());
            workloop.resume().expect("suspended above");
            waits.join().expect("no panic")
        });
        settle(&workloop);
        seen.is_empty() && log.take() == [(Qos::Background, 0)]
    });
}

#[test]
fn sync_runs_here_when_idle_and_a_block_knows_its_class() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("here").runtime(&runtime).build();
    let here = std::thread::current().id();
    let mut borrowed = 0;
    let there = workloop.sync(Qos::Utility, || {
        borrowed += 1;
        (std::thread::current().id(), Qos::current(), workloop.is_current())
    });
    assert_eq!((there, borrowed), ((here, Qos::Utility, true), 1));
    assert_eq!(workloop.call(Qos::UserInteractive, Qos::current).wait().ok(), Some(Qos::UserInteractive));
    assert!(!workloop.is_current());
    workloop.assert_not_on();
}

#[test]
fn sync_in_its_own_block_is_reported_and_the_workloop_goes_on() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("ouroboros").runtime(&runtime).build();
    let own = workloop.clone();
    let error = workloop.call(Qos::Default, move || own.sync(Qos::Default, || ())).wait().expect_err("a deadlock");
    let text = error.to_string();
    assert!(text.contains("deadlock") && text.contains("ouroboros") && text.contains("workloop.rs"), "{text}");
    let own = workloop.clone();
    let error = workloop.sync(Qos::Default, || own.try_sync(|| ())).expect_err("this thread holds it");
    assert!(matches!(error, TrySyncError::Deadlock(..)), "{error}");
    assert_eq!(workloop.sync(Qos::Default, || 1), 1);
}

#[test]
fn a_sync_that_is_late_takes_its_closure_back() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("slow").runtime(&runtime).build();
    workloop.suspend();
    let runs = AtomicUsize::new(0);
    let error = workloop
        .sync_timeout(Qos::UserInteractive, Duration::from_millis(5), || runs.fetch_add(1, Relaxed))
        .expect_err("suspended");
    assert!(matches!(error, SyncError::Timeout { .. }), "{error}");
    assert!(matches!(workloop.try_sync(|| ()), Err(TrySyncError::Busy(_))));
    workloop.resume().expect("suspended above");
    settle(&workloop);
    assert_eq!(runs.load(Relaxed), 0);
}

#[test]
fn a_panic_is_counted_or_carried_and_the_next_block_runs() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("sour").runtime(&runtime).build();
    workloop.submit(Qos::Default, || panic!("on purpose"));
    assert_eq!(workloop.call(Qos::Background, || 1).wait().ok(), Some(1));
    assert_eq!(runtime.stats().panics, 1);
    let caught = catch_unwind(AssertUnwindSafe(|| workloop.sync(Qos::Default, || panic!("sour"))));
    assert_eq!(caught.expect_err("it panicked").downcast_ref::<&str>(), Some(&"sour"));
    assert_eq!(workloop.sync(Qos::Default, || 2), 2);
}

#[test]
fn queues_that_target_it_and_its_own_target_exclude_one_another() {
    let runtime = runtime(2);
    let base = runtime.queue("base");
    let workloop = Workloop::builder("middle").target(&base).build();
    let above = workloop.queue("above");
    let inside = Arc::new(AtomicUsize::new(0));
    let ran = Arc::new(AtomicUsize::new(0));
    let block = || {
        let (inside, ran) = (inside.clone(), ran.clone());
        move || {
            assert_eq!(inside.fetch_add(1, Relaxed), 0, "two at once");
            ran.fetch_add(1, Relaxed);
            inside.fetch_sub(1, Relaxed);
        }
    };
    for number in 0..1_000 {
        base.submit(block());
        workloop.submit(Qos::ALL[number % 5], block());
        above.submit(block());
    }
    wait_until("3,000 blocks", || ran.load(Relaxed) == 3_000);
    assert_eq!(runtime.stats().panics, 0);
    let own = workloop.clone();
    assert!(above.call(move || own.is_current()).wait().expect("it runs"));
}

#[test]
fn what_targets_it_gets_on_beside_a_flood() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("busy").runtime(&runtime).inactive().build();
    let above = workloop.queue("above");
    let log = Log::default();
    for number in 0..100 {
        workloop.submit(Qos::UserInteractive, log.line(Qos::UserInteractive, number));
    }
    above.submit(log.line(Qos::Background, 0));
    workloop.activate();
    above.sync(|| ());
    let at = log.take().iter().position(|(qos, _)| *qos == Qos::Background).expect("it ran");
    assert!(at <= 2, "a turn for a block, not after {at}");
    settle(&workloop);
}

#[test]
fn dropping_the_last_handle_of_a_held_workloop_runs_what_it_holds() {
    let runtime = runtime(2);
    for suspended in [true, false] {
        let workloop = Workloop::builder("abandoned").runtime(&runtime).inactive().build();
        if suspended {
            workloop.activate();
            workloop.suspend();
        }
        let ran = Arc::new(AtomicUsize::new(0));
        for qos in Qos::ALL {
            let ran = ran.clone();
            workloop.submit(qos, move || {
                ran.fetch_add(1, Relaxed);
            });
        }
        drop(workloop);
        wait_until("the abandoned blocks", || ran.load(Relaxed) == 5);
    }
}

#[test]
fn a_shutdown_runs_or_drops_all_of_it_and_refuses_more() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("late").runtime(&runtime).build();
    let alive = Arc::new(());
    workloop.suspend();
    for qos in Qos::ALL {
        let alive = alive.clone();
        workloop.submit(qos, move || drop(alive));
    }
    let report = runtime.shutdown(Duration::from_secs(10));
    assert_eq!((report.dropped, report.suspended), (5, vec![("late".to_owned(), 5)]));
    assert_eq!(Arc::strong_count(&alive), 1, "what was dropped freed its captures");
    assert!(workloop.try_submit(Qos::Default, || ()).is_err());
    workloop.submit(Qos::Default, || unreachable!());
    assert!(workloop.call(Qos::Default, || ()).wait().is_err());
}

#[test]
fn a_timer_submits_in_its_class() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("later").runtime(&runtime).build();
    let (tell, told) = std::sync::mpsc::channel();
    let _timer = workloop.submit_after(Qos::Utility, Duration::from_millis(1), move || {
        tell.send(Qos::current()).expect("the test waits");
    });
    assert_eq!(told.recv(), Ok(Qos::Utility));
    let never = workloop.submit_after(Qos::Utility, Duration::MAX, || unreachable!());
    assert!(never.cancel());
}

#[test]
fn a_block_that_waits_boosts_it_among_other_queues_until_it_ran() {
    // One thread, held until everything is submitted: the order is determined.
    let runtime = Runtime::builder().workers(1).thread_cap(1).name("boost").build().expect("a thread");
    let (latch, log) = (occupy(&runtime.queue("in the way")), Log::default());
    let workloop = Workloop::builder("boosted").runtime(&runtime).qos(Qos::Background).build();
    let group = Group::new();
    workloop.submit(Qos::Background, log.line(Qos::Background, 0));
    for number in 0..3 {
        group.submit(&runtime.queue("other"), log.line(Qos::Default, number));
    }
    workloop.submit(Qos::UserInteractive, log.line(Qos::UserInteractive, 0));
    latch.open();
    group.wait();
    settle(&workloop);
    let log = log.take();
    assert_eq!(log[0], (Qos::UserInteractive, 0), "{log:?}");
    assert_eq!(log.len(), 5);
}

#[test]
fn work_items_go_by_their_class_and_are_cancelled_and_reported_as_anywhere() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("items").runtime(&runtime).inactive().build();
    let log = Log::default();
    let item = |qos, number| WorkItem::new(log.line(qos, number)).qos(qos).submit(&workloop);
    let (low, high) = (item(Qos::Background, 0), item(Qos::UserInitiated, 0));
    let gone = item(Qos::UserInteractive, 0);
    assert!(gone.cancel());
    workloop.activate();
    assert_eq!((low.wait(), high.wait(), gone.wait()), (WorkEnd::Ran, WorkEnd::Ran, WorkEnd::Cancelled));
    assert_eq!(log.take(), [(Qos::UserInitiated, 0), (Qos::Background, 0)]);
    let own = workloop.clone();
    let text = workloop.call(Qos::Default, move || {
        let item = WorkItem::new(|| ()).submit(&own);
        catch_unwind(AssertUnwindSafe(|| item.wait()))
            .expect_err("a deadlock")
            .downcast::<String>()
            .expect("a sentence")
    });
    let text = text.wait().expect("caught");
    assert!(text.contains("deadlock") && text.contains("items") && text.contains("use notify"), "{text}");
}

#[test]
fn it_is_a_queue_of_its_own_to_others() {
    let other = Queue::new("other");
    let workloop = Workloop::new("mine");
    assert_eq!(workloop.label(), "mine");
    other.sync(|| assert!(!workloop.is_current()));
    let text = catch_unwind(AssertUnwindSafe(|| workloop.assert_on())).expect_err("it is not");
    let text = text.downcast_ref::<String>().expect("a sentence");
    assert!(text.contains("mine") && text.contains("workloop.rs"), "{text}");
}

#[test]
fn it_tells_its_floor_and_its_runtime() {
    let runtime = runtime(1);
    let plain = Workloop::builder("plain").runtime(&runtime).build();
    assert_eq!(plain.qos(), Qos::Default);
    let floor = Workloop::builder("floor").runtime(&plain.runtime()).qos(Qos::UserInitiated).build();
    assert_eq!((floor.qos(), floor.runtime().workers()), (Qos::UserInitiated, 1));
    // The floor is the class in which the workers run it; a block still runs in its own class.
    assert_eq!(floor.call(Qos::Background, Qos::current).wait().expect("it does not panic"), Qos::Background);
}

#[test]
fn handles_of_one_workloop_are_equal_and_others_are_not() {
    let runtime = runtime(1);
    let [one, other] = ["one", "other"].map(|label| Workloop::builder(label).runtime(&runtime).build());
    assert!(one == one.clone() && one != other);
    assert_eq!(std::collections::HashSet::from([one.clone(), other, one]).len(), 2);
}

#[test]
fn assert_not_on_panics_in_its_block_and_nowhere_else() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("urgent").runtime(&runtime).build();
    workloop.assert_not_on();
    let inside = workloop.clone();
    let caught = workloop.sync(Qos::Default, move || catch_unwind(AssertUnwindSafe(|| inside.assert_not_on())));
    let text = caught.expect_err("it is on it").downcast::<String>().expect("a sentence");
    assert!(text.contains("\"urgent\""), "{text}");
}

#[test]
fn a_try_sync_behind_a_block_gives_its_closure_back() {
    let runtime = runtime(1);
    let workloop = Workloop::builder("held").runtime(&runtime).inactive().build();
    workloop.submit(Qos::Default, || ());
    assert!(matches!(workloop.try_sync(|| ()), Err(TrySyncError::Busy(_))));
    workloop.activate();
    let own = workloop.clone();
    let knot = move || matches!(own.try_sync(|| ()), Err(TrySyncError::Deadlock(..)));
    assert!(workloop.sync(Qos::Default, knot), "it would wait for its own block");
    settle(&workloop);
}
