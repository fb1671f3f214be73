//! The timers of one runtime: what is due is run by whichever worker looks first.
//!
//! No thread of its own and no tick: one sleeping worker, the *keeper*, sleeps until the earliest deadline, or, where others
//! follow closely, until the last of those (a wake-up costs more than what many timers do); busy workers look between two runnables; the monitor looks while a worker sits in one block for long. What fires is a
//! closure that submits; it must be short. One thread fires at a time, so that what is due is submitted in its order; one
//! that does not come back from what it fires loses its turn after a second.
//! Not for: queues (an entry knows what it does), wheels and order (`deadlines`).

mod deadlines;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::sync::{Mutex, lock, now, planted, thread};

use deadlines::Deadlines;
pub(crate) use deadlines::Key;

/// What an entry does when it is due.
pub(crate) enum Fire {
    /// For one entry.
    Once(Box<dyn FnOnce() + Send>),
    /// For one entry after another: none of them allocates.
    Again(Arc<dyn Rings>),
}

/// Something that entries ring, see [`Fire::Again`]. Must be short.
pub(crate) trait Rings: Send + Sync {
    fn ring(&self);
}

impl Fire {
    fn fire(self) {
        match self {
            Self::Once(fire) => fire(),
            Self::Again(bell) => bell.ring(),
        }
    }
}

/// The keeper sleeps no longer than so many nanoseconds past the earliest deadline. Ten microseconds of a processor are what
/// being woken costs, so with many timers this is what bounds their price, and with few it changes nothing.
const GATHER: u64 = 40_000;
const NONE: u64 = u64::MAX;
const NOBODY: usize = 0;
/// How long others leave it to the thread that fires, after its last entry.
const TURN: u64 = 1_000_000_000;
/// How long who would keep the time sleeps at least while another thread fires.
const PAUSE: u64 = 1_000_000;

/// See the module.
pub(crate) struct Timers {
    start: Instant,
    /// The earliest deadline, or [`NONE`]. Written under the lock.
    next: AtomicU64,
    /// One more than the parker of the worker that sleeps until `next`, or [`NOBODY`].
    keeper: AtomicUsize,
    /// Until when one thread alone fires, in nanoseconds; past, or 0: nobody does.
    turn: AtomicU64,
    pending: Mutex<Deadlines<Fire>>,
}

impl Timers {
    pub(crate) fn new() -> Self {
        Self {
            start: now(),
            next: AtomicU64::new(NONE),
            keeper: AtomicUsize::new(NOBODY),
            turn: AtomicU64::new(0),
            pending: Mutex::new(Deadlines::new()),
        }
    }

    fn nanos(&self, at: Instant) -> u64 {
        // 584 years fit; what lies further is never.
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(NONE - 1)
    }

    /// Adds an entry that fires `at` some time (`None`: never), or up to `leeway` later. The second value: it is the earliest
    /// now, and this is the parker of the keeper, who sleeps for too long (`Some(None)`: nobody keeps the time, somebody who
    /// sleeps should).
    pub(crate) fn add_at(&self, at: Option<Instant>, leeway: Duration, fire: Fire) -> (Key, Option<Option<usize>>) {
        let earliest = at.map_or(NONE - 1, |at| self.nanos(at));
        let leeway = u64::try_from(leeway.as_nanos()).unwrap_or(NONE);
        let deadline = deadlines::roundest(earliest, earliest.saturating_add(leeway).min(NONE - 1));
        let mut pending = lock(&self.pending);
        let earlier = pending.next().is_none_or(|next| deadline < next);
        let key = pending.add(deadline, fire);
        if !earlier {
            return (key, None);
        }
        self.next.store(deadline, Release);
        drop(pending);
        // Dekker with `keep`: we store `next`, then look for a keeper; a worker that falls asleep becomes the keeper, then
        // looks at `next`. With a SeqCst fence in between on both sides, at least one sees the other.
        if !planted("timer: add has no fence") {
            fence(SeqCst);
        }
        let keeper = self.keeper.load(Relaxed);
        if keeper == NOBODY && planted("timer: add tells nobody when nobody keeps") {
            return (key, None);
        }
        (key, Some(keeper.checked_sub(1)))
    }

    /// Takes an entry back; its captures are dropped by the caller, outside the lock.
    pub(crate) fn cancel(&self, key: Key) -> Option<Fire> {
        let mut pending = lock(&self.pending);
        let fire = pending.remove(key);
        self.next.store(pending.next().unwrap_or(NONE), Release);
        fire
    }

    /// Fires what is due, unless another thread is at it. Cheap when nothing is: one load; with timers pending, one reading
    /// of the clock.
    #[inline]
    pub(crate) fn fire_due(&self) {
        // Acquire: partner is the Release in `add_at`; a stale value only delays to the next look.
        let next = self.next.load(Acquire);
        if next != NONE {
            self.fire_from(next);
        }
    }

    /// As [`fire_due`](Self::fire_due); the earliest is due at `next`.
    // Not inlined, so that the common case, in which there is none, is one load between two runnables.
    #[inline(never)]
    fn fire_from(&self, next: u64) {
        // What becomes due meanwhile is for the next look: a ticker may be faster than we are.
        let begin = self.nanos(now());
        if begin < next {
            return;
        }
        let mut turn = 0;
        loop {
            let now = self.nanos(now());
            let free = |holder: u64| holder == turn || holder <= now || planted("timer: whoever looks fires");
            // AcqRel: the turn passes like a lock; what was fired before was submitted before.
            let took = self.turn.fetch_update(AcqRel, Relaxed, |holder| free(holder).then_some(now + TURN));
            if took.is_err() {
                return;
            }
            turn = now + TURN;
            // One at a time: firing submits, and must not do so under the lock.
            let mut pending = lock(&self.pending);
            let due = pending.pop_due(begin);
            self.next.store(pending.next().unwrap_or(NONE), Release);
            drop(pending);
            let Some(due) = due else { break };
            due.fire();
        }
        // Release: as above. If it failed the turn was lost to another thread.
        let _ = self.turn.compare_exchange(turn, 0, Release, Relaxed);
    }

    /// Is something due before `at`, or being fired right now?
    pub(crate) fn is_behind(&self, at: Instant) -> bool {
        // Acquire: as in `fire_due`. What was taken out and not fired yet is in somebody's turn.
        self.next.load(Acquire) <= self.nanos(at) || self.turn.load(Acquire) > self.nanos(now())
    }

    /// Fires all that is due now, and returns when that is done, whoever did it.
    pub(crate) fn fire_all_due(&self) {
        let begin = self.nanos(now());
        self.fire_due();
        while self.next.load(Acquire) <= begin || self.turn.load(Acquire) > self.nanos(now()) {
            thread::yield_now();
            self.fire_due();
        }
    }

    /// A worker falls asleep at `parker`: for how long? `Some` if it becomes the keeper and there is a deadline: the earliest,
    /// or the last of those that follow it closely.
    pub(crate) fn keep(&self, parker: usize) -> Option<Duration> {
        // AcqRel: the role passes like a lock.
        self.keeper.compare_exchange(NOBODY, parker + 1, AcqRel, Relaxed).ok()?;
        // See `add_at`.
        if !planted("timer: the keeper has no fence") {
            fence(SeqCst);
        }
        match self.next.load(Relaxed) {
            NONE => None,
            next => {
                let now = self.nanos(now());
                // What is due already is not waited with. What others add or cancel meanwhile is theirs to tell, as above.
                let close = if next > now { lock(&self.pending).last_until(next.saturating_add(GATHER)) } else { None };
                let until = close.unwrap_or(next).max(next);
                let fired_by_another = self.turn.load(Relaxed) > now;
                Some(Duration::from_nanos(until.saturating_sub(now).max(if fired_by_another { PAUSE } else { 0 })))
            }
        }
    }

    /// The worker at `parker` is awake again.
    pub(crate) fn release(&self, parker: usize) {
        if self.keeper.load(Relaxed) == parker + 1 && !planted("timer: the keeper keeps on") {
            self.keeper.store(NOBODY, Release);
        }
    }

    /// Drops everything that has not fired, unfired; how many.
    pub(crate) fn clear(&self) -> u64 {
        let mut pending = lock(&self.pending);
        let dropped = pending.take_all();
        self.next.store(NONE, Release);
        drop(pending);
        let count = dropped.len() as u64;
        for fire in dropped {
            crate::catch::drop_quietly(fire);
        }
        count
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.pending).len()
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    /// The deadline that the keeper sleeps until, of entries so many nanoseconds after an hour from now.
    fn chosen(entries: &[u64]) -> u64 {
        const HOUR: Duration = Duration::from_secs(3600);
        loop {
            let timers = Timers::new();
            for after in entries {
                let at = timers.start + HOUR + Duration::from_nanos(*after);
                timers.add_at(Some(at), Duration::ZERO, Fire::Once(Box::new(|| ())));
            }
            let before = timers.nanos(now());
            let timeout = timers.keep(0).expect("it is the one keeper, and there is a deadline").as_nanos() as u64;
            let after = timers.nanos(now());
            let close = |entry: &&u64| {
                let until = HOUR.as_nanos() as u64 + **entry;
                (before + timeout..=after + timeout).contains(&until)
            };
            // Where more than one fits, this thread lost its processor while it asked.
            if entries.iter().filter(close).count() == 1 {
                return *entries.iter().find(close).expect("one is");
            }
        }
    }

    #[test]
    fn the_keeper_sleeps_until_the_last_of_those_that_are_close_to_the_first() {
        assert_eq!(chosen(&[0]), 0);
        assert_eq!(chosen(&[0, 10_000, GATHER]), GATHER);
        assert_eq!(chosen(&[0, GATHER + 1]), 0);
        assert_eq!(chosen(&[0, 10_000, 1_000_000]), 10_000);
    }
}
