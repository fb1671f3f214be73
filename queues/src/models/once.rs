//! One initializer at a time makes the value, waiting threads continue when it ends, and a failed
//! one lets the next one try. Loom does not see std's cell, which holds the value itself: the
//! models begin behind the fast path, and from there on threads read the value under the lock
//! alone.

use std::panic::Location;
use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{begin, check};
use crate::wait::once::Once;

/// Several threads need the value; the first `failures` initializers fail.
fn needed(threads: usize, failures: usize) {
    let once = Arc::new(Once::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let inside = Arc::new(AtomicUsize::new(0));
    let need = |once: Arc<Once<usize>>, calls: Arc<AtomicUsize>, inside: Arc<AtomicUsize>| {
        move || {
            let initialize = || {
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "two initializers run at once");
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
