//! A timed `sync` either runs or is withdrawn, and its closure, on the stack of the thread that waits, is never in two
//! hands.

use std::panic::Location;
use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::queue::timed::{Claim, Timed};
use crate::sync::{OwnerCell, now};
use crate::time::When;

struct Cells {
    closure: OwnerCell<u32>,
}

// SAFETY: that this is sound is what the model checks.
unsafe impl Sync for Cells {}

/// The deadline has passed when the drainer, or a shutdown, comes to it.
fn a_deadline_passes(drops: bool) {
    let cells = Arc::new(Cells { closure: OwnerCell::new(0) });
    let site = Location::caller();
    let mut body = {
        let cells = cells.clone();
        // SAFETY: claimed.
        move || unsafe { cells.closure.set(cells.closure.get() + 1) }
    };
    let timed = Arc::new(Timed::new(site, &mut body));
    let mail = Arc::new(std::sync::Mutex::new(Some(timed.clone())));
    let drainer = thread::spawn(move || {
        let node = Timed::into_node(mail.lock().expect("no panic under it").take().expect("put there above"));
        // SAFETY: run and finished once, or discarded.
        unsafe {
            let vtable = node.as_ref().vtable;
            if drops {
                (vtable.discard)(node);
            } else {
                assert!((vtable.run)(node).is_none());
                (vtable.finish)(node);
            }
        }
    });
    begin();
    let claim = timed.push_and_wait(When::from(now()), || ());
    // SAFETY: whatever the outcome, it is ours again.
    let runs = unsafe { cells.closure.get() };
    assert_eq!(runs, u32::from(claim == Claim::Ran));
    // SAFETY: as above: the frame ends.
    unsafe { cells.closure.set(9) };
    drainer.join().expect("it does not panic");
}

#[test]
fn withdraw_against_run() {
    check(4, || a_deadline_passes(false));
}

#[test]
fn withdraw_against_discard() {
    check(4, || a_deadline_passes(true));
}

#[test]
fn withdraw_against_run_bites() {
    bites("timed: a claim is not asked for", 4, || a_deadline_passes(false));
}
