//! The lanes whose drainer left because they are suspended: this list alone holds them.
//!
//! Taking a lane out of the list takes its drain right. So a `resume` and a shutdown cannot both
//! get it. A lane that was overtaken may be in the list while its stale entry still stands in a
//! line of the pool. Therefore the list keeps the function that discards the lane: the function in
//! the lane's table is for the entry, and asks the ticket.

use std::collections::HashMap;
use std::ptr::NonNull;

use crate::base::block::{Discard, Node};
use crate::base::sync::{Mutex, lock};

/// See the module.
#[derive(Default)]
pub(crate) struct Suspended(Mutex<HashMap<usize, Discard>>);

impl Suspended {
    /// Puts `lane` in if `hold` agrees, which is asked under the lock.
    pub(crate) fn enter(&self, lane: NonNull<Node>, discard: Discard, hold: impl FnOnce() -> bool) -> bool {
        let mut suspended = lock(&self.0);
        hold() && suspended.insert(lane.as_ptr().expose_provenance(), discard).is_none()
    }

    /// Takes `lane` out; `true` if this call did.
    pub(crate) fn take(&self, lane: NonNull<Node>) -> bool {
        lock(&self.0).remove(&lane.addr().get()).is_some()
    }

    /// Takes every lane out.
    pub(crate) fn take_all(&self) -> Vec<(NonNull<Node>, Discard)> {
        let suspended = std::mem::take(&mut *lock(&self.0));
        let lane = |address| NonNull::new(std::ptr::with_exposed_provenance_mut(address));
        suspended.into_iter().filter_map(|(address, discard)| Some((lane(address)?, discard))).collect()
    }
}
