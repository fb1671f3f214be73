//! Suspension, for queues of either kind.
//!
//! A suspended queue has no drainer: the drainer that meets the suspension leaves, and puts the
//! queue into the pool's list. The `resume` that takes the queue out of the list again has its
//! drain right. When the last handle is dropped, nobody can resume the queue any more, so it goes
//! on in spite of the suspension. Not for: the word itself (`base/state`).

use std::ptr;

use super::error::NotSuspended;
use super::level::Level;
use crate::base::report;
use crate::base::state::{Cleared, Resumed};
use crate::pool::Place;

impl dyn Level {
    pub(crate) fn suspend(&self) {
        self.shut();
        if !self.head().state.suspend() {
            self.open(1);
            panic!("queue {:?} is suspended too often: somebody forgets to resume", self.label());
        }
    }

    pub(crate) fn resume(&self) -> Result<(), NotSuspended> {
        if self.goes_on(self.head().state.resume()) { Ok(()) } else { Err(NotSuspended::queue(self.label())) }
    }

    pub(crate) fn activate(&self) {
        self.goes_on(self.head().state.activate());
    }

    fn goes_on(&self, how: Resumed) -> bool {
        if how == Resumed::NotSuspended {
            return false;
        }
        self.open(1);
        if how == Resumed::Schedule {
            self.send_held();
        }
        true
    }

    /// A drainer left the queue while it was held. The queue goes on. `false`: a shutdown has taken
    /// the queue out of the list, and with it the drain right.
    fn send_held(&self) -> bool {
        let taken = self.pool().suspended.take(ptr::NonNull::from(self.head()).cast());
        if taken {
            self.send(Place::Back);
        }
        taken
    }

    /// Nobody can resume or activate the queue any more. It runs what it holds, if it is `busy`.
    pub(super) fn let_go(&self, busy: bool) {
        let before = self.head().state.clear();
        self.open(before.suspensions + u32::from(before.inactive));
        // A shutdown may have dropped the queue's blocks.
        let runs = if before.drainer_left {
            self.send_held()
        } else {
            busy && (before.suspensions > 0 || before.inactive) && !self.pool().is_halted()
        };
        if runs {
            self.warn_abandoned(before);
        }
    }

    fn warn_abandoned(&self, before: Cleared) {
        let why = if before.inactive { "before it was activated" } else { "while suspended" };
        report::warn(format_args!("queue {:?} lost its last handle {why}; what it holds runs now", self.label()));
    }
}
