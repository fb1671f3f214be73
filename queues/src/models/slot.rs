//! A parker has one holder: its worker, or whoever relieved that.

use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::pool::slot::Slot;
use crate::sync::OwnerCell;

struct Place {
    slot: Slot,
    /// What only the holder of the parker may touch.
    parker: OwnerCell<u32>,
}

// SAFETY: that this is sound is what the model checks.
unsafe impl Sync for Place {}

impl Place {
    fn wait_at_the_parker(&self) {
        // SAFETY: it is ours.
        unsafe { self.parker.set(self.parker.get() + 1) };
    }
}

/// A worker goes to sleep and wakes, again and again, while the monitor takes it to be stuck.
fn a_worker_is_relieved() {
    let place = Arc::new(Place { slot: Slot::new(0), parker: OwnerCell::new(0) });
    let worker = {
        let place = place.clone();
        thread::spawn(move || {
            place.slot.run_with(Some(5));
            for _ in 0..2 {
                // `Worker::sleep`
                let Some(parker) = place.slot.park() else { return 1 };
                assert_eq!(parker, 5);
                place.wait_at_the_parker();
                place.slot.run_with(Some(parker));
            }
            0
        })
    };
    begin();
    let relieved = place.slot.relieve().inspect(|&parker| {
        assert_eq!(parker, 5);
        // The stand-in.
        place.wait_at_the_parker();
    });
    let stood_back = worker.join().expect("it does not panic");
    assert!(stood_back == 0 || relieved.is_some());
}

#[test]
fn relieve_against_park() {
    check(4, a_worker_is_relieved);
}

#[test]
fn relieve_against_park_bites() {
    bites("slot: relieving does not acquire", 4, a_worker_is_relieved);
    bites("slot: a sleeper is relieved", 4, a_worker_is_relieved);
}
