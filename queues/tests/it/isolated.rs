//! State that only its queue can touch.

use crate::{LONG, by_a_worker, runtime, wait_until};
use singletrack_queues::{Isolated, Schedule, Source, SyncError, Ticker, TrySyncError};
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    assert_eq!(by_a_worker(last), 1);
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

/// Reports the thread on which it is dropped.
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
    assert_eq!(by_a_worker(used), 2);
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

#[test]
fn a_block_has_two_values_of_its_queue() {
    let runtime = runtime(1);
    let queue = runtime.queue("accounts");
    let (ada, bob) = (Isolated::new(&queue, 100_u32), Isolated::new(&queue, "bob".to_owned()));
    ada.submit_with(&bob, |ada, bob| {
        *ada -= 10;
        bob.push('!');
    });
    assert_eq!(bob.sync_with(&ada, |bob, ada| (bob.clone(), *ada)), ("bob!".to_owned(), 90));
}

fn panics_with(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it panics");
    payload.downcast::<String>().map_or_else(|_| "no sentence".to_owned(), |sentence| *sentence)
}

#[test]
fn a_block_cannot_have_a_value_twice() {
    let runtime = runtime(1);
    let one = Isolated::new(&runtime.queue("accounts"), 1);
    let sentence = panics_with(|| one.submit_with(&one.clone(), |_, _| unreachable!()));
    assert!(sentence.contains("same value of queue \"accounts\" twice"), "{sentence}");
    let sentence = panics_with(|| one.sync_with(&one.clone(), |_, _| unreachable!()));
    assert!(sentence.contains("same value of queue \"accounts\" twice"), "{sentence}");
}

#[test]
fn a_block_cannot_have_values_of_two_queues() {
    let runtime = runtime(1);
    let (here, there) = (Isolated::new(&runtime.queue("here"), 1), Isolated::new(&runtime.queue("there"), 1));
    let sentence = panics_with(|| here.submit_with(&there, |_, _| unreachable!()));
    assert!(sentence.contains("queue \"here\" and one of queue \"there\""), "{sentence}");
}

#[test]
fn a_source_lends_its_handler_the_value_of_its_queue() {
    let runtime = runtime(2);
    let state = Isolated::new(&runtime.queue("state"), 0_u64);
    let source = Source::on(&state, |seen, bits| *seen += bits);
    for _ in 0..1_000 {
        source.merge(1);
        state.submit(|seen| *seen += 1_000_000);
    }
    let seen = state.sync(|seen| *seen);
    assert_eq!(seen / 1_000_000, 1_000, "no block was lost beside the handler");
    assert!((1..=1_000).contains(&(seen % 1_000_000)), "bits merge between two runs");
}

#[test]
fn a_handler_that_was_lent_the_value_cannot_be_lent_it_again() {
    let runtime = runtime(1);
    let state = Isolated::new(&runtime.queue("state"), 0);
    let (tell, told) = mpsc::channel();
    let again = state.clone();
    let source = Source::on(&state, move |_, _| {
        let sentence = panics_with(|| again.sync(|_| unreachable!("the value is lent")));
        tell.send(sentence).expect("the test listens");
    });
    source.merge(1);
    let sentence = told.recv_timeout(Duration::from_secs(10)).expect("the handler ran");
    assert!(sentence.contains("state"), "{sentence}");
}

#[test]
fn a_ticker_keeps_the_value_that_its_handler_is_lent_until_it_ends() {
    let runtime = runtime(1);
    let (tells, told) = mpsc::channel();
    let state = Isolated::new(&runtime.queue("state"), (Tells(tells), 0));
    let (tick, ticked) = mpsc::channel();
    let ticker = Ticker::on(&state, Schedule::every(Duration::from_millis(1)), move |state, ticks| {
        state.1 += ticks;
        tick.send(state.1).expect("the test listens");
    });
    drop(state);
    while ticked.recv_timeout(Duration::from_secs(10)).expect("it ticks") < 3 {}
    assert!(told.try_recv().is_err(), "the ticker keeps it");
    ticker.cancel();
    assert!(ticked.into_iter().all(|ticks| ticks >= 3), "none was lost");
    told.recv_timeout(Duration::from_secs(10)).expect("it was dropped with the handler");
}

#[test]
fn what_cannot_have_the_value_in_time_gives_the_closure_back_or_says_so() {
    let runtime = runtime(1);
    let value = Isolated::new(&runtime.queue("value"), 1);
    assert_eq!(value.try_sync(|value| std::mem::replace(value, 2)).ok(), Some(1));
    value.sync(|_| {
        assert!(matches!(value.try_sync(|value| *value), Err(TrySyncError::Deadlock(..))), "nested");
        let late = value.sync_timeout(LONG, |value| *value);
        assert!(matches!(late, Err(SyncError::Deadlock(error)) if error.call() == "sync_timeout"));
    });
    value.queue().suspend();
    let back = value.try_sync(|value| *value = 3).expect_err("suspended").into_inner();
    let late = value.sync_timeout(Duration::from_millis(1), |value| *value = 4);
    assert!(matches!(late, Err(SyncError::Timeout { .. })));
    value.queue().resume().expect("suspended above");
    assert_eq!(value.sync_timeout(LONG, back), Ok(()));
    assert_eq!(value.sync(|value| *value), 3);
}
