//! A parallel loop ends when every call has returned, and no helper touches the caller's stack
//! after that.

use std::ops::Range;
use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::handoff::Waiter;
use crate::base::sync::OwnerCell;
use crate::parallel::apply::Loop;

struct Cells([OwnerCell<u32>; 2]);

// SAFETY: the models check that this is sound.
unsafe impl Sync for Cells {}

/// The caller and its helpers share two chunks; see `on` in `apply`.
fn a_caller_and_helpers(helpers: usize) {
    let cells = Arc::new(Cells([OwnerCell::new(0), OwnerCell::new(0)]));
    let body = |range: Range<usize>| {
        for index in range {
            // SAFETY: each chunk is claimed once.
            unsafe { cells.0[index].set(cells.0[index].get() + 1) };
        }
    };
    let mut left = Waiter::new();
    let shared = Loop::new(2, 1, &body, &left);
    let helpers: Vec<_> = (0..helpers)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || shared.help())
        })
        .collect();
    begin();
    shared.run();
    let waits = shared.close();
    if waits && left.spin().is_none() {
        left.park();
    }
    // The frame of `on` ends here; helpers may still arrive.
    left.take_back();
    for cell in &cells.0 {
        // SAFETY: the loop is over.
        assert_eq!(unsafe { cell.get() }, 1);
    }
    for helper in helpers {
        helper.join().expect("it does not panic");
    }
    assert_eq!(
        left.ended().is_some(),
        waits,
        "a thread ended a wait that has no waiter: in the real code, on a dead frame"
    );
}

#[test]
fn close_against_a_helper() {
    check(4, || a_caller_and_helpers(1));
}

#[test]
fn close_against_two_helpers() {
    check(2, || a_caller_and_helpers(2));
}
