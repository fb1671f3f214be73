//! Every choice of the stress test comes from one seed.
//!
//! Each check has a stream of choices for each round. So a check makes the same choices whatever
//! runs beside it and however many rounds there is time for. Not for: cryptography, nor for the
//! order in which threads happen to run, which nobody chooses.

use std::ops::RangeInclusive;

/// A stream of choices (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    state: u64,
}

impl Choice {
    /// The stream of one round of one check.
    pub(crate) fn new(seed: u64, check: &str, round: u64) -> Choice {
        // FNV-1a, so that checks do not share a stream.
        let name = check
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mut choice = Choice { state: seed ^ name };
        choice.state = choice.next() ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        choice
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `range`. The slight bias of the remainder does not matter here.
    pub(crate) fn between(&mut self, range: RangeInclusive<usize>) -> usize {
        let (low, high) = (*range.start() as u64, *range.end() as u64);
        usize::try_from(low + self.next() % (high - low + 1)).unwrap_or(usize::MAX)
    }

    /// `true` once in `n` times on average.
    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.between(1..=n) == 1
    }

    /// A stream of its own for another thread.
    pub(crate) fn fork(&mut self) -> Choice {
        Choice { state: self.next() }
    }

    /// The time that a block stays in its queue.
    pub(crate) fn dwell(&mut self) -> Dwell {
        if self.one_in(64) { Dwell::Yield } else { Dwell::Spin(self.between(0..=32)) }
    }
}

/// How a block passes its time, so that another one could meet it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dwell {
    /// A few turns of a loop.
    Spin(usize),
    /// Another thread gets this core, so that races show.
    Yield,
}

impl Dwell {
    /// Passes the time.
    pub(crate) fn pass(self) {
        match self {
            Dwell::Spin(turns) => (0..turns).for_each(|_| std::hint::spin_loop()),
            Dwell::Yield => std::thread::yield_now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(seed: u64, check: &str, round: u64) -> Vec<usize> {
        let mut choice = Choice::new(seed, check, round);
        (0..8).map(|_| choice.between(0..=1_000_000)).collect()
    }

    #[test]
    fn a_seed_repeats_its_choices_and_checks_and_rounds_differ() {
        assert_eq!(first(7, "order", 0), first(7, "order", 0));
        assert_ne!(first(7, "order", 0), first(8, "order", 0));
        assert_ne!(first(7, "order", 0), first(7, "order", 1));
        assert_ne!(first(7, "order", 0), first(7, "timers", 0));
    }

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut choice = Choice::new(1, "range", 0);
        let seen: Vec<usize> = (0..1_000).map(|_| choice.between(3..=5)).collect();
        assert!(seen.iter().all(|n| (3..=5).contains(n)) && seen.contains(&3) && seen.contains(&5));
    }
}
