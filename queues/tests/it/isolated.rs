//! State that only its queue can touch.

use crate::{runtime, wait_until};
use singletrack_queues::Isolated;
use std::sync::Arc;
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
