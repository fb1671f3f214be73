//! The lanes whose drainer left because they are suspended: nobody holds them but this list.
//!
//! Whoever takes a lane out of the list has its drain right. So a `resume` and a shutdown cannot both get it.

use std::collections::HashSet;
use std::ptr::NonNull;

use crate::block::Node;
use crate::sync::{Mutex, lock};

/// See the module.
pub(crate) struct Held(Mutex<HashSet<usize>>);

impl Held {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashSet::new()))
    }

    /// Puts `lane` in if `hold` agrees, which is asked under the lock.
    pub(crate) fn enter(&self, lane: NonNull<Node>, hold: impl FnOnce() -> bool) -> bool {
        let mut held = lock(&self.0);
        hold() && held.insert(lane.as_ptr().expose_provenance())
    }

    /// Takes `lane` out; `true` if this call did.
    pub(crate) fn take(&self, lane: NonNull<Node>) -> bool {
        lock(&self.0).remove(&lane.addr().get())
    }

    /// Takes every lane out.
    pub(crate) fn take_all(&self) -> Vec<NonNull<Node>> {
        let held = std::mem::take(&mut *lock(&self.0));
        held.into_iter().filter_map(|address| NonNull::new(std::ptr::with_exposed_provenance_mut(address))).collect()
    }
}
