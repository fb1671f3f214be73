//! The words of a source: the signals that were merged and not handled yet, and whether the source
//! is suspended.
//!
//! | word | meaning | changed by |
//! |---|---|---|
//! | 0 | nothing is pending, the source is in no queue | a merge: it gets the node, and queues it |
//! | value | the source is in its queue, or about to be, or suspended | merges change it; the handler's run takes it |
//! | any + `CANCELLED` | no run begins any more | nothing: `CANCELLED` stays set |
//!
//! Every transition is one read-modify-write, so exactly one run takes each merge, and no two
//! merges get the node. With `Replace` the word is the value plus one, so that zero is a value too.
//!
//! The other word is for suspending. It is the [`State`] of a queue, with the same transitions. A
//! run that meets a suspension leaves the merged signals where they are, so that no merge gets the
//! node, and the last resume queues it again.

use crate::base::state::{Resumed, State};
use crate::base::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};

/// The top bit of the word, so signals have 63.
const CANCELLED: u64 = 1 << 63;

/// The largest value that every way of merging can carry.
pub(super) const MAX: u64 = CANCELLED - 2;

/// How a [`Source`](super::Source) merges the signals between two runs of its handler.
///
/// ```
/// use singletrack_queues::{Merge, Queue, Source};
/// use std::sync::mpsc;
///
/// for (merge, result) in [(Merge::Or, 7), (Merge::Add, 9), (Merge::Replace, 6)] {
///     let (tell, told) = mpsc::channel();
///     let queue = Queue::new("three and six");
///     let source = Source::builder(&queue).merging(merge).build(move |value| tell.send(value).unwrap());
///     queue.sync(|| {
///         source.merge(3);
///         source.merge(6);
///     });
///     assert_eq!(told.recv(), Ok(result));
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Merge {
    /// By "or": flags. The lower 63 bits count, and merging 0 does nothing.
    #[default]
    Or,
    /// By adding: the sum is exact up to [`Source::MAX`](super::Source::MAX), where it stays.
    /// Merging 0 does nothing.
    Add,
    /// The last value wins, up to [`Source::MAX`](super::Source::MAX); merging more panics. Zero is
    /// a value like any other: the handler gets it. (In Grand Central Dispatch it erases the
    /// pending value, and the handler does not run.)
    Replace,
}

/// The work of one run of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// Call the handler with this value.
    Run(u64),
    /// Return: the last resume queues the source again.
    Held,
    /// Return: no run follows.
    Cancelled,
}

/// The two words; see the module.
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

    /// Merges `value`. `true`: nothing was pending, and the caller must queue the source.
    #[inline]
    #[track_caller]
    pub(crate) fn add(&self, value: u64) -> bool {
        if self.merge != Merge::Or {
            return self.add_value(value);
        }
        let bits = value & !CANCELLED;
        // AcqRel: the run that takes these bits sees what happened before; partner: the AcqRel in
        // `begin`.
        bits != 0 && self.word.fetch_or(bits, AcqRel) == 0
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
            // With a sum of zero the source would be in no queue, and yet a merge would have taken
            // place.
            _ if value == 0 => None,
            _ => Some(word.saturating_add(value).min(MAX)),
        };
        // AcqRel: as in `add`.
        self.word.fetch_update(AcqRel, Relaxed, step) == Ok(0)
    }

    /// A run begins: takes what was merged, unless the source is suspended or cancelled.
    #[inline]
    pub(crate) fn begin(&self) -> Begin {
        if !self.state.is_clear() && self.hold() {
            return Begin::Held;
        }
        // AcqRel: see `add`.
        let word = self.word.fetch_and(CANCELLED, AcqRel);
        match self.merge {
            _ if word & CANCELLED != 0 => Begin::Cancelled,
            Merge::Replace => Begin::Run(word.saturating_sub(1)),
            Merge::Or | Merge::Add => Begin::Run(word),
        }
    }

    #[cold]
    fn hold(&self) -> bool {
        self.state.hold()
    }

    /// Adds one suspension; `false` if the count is full.
    pub(crate) fn suspend(&self) -> bool {
        self.state.suspend()
    }

    /// Takes one suspension back. [`Resumed::Schedule`]: a run returned because of it, and the
    /// caller must queue the source.
    pub(crate) fn resume(&self) -> Resumed {
        self.state.resume()
    }

    /// `true`: it was not cancelled before, and the caller must end the source.
    pub(crate) fn cancel(&self) -> bool {
        // AcqRel: as in a merge.
        let before = self.word.fetch_or(CANCELLED, AcqRel);
        before & CANCELLED == 0
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
