//! A work item's body either runs or is freed, once; a thread that finds the item done also finds
//! that this has happened.

use std::sync::Arc;

use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

use super::{begin, check};
use crate::base::sync::OwnerCell;
use crate::queue::origin::Origin;
use crate::work::work_item::{WorkEnd, WorkItem};

#[derive(Clone)]
struct Cells(Arc<[OwnerCell<u32>; 2]>);

// SAFETY: the models check that this is sound.
unsafe impl Send for Cells {}

impl Cells {
    fn add(&self, which: usize) {
        // SAFETY: the models check it: the caller has the body, or finds the item done.
        unsafe { self.0[which].set(self.0[which].get() + 1) };
    }

    fn get(&self, which: usize) -> u32 {
        // SAFETY: as above.
        unsafe { self.0[which].get() }
    }
}

/// The capture of the body: it counts when it is freed.
struct Capture(Cells);

impl Drop for Capture {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

/// One thread runs the item, one cancels it, and this one waits or asks for a notification.
fn run_cancel(told: bool) {
    let cells = Cells(Arc::new([OwnerCell::new(0), OwnerCell::new(0)]));
    let capture = Capture(cells.clone());
    let (ticket, handle) = WorkItem::new(move || capture.0.add(0)).split(Origin::Unknown);
    let runner = thread::spawn(move || ticket.run());
    let canceller = {
        let handle = handle.clone();
        thread::spawn(move || handle.cancel())
    };
    begin();
    let count = Arc::new(AtomicUsize::new(0));
    if told {
        let (count, cells) = (count.clone(), cells.clone());
        handle.when_done(move || {
            assert_eq!(cells.get(1), 1, "notified before the captures were gone");
            count.fetch_add(1, Relaxed);
        });
    } else {
        let end = handle.wait();
        assert_eq!(cells.get(1), 1, "done before the captures were gone");
        assert_eq!(cells.get(0), u32::from(end == WorkEnd::Ran));
    }
    runner.join().expect("it does not panic");
    let cancelled = canceller.join().expect("it does not panic");
    assert_eq!(cells.get(0), u32::from(!cancelled), "it runs or is cancelled");
    assert_eq!(cells.get(1), 1);
    assert!(handle.is_done());
    assert_eq!(count.load(Relaxed), usize::from(told));
}

#[test]
fn cancel_against_run_against_wait() {
    check(2, || run_cancel(false));
}

#[test]
fn cancel_against_run_against_notify() {
    check(2, || run_cancel(true));
}
