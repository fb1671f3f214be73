//! Blocks that wait for their time.

use crate::{Latch, runtime, wait_until};
use singletrack_queues::{Group, Isolated, Semaphore, SyncError, When, WorkEnd, WorkItem};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[test]
fn a_block_does_not_run_before_its_time_and_runs_after_it() {
    let runtime = runtime(1);
    let begin = Instant::now();
    let at = Isolated::new(&runtime.queue("later"), None);
    let _timer = at.submit_after(Duration::from_millis(20), |at| *at = Some(Instant::now()));
    wait_until("the timer", || at.sync(|at| at.is_some()));
    let at = at.sync(|at| at.expect("it ran"));
    assert!(at - begin >= Duration::from_millis(20));
}

#[test]
fn blocks_come_in_the_order_of_their_times() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("log"), Vec::new());
    for ms in [30, 10, 20, 0] {
        let _timer = log.submit_after(Duration::from_millis(ms), move |log| log.push(ms));
    }
    wait_until("four timers", || log.sync(|log| log.len() == 4));
    assert_eq!(log.sync(|log| log.clone()), [0, 10, 20, 30]);
}

#[test]
fn an_earlier_timer_shortens_the_sleep_of_a_worker_that_waits_for_a_later_one() {
    let runtime = runtime(1);
    let queue = runtime.queue("times");
    let late = queue.submit_after(Duration::from_secs(3600), || ());
    let log = Isolated::new(&queue, 0);
    for i in 1..=100 {
        let _timer = log.submit_after(Duration::from_micros(200), |n| *n += 1);
        wait_until("the earlier timer", || log.sync(|n| *n) == i);
    }
    assert!(late.cancel());
}

#[test]
fn a_cancelled_block_frees_what_it_captured_at_once() {
    let runtime = runtime(1);
    let alive = Arc::new(());
    let token = alive.clone();
    let timer = runtime.queue("never").submit_after(Duration::from_secs(3600), move || drop(token));
    assert_eq!(runtime.stats().timers, 1);
    assert!(timer.cancel());
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(!timer.cancel());
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn timers_fire_while_every_worker_sits_in_a_block() {
    let runtime = runtime(2);
    let latch = Latch::default();
    for i in 0..2 {
        let wait = latch.clone();
        runtime.queue(format!("stuck.{i}")).submit(move || wait.wait());
    }
    let fired = runtime.queue("timer");
    let opener = latch.clone();
    let _timer = fired.submit_after(Duration::from_millis(5), move || opener.open());
    latch.wait();
}

#[test]
fn an_endless_delay_is_never_and_no_delay_is_now() {
    let runtime = runtime(1);
    let queue = runtime.queue("ends");
    let never = queue.submit_after(Duration::MAX, || ());
    let log = Isolated::new(&queue, 0);
    let _now = log.submit_after(Duration::ZERO, |n| *n += 1);
    wait_until("now", || log.sync(|n| *n) == 1);
    assert!(never.cancel());
}

#[test]
fn a_point_in_time_by_either_clock_is_waited_for_and_one_that_has_passed_is_at_once() {
    let runtime = runtime(1);
    let log = Isolated::new(&runtime.queue("points"), Vec::new());
    let hour = Duration::from_secs(3600);
    log.queue().suspend();
    // Submitted at once, so in the order of the calls, and nothing is left to cancel.
    assert!(!log.submit_after(Instant::now(), |log| log.push("now")).cancel());
    assert!(!log.submit_after(SystemTime::now() - hour, |log| log.push("long ago")).cancel());
    assert!(!log.submit_after(Duration::ZERO, |log| log.push("no delay")).cancel());
    log.submit(|log| log.push("submitted"));
    log.queue().resume().expect("suspended above");
    assert_eq!(log.sync(|log| log.clone()), ["now", "long ago", "no delay", "submitted"]);
    for later in [When::from(Instant::now() + hour), When::from(SystemTime::now() + hour), When::NEVER] {
        let timer = log.submit_after(later, |log| log.push("later"));
        assert_eq!(runtime.stats().timers, 1, "{later:?}");
        assert!(timer.cancel() && !timer.cancel());
        assert_eq!(runtime.stats().timers, 0, "{later:?}");
    }
    let soon = SystemTime::now() + Duration::from_millis(20);
    let at = Isolated::new(log.queue(), None);
    let _timer = at.submit_after(soon, |at| *at = Some(SystemTime::now()));
    wait_until("the wall clock", || at.sync(|at| at.is_some()));
    assert!(at.sync(|at| *at).expect("it ran") >= soon);
}

#[test]
fn what_never_comes_is_kept_until_it_is_cancelled_or_the_runtime_ends() {
    let runtime = runtime(1);
    let alive = Arc::new(());
    let queue = runtime.queue("never");
    let ends = [When::NEVER, When::from(Duration::MAX), When::from(SystemTime::now()).plus(Duration::MAX)];
    let timers = ends.map(|never| {
        let token = alive.clone();
        queue.submit_after(never, move || drop(token))
    });
    queue.sync(|| ());
    assert_eq!((Arc::strong_count(&alive), runtime.stats().timers), (4, 3));
    assert!(timers[0].cancel());
    assert_eq!((Arc::strong_count(&alive), runtime.stats().timers), (3, 2));
    let report = runtime.shutdown(Duration::from_secs(10));
    assert_eq!((report.dropped, Arc::strong_count(&alive)), (2, 1));
    assert!(!timers[1].cancel());
}

#[test]
fn every_wait_takes_a_point_in_time_by_either_clock() {
    let runtime = runtime(2);
    let latch = Latch::default();
    let queue = runtime.queue("busy");
    let (group, slots) = (Group::new(), Semaphore::new(0));
    let wait = latch.clone();
    group.submit(&queue, move || wait.wait());
    let mut task = queue.call(|| 7);
    let item = WorkItem::new(|| ()).submit(&queue);
    let soon = Duration::from_millis(2);
    for when in [When::from(soon), (Instant::now() + soon).into(), (SystemTime::now() + soon).into()] {
        assert!(!group.wait_timeout(when) && when.since().is_some());
        assert!(!slots.wait_timeout(when));
        assert!(task.wait_timeout(when).is_none());
        assert!(item.wait_timeout(when).is_none());
        assert!(matches!(queue.sync_timeout(when, || ()), Err(SyncError::Timeout { .. })));
    }
    latch.open();
    slots.signal();
    let late = SystemTime::now() + crate::LONG;
    assert!(group.wait_timeout(late) && slots.wait_timeout(When::NEVER));
    assert!(matches!(task.wait_timeout(late), Some(Ok(7))));
    assert_eq!(item.wait_timeout(When::NEVER), Some(WorkEnd::Ran));
    assert_eq!(queue.sync_timeout(late, || 8), Ok(8));
}

#[test]
fn a_hundred_thousand_timers_cost_no_thread_and_no_wake_ups() {
    const MANY: usize = 100_000;
    let runtime = runtime(2);
    let queue = runtime.queue("many");
    // The earliest first, so none of the others shortens any sleep.
    let first = queue.submit_after(Duration::from_secs(3600), || ());
    let before = runtime.stats();
    let timers: Vec<_> =
        (0..MANY).map(|i| queue.submit_after(Duration::from_secs(3601 + i as u64), || unreachable!())).collect();
    let after = runtime.stats();
    assert_eq!(after.timers, MANY + 1);
    assert!(after.wakes <= before.wakes + 2, "{} wake-ups for {MANY} timers", after.wakes - before.wakes);
    assert_eq!(after.threads, before.threads);
    assert!(timers.iter().all(|timer| timer.cancel()) && first.cancel());
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn a_hundred_thousand_timers_that_are_due_come_once_each() {
    const MANY: u32 = 100_000;
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("due"), Vec::new());
    let due = Instant::now() + Duration::from_millis(50);
    for i in 0..MANY {
        let _timer = log.submit_after(due + Duration::from_nanos(i.into()), move |log| log.push(i));
    }
    wait_until("all of them", || log.sync(|log| log.len()) == MANY as usize);
    // Two workers may fire at once: the order is about that of the deadlines.
    log.sync(|log| log.sort_unstable());
    assert!(log.sync(|log| log.iter().copied().eq(0..MANY)));
}
