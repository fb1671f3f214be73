//! The content of a source ends once, when nobody can look at it any more, and its memory goes once, after that.

use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::source::counts::Counts;
use crate::sync::OwnerCell;

/// What handles touch: loom sees an end that somebody's look does not happen before.
struct Place {
    counts: Counts,
    content: [OwnerCell<u32>; 2],
    ended: OwnerCell<bool>,
    freed: OwnerCell<u32>,
}

// SAFETY: that this is sound is what the models check.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Arc<Self> {
        let content = std::array::from_fn(|_| OwnerCell::new(0));
        Arc::new(Self { counts: Counts::new(), content, ended: OwnerCell::new(false), freed: OwnerCell::new(0) })
    }

    /// A handle is used by thread number `who`, and dropped.
    fn use_and_drop(&self, who: usize) {
        // SAFETY: each thread has its own word; the end comes after all.
        unsafe { self.content[who].set(1) };
        if self.counts.remove_handle() {
            // SAFETY: no handle is left.
            unsafe {
                assert!(!self.ended.get(), "it ended twice");
                self.ended.set(true);
                self.content.iter().for_each(|word| word.set(2));
            }
            self.forget();
        }
    }

    fn forget(&self) {
        if self.counts.remove_knowing() {
            // SAFETY: nobody is left.
            unsafe {
                assert!(self.ended.get(), "freed before it ended");
                self.freed.set(self.freed.get() + 1);
            }
        }
    }
}

/// The first thread has a handle, the second another one, or knows of it and tries to become one.
fn two(second_knows: bool) {
    let place = Place::new();
    if second_knows {
        place.counts.add_knowing()
    } else {
        place.counts.add_handle()
    }
    let other = place.clone();
    let second = thread::spawn(move || {
        if !second_knows {
            return other.use_and_drop(1);
        }
        if other.counts.become_handle() {
            other.use_and_drop(1);
        }
        other.forget();
    });
    begin();
    place.use_and_drop(0);
    second.join().expect("it does not panic");
    // SAFETY: both are done.
    let (ended, freed) = unsafe { (place.ended.get(), place.freed.get()) };
    assert!(ended, "it never ended");
    assert_eq!(freed, 1, "freed once");
}

#[test]
fn two_handles() {
    check(4, || two(false));
}

#[test]
fn a_handle_and_one_who_knows() {
    check(4, || two(true));
}

#[test]
fn a_handle_and_one_who_knows_bites() {
    bites("counts: a handle does not release", 4, || two(false));
    bites("counts: the last handle does not acquire", 4, || two(false));
    bites("counts: who knew does not release", 4, || two(true));
    bites("counts: the last who knew does not acquire", 4, || two(true));
    bites("counts: an ended source has a handle again", 4, || two(true));
}
