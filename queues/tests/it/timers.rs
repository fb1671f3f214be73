//! Blocks that wait for their time.

use crate::{Latch, runtime, wait_until};
use singletrack_queues::Isolated;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
