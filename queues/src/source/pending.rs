//! The words of a source: what was merged and not handled yet, and whether it is suspended.
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | 0 | nothing waits, the source is in no queue | a merge: it gets the node, and queues it |
//! | value | the source is in its queue, or about to be, or held | merges change it; the handler's run takes it |
//! | any + `CANCELLED` | no run begins any more | nobody takes `CANCELLED` back |
//!
//! Every move is one read-modify-write, so each merge is taken by exactly one run, and no two merges get the node. What
//! was replaced is kept as one more than itself, so that zero is a value too.
//!
//! Suspending is the other word, the [`State`] of a queue with the same moves: a run that meets a suspension leaves what
//! was merged where it is, so that no merge gets the node, and the last resume queues it again.

use crate::state::{Resumed, State};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{order_unless, planted};

/// The top bit of the word, so signals have 63.
const CANCELLED: u64 = 1 << 63;

/// The largest value that all ways to merge can carry.
pub(super) const MAX: u64 = CANCELLED - 2;

/// How a [`Source`](super::Source) puts together what is signalled between two runs of its handler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Merge {
    /// By "or": flags. The lower 63 bits count, and merging 0 is nothing.
    #[default]
    Or,
    /// By adding: the sum is exact up to [`Source::MAX`](super::Source::MAX), where it stays. Merging 0 is nothing.
    Add,
    /// The last value wins, up to [`Source::MAX`](super::Source::MAX); merging more panics. Zero is a value like any other:
    /// the handler gets it. (In Grand Central Dispatch it erases what waits, and the handler does not run.)
    Replace,
}

/// What a run of the source has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Hand this to the handler.
    Run(u64),
    /// Go away: the last resume queues the source again.
    Held,
    /// Go away for good.
    Cancelled,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Pending {
    word: AtomicU64,
    merge: Merge,
    state: State,
}

impl Pending {
    pub(crate) fn new(merge: Merge) -> Self {
        Self { word: AtomicU64::new(0), merge, state: State::new() }
    }

    /// Merges `value`. `true`: nothing waited, the caller must queue the source.
    #[inline]
    #[track_caller]
    pub(crate) fn add(&self, value: u64) -> bool {
        if self.merge != Merge::Or {
            return self.add_value(value);
        }
        let bits = value & !CANCELLED;
        // AcqRel: the run that takes these bits sees what happened before; partner: the AcqRel in `begin`.
        bits != 0 && self.word.fetch_or(bits, order_unless("source: a merge does not release", AcqRel)) == 0
    }

    #[track_caller]
    fn add_value(&self, value: u64) -> bool {
        assert!(
            self.merge != Merge::Replace || value <= MAX,
            "merge({value}) on a source that replaces, which carries at most Source::MAX, 2^63 - 2: merge a smaller number, \
             or keep the value on an Isolated and merge a sign that it changed"
        );
        let step = |word: u64| match self.merge {
            _ if word & CANCELLED != 0 => None,
            Merge::Replace => Some(value + 1),
            // A sum of zero would be in no queue and yet have been merged.
            _ if value == 0 => None,
            _ => Some(word.saturating_add(value).min(MAX)),
        };
        if planted("source: a value is merged in two steps") {
            let word = self.word.load(Acquire);
            return step(word).inspect(|&new| self.word.store(new, Release)).is_some() && word == 0;
        }
        // AcqRel: as in `add`.
        self.word.fetch_update(order_unless("source: a value does not release", AcqRel), Relaxed, step) == Ok(0)
    }

    /// A run begins: takes what was merged, unless the source is suspended or cancelled.
    #[inline]
    pub(crate) fn begin(&self) -> Begin {
        if !self.state.is_clear() && self.hold() {
            return Begin::Held;
        }
        if planted("source: a run takes its bits in two steps") {
            let bits = self.word.load(Acquire);
            self.word.store(bits & CANCELLED, Release);
            return if bits & CANCELLED == 0 { Begin::Run(bits) } else { Begin::Cancelled };
        }
        // AcqRel: see `add`.
        let word = self.word.fetch_and(CANCELLED, order_unless("source: a run does not acquire", AcqRel));
        match self.merge {
            _ if word & CANCELLED != 0 => Begin::Cancelled,
            Merge::Replace => Begin::Run(word.saturating_sub(1)),
            Merge::Or | Merge::Add => Begin::Run(word),
        }
    }

    #[cold]
    fn hold(&self) -> bool {
        if planted("source: a held run takes its bits") {
            self.word.fetch_and(CANCELLED, AcqRel);
        }
        self.state.hold()
    }

    /// One more suspension; false if the count is full.
    pub(crate) fn suspend(&self) -> bool {
        self.state.suspend()
    }

    /// One suspension less. [`Resumed::Schedule`]: a run went away because of it, the caller must queue the source.
    pub(crate) fn resume(&self) -> Resumed {
        self.state.resume()
    }

    /// `true`: it was not cancelled before; the caller sees to the end.
    pub(crate) fn cancel(&self) -> bool {
        // AcqRel: as a merge.
        let before = self.word.fetch_or(CANCELLED, AcqRel);
        before & CANCELLED == 0 || planted("source: each cancel sees to the end")
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.word.load(Acquire) & CANCELLED != 0
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    fn merged(merge: Merge, values: &[u64]) -> (usize, Begin) {
        let pending = Pending::new(merge);
        let queued = values.iter().filter(|value| pending.add(**value)).count();
        (queued, pending.begin())
    }

    #[test]
    fn each_way_to_merge_queues_once_and_hands_over_its_result() {
        assert_eq!(merged(Merge::Or, &[1, 4, 5]), (1, Begin::Run(5)));
        assert_eq!(merged(Merge::Add, &[1, 4, 5]), (1, Begin::Run(10)));
        assert_eq!(merged(Merge::Replace, &[1, 4, 5]), (1, Begin::Run(5)));
    }

    #[test]
    fn zero_is_nothing_to_or_and_add_and_a_value_to_replace() {
        assert_eq!(merged(Merge::Or, &[0]).0, 0);
        assert_eq!(merged(Merge::Add, &[0]).0, 0);
        assert_eq!(merged(Merge::Replace, &[0]), (1, Begin::Run(0)));
        assert_eq!(merged(Merge::Replace, &[7, 0]), (1, Begin::Run(0)));
    }

    #[test]
    fn both_sides_of_the_largest_value() {
        assert_eq!(merged(Merge::Replace, &[MAX]), (1, Begin::Run(MAX)));
        assert_eq!(merged(Merge::Add, &[MAX - 1, 1]), (1, Begin::Run(MAX)));
        assert_eq!(merged(Merge::Add, &[MAX, 1, u64::MAX]), (1, Begin::Run(MAX)));
        assert_eq!(merged(Merge::Or, &[u64::MAX]), (1, Begin::Run(u64::MAX >> 1)));
    }

    #[test]
    #[should_panic(expected = "carries at most Source::MAX")]
    fn a_value_that_does_not_fit_is_not_replaced_by_another() {
        merged(Merge::Replace, &[MAX + 1]);
    }

    #[test]
    fn nothing_is_merged_once_it_is_cancelled() {
        for merge in [Merge::Or, Merge::Add, Merge::Replace] {
            let pending = Pending::new(merge);
            assert!(pending.cancel() && !pending.cancel());
            assert!(!pending.add(1));
            assert_eq!(pending.begin(), Begin::Cancelled);
        }
    }
}
