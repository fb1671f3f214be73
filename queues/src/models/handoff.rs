//! A waiter is ended once, it sees the result, and its memory is not touched afterwards.

use loom::thread;

use super::{begin, check};
use crate::base::handoff::{Ended, Waiter};
use crate::base::sync::OwnerCell;

struct Shared {
    waiter: *mut Waiter,
    result: OwnerCell<u32>,
}

// SAFETY: the model checks that this is sound.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

/// One thread waits on "its stack", another writes the result and ends the wait.
fn waits_for_an_end(spins: bool) {
    let waiter = Box::into_raw(Box::new(Waiter::new()));
    let shared = std::sync::Arc::new(Shared { waiter, result: OwnerCell::new(0) });
    let other = {
        let shared = shared.clone();
        thread::spawn(move || {
            // SAFETY: the waiter reads it after the end; this is the one call of `end`.
            unsafe {
                shared.result.set(7);
                Waiter::end(shared.waiter, Ended::Ran);
            }
        })
    };
    begin();
    // SAFETY: freed below, after the other thread has ended.
    unsafe {
        let waiting = &*shared.waiter;
        let spun = if spins { waiting.spin() } else { None };
        assert_eq!(spun.unwrap_or_else(|| waiting.park()), Ended::Ran);
        assert_eq!(shared.result.get(), 7);
        (*shared.waiter).take_back();
        other.join().expect("it does not panic");
        drop(Box::from_raw(shared.waiter));
    }
}

#[test]
fn a_parked_waiter() {
    check(3, || waits_for_an_end(false));
}

#[test]
fn a_spinning_waiter() {
    check(3, || waits_for_an_end(true));
}

/// The other side claims a waiter that leaves when its time is over: either the closure ran, or no
/// thread touched the result.
fn leaves_or_is_claimed() {
    let waiter = Box::into_raw(Box::new(Waiter::new()));
    let shared = std::sync::Arc::new(Shared { waiter, result: OwnerCell::new(0) });
    let other = {
        let shared = shared.clone();
        thread::spawn(move || {
            // SAFETY: once claimed, the waiter stays until the end.
            unsafe {
                if (*shared.waiter).claim() {
                    shared.result.set(7);
                    Waiter::end(shared.waiter, Ended::Ran);
                }
            }
        })
    };
    begin();
    // SAFETY: freed below, after the other thread has ended.
    unsafe {
        let ended = (*shared.waiter).park_within(|| true);
        assert_eq!(shared.result.get(), if ended == Ended::Ran { 7 } else { 0 });
        shared.result.set(9);
        other.join().expect("it does not panic");
        (*shared.waiter).take_back();
        drop(Box::from_raw(shared.waiter));
    }
}

#[test]
fn a_waiter_that_may_leave() {
    check(3, leaves_or_is_claimed);
}
