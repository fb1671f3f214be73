//! In a fork child, a wait for what only the parent's threads could end fails at once, with a
//! sentence.

#![cfg(unix)]

use crate::child::{alone, in_a_child};
use crate::{Latch, occupy, runtime};
use singletrack_queues::{ConcurrentQueue, Group, Queue, Runtime, WorkItem};
use std::time::Duration;

/// Whether `wait` fails with the sentence.
fn fails<R>(wait: impl FnOnce() -> R) -> bool {
    super::told(wait)
        .is_err_and(|sentence| sentence.contains("fork child") && sentence.contains("none of the runtime's threads"))
}

/// A concurrent queue with a barrier in it that lasts until the latch is opened.
fn barred(runtime: &Runtime) -> (ConcurrentQueue, Latch) {
    let queue = ConcurrentQueue::builder("barred").runtime(runtime).build();
    let (started, latch) = (Latch::default(), Latch::default());
    let (tell, wait) = (started.clone(), latch.clone());
    queue.barrier(move || {
        tell.open();
        wait.wait();
    });
    started.wait();
    (queue, latch)
}

#[test]
fn a_sync_beside_a_barrier_of_the_parent_fails() {
    alone("edges::forked::a_sync_beside_a_barrier_of_the_parent_fails", || {
        let runtime = runtime(2);
        let (queue, latch) = barred(&runtime);
        assert_eq!(in_a_child(|| fails(|| queue.sync(|| ()))), Some(true));
        assert_eq!(in_a_child(|| fails(|| queue.barrier_sync(|| ()))), Some(true));
        latch.open();
        queue.sync(|| ());
    });
}

#[test]
fn a_wait_for_a_group_of_the_parent_fails_and_one_that_the_child_fills_ends() {
    alone("edges::forked::a_wait_for_a_group_of_the_parent_fails_and_one_that_the_child_fills_ends", || {
        let runtime = runtime(2);
        let (queue, group, empty) = (runtime.queue("busy"), Group::new(), Group::new());
        let latch = occupy(&queue);
        group.submit(&queue, || ());
        assert_eq!(in_a_child(|| fails(|| group.wait())), Some(true));
        let ends = || {
            let own = Runtime::builder().workers(1).build().expect("the child gets threads");
            empty.submit(&own.queue("own"), || ());
            super::told(|| empty.wait()).is_ok() && !group.wait_timeout(Duration::ZERO)
        };
        assert_eq!(in_a_child(ends), Some(true));
        latch.open();
        group.wait();
    });
}

#[test]
fn a_wait_for_a_work_item_of_the_parent_fails() {
    alone("edges::forked::a_wait_for_a_work_item_of_the_parent_fails", || {
        let runtime = runtime(2);
        let (serial, (concurrent, barrier)) = (runtime.queue("busy"), barred(&runtime));
        let (latch, gate) = (occupy(&serial), Latch::default());
        let held = gate.clone();
        let items = [
            WorkItem::new(|| ()).submit(&serial),
            WorkItem::new(|| ()).submit(&concurrent),
            WorkItem::new(move || held.wait()).submit(&runtime),
        ];
        for item in &items {
            assert_eq!(in_a_child(|| fails(|| item.wait())), Some(true));
        }
        gate.open();
        latch.open();
        barrier.open();
        items.iter().for_each(|item| _ = item.wait());
    });
}

#[test]
fn a_wait_for_a_task_of_a_concurrent_queue_of_the_parent_fails() {
    alone("edges::forked::a_wait_for_a_task_of_a_concurrent_queue_of_the_parent_fails", || {
        let runtime = runtime(2);
        let (queue, latch) = barred(&runtime);
        let task = queue.call(|| ());
        assert_eq!(in_a_child(|| task.wait().is_err_and(|error| error.to_string().contains("fork child"))), Some(true));
        latch.open();
        Queue::sync(&runtime.queue("other"), || ());
    });
}
