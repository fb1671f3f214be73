//! Turns of the main queue: what one takes, its budget, one wake-up per burst, and which call asks
//! for the next turn.

use crate::LONG;
use singletrack_queues::{Budget, MainQueue};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn one_wake_per_burst_and_one_more_after_a_turn_that_found_nothing() {
    let main = MainQueue::new("main");
    let wakes = Arc::new(AtomicU64::new(0));
    let count = wakes.clone();
    main.set_wake(move || {
        count.fetch_add(1, Relaxed);
    });
    let handle = main.handle();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|_| handle.submit(|| ())));
        }
    });
    assert_eq!(wakes.load(Relaxed), 1, "a burst of four thousand");
    assert!(main.drain(Budget::blocks(10)), "more waits");
    handle.submit(|| ());
    assert_eq!(handle.stats().waiting, 3_991);
    assert_eq!(wakes.load(Relaxed), 1, "the loop knows that it has to come back");
    assert!(!main.drain(Budget::ALL));
    handle.submit(|| ());
    assert_eq!((wakes.load(Relaxed), handle.stats().wakes), (2, 2), "the next burst");
}

#[test]
fn a_turn_that_leaves_blocks_wakes_the_loop_itself() {
    let main = MainQueue::new("main");
    let (proxy, events) = mpsc::channel();
    main.set_wake(move || proxy.send(()).unwrap_or_default());
    (0..10).for_each(|_| main.handle().submit(|| ()));
    let mut turns = 0;
    while events.try_recv().is_ok() {
        main.turn(Budget::blocks(3));
        turns += 1;
    }
    assert_eq!((turns, main.handle().stats().ran), (4, 10));
}

#[test]
fn a_handle_takes_turns_for_a_toolkit_that_runs_closures() {
    type Job = Box<dyn FnOnce() + Send>;
    let main = MainQueue::new("main");
    let (invoke, jobs) = mpsc::channel::<Job>();
    let handle = main.handle();
    main.set_wake(move || {
        let handle = handle.clone();
        invoke.send(Box::new(move || _ = handle.turn(Budget::blocks(3)))).unwrap_or_default();
    });
    let kept = main.local(Rc::new(Cell::new(0)));
    (0..10).for_each(|_| kept.submit(|count| count.set(count.get() + 1)));
    let ran: Vec<_> = std::iter::from_fn(|| jobs.try_recv().ok().map(|job| job()))
        .map(|()| kept.with(&main, |count| count.get()))
        .collect();
    assert_eq!(ran, [3, 6, 9, 10]);
    let stats = main.handle().stats();
    assert_eq!((stats.turns, stats.wakes), (4, 4));
    assert!(!main.handle().turn(Budget::ALL));
    assert_eq!(main.handle().stats().turns, 4, "a turn that finds nothing is none");
    // A callback that the toolkit kept for too long does nothing.
    let late = main.handle();
    drop(main);
    assert!(!late.turn(Budget::ALL));
}

#[test]
fn a_turn_on_another_thread_is_refused_with_a_sentence() {
    let main = MainQueue::new("window");
    let handle = main.handle();
    handle.submit(|| ());
    let panicked = thread::spawn(move || handle.turn(Budget::ALL)).join().unwrap_err();
    let sentence = panicked.downcast::<String>().unwrap();
    assert!(sentence.contains("main queue \"window\"") && sentence.contains("another thread"), "{sentence}");
    assert!(!main.drain(Budget::ALL));
    assert_eq!(main.handle().stats().ran, 1, "what was submitted before still runs");
}

#[test]
fn the_longest_turn_is_kept() {
    let main = MainQueue::new("main");
    let begin = Instant::now();
    main.handle().submit(move || {
        // It does not return before the clock has moved on.
        while begin.elapsed() < Duration::from_millis(2) {
            thread::yield_now();
        }
    });
    assert!(!main.drain(Budget::ALL));
    let longest = main.handle().stats().longest_turn;
    assert!(longest > Duration::ZERO && longest <= begin.elapsed(), "{longest:?}");
    main.handle().submit(|| ());
    assert!(!main.drain(Budget::ALL));
    assert!(main.handle().stats().longest_turn >= longest);
}

#[test]
fn a_callback_that_comes_late_is_told_what_waits_already() {
    let main = MainQueue::new("main");
    main.handle().submit(|| ());
    let (proxy, events) = mpsc::channel();
    main.set_wake(move || proxy.send(()).unwrap_or_default());
    assert!(events.try_recv().is_ok());
    assert!(!main.drain(Budget::ALL));
    let (proxy, late) = mpsc::channel();
    main.set_wake(move || proxy.send(()).unwrap_or_default());
    assert!(late.try_recv().is_err(), "nothing waits");
    assert!(matches!(events.try_recv(), Err(mpsc::TryRecvError::Disconnected)), "the old one is dropped");
}

#[test]
fn blocks_that_come_during_a_turn_wait_for_the_next() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    fn again(handle: singletrack_queues::MainHandle) {
        let next = handle.clone();
        handle.submit(move || again(next));
    }
    again(handle.clone());
    for turn in 1..=3 {
        assert!(main.drain(Budget::ALL), "it submitted itself again");
        assert_eq!(handle.stats().ran, turn);
    }
}

#[test]
fn a_budget_of_time_ends_a_turn_between_two_blocks() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    for _ in 0..3 {
        handle.submit(|| {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(2) {
                std::hint::spin_loop();
            }
        });
    }
    assert!(main.drain(Budget::time(Duration::from_millis(1))));
    assert_eq!(handle.stats().ran, 1, "the first used it up");
    assert!(main.drain(Budget::time(Duration::ZERO)), "one block runs, however small the budget");
    assert!(!main.drain(Budget::time(LONG).and_blocks(0)));
    assert_eq!(handle.stats().ran, 3);
}

#[test]
fn a_hundred_thousand_blocks_are_spread_over_many_turns() {
    let main = MainQueue::new("main");
    let counter = main.local(Cell::new(0));
    (0..100_000).for_each(|_| counter.submit(|counter| counter.set(counter.get() + 1)));
    let mut turns = 1;
    while main.drain(Budget::blocks(1_000)) {
        turns += 1;
        assert_eq!(
            counter.with(&main, |counter| counter.get()),
            (turns - 1) * 1_000,
            "no turn runs more than its budget"
        );
    }
    assert_eq!((turns, counter.with(&main, |counter| counter.get())), (100, 100_000));
}

#[test]
fn a_callback_with_a_handle_in_it_goes_with_the_owner() {
    let main = MainQueue::new("main");
    let captured = Arc::new(());
    let (handle, inside) = (main.handle(), captured.clone());
    main.set_wake(move || _ = (&handle, &inside));
    main.handle().submit(|| ());
    assert_eq!(Arc::strong_count(&captured), 2);
    drop(main);
    assert_eq!(Arc::strong_count(&captured), 1, "the callback, which keeps what the handle shares alive, was dropped");
}

#[test]
fn a_handle_takes_no_turn_within_a_block() {
    let main = MainQueue::new("main");
    let (handle, ran) = (main.handle(), Arc::new(AtomicU64::new(0)));
    let (inner, count) = (handle.clone(), ran.clone());
    handle.submit(move || {
        assert!(!inner.turn(Budget::ALL), "an event loop within a block");
        assert_eq!(count.load(Relaxed), 0, "the next block waits until this one is over");
    });
    let count = ran.clone();
    handle.submit(move || _ = count.fetch_add(1, Relaxed));
    assert!(!handle.turn(Budget::ALL));
    assert_eq!((ran.load(Relaxed), handle.stats().panics), (1, 0));
}
