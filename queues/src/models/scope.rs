//! A scope ends when every piece that others took has ended, and none of them touches the scope's memory after that.
//!
//! For the deques: who takes which piece is decided beforehand. What a thread runs itself needs no model.

use std::cell::UnsafeCell;
use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::scope::family::Elsewhere;
use crate::sync::OwnerCell;

/// Longer than the scope, unlike the real one: so that a model sees a touch that comes too late.
struct Place {
    elsewhere: UnsafeCell<Elsewhere>,
    /// What each piece writes.
    cells: [OwnerCell<u32>; 2],
}

// SAFETY: that this is sound is what the models check.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// `Scope::wait` against `Family::run`, on other threads.
fn pieces_that_were_taken(pieces: usize) {
    let cells = [OwnerCell::new(0), OwnerCell::new(0)];
    let place = Arc::new(Place { elsewhere: UnsafeCell::new(Elsewhere::new()), cells });
    let takers: Vec<_> = (0..pieces)
        .map(|piece| {
            let place = place.clone();
            thread::spawn(move || {
                // SAFETY: each piece has its cell; the scope waits for it.
                unsafe {
                    place.cells[piece].set(1);
                    Elsewhere::one_ended(place.elsewhere.get());
                }
            })
        })
        .collect();
    begin();
    // SAFETY: shared with those who count.
    unsafe { &*place.elsewhere.get() }.wait_for(pieces);
    // SAFETY: the scope ends here, and has its memory back.
    unsafe { &mut *place.elsewhere.get() }.take_back();
    for cell in &place.cells[..pieces] {
        // SAFETY: its piece has ended.
        assert_eq!(unsafe { cell.get() }, 1);
    }
    for taker in takers {
        taker.join().expect("it does not panic");
    }
}

#[test]
fn the_wait_against_a_piece() {
    check(4, || pieces_that_were_taken(1));
}

#[test]
fn the_wait_against_two_pieces() {
    check(3, || pieces_that_were_taken(2));
}

#[test]
fn the_wait_against_pieces_bites() {
    bites("scope: a piece does not release", 3, || pieces_that_were_taken(2));
    bites("scope: who waits does not acquire", 3, || pieces_that_were_taken(2));
    bites("scope: a piece counts in two steps", 3, || pieces_that_were_taken(2));
}
