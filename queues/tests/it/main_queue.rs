//! The queue that one thread drains: order, values that come back, values that stay, and its end.
//! Turns: `main_turns`.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{Budget, Gone, Local, MainQueue, SyncError, TaskError};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// Drains until `condition` holds, as a foreign loop would.
#[track_caller]
fn drain_until(main: &MainQueue, what: &str, mut condition: impl FnMut() -> bool) {
    wait_until(what, || {
        let _more = main.drain(Budget::ALL);
        condition()
    });
}

#[test]
fn blocks_run_on_the_thread_that_made_it_in_order() {
    let main = MainQueue::new("main");
    let here = thread::current().id();
    let log = main.local(Rc::new(RefCell::new(Vec::new())));
    thread::scope(|scope| {
        for who in 0..4 {
            let (log, handle) = (log.clone(), main.handle());
            scope.spawn(move || {
                assert!(!handle.is_main_thread());
                for i in 0..1_000 {
                    log.submit(move |log| log.borrow_mut().push((who, i, thread::current().id())));
                }
            });
        }
    });
    main.handle().stop();
    main.run();
    log.with(&main, |log| {
        let log = log.borrow();
        assert_eq!(log.len(), 4_000);
        assert!(log.iter().all(|entry| entry.2 == here));
        for who in 0..4 {
            let of_one: Vec<u32> = log.iter().filter(|entry| entry.0 == who).map(|entry| entry.1).collect();
            assert_eq!(of_one, (0..1_000).collect::<Vec<_>>());
        }
    });
}

#[test]
fn run_ends_at_stop_and_goes_on_when_called_again() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    handle.submit(|| ());
    handle.stop();
    handle.submit(|| ());
    main.run();
    assert_eq!(handle.stats().ran, 1, "what came before the stop, and no more");
    assert!(!main.is_stopped(), "a new stop is needed");
    handle.stop();
    assert!(!main.is_stopped(), "a block waits before it");
    assert!(!main.drain(Budget::ALL));
    assert!(main.is_stopped());
    main.run();
    assert_eq!(handle.stats().ran, 2);
}

#[test]
fn run_sleeps_until_something_comes() {
    let runtime = runtime(1);
    let main = MainQueue::with_runtime("main", &runtime);
    let handle = main.handle();
    let last = handle.clone();
    let _timer = handle.submit_after(Duration::from_millis(5), move || last.stop());
    main.run();
    assert_eq!(handle.stats().ran, 1);
}

#[test]
fn stop_wakes_a_foreign_loop() {
    let main = MainQueue::new("main");
    let (proxy, events) = mpsc::channel();
    main.set_wake(move || proxy.send(()).unwrap_or_default());
    let handle = main.handle();
    thread::spawn(move || handle.stop());
    events.recv_timeout(LONG).expect("the stop wakes it");
    assert!(main.is_stopped());
}

#[test]
fn values_come_back_to_the_caller() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    let asker = thread::spawn(move || {
        let mut borrowed = Vec::new();
        let length = handle.sync(|| {
            borrowed.push(handle.is_main_thread());
            borrowed.len()
        });
        let value = handle.call(|| 42).wait();
        let panic = handle.call(|| -> u32 { panic!("sour") }).wait();
        let carried = thread::scope(|scope| scope.spawn(|| handle.sync(|| panic!("carried"))).join());
        handle.stop();
        (borrowed, length, value.ok(), panic.is_err(), carried.is_err())
    });
    main.run();
    assert_eq!(asker.join().expect("no panic"), (vec![true], 1, Some(42), true, true));
    assert_eq!(main.handle().stats().panics, 0, "each was reported to its waiter");
}

#[test]
fn sync_on_the_main_thread_itself_runs_at_once() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    let (tell, told) = mpsc::channel();
    handle.submit(move || tell.send("block").expect("the test waits"));
    assert!(handle.sync(move || told.try_recv().is_err()), "before what waits");
    let inside = handle.clone();
    let nested = handle.call(move || inside.sync(|| 5));
    assert!(!main.drain(Budget::ALL));
    assert_eq!(nested.wait().ok(), Some(5), "in a block too");
}

#[test]
fn waiting_on_the_main_thread_for_the_main_queue_is_an_error_not_a_hang() {
    let main = MainQueue::new("ui");
    let error = main.handle().call(|| ()).wait().expect_err("no other thread could run it");
    assert!(matches!(&error, TaskError::Deadlock { label, .. } if label == "ui"), "{error}");
}

#[test]
fn sync_gives_up_in_time_and_the_closure_never_runs() {
    let main = MainQueue::new("busy");
    let handle = main.handle();
    let mut ran = false;
    let outcome = thread::scope(|scope| {
        scope.spawn(|| handle.sync_timeout(Duration::from_millis(1), || ran = true)).join().expect("no panic")
    });
    assert!(matches!(outcome, Err(SyncError::Timeout { label, .. }) if label == "busy"));
    assert!(!main.drain(Budget::ALL));
    assert!(!ran);
}

#[test]
fn a_panic_is_counted_and_the_next_block_runs() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    let after = handle.clone();
    handle.submit(|| panic!("in a block"));
    handle.submit(move || after.stop());
    main.run();
    assert_eq!((handle.stats().panics, handle.stats().ran), (1, 2));
}

#[test]
fn a_callback_that_panics_does_not_reach_who_submits() {
    let main = MainQueue::new("main");
    main.set_wake(|| panic!("no event loop"));
    main.handle().submit(|| ());
    assert!(!main.drain(Budget::ALL));
    assert_eq!(main.handle().stats().ran, 1);
}

#[test]
fn after_the_end_blocks_come_back_or_are_dropped_and_counted() {
    let main = MainQueue::new("gone");
    let handle = main.handle();
    let alive = Arc::new(());
    let [waiting, late, returned] = [alive.clone(), alive.clone(), alive.clone()];
    handle.submit(move || drop(waiting));
    let lost = handle.call(|| 1);
    drop(main);
    assert_eq!(Arc::strong_count(&alive), 3, "what waited was dropped");
    assert!(matches!(lost.wait(), Err(TaskError::Dropped { .. })));
    handle.submit(move || drop(late));
    assert_eq!(Arc::strong_count(&alive), 2);
    let back = handle.try_submit(move || drop(returned)).expect_err("it is gone");
    assert_eq!(Arc::strong_count(&alive), 2, "the closure is ours again");
    back.into_inner()();
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(matches!(handle.call(|| 1).wait(), Err(TaskError::Dropped { .. })));
    let elsewhere = handle.clone();
    let sync = thread::spawn(move || elsewhere.sync_timeout(LONG, || ())).join().expect("no panic");
    for outcome in [sync, handle.sync_timeout(LONG, || ())] {
        assert!(matches!(outcome, Err(SyncError::Gone { label, why: Gone::MainQueueDropped }) if label == "gone"));
    }
    let stats = handle.stats();
    assert_eq!((stats.dropped, stats.rejected, stats.waiting), (2, 3, 0));
}

#[test]
fn the_end_lets_a_waiting_sync_go() {
    let main = MainQueue::new("gone");
    let handle = main.handle();
    let waiter = thread::spawn(move || handle.sync(|| ()));
    wait_until("the sync to arrive", || main.handle().stats().waiting == 1);
    drop(main);
    let payload = waiter.join().expect_err("it could not run");
    let text = payload.downcast_ref::<String>().expect("a sentence");
    assert!(text.contains("\"gone\"") && text.contains("main_queue.rs"), "{text}");
}

/// Reports where and when it is dropped.
struct Says(&'static str, Arc<Mutex<Vec<(&'static str, thread::ThreadId)>>>, Rc<()>);

impl Drop for Says {
    fn drop(&mut self) {
        self.1.lock().expect("no panic under it").push((self.0, thread::current().id()));
    }
}

#[test]
fn a_local_is_made_used_and_dropped_on_the_main_thread() {
    let main = MainQueue::new("main");
    let here = thread::current().id();
    let log = Arc::new(Mutex::new(Vec::new()));
    let (handle, said) = (main.handle(), log.clone());
    let maker = thread::spawn(move || {
        let local = handle.local(move || Says("made elsewhere", said, Rc::new(())));
        let last = local.call(|says| Rc::strong_count(&says.2));
        drop(local);
        last
    });
    drain_until(&main, "the block of the local", || maker.is_finished());
    let last = maker.join().expect("no panic");
    drain_until(&main, "the value to be dropped", || log.lock().expect("no panic under it").len() == 1);
    assert_eq!(last.wait().ok(), Some(1));
    assert_eq!(*log.lock().expect("no panic under it"), [("made elsewhere", here)]);
    assert_eq!(main.handle().stats().ran, 2, "letting go counts as no block");
}

#[test]
fn locals_that_are_left_go_with_the_owner_the_oldest_first() {
    let main = MainQueue::new("main");
    let here = thread::current().id();
    let log = Arc::new(Mutex::new(Vec::new()));
    let [old, new] = ["old", "new"].map(|name| main.local(Says(name, log.clone(), Rc::new(()))));
    let outlives = old.clone();
    // A block that holds a handle is dropped with the owner, which must survive that.
    old.submit(move |_| drop(new));
    drop(main);
    assert_eq!(*log.lock().expect("no panic under it"), [("old", here), ("new", here)]);
    thread::spawn(move || drop(outlives)).join().expect("no panic");
    assert_eq!(log.lock().expect("no panic under it").len(), 2);
}

#[test]
fn a_local_whose_making_panicked_says_so() {
    let main = MainQueue::new("main");
    let local: Local<Rc<u32>> = main.handle().local(|| panic!("no widget"));
    let task = local.call(|value| **value);
    assert!(!main.drain(Budget::ALL));
    let error = task.wait().expect_err("there is no value").to_string();
    assert!(error.contains("does not exist"), "{error}");
    assert_eq!(main.handle().stats().panics, 1);
}

#[test]
#[should_panic(expected = "in use further up")]
fn a_local_in_use_is_not_lent_twice() {
    let main = MainQueue::new("main");
    let local = main.local(Rc::new(1));
    let again = local.clone();
    local.with(&main, |_| again.with(&main, |_| ()));
}

#[test]
#[should_panic(expected = "\"a\" was asked for with main queue \"b\"")]
fn a_local_is_asked_for_with_its_own_queue() {
    let (a, b) = (MainQueue::new("a"), MainQueue::new("b"));
    a.local(1).with(&b, |_| ());
}

#[test]
fn two_main_queues_on_a_thread_keep_their_values_apart() {
    let (a, b) = (MainQueue::new("a"), Rc::new(MainQueue::new("b")));
    let (of_a, of_b) = (a.local(Cell::new(1)), b.local(Cell::new(2)));
    let drains_b = a.local(b.clone());
    let inner = of_b.call(|n| n.get());
    let nested = drains_b.call(|b| b.drain(Budget::ALL));
    let outer = of_a.call(|n| n.get());
    assert!(!a.drain(Budget::ALL));
    let values = (inner.wait().ok(), nested.wait().ok(), outer.wait().ok());
    assert_eq!(values, (Some(2), Some(false), Some(1)));
}

#[test]
fn a_loop_within_a_block_runs_no_block() {
    let main = Rc::new(MainQueue::new("main"));
    let nested = main.local(Rc::downgrade(&main));
    let inner = nested.call(|main| {
        let main = main.upgrade().expect("it is draining");
        main.handle().submit(|| ());
        main.drain(Budget::ALL)
    });
    assert!(main.drain(Budget::ALL), "the outer turn tells that more waits");
    assert_eq!(inner.wait().ok(), Some(false));
    assert_eq!(main.handle().stats().ran, 1);
    let run = nested.call(|main| main.upgrade().expect("it is draining").run());
    assert!(!main.drain(Budget::ALL));
    assert!(run.wait().expect_err("it would never return").to_string().contains("run was called in a block"));
}

#[test]
fn a_block_for_later_comes_to_the_main_thread_and_can_be_cancelled() {
    let runtime = runtime(1);
    let main = MainQueue::with_runtime("main", &runtime);
    let counter = main.local(Rc::new(Cell::new(0)));
    let never = counter.submit_after(Duration::from_secs(3600), |counter| counter.set(100));
    let _soon = counter.submit_after(Duration::from_millis(1), |counter| counter.set(counter.get() + 1));
    drain_until(&main, "the timer", || counter.with(&main, |counter| counter.get()) == 1);
    assert!(never.cancel());
    let handle = main.handle();
    let _late = handle.submit_after(Duration::from_millis(1), || ());
    drop(main);
    let stats = || handle.stats();
    wait_until("the timer of a queue that is gone", || stats().rejected + stats().dropped == 1);
}

#[test]
fn handles_of_one_main_queue_are_equal_and_others_are_not() {
    let (one, other) = (MainQueue::new("one"), MainQueue::new("other"));
    assert!(one.handle() == one.handle() && one.handle() != other.handle());
    assert_eq!(std::collections::HashSet::from([one.handle(), one.handle(), other.handle()]).len(), 2);
}
