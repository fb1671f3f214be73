//! Groups: the count, waits, notifies.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{Budget, ConcurrentQueue, Group, MainQueue, Qos, UnbalancedLeave, Workloop};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn a_wait_ends_with_the_last_block_on_any_queue() {
    let runtime = runtime(2);
    let group = Group::new();
    let count = Arc::new(AtomicUsize::new(0));
    for round in 1..=3 {
        for i in 0..1_000 {
            let count = count.clone();
            group.submit(&runtime.queue(format!("q{i}")), move || {
                count.fetch_add(1, Relaxed);
            });
        }
        group.wait();
        assert_eq!(count.load(Relaxed), round * 1_000, "a group can be used again");
    }
}

#[test]
fn a_wait_with_a_timeout_tells_whether_it_is_empty() {
    let runtime = runtime(1);
    let (group, latch) = (Group::new(), Latch::default());
    assert!(group.wait_timeout(Duration::ZERO));
    let wait = latch.clone();
    group.submit(&runtime.queue("slow"), move || wait.wait());
    assert!(!group.wait_timeout(Duration::from_millis(1)));
    latch.open();
    assert!(group.wait_timeout(LONG));
}

#[test]
fn notifies_come_once_each_when_the_last_one_left() {
    let runtime = runtime(2);
    let queue = runtime.queue("notified");
    let (group, count) = (Group::new(), Arc::new(AtomicUsize::new(0)));
    group.enter();
    for _ in 0..10 {
        let count = count.clone();
        group.notify(&queue, move || {
            count.fetch_add(1, Relaxed);
        });
    }
    queue.sync(|| ());
    assert_eq!(count.load(Relaxed), 0);
    group.leave().expect("entered");
    wait_until("ten notifies", || count.load(Relaxed) == 10);
    let now = count.clone();
    group.notify(&queue, move || {
        now.fetch_add(1, Relaxed);
    });
    wait_until("a notify of an empty group", || count.load(Relaxed) == 11);
}

#[test]
fn a_panicking_member_leaves() {
    let runtime = runtime(1);
    let group = Group::new();
    group.submit(&runtime.queue("sour"), || panic!("this is the subject of a test"));
    group.wait();
}

#[test]
fn leaving_too_often_is_an_error_and_changes_nothing() {
    let group = Group::new();
    assert_eq!(group.leave(), Err(UnbalancedLeave));
    group.enter();
    assert!(!group.wait_timeout(Duration::ZERO));
    assert_eq!(group.leave(), Ok(()));
}

#[test]
fn leaves_race_with_waits() {
    let runtime = runtime(2);
    let queues = [runtime.queue("a"), runtime.queue("b")];
    for _ in 0..2_000 {
        let group = Group::new();
        for queue in &queues {
            group.submit(queue, || ());
        }
        group.wait();
    }
}

#[test]
fn blocks_that_belong_to_no_queue_are_members_too() {
    let runtime = runtime(2);
    let (group, count) = (Group::new(), Arc::new(AtomicUsize::new(0)));
    for i in 0..1_000 {
        let count = count.clone();
        let block = move || _ = count.fetch_add(1, Relaxed);
        if i % 2 == 0 { group.spawn(&runtime, block) } else { group.spawn_as(&runtime, Qos::Utility, block) }
    }
    group.wait();
    assert_eq!(count.load(Relaxed), 1_000);
}

#[test]
fn a_leave_takes_nothing_from_a_block() {
    let runtime = runtime(1);
    let (group, latch) = (Group::new(), Latch::default());
    let wait = latch.clone();
    group.spawn(&runtime, move || wait.wait());
    assert_eq!(group.leave(), Err(UnbalancedLeave));
    assert!(!group.wait_timeout(Duration::ZERO));
    group.enter();
    latch.open();
    assert!(!group.wait_timeout(Duration::from_millis(1)), "entered by hand");
    assert_eq!(group.leave(), Ok(()));
    group.wait();
}

#[test]
fn the_blocks_of_a_group_without_handles_still_tell_its_end() {
    let runtime = runtime(2);
    let queue = runtime.queue("notified");
    let told = Arc::new(AtomicUsize::new(0));
    for _ in 0..200 {
        let group = Group::new();
        (0..3).for_each(|_| group.spawn(&runtime, || ()));
        let told = told.clone();
        group.notify(&queue, move || _ = told.fetch_add(1, Relaxed));
    }
    wait_until("all notifies", || told.load(Relaxed) == 200);
}

#[test]
fn members_and_notifies_may_be_on_queues_of_any_kind() {
    let runtime = runtime(2);
    let concurrent = ConcurrentQueue::builder("readers").runtime(&runtime).build();
    let workloop = Workloop::builder("editor").runtime(&runtime).build();
    let main = MainQueue::new("main");
    let (tell, told) = channel();
    let on_concurrent = {
        let (tell, readers) = (tell.clone(), concurrent.clone());
        move || tell.send(("concurrent", readers.is_current())).expect("told is there")
    };
    let on_workloop = {
        let (tell, editor) = (tell.clone(), workloop.clone());
        move || tell.send(("workloop", editor.is_current() && Qos::current() == Qos::Default)).expect("told is there")
    };
    let on_main = {
        let (tell, handle) = (tell.clone(), main.handle());
        move || tell.send(("main", handle.is_main_thread())).expect("told is there")
    };
    let on_workers = move || tell.send(("workers", true)).expect("told is there");
    let heard = || {
        let mut all: Vec<_> = (0..3).map(|_| told.recv_timeout(LONG).expect("three are on their way")).collect();
        all.sort_unstable();
        all
    };
    let all = [("concurrent", true), ("workers", true), ("workloop", true)];
    let group = Group::new();
    group.submit(&concurrent, on_concurrent.clone());
    group.submit(&workloop, on_workloop.clone());
    group.submit(&runtime, on_workers.clone());
    group.wait();
    assert_eq!(heard(), all);
    group.submit(&main.handle(), on_main.clone());
    group.notify(&concurrent, on_concurrent);
    group.notify(&workloop, on_workloop);
    group.notify(&runtime, on_workers);
    group.notify(&main.handle(), on_main);
    assert!(told.try_recv().is_err(), "one on the main queue is left");
    assert!(main.drain(Budget::ALL), "the last member leaves, and a notify waits for the next turn");
    assert_eq!(told.recv_timeout(LONG), Ok(("main", true)));
    assert_eq!(heard(), all);
    assert!(!main.drain(Budget::ALL));
    assert_eq!(told.try_recv(), Ok(("main", true)));
}

#[test]
fn a_notify_that_is_refused_keeps_none_of_the_others_back() {
    struct Sour;
    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("the captures of a refused block panic: this is the subject of a test");
        }
    }
    let (gone, runtime) = (runtime(1), runtime(1));
    gone.shutdown(LONG);
    let (group, sour, (tell, told)) = (Group::new(), Sour, channel());
    group.enter();
    group.notify(&gone, move || drop(sour));
    group.notify(&runtime.queue("told"), move || tell.send(()).expect("told is there"));
    group.leave().expect("entered above");
    assert_eq!(told.recv_timeout(LONG), Ok(()));
}

#[test]
fn members_from_one_place_on_two_queues_are_told_apart() {
    let runtime = runtime(2);
    let (outer, inner, group) = (runtime.queue("apart.outer"), runtime.queue("apart.inner"), Group::new());
    let ran = Arc::new(AtomicUsize::new(0));
    let (own, members, count) = (outer.clone(), group.clone(), ran.clone());
    let wait = outer.call(move || {
        inner.sync(|| {
            for queue in [&own, &inner] {
                let count = count.clone();
                members.submit(queue, move || _ = count.fetch_add(1, Relaxed));
            }
        });
        // The member on the inner queue runs, leaves, and withdraws its own note.
        wait_until("the inner member", || count.load(Relaxed) == 1);
        inner.sync(|| ());
        members.wait();
    });
    let error = wait.wait().expect_err("it would wait for the member on its own queue").to_string();
    assert!(error.contains("deadlock") && error.contains("apart.outer"), "{error}");
    group.wait();
    assert_eq!(ran.load(Relaxed), 2);
}

#[test]
fn a_group_keeps_no_queue_that_a_member_waits_in() {
    let runtime = runtime(1);
    let (serial, workloop) = (runtime.queue("kept.not"), Workloop::builder("kept.not").runtime(&runtime).build());
    let (group, other) = (Group::new(), Group::new());
    let (own, members) = (serial.clone(), group.clone());
    let ended = serial.call(move || {
        members.submit(&own, || ());
        own.suspend();
    });
    drop(serial);
    let (own, members) = (workloop.clone(), other.clone());
    let ended_too = workloop.call(Qos::Default, move || {
        members.submit(&own, || ());
        own.suspend();
    });
    drop(workloop);
    assert!(ended.wait().is_ok() && ended_too.wait().is_ok(), "each goes with its task, the last handle");
    assert!(group.wait_timeout(LONG) && other.wait_timeout(LONG), "its suspender is gone: what it holds runs");
}
