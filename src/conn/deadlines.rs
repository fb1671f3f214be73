//! The time of each connection's next turn if nothing else brings one: a few bytes for each, and
//! one timer for all.
//!
//! Pure: time is an argument. Not for: the action at a deadline, and the timer itself (`shared`).
//! Rules: a deadline is never early and at most a millisecond late, and a removed one never comes.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// A reading of a clock in one word: nanoseconds since the clock was made, which lasts 584 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    /// `time` on a clock that was made at `start`.
    pub(crate) fn of(time: Instant, start: Instant) -> Moment {
        let since = time.saturating_duration_since(start);
        Moment(NonZeroU64::MIN.saturating_add(nanos(since)))
    }

    /// The moment `time` later.
    pub(crate) fn after(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(nanos(time)))
    }

    /// The time since `earlier`.
    pub(crate) fn since(self, earlier: Moment) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}

/// The bits of an entry that hold the place. The others hold milliseconds, for 34 years. A later
/// deadline never comes.
const PLACE_BITS: u32 = 24;
/// Places from here on do not fit into an entry.
pub(crate) const PLACES: u32 = 1 << PLACE_BITS;
const NEVER: u64 = u64::MAX >> PLACE_BITS;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    entries: BTreeSet<u64>,
}

fn millis(at: Moment) -> u64 {
    at.0.get().div_ceil(1_000_000).min(NEVER)
}

fn entry(at: Moment, place: u32) -> u64 {
    debug_assert!(place < PLACES);
    millis(at) << PLACE_BITS | u64::from(place)
}

impl Deadlines {
    pub(super) fn add(&mut self, at: Moment, place: u32) {
        self.entries.insert(entry(at, place));
    }

    /// Removes an entry, if its time has not come.
    pub(super) fn remove(&mut self, at: Moment, place: u32) {
        self.entries.remove(&entry(at, place));
    }

    /// The time of the earliest entry.
    pub(super) fn next(&self) -> Option<Moment> {
        let millis = self.entries.first()? >> PLACE_BITS;
        NonZeroU64::new(millis * 1_000_000).map(Moment)
    }

    /// The earliest entry, if it is due.
    pub(super) fn pop_due(&mut self, now: Moment) -> Option<u32> {
        let first = *self.entries.first()?;
        if (first >> PLACE_BITS) * 1_000_000 > now.0.get() {
            return None;
        }
        self.entries.remove(&first);
        Some(first as u32 % PLACES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(micros: u64) -> Moment {
        Moment(NonZeroU64::new(micros * 1000).expect("after the beginning"))
    }

    fn due(deadlines: &mut Deadlines, now: Moment) -> Vec<u32> {
        std::iter::from_fn(|| deadlines.pop_due(now)).collect()
    }

    #[test]
    fn what_is_due_comes_in_order_and_never_early() {
        let mut deadlines = Deadlines::default();
        for (at, place) in [(5_001, 7), (3_000, 1), (9_000, 2), (5_001, 3)] {
            deadlines.add(moment(at), place);
        }
        assert_eq!(deadlines.next(), Some(moment(3_000)));
        assert_eq!(due(&mut deadlines, moment(2_999)), []);
        assert_eq!(due(&mut deadlines, moment(5_001)), [1]);
        assert_eq!(deadlines.next(), Some(moment(6_000)));
        assert_eq!(due(&mut deadlines, moment(6_000)), [3, 7]);
        assert_eq!(deadlines.next(), Some(moment(9_000)));
    }

    #[test]
    fn what_was_taken_out_never_comes() {
        let mut deadlines = Deadlines::default();
        deadlines.add(moment(5_001), 7);
        deadlines.add(moment(5_001), 8);
        deadlines.remove(moment(5_001), 7);
        deadlines.remove(moment(4_000), 8);
        assert_eq!(due(&mut deadlines, moment(9_000)), [8]);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn the_last_place_and_the_furthest_deadline_fit() {
        let mut deadlines = Deadlines::default();
        let far = moment(1).after(Duration::MAX);
        deadlines.add(far, PLACES - 1);
        deadlines.add(moment(1), PLACES - 1);
        assert_eq!(due(&mut deadlines, moment(1_000)), [PLACES - 1]);
        assert!(deadlines.next().is_some());
        deadlines.remove(far, PLACES - 1);
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_moment_is_as_far_from_another_as_their_times() {
        let start = Instant::now();
        let (a, b) = (Moment::of(start, start), Moment::of(start + Duration::from_secs(3), start));
        assert_eq!((b.since(a), a.since(b)), (Duration::from_secs(3), Duration::ZERO));
        assert_eq!(a.after(Duration::from_secs(3)), b);
        assert_eq!(size_of::<Option<Moment>>(), 8);
    }
}
