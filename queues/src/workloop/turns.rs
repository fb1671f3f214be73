//! Which class of a workloop has the next turn: pure data.
//!
//! The highest class that has blocks, unless a class has let [`AGE`] blocks of others pass since its own last one: then that
//! one, and among several of these the one that let most pass. A class has nothing waiting, or a count of the blocks that
//! passed it.
//!
//! The bound: while one class waits to be let in at `AGE`, only those that have let more pass are before it, one block each,
//! and there are no more than the other classes. So between two blocks of a class that has blocks run at most
//! `AGE` + 4 blocks of others.

use crate::qos::Qos;

/// How many classes there are.
pub(super) const CLASSES: usize = Qos::ALL.len();

/// How many blocks of others a class lets pass before it has a turn.
pub(super) const AGE: u8 = 32;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turns {
    /// By class, the lowest first: how many blocks of others went before since its last turn; `None`: nothing waits.
    passed: [Option<u8>; CLASSES],
}

impl Turns {
    /// Classes that had nothing, and have something now; a bit for each.
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

    /// The class has nothing any more.
    pub(super) fn leave(&mut self, class: usize) {
        self.passed[class] = None;
    }

    /// Does any class have something?
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
    fn no_class_waits_longer_than_the_bound_whoever_comes_and_goes() {
        let mut turns = with(0b1_1111);
        let mut waited = [0; CLASSES];
        let mut worst = 0;
        for step in 0..100_000_usize {
            let turn = turns.next().expect("all wait");
            for (class, waited) in waited.iter_mut().enumerate() {
                *waited = if class == turn { 0 } else { *waited + 1 };
                worst = worst.max(*waited);
            }
            // The upper ones leave and come back now and then.
            if turn >= 2 && step % 7 == turn {
                turns.leave(turn);
                turns.arrive(1 << turn);
            }
        }
        assert!((usize::from(AGE)..=usize::from(AGE) + CLASSES - 1).contains(&worst), "{worst}");
    }
}
