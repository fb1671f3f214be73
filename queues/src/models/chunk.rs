//! A chunk is freed once, after the last use of every part of it.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::block::chunk::Left;
use crate::base::sync::OwnerCell;

struct Place {
    left: Left,
    /// Two blocks of 16 bytes; the thread that runs a block uses it.
    blocks: [OwnerCell<u8>; 2],
    /// Guarded like the memory itself: only the last user touches it.
    freed: OwnerCell<u8>,
}

// SAFETY: the model checks that this is sound.
unsafe impl Sync for Place {}

impl Place {
    fn run(&self, block: usize) {
        // SAFETY: one thread runs a block, which loom checks.
        unsafe { self.blocks[block].set(self.blocks[block].get() + 1) };
        self.free_if(self.left.give_back(16));
    }

    fn free_if(&self, last: bool) {
        if last {
            // SAFETY: no thread uses it any more, which loom checks.
            unsafe {
                self.blocks.iter().for_each(|block| block.set(0));
                self.freed.set(self.freed.get() + 1);
            }
        }
    }
}

fn two_drainers_and_the_thread_that_took() {
    let place =
        Arc::new(Place { left: Left::new(), blocks: [OwnerCell::new(0), OwnerCell::new(0)], freed: OwnerCell::new(0) });
    let drainers: Vec<_> = (0..2)
        .map(|block| {
            let place = place.clone();
            thread::spawn(move || place.run(block))
        })
        .collect();
    begin();
    place.free_if(place.left.retire(32));
    for drainer in drainers {
        drainer.join().expect("it does not panic");
    }
    // SAFETY: the threads were joined.
    assert_eq!(unsafe { place.freed.get() }, 1, "freed once");
}

#[test]
fn blocks_against_the_end_of_their_chunk() {
    check(3, two_drainers_and_the_thread_that_took);
}
