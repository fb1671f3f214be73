//! State that only its queue can touch.

use crate::{runtime, wait_until};
use singletrack_queues::Isolated;
use std::sync::{Arc, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

#[test]
fn the_value_is_dropped_after_the_last_block_that_uses_it() {
    let runtime = runtime(1);
    let alive = Arc::new(());
    let state = Isolated::new(&runtime.queue("state"), (alive.clone(), 0));
    state.queue().suspend();
    let queue = state.queue().clone();
    let last = state.call(|state| {
        state.1 += 1;
        state.1
    });
    drop(state);
    assert_eq!(Arc::strong_count(&alive), 2, "a block still needs it");
    queue.resume().expect("suspended above");
    assert_eq!(last.wait().ok(), Some(1));
    wait_until("the value to be dropped", || Arc::strong_count(&alive) == 1);
}

#[test]
fn two_values_may_share_a_queue() {
    let runtime = runtime(2);
    let queue = runtime.queue("both");
    let (a, b) = (Isolated::new(&queue, 1), Isolated::new(&queue, 2));
    let reader = b.clone();
    let _timer = a.submit_after(Duration::from_millis(1), move |a| {
        reader.submit(|b| *b *= 10);
        *a += 1;
    });
    wait_until("the timer", || a.sync(|a| *a) == 2);
    wait_until("what it submitted", || b.sync(|b| *b) == 20);
}

/// Says on which thread it was dropped.
struct Tells(mpsc::Sender<ThreadId>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.send(thread::current().id()).expect("the test listens");
    }
}

#[test]
fn the_last_handle_of_an_idle_queue_drops_the_value_here() {
    let runtime = runtime(1);
    let (tells, told) = mpsc::channel();
    let state = Isolated::new(&runtime.queue("state"), Tells(tells));
    let second = state.clone();
    drop(state);
    assert!(told.try_recv().is_err(), "there is a second handle");
    second.queue().suspend();
    drop(second);
    assert_eq!(told.try_recv(), Ok(thread::current().id()), "nothing stands in the queue, suspended or not");
}

#[test]
fn a_block_that_drops_the_last_handle_may_still_use_the_value() {
    let runtime = runtime(1);
    let (tells, told) = mpsc::channel();
    let state = Isolated::new(&runtime.queue("state"), (Tells(tells), 1));
    let last = state.clone();
    let used = state.call(move |state| {
        drop(last);
        state.1 += 1;
        state.1
    });
    drop(state);
    assert_eq!(used.wait().ok(), Some(2));
    told.recv_timeout(Duration::from_secs(10)).expect("it was dropped behind the block");
}

#[test]
fn a_shutdown_that_drops_the_blocks_drops_the_value_behind_them() {
    let runtime = runtime(1);
    let (tells, told) = mpsc::channel();
    let state = Isolated::new(&runtime.queue("state"), Tells(tells));
    state.queue().suspend();
    state.submit(|_| unreachable!("it is suspended until the end"));
    let queue = state.queue().clone();
    drop(state);
    let report = runtime.shutdown(Duration::ZERO);
    assert_eq!(report.dropped, 1, "the value itself is no block");
    told.recv_timeout(Duration::from_secs(10)).expect("it was dropped behind the block");
    drop(queue);
}
