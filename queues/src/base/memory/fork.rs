//! A process forks while no thread is in a depot, so that the child finds each depot unlocked and
//! intact.
//!
//! Not for: what a fork child may not do (`pool/fork`).

use std::sync::atomic::AtomicBool;

use super::DEPOTS;
use super::depot::{Closed, Depot};
use crate::base::fork::{self, Kept};

static KEPT: Kept<[Closed; DEPOTS.len()]> = Kept::new();

static HOOKED: AtomicBool = AtomicBool::new(false);

pub(super) fn hook() {
    fork::hook(&HOOKED, before, after, after, "a fork child may hang");
}

extern "C" fn before() {
    // SAFETY: before a fork, with the locks of all depots.
    unsafe { KEPT.put(DEPOTS.each_ref().map(Depot::close)) };
}

extern "C" fn after() {
    // SAFETY: after the fork of `before`.
    drop(unsafe { KEPT.take() });
}
