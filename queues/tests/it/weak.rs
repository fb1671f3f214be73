//! Handles that keep neither a queue nor a value.

use crate::{LONG, Latch, occupy, runtime, wait_until};
use singletrack_queues::{ConcurrentIsolated, ConcurrentQueue, Isolated, Queue, WeakIsolated, WeakQueue};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

#[test]
fn a_weak_handle_leads_to_its_queue_while_there_is_a_handle() {
    let runtime = runtime(1);
    let queue = runtime.queue("weak");
    let weak = queue.downgrade();
    let again = queue.downgrade().clone();
    assert_eq!(weak.upgrade(), Some(queue.clone()));
    let upgraded = again.upgrade().expect("there are handles");
    drop(queue);
    assert_eq!(weak.upgrade(), Some(upgraded.clone()), "what was upgraded is a handle");
    drop(upgraded);
    assert_eq!((weak.upgrade(), again.upgrade()), (None, None));
}

#[test]
fn a_weak_handle_leads_nowhere_after_the_last_handle_though_blocks_wait() {
    let runtime = runtime(1);
    let queue = runtime.queue("weak");
    let weak = queue.downgrade();
    let latch = occupy(&queue);
    let (tell, told) = mpsc::channel();
    let inside = weak.clone();
    queue.submit(move || tell.send(inside.upgrade().is_none()).expect("the test listens"));
    drop(queue);
    assert!(weak.upgrade().is_none(), "its blocks are no handles");
    latch.open();
    assert_eq!(told.recv_timeout(LONG), Ok(true));
}

#[test]
fn a_weak_handle_is_not_fooled_by_a_queue_that_targets_its_own() {
    let runtime = runtime(1);
    let target = runtime.queue("target");
    let part = Queue::builder("part").target(&target).build();
    let weak = target.downgrade();
    drop(target);
    assert!(weak.upgrade().is_none(), "a queue that targets it is no handle");
    assert_eq!(part.sync(|| 1), 1, "but it keeps it");
}

#[test]
fn weak_handles_are_upgraded_while_the_last_handle_goes() {
    let runtime = runtime(2);
    for _ in 0..200 {
        let queue = runtime.queue("race");
        let value = Isolated::new(&queue, 1_u64);
        let (weak, weak_value) = (queue.downgrade(), value.downgrade());
        thread::scope(|threads| {
            threads.spawn(move || drop((queue, value)));
            while let Some(queue) = weak.upgrade() {
                queue.submit(|| ());
            }
            while let Some(value) = weak_value.upgrade() {
                assert_eq!(value.sync(|value| *value), 1);
            }
        });
    }
}

/// Has a weak handle of its own place, as a room has for what it will submit later.
struct Room(Option<WeakIsolated<Room>>, Option<WeakQueue>, mpsc::Sender<bool>);

impl Drop for Room {
    fn drop(&mut self) {
        let gone = self.0.as_ref().is_some_and(|own| own.upgrade().is_none());
        self.2.send(gone && self.1.is_some()).expect("the test listens");
    }
}

#[test]
fn a_value_that_knows_itself_weakly_is_dropped_with_its_last_handle() {
    let runtime = runtime(1);
    let (tell, told) = mpsc::channel();
    let room = Isolated::new(&runtime.queue("room"), Room(None, None, tell));
    let (weak, weak_queue) = (room.downgrade(), room.queue().downgrade());
    let kept = weak.clone();
    room.sync(|room| (room.0, room.1) = (Some(weak), Some(weak_queue)));
    drop(room);
    assert_eq!(told.recv_timeout(LONG), Ok(true), "it was dropped, and did not find itself any more");
    assert!(kept.upgrade().is_none());
}

#[test]
fn weak_handles_of_a_concurrent_queue_and_its_value_end_with_the_handles() {
    let runtime = runtime(1);
    let queue = ConcurrentQueue::builder("weak").runtime(&runtime).build();
    let alive = Arc::new(());
    let value = ConcurrentIsolated::new(&queue, alive.clone());
    let (weak, weak_value) = (queue.downgrade(), value.downgrade());
    assert_eq!(weak.upgrade().as_ref(), Some(&queue));
    assert!(weak_value.upgrade().is_some());
    let (began, latch) = (Latch::default(), Latch::default());
    let (begins, waits) = (began.clone(), latch.clone());
    value.read(move |_| {
        begins.open();
        waits.wait();
    });
    began.wait();
    drop(value);
    assert!(weak_value.upgrade().is_none(), "a block still uses it, and is no handle");
    assert_eq!(Arc::strong_count(&alive), 2);
    drop(queue);
    assert!(weak.upgrade().is_none(), "a block still runs, and is no handle");
    latch.open();
    wait_until("the value to be dropped", || Arc::strong_count(&alive) == 1);
}

#[test]
fn a_weak_value_leads_to_it_while_there_is_a_handle() {
    let runtime = runtime(1);
    let value = Isolated::new(&runtime.queue("weak"), 1);
    let weak = value.downgrade();
    let upgraded = weak.upgrade().expect("there is a handle");
    drop(value);
    assert_eq!(upgraded.sync(|value| *value), 1, "what was upgraded is a handle");
    drop(upgraded);
    assert!(weak.upgrade().is_none());
}
