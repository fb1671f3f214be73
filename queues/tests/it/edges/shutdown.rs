//! Blocks that a shutdown drops unrun may wait for queues while they are dropped: nothing waits for
//! itself, and the shutdown ends.

use super::within_time;
use crate::{Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Qos, Queue, Report, Runtime, Workloop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Waits for something when it is dropped, and reports the outcome.
struct Waits<F: FnMut()> {
    wait: F,
    tell: Sender<String>,
}

impl<F: FnMut()> Waits<F> {
    fn captured(self) -> impl FnOnce() {
        move || drop(self)
    }
}

impl<F: FnMut()> Drop for Waits<F> {
    fn drop(&mut self) {
        let text = match catch_unwind(AssertUnwindSafe(&mut self.wait)) {
            Ok(()) => "it came through".to_owned(),
            Err(payload) => payload.downcast::<String>().map_or_else(|_| "no sentence".to_owned(), |text| *text),
        };
        let _nobody_listens = self.tell.send(text);
    }
}

fn report_of(runtime: &Runtime) -> Report {
    let runtime = runtime.clone();
    within_time(move || runtime.shutdown(Duration::from_millis(100))).expect("the shutdown ends")
}

#[track_caller]
fn all_told(told: &Receiver<String>, times: usize, parts: &[&str]) {
    for _ in 0..times {
        let text = told.recv_timeout(super::HANG).expect("each guard is dropped");
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} are not all in: {text}");
    }
}

#[test]
fn a_block_dropped_unrun_may_sync_its_own_suspended_queue() {
    let runtime = runtime(2);
    let (tell, told) = channel();
    let queue = runtime.queue("own.serial");
    queue.suspend();
    for _ in 0..2 {
        let own = queue.clone();
        queue.submit(Waits { wait: move || own.sync(|| ()), tell: tell.clone() }.captured());
    }
    // And further up.
    let leaf = Queue::builder("own.leaf").target(&queue).build();
    leaf.suspend();
    let (own, up) = (leaf.clone(), queue.clone());
    leaf.submit(Waits { wait: move || own.sync(|| ()), tell: tell.clone() }.captured());
    leaf.submit(Waits { wait: move || up.sync(|| ()), tell: tell.clone() }.captured());
    let report = report_of(&runtime);
    assert_eq!(report.dropped, 4, "{report}");
    all_told(&told, 4, &["sync", "own.", "shutdown.rs"]);
}

#[test]
fn the_own_queue_is_a_deadlock_that_is_told_as_such() {
    let runtime = runtime(1);
    let (tell, told) = channel();
    let (serial, together) = (runtime.queue("told"), ConcurrentQueue::builder("told").runtime(&runtime).build());
    let (inner, own) = (serial.clone(), together.clone());
    serial.suspend();
    together.suspend();
    serial.submit(Waits { wait: move || inner.sync(|| ()), tell: tell.clone() }.captured());
    together.submit(Waits { wait: move || own.barrier_sync(|| ()), tell }.captured());
    assert_eq!(report_of(&runtime).dropped, 2);
    all_told(&told, 2, &["deadlock", "\"told\"", "shutdown.rs"]);
}

#[test]
fn a_concurrent_queue_a_workloop_and_an_isolated_value_are_no_different() {
    let runtime = runtime(2);
    let (tell, told) = channel();
    let together = ConcurrentQueue::builder("own.concurrent").runtime(&runtime).build();
    together.suspend();
    let (read, write) = (together.clone(), together.clone());
    together.submit(Waits { wait: move || read.sync(|| ()), tell: tell.clone() }.captured());
    let read = together.clone();
    together.submit(Waits { wait: move || write.barrier_sync(|| ()), tell: tell.clone() }.captured());
    let write = together.clone();
    together.barrier(Waits { wait: move || read.sync(|| ()), tell: tell.clone() }.captured());
    together.barrier(Waits { wait: move || write.barrier_sync(|| ()), tell: tell.clone() }.captured());
    let workloop = Workloop::builder("own.workloop").runtime(&runtime).build();
    workloop.suspend();
    for qos in [Qos::Utility, Qos::Default] {
        let own = workloop.clone();
        workloop.submit(qos, Waits { wait: move || own.sync(qos, || ()), tell: tell.clone() }.captured());
    }
    let queue = runtime.queue("own.isolated");
    queue.suspend();
    let own = queue.clone();
    let value = Isolated::new(&queue, Waits { wait: move || own.sync(|| ()), tell: tell.clone() });
    let own = value.clone();
    let captured = Waits { wait: move || own.sync(|_| ()), tell: tell.clone() }.captured();
    value.submit(move |_| captured());
    drop(value);
    let report = report_of(&runtime);
    assert_eq!(report.dropped, 7, "{report}");
    all_told(&told, 8, &["sync", "own.", "shutdown.rs"]);
}

#[test]
fn two_suspended_queues_crosswise_do_not_wait_for_one_another() {
    let runtime = runtime(2);
    let (tell, told) = channel();
    let (one, two) = (runtime.queue("cross.one"), runtime.queue("cross.two"));
    let three = ConcurrentQueue::builder("cross.three").runtime(&runtime).build();
    one.suspend();
    two.suspend();
    three.suspend();
    let others = (two.clone(), three.clone());
    one.submit(Waits { wait: move || others.0.sync(|| others.1.sync(|| ())), tell: tell.clone() }.captured());
    let others = (one.clone(), three.clone());
    two.submit(Waits { wait: move || others.1.barrier_sync(|| others.0.sync(|| ())), tell: tell.clone() }.captured());
    let others = (one.clone(), two.clone());
    three.submit(Waits { wait: move || others.0.sync(|| others.1.sync(|| ())), tell: tell.clone() }.captured());
    let report = report_of(&runtime);
    assert_eq!(report.dropped, 3, "{report}");
    all_told(&told, 3, &["sync", "cross.", "shutdown.rs"]);
}

#[test]
fn what_is_dropped_outside_of_a_queue_does_not_wait_for_one_either() {
    let runtime = runtime(1);
    let (tell, told) = channel();
    let queue = runtime.queue("held");
    queue.suspend();
    queue.submit(|| ());
    let wait = |queue: &Queue| {
        let queue = queue.clone();
        Waits { wait: move || queue.sync(|| ()), tell: tell.clone() }.captured()
    };
    // A timer, and blocks behind a block that still runs at the deadline: one in a queue, and one
    // in none.
    queue.submit_after(Duration::from_secs(3600), wait(&queue));
    let (started, leave) = (Latch::default(), Latch::default());
    let (tell_started, stuck) = (started.clone(), leave.clone());
    let busy = runtime.queue("busy");
    busy.submit(move || {
        tell_started.open();
        stuck.wait();
    });
    started.wait();
    busy.submit(wait(&queue));
    busy.submit(wait(&busy));
    let ended = runtime.clone();
    let opener = std::thread::spawn(move || {
        wait_until("the shutdown to begin", || ended.queue("late").try_submit(|| ()).is_err());
        leave.open();
    });
    let report = within_time(move || runtime.shutdown(Duration::ZERO)).expect("the shutdown ends");
    opener.join().expect("no panic");
    assert!(report.dropped >= 2, "{report}");
    all_told(&told, 1, &["sync", "\"held\"", "shutdown.rs"]);
}
