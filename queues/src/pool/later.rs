//! Adds timers to the pool and sees that somebody keeps their time.
//!
//! Not for: what is due and in which order (`timer`), or who fires it (`worker`, `monitor`).

use std::time::{Duration, Instant};

use super::{Pool, STOPPED};
use crate::sync::atomic::Ordering::Relaxed;
use crate::timer::{Fire, Key};

impl Pool {
    /// Adds a timer; see [`Timers::add_at`](crate::timer::Timers::add_at).
    pub(crate) fn add_timer_at(&self, at: Option<Instant>, leeway: Duration, fire: Fire) -> Key {
        let added = self.timers.add_at(at, leeway, fire);
        self.added_timer(added)
    }

    fn added_timer(&self, (key, sleeper): (Key, Option<Option<usize>>)) -> Key {
        // Relaxed: the lock of the timers orders this add with the `clear` of whoever ended the pool.
        if self.phase.load(Relaxed) == STOPPED {
            self.counts.dropped.fetch_add(self.timers.clear(), Relaxed);
        }
        match sleeper {
            Some(Some(keeper)) => self.unpark(keeper),
            // Nobody keeps the time: whoever sleeps shall; whoever runs looks anyway.
            Some(None) => self.wake_any(),
            None => {}
        }
        key
    }
}
