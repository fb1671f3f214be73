//! One initializer at a time makes the value, whoever waits goes on when it ended, and a failed one lets the next try.
//! std's cell, which holds the value itself, loom does not see: the models begin behind the fast path, and from there on the
//! value is looked at under the lock alone.

use std::panic::Location;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{begin, bites, check};
use crate::once::Once;

/// Threads that need the value; the first so many initializers fail.
fn needed(threads: usize, failures: usize) {
    let once = Arc::new(Once::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let inside = Arc::new(AtomicUsize::new(0));
    let need = |once: Arc<Once<usize>>, calls: Arc<AtomicUsize>, inside: Arc<AtomicUsize>| {
        move || {
            let initialize = || {
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "two make it at once");
                let call = calls.fetch_add(1, Relaxed);
                inside.fetch_sub(1, Relaxed);
                if call < failures { Err(call) } else { Ok(call) }
            };
            match once.make(initialize, Location::caller()) {
                Ok(value) => assert_eq!(*value, failures, "the first that does not fail"),
                Err(call) => assert!(call < failures),
            }
        }
    };
    let others: Vec<_> =
        (1..threads).map(|_| thread::spawn(need(once.clone(), calls.clone(), inside.clone()))).collect();
    begin();
    need(once.clone(), calls.clone(), inside.clone())();
    for other in others {
        other.join().expect("it does not panic");
    }
    assert_eq!(calls.load(Relaxed), threads.min(failures + 1), "once, and once more for each failure");
}

#[test]
fn two_need_it() {
    check(4, || needed(2, 0));
}

#[test]
fn two_need_it_and_the_first_fails() {
    check(4, || needed(2, 1));
}

#[test]
fn three_need_it() {
    check(2, || needed(3, 0));
}

#[test]
fn two_need_it_bites() {
    bites("once: the end rings no bell", 4, || needed(2, 0));
    bites("once: who waits does not look again", 4, || needed(2, 0));
    bites("once: a failed initializer stays the maker", 4, || needed(2, 1));
}
