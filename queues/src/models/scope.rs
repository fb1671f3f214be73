//! A scope ends when every forked task that another thread took has ended, and none of them touches
//! the scope's memory after that.
//!
//! In place of the deques, the model decides beforehand which thread takes which task. Tasks that a
//! thread runs itself need no model.

use std::cell::UnsafeCell;
use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::sync::OwnerCell;
use crate::parallel::scope::state::Stolen;

/// Lives longer than the scope, unlike the real one, so that a model sees a touch that comes too
/// late.
struct Place {
    stolen: UnsafeCell<Stolen>,
    /// The cell that each task writes.
    cells: [OwnerCell<u32>; 2],
}

// SAFETY: the models check that this is sound.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

/// `Scope::wait` against `ScopeState::run`, on other threads.
fn tasks_that_were_taken(tasks: usize) {
    let cells = [OwnerCell::new(0), OwnerCell::new(0)];
    let place = Arc::new(Place { stolen: UnsafeCell::new(Stolen::new()), cells });
    let takers: Vec<_> = (0..tasks)
        .map(|task| {
            let place = place.clone();
            thread::spawn(move || {
                // SAFETY: each task has its cell, and the scope waits for it.
                unsafe {
                    place.cells[task].set(1);
                    Stolen::one_ended(place.stolen.get());
                }
            })
        })
        .collect();
    begin();
    // SAFETY: shared with the threads that count.
    unsafe { &*place.stolen.get() }.wait_for(tasks);
    // SAFETY: the scope ends here and has its memory back.
    unsafe { &mut *place.stolen.get() }.take_back();
    for cell in &place.cells[..tasks] {
        // SAFETY: the task of this cell has ended.
        assert_eq!(unsafe { cell.get() }, 1);
    }
    for taker in takers {
        taker.join().expect("it does not panic");
    }
}

#[test]
fn the_wait_against_a_task() {
    check(4, || tasks_that_were_taken(1));
}

#[test]
fn the_wait_against_two_tasks() {
    check(3, || tasks_that_were_taken(2));
}
