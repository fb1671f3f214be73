//! Who waits for a group goes on when the last member has left, and sees what the members did.

use std::sync::Arc;

use loom::thread;

use super::{begin, bites, check};
use crate::group::Group;
use crate::sync::OwnerCell;

struct Cells([OwnerCell<u32>; 2]);

// SAFETY: that this is sound is what the models check.
unsafe impl Sync for Cells {}

fn members_leave(members: usize) {
    let group = Group::new();
    let cells = Arc::new(Cells([OwnerCell::new(0), OwnerCell::new(0)]));
    for _ in 0..members {
        group.enter();
    }
    let others: Vec<_> = (0..members)
        .map(|which| {
            let (group, cells) = (group.clone(), cells.clone());
            thread::spawn(move || {
                // SAFETY: read after all have left.
                unsafe { cells.0[which].set(1) };
                group.leave().expect("it was entered");
            })
        })
        .collect();
    begin();
    group.wait();
    for cell in &cells.0[..members] {
        // SAFETY: all have left.
        assert_eq!(unsafe { cell.get() }, 1);
    }
    for other in others {
        other.join().expect("it does not panic");
    }
    assert!(group.leave().is_err(), "nobody is left");
}

#[test]
fn wait_against_leave() {
    check(4, || members_leave(1));
}

#[test]
fn wait_against_two_leaves() {
    check(3, || members_leave(2));
}

#[test]
fn wait_against_leave_bites() {
    bites("group: the last one rings no bell", 4, || members_leave(1));
}

#[test]
fn leave_against_leave_bites() {
    bites("group: who leaves does not release", 3, || members_leave(2));
    bites("group: the last one does not acquire", 3, || members_leave(2));
    bites("group: who looks whether it is empty does not acquire", 4, || members_leave(1));
    bites("group: who finds it empty does not acquire", 4, || members_leave(1));
}

/// While the last member leaves, somebody enters and leaves again: one of the two finds the group empty, and tells.
fn enter_and_leave_again() {
    let group = Group::new();
    group.enter();
    let others = [false, true].map(|enters| {
        let group = group.clone();
        thread::spawn(move || {
            if enters {
                group.enter();
            }
            group.leave().expect("it was entered");
        })
    });
    begin();
    group.wait();
    for other in others {
        other.join().expect("it does not panic");
    }
}

#[test]
fn leave_against_enter_and_leave() {
    check(3, enter_and_leave_again);
}

#[test]
fn leave_against_enter_and_leave_bites() {
    bites("group: who saw itself last counts by what it saw", 3, enter_and_leave_again);
}

/// Two blocks are submitted and end, while others hold handles: one is kept for them, and given back.
fn blocks_keep_one_handle() {
    let group = Group::new();
    let others = [(); 2].map(|()| {
        let group = group.clone();
        thread::spawn(move || {
            let block = group.member(None);
            drop(group);
            drop(block);
        })
    });
    begin();
    group.wait();
    for other in others {
        other.join().expect("it does not panic");
    }
    assert_eq!(group.handles(), 1, "of the blocks none is left");
}

#[test]
fn the_first_block_against_the_last() {
    check(3, blocks_keep_one_handle);
}

#[test]
fn the_first_block_against_the_last_bites() {
    bites("group: every block takes a handle", 3, blocks_keep_one_handle);
}

/// A notify that is given while the last member leaves is submitted exactly once: by it, or at once.
fn notify_races() {
    let group = Group::new();
    group.enter();
    let told = Arc::new(loom::sync::atomic::AtomicUsize::new(0));
    let other = {
        let group = group.clone();
        thread::spawn(move || group.leave().expect("it was entered"))
    };
    begin();
    let tell = told.clone();
    group.when_empty(move || {
        tell.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
    });
    other.join().expect("it does not panic");
    assert_eq!(told.load(loom::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn notify_against_leave() {
    check(4, notify_races);
}

#[test]
fn notify_against_leave_bites() {
    bites("group: the last one forgets to tell", 4, notify_races);
}
