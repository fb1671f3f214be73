//! The lanes whose drainer left because they are suspended: nobody holds them but this list.
//!
//! Whoever takes a lane out of the list has its drain right. So a `resume` and a shutdown cannot both get it.
//! A lane that was overtaken may be held while its stale entry still stands in a line of the pool. So what drops it is told
//! by the list: the function in its table is for the entry, and asks the ticket.

use std::collections::HashMap;
use std::ptr::NonNull;

use crate::block::{Discard, Node};
use crate::sync::{Mutex, lock};

/// See the module.
pub(crate) struct Held(Mutex<HashMap<usize, Discard>>);

impl Held {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Puts `lane` in if `hold` agrees, which is asked under the lock.
    pub(crate) fn enter(&self, lane: NonNull<Node>, discard: Discard, hold: impl FnOnce() -> bool) -> bool {
        let mut held = lock(&self.0);
        hold() && held.insert(lane.as_ptr().expose_provenance(), discard).is_none()
    }

    /// Takes `lane` out; `true` if this call did.
    pub(crate) fn take(&self, lane: NonNull<Node>) -> bool {
        lock(&self.0).remove(&lane.addr().get()).is_some()
    }

    /// Takes every lane out.
    pub(crate) fn take_all(&self) -> Vec<(NonNull<Node>, Discard)> {
        let held = std::mem::take(&mut *lock(&self.0));
        let lane = |address| NonNull::new(std::ptr::with_exposed_provenance_mut(address));
        held.into_iter().filter_map(|(address, discard)| Some((lane(address)?, discard))).collect()
    }
}
