//! A waiter ends once, with the result in view, and its memory is not touched afterwards.

use loom::thread;

use super::{begin, bites, check};
use crate::handoff::{Ended, Waiter};
use crate::sync::OwnerCell;

struct Shared {
    waiter: *mut Waiter,
    result: OwnerCell<u32>,
}

// SAFETY: that this is sound is what the model checks.
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

#[test]
fn a_parked_waiter_bites() {
    bites("handoff: the end comes before the last touch", 3, || waits_for_an_end(false));
    bites("handoff: parking does not release", 3, || waits_for_an_end(false));
    bites("handoff: the end does not release", 3, || waits_for_an_end(false));
    bites("handoff: the end does not acquire", 3, || waits_for_an_end(false));
    bites("handoff: the last touch orders nothing", 3, || waits_for_an_end(false));
    bites("handoff: the waiter does not acquire", 3, || waits_for_an_end(true));
}
