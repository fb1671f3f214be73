//! The content of a source ends once, when no thread can access it any more, and its memory is
//! freed once, after that.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::counts::Counts;
use crate::base::sync::OwnerCell;

/// The content that handles touch: loom reports an end that does not happen after every access.
struct Place {
    counts: Counts,
    content: [OwnerCell<u32>; 2],
    ended: OwnerCell<bool>,
    freed: OwnerCell<u32>,
}

// SAFETY: the models check that this is sound.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

impl Place {
    fn new() -> Arc<Self> {
        let content = std::array::from_fn(|_| OwnerCell::new(0));
        Arc::new(Self { counts: Counts::new(), content, ended: OwnerCell::new(false), freed: OwnerCell::new(0) })
    }

    /// Thread number `who` uses a handle and drops it.
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
        if self.counts.remove_weak() {
            // SAFETY: no handle and no weak reference is left.
            unsafe {
                assert!(self.ended.get(), "freed before it ended");
                self.freed.set(self.freed.get() + 1);
            }
        }
    }
}

/// The first thread has a handle; the second has another one, or a weak reference that it tries to
/// upgrade.
fn two(second_knows: bool) {
    let place = Place::new();
    if second_knows {
        place.counts.add_weak()
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
