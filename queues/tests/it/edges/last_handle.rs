//! Dropping the last handle of a suspended queue runs what it holds, even if tasks, work items,
//! timers, and queues that target it still refer to it.

use super::HANG;
use crate::{by_a_worker, runtime};
use singletrack_queues::{ConcurrentQueue, Qos, Queue, Runtime, WorkEnd, WorkItem};
use std::sync::mpsc::channel;
use std::time::Duration;

fn concurrent(runtime: &Runtime) -> ConcurrentQueue {
    ConcurrentQueue::builder("held").runtime(runtime).build()
}

#[test]
fn though_a_task_is_waited_for() {
    let runtime = runtime(1);
    let serial = runtime.queue("held");
    serial.suspend();
    let mut task = serial.call(|| 7);
    drop(serial);
    assert_eq!(task.wait_timeout(HANG).and_then(Result::ok), Some(7));
    let concurrent = concurrent(&runtime);
    concurrent.suspend();
    let mut tasks = [concurrent.call(|| 8), concurrent.barrier_call(|| 9)];
    drop(concurrent);
    let values = tasks.each_mut().map(|task| task.wait_timeout(HANG).and_then(Result::ok));
    assert_eq!(values, [Some(8), Some(9)]);
}

#[test]
fn though_a_work_item_is_waited_for() {
    let runtime = runtime(1);
    let (serial, boosted, concurrent) = (runtime.queue("held"), runtime.queue("boosted"), concurrent(&runtime));
    serial.suspend();
    boosted.suspend();
    concurrent.suspend();
    let items = [
        WorkItem::new(|| ()).submit(&serial),
        WorkItem::new(|| ()).qos(Qos::UserInteractive).submit(&boosted),
        WorkItem::new(|| ()).submit(&concurrent),
        WorkItem::new(|| ()).barrier().submit(&concurrent),
    ];
    drop((serial, boosted, concurrent));
    assert!(items.iter().all(|item| item.wait_timeout(HANG) == Some(WorkEnd::Ran)));
}

#[test]
fn though_an_inactive_queue_was_never_activated() {
    let runtime = runtime(1);
    let queue = Queue::builder("inactive").runtime(&runtime).inactive().build();
    let mut task = queue.call(|| 7);
    drop(queue);
    assert_eq!(task.wait_timeout(HANG).and_then(Result::ok), Some(7));
}

#[test]
fn though_a_timer_will_submit_to_it() {
    let runtime = runtime(1);
    let queue = runtime.queue("held");
    queue.suspend();
    let timer = queue.submit_after(Duration::from_secs(3600), || ());
    let mut task = queue.call(|| 7);
    drop(queue);
    assert_eq!(task.wait_timeout(HANG).and_then(Result::ok), Some(7));
    assert!(timer.cancel());
    let queue = concurrent(&runtime);
    queue.suspend();
    let timer = queue.submit_after(Duration::from_secs(3600), || ());
    let mut task = queue.call(|| 8);
    drop(queue);
    assert_eq!(task.wait_timeout(HANG).and_then(Result::ok), Some(8));
    assert!(timer.cancel());
}

#[test]
fn though_submitters_know_it() {
    let runtime = runtime(1);
    let (tell, told) = channel();
    let (serial, concurrent) = (runtime.queue("held"), concurrent(&runtime));
    serial.suspend();
    concurrent.suspend();
    let submitters = [serial.submitter(), concurrent.submitter()];
    let submit = |value| {
        for submitter in &submitters {
            let tell = tell.clone();
            submitter.submit(move || _ = tell.send(value));
        }
    };
    submit(1);
    drop((serial, concurrent));
    assert_eq!([told.recv_timeout(HANG), told.recv_timeout(HANG)], [Ok(1), Ok(1)]);
    submit(2);
    assert_eq!([told.recv_timeout(HANG), told.recv_timeout(HANG)], [Ok(2), Ok(2)], "and what comes later");
}

#[test]
fn though_a_queue_targets_it() {
    let runtime = runtime(1);
    let (tell, told) = channel();
    let target = runtime.queue("held");
    let leaf = Queue::builder("leaf").target(&target).build();
    target.suspend();
    target.suspend();
    for value in 0..3 {
        let tell = tell.clone();
        leaf.submit(move || _ = tell.send(value));
    }
    drop(target);
    assert!((0..3).all(|value| told.recv_timeout(HANG) == Ok(value)));
    leaf.submit(move || _ = tell.send(3));
    assert_eq!(told.recv_timeout(HANG), Ok(3), "and what comes later");
    assert_eq!(leaf.sync(|| 4), 4);
}

#[test]
fn though_queues_target_a_concurrent_one() {
    let runtime = runtime(2);
    for inactive in [false, true] {
        let builder = ConcurrentQueue::builder("held").runtime(&runtime);
        let target = if inactive { builder.inactive().build() } else { builder.build() };
        let serial = Queue::builder("serial").target(&target).build();
        let leaf = ConcurrentQueue::builder("leaf").target(&target).build();
        target.suspend();
        target.suspend();
        let mut tasks = [serial.call(|| 1), leaf.call(|| 2), leaf.barrier_call(|| 3)];
        drop(target);
        let values = tasks.each_mut().map(|task| task.wait_timeout(HANG).and_then(Result::ok));
        assert_eq!(values, [Some(1), Some(2), Some(3)]);
        let later = super::within_time(move || [serial.sync(|| 4), leaf.sync(|| 5), leaf.barrier_sync(|| 6)]);
        assert_eq!(later, Some([4, 5, 6]), "and what comes later");
    }
}

#[test]
fn and_not_before_the_last_one() {
    let runtime = runtime(1);
    let queue = runtime.queue("held");
    let leaf = Queue::builder("leaf").target(&queue).build();
    let other = queue.clone();
    queue.suspend();
    let mut tasks = [queue.call(|| 1), leaf.call(|| 2)];
    drop(queue);
    by_a_worker(runtime.queue("beside").call(|| ()));
    assert!(tasks.iter().all(|task| !task.is_done()));
    other.resume().expect("still suspended");
    assert!(tasks.each_mut().map(|task| task.wait_timeout(HANG)).iter().all(Option::is_some));
    assert!(other.resume().is_err());
    drop(other);
    assert_eq!(leaf.sync(|| 3), 3);
}
