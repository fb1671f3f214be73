//! A wait that could never end is reported, also on concurrent queues, behind barriers, and inside
//! the awaited block.

use super::told;
use crate::{Latch, runtime};
use singletrack_queues::{ConcurrentQueue, Group, Queue, Runtime, Task, TaskError, WorkItem};
use std::sync::mpsc::channel;

fn concurrent(runtime: &Runtime, label: &'static str) -> ConcurrentQueue {
    ConcurrentQueue::builder(label).runtime(runtime).build()
}

fn narrow(runtime: &Runtime, label: &'static str) -> ConcurrentQueue {
    ConcurrentQueue::builder(label).runtime(runtime).width(1).build()
}

/// Runs `block`, which is given to `submit`, to its end; `None` if it hangs.
fn run<R: Send + 'static>(
    submit: impl FnOnce(Box<dyn FnOnce() + Send>),
    block: impl FnOnce() -> R + Send + 'static,
) -> Option<R> {
    let (tell, answer) = channel();
    submit(Box::new(move || _ = tell.send(block())));
    answer.recv_timeout(super::HANG).ok()
}

fn is_deadlock(label: &str, result: Result<(), TaskError>) -> bool {
    matches!(result, Err(TaskError::Deadlock { label: named, .. }) if named == label)
}

/// A runtime that is leaked, in case a test hangs.
fn leaked(workers: usize) -> &'static Runtime {
    Box::leak(Box::new(runtime(workers)))
}

#[test]
fn a_task_of_a_queue_of_width_1_waited_for_in_its_own_block() {
    let queue = narrow(leaked(2), "narrow");
    let own = queue.clone();
    assert_eq!(run(|block| queue.submit(block), move || is_deadlock("narrow", own.call(|| ()).wait())), Some(true));
}

#[test]
fn a_task_of_what_targets_a_queue_of_width_1_waited_for_in_a_block_of_that() {
    let queue = narrow(leaked(2), "narrow");
    let concurrent = ConcurrentQueue::builder("concurrent").target(&queue).build();
    let serial = Queue::builder("serial").target(&queue).build();
    let answer = run(
        |block| queue.submit(block),
        move || {
            [is_deadlock("concurrent", concurrent.call(|| ()).wait()), is_deadlock("serial", serial.call(|| ()).wait())]
        },
    );
    assert_eq!(answer, Some([true, true]));
}

#[test]
fn a_task_waited_for_in_a_barrier_of_its_own_queue() {
    let queue = concurrent(leaked(2), "barred");
    let own = queue.clone();
    let answer = run(
        |block| queue.barrier(block),
        move || [is_deadlock("barred", own.call(|| ()).wait()), is_deadlock("barred", own.barrier_call(|| ()).wait())],
    );
    assert_eq!(answer, Some([true, true]));
}

#[test]
fn the_task_of_a_barrier_waited_for_beside_it() {
    let queue = concurrent(leaked(2), "table");
    let own = queue.clone();
    let answer = run(|block| queue.submit(block), move || is_deadlock("table", own.barrier_call(|| ()).wait()));
    assert_eq!(answer, Some(true));
}

#[test]
fn a_task_behind_a_barrier_waited_for_before_it() {
    let queue = concurrent(leaked(2), "table");
    let own = queue.clone();
    let answer = run(
        |block| queue.submit(block),
        move || {
            own.barrier(|| ());
            is_deadlock("table", own.call(|| ()).wait())
        },
    );
    assert_eq!(answer, Some(true));
}

#[test]
fn a_task_behind_the_barrier_of_another_thread_waited_for_before_it() {
    let queue = concurrent(leaked(2), "table");
    let (send, receive) = channel::<Task<()>>();
    let begun = Latch::default();
    let (tell, answer) = channel();
    let mine = begun.clone();
    queue.submit(move || {
        mine.open();
        let task = receive.recv().expect("sent below");
        _ = tell.send(is_deadlock("table", task.wait()));
    });
    begun.wait();
    queue.barrier(|| ());
    send.send(queue.call(|| ())).expect("the block waits for it");
    assert_eq!(answer.recv_timeout(super::HANG), Ok(true));
}

#[test]
fn a_task_that_came_before_the_barrier_is_waited_for() {
    let runtime = runtime(2);
    let queue = concurrent(&runtime, "table");
    let (own, goes_on) = (queue.clone(), Latch::default());
    let answer = run(
        |block| queue.submit(block),
        move || {
            let go = goes_on.clone();
            let task = own.call(move || go.wait());
            own.barrier(|| ());
            goes_on.open();
            task.wait().is_ok()
        },
    );
    assert_eq!(answer, Some(true), "it was let in before the barrier came");
}

#[test]
fn a_task_of_a_width_that_has_room_is_waited_for() {
    let runtime = runtime(2);
    let queue = ConcurrentQueue::builder("two").runtime(&runtime).width(2).build();
    let own = queue.clone();
    assert_eq!(run(|block| queue.submit(block), move || own.call(|| 7).wait().ok()), Some(Some(7)));
    let target = narrow(&runtime, "narrow");
    let leaf = ConcurrentQueue::builder("leaf").target(&target).build();
    assert_eq!(leaf.call(|| 8).wait().ok(), Some(8), "nothing is in the way");
}

#[test]
fn a_task_that_waits_for_itself() {
    let queue = concurrent(leaked(2), "itself");
    let (send, receive) = channel::<Task<()>>();
    let (tell, answer) = channel();
    let task = queue.call(move || {
        let own = receive.recv().expect("sent below");
        _ = tell.send(is_deadlock("itself", own.wait()));
    });
    send.send(task).expect("the block waits for it");
    assert_eq!(answer.recv_timeout(super::HANG), Ok(true));
}

#[test]
fn a_group_with_a_member_behind_a_barrier() {
    let queue = concurrent(leaked(2), "table");
    let own = queue.clone();
    let sentence = run(
        |block| queue.submit(block),
        move || {
            let group = Group::new();
            own.barrier(|| ());
            group.submit(&own, || ());
            told(|| group.wait()).expect_err("a deadlock")
        },
    );
    let sentence = sentence.expect("it ended");
    assert!(sentence.contains("deadlock") && sentence.contains("table") && sentence.contains("waits.rs"), "{sentence}");
}

#[test]
fn a_group_with_a_member_that_needs_the_only_place() {
    let queue = narrow(leaked(2), "narrow");
    let own = queue.clone();
    let sentence = run(
        |block| queue.submit(block),
        move || {
            let group = Group::new();
            group.submit(&own, || ());
            told(|| group.wait()).expect_err("a deadlock")
        },
    );
    assert!(sentence.expect("it ended").contains("narrow"));
}

#[test]
fn a_group_waited_for_in_a_member_of_its_own() {
    let runtime = leaked(2);
    let (queue, group) = (concurrent(runtime, "members"), Group::new());
    let (tell, answer) = channel();
    for place in 0..3 {
        let (own, tell) = (group.clone(), tell.clone());
        let wait = move || _ = tell.send(told(|| own.wait()));
        match place {
            0 => group.submit(&queue, wait),
            1 => group.spawn(runtime, wait),
            _ => group.submit(&runtime.queue("serial"), wait),
        }
        let sentence = answer.recv_timeout(super::HANG).expect("it ended").expect_err("a deadlock");
        assert!(sentence.contains("deadlock") && sentence.contains("waits.rs"), "{sentence}");
    }
    assert!(group.wait_timeout(super::HANG), "each left when its wait had failed");
}

#[test]
fn a_group_waited_for_in_a_member_of_another() {
    let runtime = runtime(2);
    let (outer, inner, queue) = (Group::new(), Group::new(), runtime.queue("inner"));
    let (tell, answer) = channel();
    outer.spawn(&runtime, move || {
        inner.submit(&queue, || ());
        _ = tell.send(told(|| inner.wait()));
    });
    assert_eq!(answer.recv_timeout(super::HANG), Ok(Ok(())));
}

#[test]
fn an_item_behind_a_barrier_and_an_item_waited_for_in_itself() {
    let queue = concurrent(leaked(2), "items");
    let own = queue.clone();
    let sentence = run(
        |block| queue.submit(block),
        move || {
            own.barrier(|| ());
            let item = WorkItem::new(|| ()).submit(&own);
            told(|| item.wait()).expect_err("a deadlock")
        },
    );
    assert!(sentence.expect("it ended").contains("items"));
    let (tell, answer) = channel();
    WorkItem::with_handle(move |me| _ = tell.send(told(|| me.wait()).expect_err("a deadlock"))).submit(&queue);
    let sentence = answer.recv_timeout(super::HANG).expect("it ended");
    assert!(sentence.contains("in that very item") && sentence.contains("items"), "{sentence}");
}
