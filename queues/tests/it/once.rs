//! A value that is made once, no matter which thread comes first, and what can go wrong with that.

use crate::{LONG, Latch, runtime};
use singletrack_queues::Once;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[test]
fn many_threads_make_it_once_and_all_get_it() {
    for _ in 0..50 {
        let (once, calls) = (Once::new(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| *once.get_or_init(|| vec![calls.fetch_add(1, Relaxed); 3].len())))
                .collect();
            assert!(all.into_iter().all(|thread| thread.join().expect("no panic") == 3));
        });
        assert_eq!((calls.load(Relaxed), once.get()), (1, Some(&3)));
    }
}

#[test]
fn an_initializer_that_comes_back_is_reported_with_both_places() {
    static SELF: Once<u32> = Once::new();
    let outer = line!() + 1;
    let caught = catch_unwind(|| SELF.get_or_init(|| *SELF.get_or_init(|| 1)));
    let payload = caught.expect_err("it would wait for itself");
    let text = payload.downcast_ref::<String>().expect("a sentence");
    assert_eq!(text.matches(&format!("once.rs:{outer}")).count(), 2, "{text}");
    assert!(text.contains("deadlock") && text.contains("another Once"), "{text}");
    assert_eq!(SELF.get_or_init(|| 2), &2, "the panic was the initializer's: the next one makes it");
}

#[test]
fn a_panic_is_the_first_callers_and_the_next_one_tries_again() {
    let once = Once::new();
    let caught = catch_unwind(AssertUnwindSafe(|| once.get_or_init(|| panic!("sour"))));
    assert_eq!(caught.expect_err("it panicked").downcast_ref::<&str>(), Some(&"sour"));
    assert_eq!(once.get(), None);
    assert_eq!(once.get_or_init(|| 7), &7);
    assert_eq!(once.get_or_init(|| unreachable!()), &7);
}

#[test]
fn who_waits_while_the_initializer_panics_makes_it() {
    let once = Once::new();
    let (inside, go) = (Latch::default(), Latch::default());
    std::thread::scope(|scope| {
        let fails = scope.spawn(|| {
            catch_unwind(AssertUnwindSafe(|| {
                once.get_or_init(|| {
                    inside.open();
                    go.wait();
                    panic!("on purpose")
                })
            }))
            .is_err()
        });
        inside.wait();
        let next = scope.spawn(|| *once.get_or_init(|| 2));
        go.open();
        assert!(fails.join().expect("caught inside"));
        assert_eq!(next.join().expect("no panic"), 2);
    });
}

#[test]
fn a_worker_that_waits_for_it_is_replaced() {
    static SLOW: Once<u32> = Once::new();
    let runtime = runtime(1);
    let (inside, go) = (Latch::default(), Latch::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            SLOW.get_or_init(|| {
                inside.open();
                go.wait();
                5
            })
        });
        inside.wait();
        // The only worker waits for a value that is made when another block of the runtime has run.
        let waits = runtime.queue("waits").call(|| *SLOW.get_or_init(|| 6));
        let opener = go.clone();
        let mut opens = runtime.queue("opens").call(move || opener.open());
        assert!(opens.wait_timeout(LONG).is_some_and(|opened| opened.is_ok()), "no replacement thread ran");
        assert_eq!(waits.wait().ok(), Some(5));
    });
}
