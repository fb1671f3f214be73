//! Timers that never fire, and timers that may be late.

use super::HANG;
use crate::{runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Qos, Runtime, Schedule, Ticker, When, Workloop};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// The captures of a block are dropped with it.
fn ends(what: &str, leave: impl FnOnce(&Runtime, Arc<()>)) {
    let alive = Arc::new(());
    leave(&runtime(1), alive.clone());
    wait_until(what, || Arc::strong_count(&alive) == 1);
}

#[test]
fn a_block_that_never_comes_keeps_no_runtime() {
    ends("a serial queue", |runtime, alive| {
        let _timer = runtime.queue("never").submit_after(When::NEVER, move || drop(alive));
    });
    ends("a concurrent queue", |runtime, alive| {
        let queue = ConcurrentQueue::builder("never").runtime(runtime).build();
        queue.submit_after(Duration::MAX, move || drop(alive));
    });
    ends("a workloop", |runtime, alive| {
        let queue = Workloop::builder("never").runtime(runtime).build();
        queue.submit_after(Qos::Default, When::NEVER, move || drop(alive));
    });
    // And when its threads end.
    let runtime = runtime(1);
    let timer = runtime.queue("never").submit_after(When::NEVER, || ());
    assert_eq!(runtime.stats().timers, 1);
    drop(timer);
    assert_eq!(runtime.stats().timers, 0);
}

#[test]
fn one_tick_with_leeway_and_nothing_to_share_is_not_late() {
    let runtime = runtime(1);
    let (tell, told) = mpsc::channel();
    let schedule = Schedule::once(Duration::from_millis(1)).leeway(Duration::from_secs(60));
    let _ticker = Ticker::new(&runtime.queue("tick"), schedule, move |ticks| tell.send(ticks).expect("the test waits"));
    assert_eq!(told.recv_timeout(HANG), Ok(1));
    // A timer that is far away has nothing to share a wake-up with, either.
    let (tell, told) = mpsc::channel();
    let _far = runtime.queue("far").submit_after(Duration::from_secs(3600), || ());
    let _ticker = Ticker::new(&runtime.queue("tick"), schedule, move |ticks| tell.send(ticks).expect("the test waits"));
    assert_eq!(told.recv_timeout(HANG), Ok(1));
}

#[test]
fn a_tick_with_leeway_shares_what_is_due_within_it() {
    let runtime = runtime(1);
    let queue = runtime.queue("share");
    let (tell, told) = mpsc::channel();
    let early = tell.clone();
    // Added first, so that there is a wake-up to share.
    let _shared = queue.submit_after(Duration::from_millis(600), move || tell.send("shared").expect("the test waits"));
    // Far enough away that it is not due before it is added.
    let schedule = Schedule::once(Duration::from_millis(300)).leeway(Duration::from_secs(60));
    let _ticker = Ticker::new(&queue, schedule, move |_| early.send("lenient").expect("the test waits"));
    assert_eq!((told.recv_timeout(HANG), told.recv_timeout(HANG)), (Ok("shared"), Ok("lenient")));
}
