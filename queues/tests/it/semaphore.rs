//! A semaphore lets a fixed number through; each signal lets one more through.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{Group, Semaphore};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn no_more_than_the_count_are_inside() {
    let runtime = runtime(2);
    let (slots, group) = (Semaphore::new(3), Group::new());
    let (inside, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    for i in 0..200 {
        let (slots, inside, most) = (slots.clone(), inside.clone(), most.clone());
        group.submit(&runtime.queue(format!("q{i}")), move || {
            slots.wait();
            most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
            std::thread::yield_now();
            inside.fetch_sub(1, Relaxed);
            slots.signal();
        });
    }
    assert!(group.wait_timeout(LONG));
    assert!(most.load(Relaxed) <= 3);
}

#[test]
fn a_signal_tells_whether_it_woke_somebody() {
    let runtime = runtime(1);
    let semaphore = Semaphore::new(0);
    assert!(!semaphore.signal(), "no thread waits");
    assert!(semaphore.try_wait());
    let waits = semaphore.clone();
    let waiter = runtime.queue("waiter").call(move || waits.wait());
    wait_until("a thread waits", || format!("{semaphore:?}").contains("waiting: 1"));
    assert!(semaphore.signal());
    assert!(waiter.wait().is_ok());
    assert!(!semaphore.try_wait(), "the signal went to the waiting thread");
}

#[test]
fn a_wait_that_times_out_takes_nothing() {
    let semaphore = Semaphore::new(0);
    assert!(!semaphore.wait_timeout(Duration::ZERO));
    assert!(!semaphore.wait_timeout(Duration::from_millis(1)));
    semaphore.signal();
    assert!(semaphore.wait_timeout(LONG));
    assert!(!semaphore.try_wait());
}

#[test]
fn who_comes_later_takes_no_signal_from_one_who_waits() {
    let semaphore = Semaphore::new(0);
    for _ in 0..200 {
        std::thread::scope(|scope| {
            let first = scope.spawn(|| semaphore.wait_timeout(LONG));
            wait_until("a thread waits", || format!("{semaphore:?}").contains("waiting: 1"));
            assert!(semaphore.signal());
            assert!(!semaphore.wait_timeout(Duration::from_micros(1)), "it was the other one's");
            assert!(first.join().expect("no panic"));
        });
    }
}

#[test]
fn signals_serve_in_the_order_of_arrival_and_pass_over_who_gave_up() {
    let (semaphore, served) = (Semaphore::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for who in 0..8 {
            let (semaphore, served) = (&semaphore, &served);
            scope.spawn(move || {
                semaphore.wait();
                served.lock().expect("no panic under it").push(who);
            });
            wait_until("it waits", || format!("{semaphore:?}").contains(&format!("waiting: {}", who + 1)));
            assert!(!semaphore.wait_timeout(Duration::from_micros(1)), "no thread signals");
        }
        for who in 0..8 {
            assert!(semaphore.signal());
            wait_until("the first in the line", || served.lock().expect("no panic under it").len() == who + 1);
        }
    });
    assert!(served.into_inner().expect("no panic under it").into_iter().eq(0..8));
    assert!(!semaphore.try_wait());
}

#[test]
fn workers_that_wait_are_replaced() {
    let runtime = runtime(1);
    let semaphore = Semaphore::new(0);
    let waiters: Vec<_> = (0..4)
        .map(|i| {
            let semaphore = semaphore.clone();
            runtime.queue(format!("w{i}")).call(move || semaphore.wait_timeout(LONG))
        })
        .collect();
    wait_until("all wait at once, on one worker", || format!("{semaphore:?}").contains("waiting: 4"));
    let signals = semaphore.clone();
    let woken = runtime.queue("signals").call(move || (0..4).filter(|_| signals.signal()).count());
    assert_eq!(woken.wait().ok(), Some(4));
    assert!(waiters.into_iter().all(|waiter| waiter.wait().is_ok_and(|came| came)));
}
