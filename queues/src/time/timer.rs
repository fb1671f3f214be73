//! The timers of one runtime. The worker that looks first runs the entries that are due.
//!
//! The timers have no thread of their own and no tick. One sleeping worker, the *keeper*, sleeps
//! until the earliest deadline. Where other deadlines follow closely, it sleeps until the last of
//! those, because a wake-up costs more than the work of many timers. Busy workers look every few
//! runnables. The monitor looks while a worker is in one long block. An entry that fires is a
//! closure that submits; it must be short. One thread fires at a time, so that the entries are
//! submitted in the order of their deadlines. If it does not come back from an entry, it loses its
//! turn after a second. Not for: queues (an entry knows what it does), wheels and order
//! (`deadlines`).

mod deadlines;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
    fence,
};
use crate::base::sync::{Mutex, lock, now, thread};

use deadlines::Deadlines;
pub(crate) use deadlines::Key;

/// The action of an entry when it is due.
pub(crate) enum Fire {
    /// For one entry.
    Once(Box<dyn FnOnce() + Send>),
    /// For one entry after another, none of which allocates.
    Again(Arc<dyn Rings>),
}

/// A target that entries fire at, see [`Fire::Again`]. Must be short.
pub(crate) trait Rings: Send + Sync {
    fn ring(&self);
}

/// How late an entry may be, so that one wake-up serves several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leeway {
    /// In nanoseconds.
    most: u64,
    /// The entry is one of many that repeat. It may share its next deadline if it does not share
    /// this one.
    repeats: bool,
}

impl Leeway {
    pub(crate) const NONE: Self = Self { most: 0, repeats: false };

    pub(crate) fn new(most: Duration, repeats: bool) -> Self {
        Self { most: u64::try_from(most.as_nanos()).unwrap_or(NONE), repeats }
    }

    #[inline(never)]
    fn choose(self, earliest: u64, pending: &Deadlines<Fire>) -> u64 {
        pending.share(earliest, earliest.saturating_add(self.most).min(NONE - 1), self.repeats)
    }
}

impl Fire {
    fn fire(self) {
        match self {
            Self::Once(fire) => fire(),
            Self::Again(bell) => bell.ring(),
        }
    }
}

/// The keeper sleeps at most this many nanoseconds past the earliest deadline. A wake-up costs ten
/// microseconds of a core. So this limit bounds the price of many timers, and changes nothing for
/// few.
const GATHER: u64 = 40_000;
const NONE: u64 = u64::MAX;
const NOBODY: usize = 0;
/// How long other threads leave firing to the thread that fires, after its last entry.
const TURN: u64 = 1_000_000_000;
/// The minimum sleep of a would-be keeper while another thread fires.
const PAUSE: u64 = GATHER;

/// See the module.
pub(crate) struct Timers {
    start: Instant,
    /// The earliest deadline, or [`NONE`]. Written under the lock.
    next: AtomicU64,
    /// One more than the parker of the worker that sleeps until `next`, or [`NOBODY`].
    keeper: AtomicUsize,
    /// The end of the turn of the one thread that fires, in nanoseconds. If it is past, or 0, no
    /// thread fires.
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
        // 584 years fit. A later time never comes.
        u64::try_from(at.saturating_duration_since(self.start).as_nanos()).unwrap_or(NONE - 1)
    }

    /// Adds an entry that fires at the time `at` (`None`: never), or up to `leeway` later if it
    /// then shares a deadline. The second value is `Some` if the entry is the earliest now. It
    /// holds the parker of the keeper, which sleeps for too long, or `None` if there is no keeper
    /// and a sleeper must take the role.
    pub(crate) fn add_at(&self, at: Option<Instant>, leeway: Leeway, fire: Fire) -> (Key, Option<Option<usize>>) {
        let earliest = at.map_or(NONE - 1, |at| self.nanos(at));
        let mut pending = lock(&self.pending);
        let deadline = if leeway.most == 0 { earliest } else { leeway.choose(earliest, &pending) };
        let earlier = pending.next().is_none_or(|next| deadline < next);
        let key = pending.add(deadline, fire);
        if !earlier {
            return (key, None);
        }
        self.next.store(deadline, Release);
        drop(pending);
        // Dekker with `keep`: this thread stores `next`, then looks for a keeper. A worker that
        // falls asleep becomes the keeper, then looks at `next`. With a SeqCst fence in between on
        // both sides, at least one sees the other.
        fence(SeqCst);
        let keeper = self.keeper.load(Relaxed);
        (key, Some(keeper.checked_sub(1)))
    }

    /// Takes an entry back. The caller drops its captures, outside the lock.
    pub(crate) fn cancel(&self, key: Key) -> Option<Fire> {
        let mut pending = lock(&self.pending);
        let fire = pending.remove(key);
        self.next.store(pending.next().unwrap_or(NONE), Release);
        fire
    }

    /// Fires the entries that are due, unless another thread does. Cheap when none is: one load,
    /// and with timers pending, one reading of the clock.
    #[inline]
    pub(crate) fn fire_due(&self) {
        // Acquire: partner is the Release in `add_at`. A stale value only delays the entry to the
        // next look.
        let next = self.next.load(Acquire);
        if next != NONE {
            self.fire_from(next);
        }
    }

    /// As [`fire_due`](Self::fire_due). The earliest entry is due at `next`.
    // Not inlined, so that the common case of no entry is one load.
    #[inline(never)]
    fn fire_from(&self, next: u64) {
        // Entries that become due meanwhile are left to the next look: a ticker may be faster than
        // this loop.
        let begin = self.nanos(now());
        if begin < next {
            return;
        }
        let mut turn = 0;
        loop {
            let now = self.nanos(now());
            let free = |holder: u64| holder == turn || holder <= now;
            // AcqRel: the turn passes like a lock. Whatever was fired before was submitted before.
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
        // Release: as above. If this fails, another thread has taken the turn.
        let _ = self.turn.compare_exchange(turn, 0, Release, Relaxed);
    }

    /// Is an entry due before `at`, or being fired right now?
    pub(crate) fn is_behind(&self, at: Instant) -> bool {
        // Acquire: as in `fire_due`. An entry that was taken out and not fired yet belongs to the
        // turn of a thread.
        self.next.load(Acquire) <= self.nanos(at) || self.turn.load(Acquire) > self.nanos(now())
    }

    /// Fires all entries that are due now, and returns when they have fired, on whatever thread.
    pub(crate) fn fire_all_due(&self) {
        let begin = self.nanos(now());
        self.fire_due();
        while self.next.load(Acquire) <= begin || self.turn.load(Acquire) > self.nanos(now()) {
            thread::yield_now();
            self.fire_due();
        }
    }

    /// A worker falls asleep at `parker`. Returns how long it should sleep. `Some` if it becomes
    /// the keeper and there is a deadline: until the earliest, or until the last of those that
    /// follow it closely.
    pub(crate) fn keep(&self, parker: usize) -> Option<Duration> {
        // AcqRel: the role passes like a lock.
        self.keeper.compare_exchange(NOBODY, parker + 1, AcqRel, Relaxed).ok()?;
        // See `add_at`.
        fence(SeqCst);
        match self.next.load(Relaxed) {
            NONE => None,
            next => {
                let now = self.nanos(now());
                // An entry that is due already is not delayed. If another thread adds or cancels an
                // entry meanwhile, that thread notifies the keeper, as above.
                let close = if next > now { lock(&self.pending).last_until(next.saturating_add(GATHER)) } else { None };
                let until = close.unwrap_or(next).max(next);
                let fired_by_another = self.turn.load(Relaxed) > now;
                Some(Duration::from_nanos(until.saturating_sub(now).max(if fired_by_another { PAUSE } else { 0 })))
            }
        }
    }

    /// The worker at `parker` is awake again.
    pub(crate) fn release(&self, parker: usize) {
        if self.keeper.load(Relaxed) == parker + 1 {
            self.keeper.store(NOBODY, Release);
        }
    }

    /// Drops every entry that has not fired, and returns how many.
    pub(crate) fn clear(&self) -> u64 {
        let mut pending = lock(&self.pending);
        let dropped = pending.take_all();
        self.next.store(NONE, Release);
        drop(pending);
        let count = dropped.len() as u64;
        for fire in dropped {
            crate::base::catch::drop_quietly(fire);
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

    /// The deadline that the keeper sleeps until. The entries are this many nanoseconds after an
    /// hour from now.
    fn chosen(entries: &[u64]) -> u64 {
        const HOUR: Duration = Duration::from_secs(3600);
        loop {
            let timers = Timers::new();
            for after in entries {
                let at = timers.start + HOUR + Duration::from_nanos(*after);
                timers.add_at(Some(at), Leeway::NONE, Fire::Once(Box::new(|| ())));
            }
            let before = timers.nanos(now());
            let timeout = timers.keep(0).expect("it is the one keeper, and there is a deadline").as_nanos() as u64;
            let after = timers.nanos(now());
            let close = |entry: &&u64| {
                let until = HOUR.as_nanos() as u64 + **entry;
                (before + timeout..=after + timeout).contains(&until)
            };
            // If more than one fits, this thread lost its core while it asked.
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
