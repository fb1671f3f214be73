//! The entries by deadline: pure data, in which time is an argument.
//!
//! A balanced tree keyed by deadline and sequence number. So equal deadlines keep their order,
//! cancelling frees the entry at once, and the precision is that of the clock. Times are
//! nanoseconds since a start that the caller chose.

use std::collections::BTreeMap;

/// Names an entry: its deadline, and a sequence number that keeps equal deadlines in the order in
/// which they came.
pub(crate) type Key = (u64, u64);

/// See the module.
#[derive(Debug)]
pub(crate) struct Deadlines<T> {
    entries: BTreeMap<Key, T>,
    issued: u64,
}

impl<T> Deadlines<T> {
    pub(crate) fn new() -> Self {
        Self { entries: BTreeMap::new(), issued: 0 }
    }

    /// Adds an entry.
    pub(crate) fn add(&mut self, deadline: u64, entry: T) -> Key {
        self.issued += 1;
        let key = (deadline, self.issued);
        self.entries.insert(key, entry);
        key
    }

    /// Takes an entry out, if it is still there.
    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.entries.remove(&key)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(key, _)| key.0)
    }

    /// The latest deadline that is at most `limit`.
    pub(crate) fn last_until(&self, limit: u64) -> Option<u64> {
        self.entries.range(..=(limit, u64::MAX)).next_back().map(|(key, _)| key.0)
    }

    /// The deadline for an entry that is due from `earliest` to `latest`: one that exists between
    /// the two, or else `earliest`. An entry that repeats beside others gets a round number
    /// instead: there such entries meet in time.
    pub(crate) fn share(&self, earliest: u64, latest: u64, repeats: bool) -> u64 {
        match self.entries.range((earliest, 0)..=(latest, u64::MAX)).next() {
            Some((key, _)) => key.0,
            None if repeats && !self.entries.is_empty() => roundest(earliest, latest),
            None => earliest,
        }
    }

    /// Takes the earliest entry out, if it is due by `now`.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<T> {
        match self.entries.first_entry() {
            Some(first) if first.key().0 <= now => Some(first.remove()),
            _ => None,
        }
    }

    /// Takes everything out, in order.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.entries).into_values().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// The number from `earliest` to `latest` with the most zero bits at the end. This way, entries
/// with leeway get the same deadline without knowing of one another.
fn roundest(earliest: u64, latest: u64) -> u64 {
    if earliest == 0 || earliest >= latest {
        return earliest;
    }
    // The bits that `latest` shares with the number below `earliest`, and the first bit that only
    // `latest` has.
    let differs = (earliest - 1) ^ latest;
    latest & !((1 << differs.ilog2()) - 1)
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn entries_come_in_order_of_deadline_then_of_arrival() {
        let mut deadlines = Deadlines::new();
        for (at, name) in [(5, "b"), (3, "a"), (5, "c"), (9, "d")] {
            deadlines.add(at, name);
        }
        assert_eq!(deadlines.next(), Some(3));
        let mut due = Vec::new();
        while let Some(name) = deadlines.pop_due(8) {
            due.push(name);
        }
        assert_eq!(due, ["a", "b", "c"]);
        assert_eq!(deadlines.next(), Some(9));
    }

    #[test]
    fn a_removed_entry_never_comes() {
        let mut deadlines = Deadlines::new();
        let key = deadlines.add(1, "x");
        assert_eq!(deadlines.remove(key), Some("x"));
        assert_eq!(deadlines.remove(key), None);
        assert_eq!(deadlines.pop_due(u64::MAX), None);
    }

    #[test]
    fn the_deadline_itself_is_due() {
        let mut deadlines = Deadlines::new();
        deadlines.add(7, ());
        assert_eq!(deadlines.pop_due(6), None);
        assert_eq!(deadlines.pop_due(7), Some(()));
    }

    #[test]
    fn the_last_until_a_limit_is_the_one_at_the_limit_or_before() {
        let mut deadlines = Deadlines::new();
        assert_eq!(deadlines.last_until(u64::MAX), None);
        for at in [4, 9, 9, 20] {
            deadlines.add(at, ());
        }
        let lasts = [3, 4, 8, 9, 19, 20, u64::MAX].map(|limit| deadlines.last_until(limit));
        assert_eq!(lasts, [None, Some(4), Some(4), Some(9), Some(9), Some(20), Some(20)]);
    }

    #[test]
    fn leeway_is_for_what_can_be_shared() {
        let mut deadlines = Deadlines::new();
        assert_eq!((deadlines.share(5, 9, false), deadlines.share(5, 9, true)), (5, 5));
        deadlines.add(20, ());
        assert_eq!((deadlines.share(5, 9, false), deadlines.share(5, 9, true)), (5, 8));
        deadlines.add(7, ());
        deadlines.add(9, ());
        for (earliest, latest, shared) in [(5, 9, 7), (7, 8, 7), (8, 9, 9), (8, 100, 9), (9, 9, 9), (10, 30, 20)] {
            assert_eq!([false, true].map(|repeats| deadlines.share(earliest, latest, repeats)), [shared; 2]);
        }
    }

    #[test]
    fn deadlines_with_leeway_meet_at_round_numbers_and_are_never_early() {
        assert_eq!(roundest(5, 5), 5);
        assert_eq!(roundest(0, 9), 0);
        assert_eq!((roundest(5, 7), roundest(5, 8), roundest(6, 9)), (6, 8, 8));
        for earliest in 1..200 {
            for latest in earliest..200 {
                let chosen = roundest(earliest, latest);
                let best = (earliest..=latest).map(u64::trailing_zeros).max();
                assert!((earliest..=latest).contains(&chosen) && Some(chosen.trailing_zeros()) == best);
            }
        }
        assert_eq!(roundest(u64::MAX - 1, u64::MAX - 1), u64::MAX - 1);
    }
}
