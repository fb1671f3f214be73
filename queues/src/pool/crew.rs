//! Which threads the pool has, and who stands in for a blocked one.
//!
//! Threads beyond the workers exist only while blocks are stuck. A stand-in takes over the parker of a stuck thread. A
//! *hand* has no parker: it helps while runnables wait and most threads are blocked, so that many blocking blocks overlap.
//! A relieved thread that comes back, and a hand that finds nothing to do, become spares; a spare that nobody needs for
//! [`SPARE_TIME`] ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Pool;
use super::slot::Slot;
use super::worker;
use crate::catch;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::{Condvar, Mutex, lock, now, wait_timeout};

/// How long a thread waits to be needed again.
const SPARE_TIME: Duration = Duration::from_secs(2);

/// What a thread runs with: a parker, or none (a hand).
pub(super) type Post = Option<usize>;

/// See the module.
pub(super) struct Crew {
    roll: Mutex<Roll>,
    /// Somebody was called, left, or the pool ends. Rare, so one bell for all.
    changed: Condvar,
}

struct Roll {
    vacant: Vec<usize>,
    spares: Vec<usize>,
    /// What spares were called to, by slot.
    called: Vec<Option<Post>>,
    live: usize,
    peak: usize,
    /// Parkers that nobody holds because no thread could be made.
    unattended: Vec<usize>,
}

impl Crew {
    pub(super) fn new(cap: usize) -> Self {
        let roll = Roll {
            vacant: (0..cap).rev().collect(),
            spares: Vec::new(),
            called: vec![None; cap],
            live: 0,
            peak: 0,
            unattended: Vec::new(),
        };
        Self { roll: Mutex::new(roll), changed: Condvar::new() }
    }

    /// The number of threads, and the highest so far.
    pub(super) fn counts(&self) -> (usize, usize) {
        let roll = lock(&self.roll);
        (roll.live, roll.peak)
    }

    /// Is there a spare, or room for one more thread?
    pub(super) fn has_stand_in(&self) -> bool {
        let roll = lock(&self.roll);
        !roll.spares.is_empty() || !roll.vacant.is_empty()
    }

    /// The threads that do not wait as spares.
    pub(super) fn busy(&self) -> usize {
        let roll = lock(&self.roll);
        roll.live - roll.spares.len()
    }

    /// A parker without a thread, which the monitor then polls.
    pub(super) fn unattended(&self) -> Vec<usize> {
        lock(&self.roll).unattended.clone()
    }

    pub(super) fn wake_all(&self) {
        // Under the lock: a spare that has looked at the phase is in its wait.
        let _roll = lock(&self.roll);
        self.changed.notify_all();
    }

    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut roll = lock(&self.roll);
        while roll.live > 0 {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            roll = wait_timeout(&self.changed, roll, left);
        }
        true
    }
}

impl Pool {
    /// Starts a thread.
    pub(super) fn crew_spawn(self: &Arc<Self>, post: Post) -> std::io::Result<()> {
        let slot = {
            let mut roll = lock(&self.crew.roll);
            let Some(slot) = roll.vacant.pop() else {
                return Err(std::io::Error::other("the cap of threads is reached"));
            };
            roll.live += 1;
            roll.peak = roll.peak.max(roll.live);
            slot
        };
        self.publish_used(slot);
        let pool = self.clone();
        let name = format!("{}-{slot}", self.name);
        let started = std::thread::Builder::new()
            .name(name)
            .spawn(move || catch::never_unwinds(|| worker::run(pool, slot, post)));
        if started.is_err() {
            self.crew_left(slot);
        }
        started.map(drop)
    }

    /// A thread has ended, or never began.
    pub(super) fn crew_left(&self, slot: usize) {
        let mut roll = lock(&self.crew.roll);
        roll.live -= 1;
        roll.vacant.push(slot);
        self.crew.changed.notify_all();
    }

    /// Takes the parker of a thread that sits in a block and gives it to a stand-in; `false` if there can be none.
    pub(super) fn relieve(self: &Arc<Self>, slot: &Slot) -> bool {
        if !self.crew.has_stand_in() {
            return false;
        }
        if let Some(parker) = slot.relieve() {
            self.counts.relieved.fetch_add(1, Relaxed);
            self.attend(parker);
        }
        true
    }

    /// Finds a thread for `parker`: a spare, or a new one.
    pub(super) fn attend(self: &Arc<Self>, parker: usize) {
        if let Err(error) = self.call(Some(parker)) {
            log::warn!("no stand-in for a blocked thread of \"{}\": {error}", self.name);
            lock(&self.crew.roll).unattended.push(parker);
        }
    }

    /// Calls so many hands, or fewer if there is no room for more threads.
    pub(super) fn call_hands(self: &Arc<Self>, hands: usize) {
        for _ in 0..hands {
            if !self.crew.has_stand_in() || self.call(None).is_err() {
                return;
            }
        }
    }

    fn call(self: &Arc<Self>, post: Post) -> std::io::Result<()> {
        {
            let mut roll = lock(&self.crew.roll);
            if let Some(spare) = roll.spares.pop() {
                roll.called[spare] = Some(post);
                self.crew.changed.notify_all();
                return Ok(());
            }
        }
        self.crew_spawn(post)
    }

    /// Tries again to find threads for parkers that had none.
    pub(super) fn attend_again(self: &Arc<Self>) {
        if self.crew.has_stand_in() {
            let parker = lock(&self.crew.roll).unattended.pop();
            if let Some(parker) = parker {
                self.attend(parker);
            }
        }
    }

    /// The thread in `slot` has no parker and nothing to do: waits to be needed. `false`: it shall end.
    pub(super) fn crew_stand_back(&self, slot: usize) -> bool {
        let place = &self.slots[slot];
        let until = now() + SPARE_TIME;
        let mut roll = lock(&self.crew.roll);
        if let Some(parker) = roll.unattended.pop() {
            place.run_with(Some(parker));
            return true;
        }
        place.become_spare();
        roll.spares.push(slot);
        if self.is_abandoned() {
            // It may have been the last to rest: somebody who sleeps shall look.
            self.wake_any();
        }
        loop {
            if let Some(post) = roll.called[slot].take() {
                place.run_with(post);
                return true;
            }
            let left = until.saturating_duration_since(now());
            if left.is_zero() || self.is_stopped() {
                roll.spares.retain(|&spare| spare != slot);
                return false;
            }
            roll = wait_timeout(&self.crew.changed, roll, left);
        }
    }
}
