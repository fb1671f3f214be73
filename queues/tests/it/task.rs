//! The result of a block: waited for, awaited, or lost with a reason.

use crate::{LONG, Latch, runtime};
use singletrack_queues::{Queue, TaskError};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

#[test]
fn a_panic_is_an_error_with_its_message_and_payload() {
    let runtime = runtime(1);
    let number = std::hint::black_box(7);
    match runtime.queue("sour").call(move || -> u32 { panic!("number {number}") }).wait() {
        Err(TaskError::Panicked { message, payload }) => {
            assert_eq!(message, "number 7");
            assert_eq!(payload.into_inner().downcast_ref::<String>().map(String::as_str), Some("number 7"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wait_can_end_before_the_block_and_be_repeated() {
    let runtime = runtime(2);
    let latch = Latch::default();
    let wait = latch.clone();
    let mut task = runtime.queue("slow").call(move || {
        wait.wait();
        5
    });
    assert!(task.wait_timeout(Duration::from_millis(1)).is_none());
    assert!(!task.is_done());
    latch.open();
    assert_eq!(task.wait_timeout(crate::LONG).and_then(Result::ok), Some(5));
}

#[test]
fn waiting_on_the_own_queue_is_an_error_not_a_hang() {
    let runtime = runtime(1);
    let queue = runtime.queue("own");
    let own = queue.clone();
    let error = queue.call(move || own.call(|| ()).wait().map_err(|error| error.to_string())).wait();
    let text = error.expect("the outer block ended").expect_err("the inner one cannot begin");
    assert!(text.contains("deadlock") && text.contains("own"), "{text}");
}

#[test]
fn a_task_can_be_awaited_and_wakes_its_waker() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let runtime = runtime(1);
    let latch = Latch::default();
    let wait = latch.clone();
    let mut task = pin!(runtime.queue("async").call(move || {
        wait.wait();
        9
    }));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    assert!(task.as_mut().poll(&mut context).is_pending());
    latch.open();
    let value = loop {
        match task.as_mut().poll(&mut context) {
            Poll::Ready(value) => break value,
            Poll::Pending => std::thread::park(),
        }
    };
    assert_eq!(value.ok(), Some(9));
}

#[test]
fn waiting_for_a_queue_that_shares_a_target_is_an_error_not_a_hang() {
    let runtime = runtime(2);
    let target = runtime.queue("target");
    let [mine, theirs] = ["mine", "theirs"].map(|label| Queue::builder(label).target(&target).build());
    let outcome = mine.call(move || theirs.call(|| 1).wait().map_err(|error| error.to_string())).wait();
    let text = outcome.expect("no panic").expect_err("it would wait for ever");
    assert!(text.contains("deadlock") && text.contains("theirs"), "{text}");
}

#[test]
fn the_longest_timeout_waits() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let wait = latch.clone();
    let mut task = runtime.queue("patience").call(move || {
        wait.wait();
        3
    });
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| task.wait_timeout(Duration::MAX));
        latch.open();
        let outcome = waiter.join().expect("no panic").expect("it did not give up");
        assert_eq!(outcome.expect("no panic"), 3);
    });
}

/// Dropping a waker is foreign code: here it waits for the very block that the task belongs to.
#[test]
fn a_waker_that_is_replaced_is_dropped_outside_the_lock() {
    struct Waits {
        latch: Latch,
        queue: Queue,
    }
    impl Wake for Waits {
        fn wake(self: Arc<Self>) {}
    }
    impl Drop for Waits {
        fn drop(&mut self) {
            self.latch.open();
            assert!(self.queue.sync_timeout(LONG, || ()).is_ok());
        }
    }
    let runtime = runtime(1);
    let (queue, latch) = (runtime.queue("awaited"), Latch::default());
    let wait = latch.clone();
    let mut task = pin!(queue.call(move || wait.wait()));
    let waits = Waker::from(Arc::new(Waits { latch, queue: queue.clone() }));
    assert!(task.as_mut().poll(&mut Context::from_waker(&waits)).is_pending());
    drop(waits);
    let _ready_or_not = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(()))));
}

#[test]
fn a_promise_is_kept_from_any_thread_or_broken_when_dropped() {
    let (task, promise) = singletrack_queues::Task::promised();
    std::thread::spawn(move || promise.fulfil("kept"));
    assert_eq!(task.wait().unwrap(), "kept");
    let (task, promise) = singletrack_queues::Task::<u32>::promised();
    drop(promise);
    assert!(matches!(task.wait(), Err(TaskError::Broken)));
}

#[test]
fn a_task_that_is_cancelled_before_its_block_begins_ends_at_once() {
    let runtime = runtime(1);
    let (queue, alive) = (runtime.queue("cancels"), std::sync::Arc::new(()));
    queue.suspend();
    let token = alive.clone();
    let mut task = queue.call(move || drop(token));
    assert!(task.cancel() && !task.cancel() && task.is_done());
    assert!(matches!(task.wait_timeout(std::time::Duration::ZERO), Some(Err(TaskError::Cancelled))));
    assert!(matches!(task.wait_timeout(std::time::Duration::ZERO), Some(Err(TaskError::Taken))));
    assert!(matches!(task.wait(), Err(TaskError::Taken)));
    drop(queue.call(|| unreachable!("it is dropped")).cancel_on_drop());
    let kept = queue.call(|| 5).cancel_on_drop();
    queue.resume().expect("suspended above");
    assert_eq!(kept.wait().ok(), Some(5));
    assert_eq!(std::sync::Arc::strong_count(&alive), 1, "what it captured went with its turn");
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_task_whose_block_runs_is_not_cancelled() {
    let runtime = runtime(1);
    let latch = Latch::default();
    let (begun, goes_on) = (Latch::default(), latch.clone());
    let tell = begun.clone();
    let task = runtime.queue("runs").call(move || {
        tell.open();
        goes_on.wait();
        7
    });
    begun.wait();
    assert!(!task.cancel());
    latch.open();
    assert_eq!(task.wait().ok(), Some(7));
}

#[test]
fn a_promise_knows_that_its_task_was_cancelled() {
    let (task, promise) = singletrack_queues::Task::promised();
    assert!(!promise.is_cancelled() && task.cancel() && promise.is_cancelled());
    promise.fulfil(7);
    assert!(matches!(task.wait(), Err(TaskError::Cancelled)));
    let (task, promise) = singletrack_queues::Task::<u32>::promised();
    drop(promise);
    assert!(!task.cancel());
    assert!(matches!(task.wait(), Err(TaskError::Broken)));
}
