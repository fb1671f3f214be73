//! The class of a workloop that has the next turn: pure data.
//!
//! The highest class that has blocks is next, unless a class has let [`AGE`] blocks of others pass
//! since its own last one. Then that class is next; if there are several, the one that let the most
//! blocks pass. A class either has nothing waiting, or a count of the blocks that passed it.
//!
//! The bound: once a class has reached `AGE`, only classes that have let more blocks pass go before
//! it, with one block each, and there are at most as many as there are other classes. So at most
//! `AGE` + 4 blocks of others run between two blocks of a class that has blocks waiting.

use crate::base::qos::Qos;

/// The number of classes.
pub(super) const CLASSES: usize = Qos::ALL.len();

/// The number of blocks of others that a class lets pass before it gets a turn.
pub(super) const AGE: u8 = 32;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// By class, the lowest first: the number of blocks of others that ran since its last turn;
    /// `None`: nothing waits.
    passed: [Option<u8>; CLASSES],
}

impl Turns {
    /// Adds classes that were empty and now have blocks; a bit for each.
    pub(super) fn arrive(&mut self, classes: u8) {
        for (class, passed) in self.passed.iter_mut().enumerate() {
            if classes & 1 << class != 0 {
                *passed = Some(0);
            }
        }
    }

    /// The class whose turn it is; `None`: nothing waits.
    pub(super) fn next(&mut self) -> Option<usize> {
        let waiting = || self.passed.iter().enumerate().filter_map(|(class, passed)| Some((class, (*passed)?)));
        let aged = waiting().filter(|(_, passed)| *passed >= AGE).max_by_key(|(_, passed)| *passed);
        let (turn, _) = aged.or_else(|| waiting().next_back())?;
        for (class, passed) in self.passed.iter_mut().enumerate() {
            *passed = passed.map(|passed| if class == turn { 0 } else { passed.saturating_add(1) });
        }
        Some(turn)
    }

    /// Records that the class is empty.
    pub(super) fn leave(&mut self, class: usize) {
        self.passed[class] = None;
    }

    /// Does any class have a block?
    pub(super) fn any(&self) -> bool {
        self.passed.iter().any(Option::is_some)
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    fn with(classes: u8) -> Turns {
        let mut turns = Turns::default();
        turns.arrive(classes);
        turns
    }

    #[test]
    fn the_highest_goes_first_and_nothing_is_next_when_nothing_waits() {
        let mut turns = with(0b1_0101);
        assert_eq!(turns.next(), Some(4));
        turns.leave(4);
        assert_eq!(turns.next(), Some(2));
        turns.leave(2);
        assert_eq!(turns.next(), Some(0));
        assert!(turns.any());
        turns.leave(0);
        assert_eq!((turns.next(), turns.any()), (None, false));
    }

    #[test]
    fn a_lower_class_has_one_turn_after_it_let_so_many_pass() {
        let mut turns = with(0b1_0001);
        for _ in 0..3 {
            assert!((0..AGE).all(|_| turns.next() == Some(4)));
            assert_eq!(turns.next(), Some(0));
        }
    }

    #[test]
    fn a_class_that_comes_back_begins_to_age_anew() {
        let mut turns = with(0b1_0001);
        assert!((0..AGE).all(|_| turns.next() == Some(4)));
        turns.leave(0);
        turns.arrive(1);
        assert!((0..AGE).all(|_| turns.next() == Some(4)));
        assert_eq!(turns.next(), Some(0));
    }

    #[test]
    fn no_class_waits_longer_than_the_bound_in_any_crowd() {
        let mut turns = with(0b1_1111);
        let mut waited = [0; CLASSES];
        let mut worst = 0;
        for step in 0..100_000_usize {
            let turn = turns.next().expect("all wait");
            for (class, waited) in waited.iter_mut().enumerate() {
                *waited = if class == turn { 0 } else { *waited + 1 };
                worst = worst.max(*waited);
            }
            // The upper classes leave and come back now and then.
            if turn >= 2 && step % 7 == turn {
                turns.leave(turn);
                turns.arrive(1 << turn);
            }
        }
        assert!((usize::from(AGE)..=usize::from(AGE) + CLASSES - 1).contains(&worst), "{worst}");
    }
}
