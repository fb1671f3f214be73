//! A thread that waits for a group continues when the last member has left, and sees what the
//! members did.

use std::sync::Arc;

use loom::thread;

use super::{begin, check};
use crate::base::sync::OwnerCell;
use crate::work::group::Group;

struct Cells([OwnerCell<u32>; 2]);

// SAFETY: the models check that this is sound.
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
                // SAFETY: the waiter reads it after all members have left.
                unsafe { cells.0[which].set(1) };
                group.leave().expect("it was entered");
            })
        })
        .collect();
    begin();
    group.wait();
    for cell in &cells.0[..members] {
        // SAFETY: all members have left.
        assert_eq!(unsafe { cell.get() }, 1);
    }
    for other in others {
        other.join().expect("it does not panic");
    }
    assert!(group.leave().is_err(), "no member is left");
}

#[test]
fn wait_against_leave() {
    check(4, || members_leave(1));
}

#[test]
fn wait_against_two_leaves() {
    check(3, || members_leave(2));
}

/// While the last member leaves, another thread enters and leaves again: one of the two finds the
/// group empty and reports it.
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

/// Two blocks are submitted and end while other threads hold handles: one handle is kept for the
/// blocks and given back.
fn blocks_keep_one_handle() {
    let group = Group::new();
    let others = [(); 2].map(|()| {
        let group = group.clone();
        thread::spawn(move || {
            let block = group.block(None);
            drop(group);
            drop(block);
        })
    });
    begin();
    group.wait();
    for other in others {
        other.join().expect("it does not panic");
    }
    assert_eq!(group.handles(), 1, "no handle of the blocks is left");
}

#[test]
fn the_first_block_against_the_last() {
    check(3, blocks_keep_one_handle);
}

/// A notify that is registered while the last member leaves is submitted exactly once: by that
/// member, or at once.
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
