//! Which class of service goes first, turn by turn: the highest that has something, and now and then a lower one.
//!
//! A turn is one runnable. Of [`AGED`] turns one belongs to the classes below the highest, which take it by turns; a class that
//! has nothing leaves its turn to the next. So of any `4 * AGED` turns of one thread, each class that has something gets one.
//! Counted, not timed: no clock is read, and a test can foretell it.
//!
//! Not for: where runnables wait (`find`).

use crate::qos::Qos;

/// How often a lower class goes first.
const AGED: u32 = 16;

/// The highest first.
const DOWN: [Qos; Qos::ALL.len()] =
    [Qos::UserInteractive, Qos::UserInitiated, Qos::Default, Qos::Utility, Qos::Background];

/// The turns of one thread.
#[derive(Debug, Default)]
pub(super) struct Turns {
    count: u32,
    aged: usize,
}

impl Turns {
    /// In which order to look for the next runnable.
    #[inline]
    pub(super) fn next(&mut self) -> [Qos; DOWN.len()] {
        self.count += 1;
        if self.count < AGED {
            return DOWN;
        }
        self.count = 0;
        self.aged += 1;
        let mut order = DOWN;
        // The highest class comes last, the lower ones one after the other come first.
        order.rotate_left(1);
        let lower = DOWN.len() - 1;
        order[..lower].rotate_left(self.aged % lower);
        order
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    /// How often each class is served when all of `busy` always have something.
    fn served(busy: &[Qos], turns: usize) -> Vec<usize> {
        let mut order = Turns::default();
        let mut counts = vec![0; busy.len()];
        for _ in 0..turns {
            let next = order.next().into_iter().find_map(|qos| busy.iter().position(|&class| class == qos));
            counts[next.expect("one is busy")] += 1;
        }
        counts
    }

    #[test]
    fn the_highest_gets_all_turns_but_one_in_sixteen() {
        assert_eq!(served(&[Qos::UserInteractive, Qos::Default], 160), [150, 10]);
        assert_eq!(served(&[Qos::UserInteractive, Qos::UserInitiated], 160), [150, 10]);
        assert_eq!(served(&[Qos::Background], 10), [10]);
    }

    #[test]
    fn every_class_gets_one_of_sixty_four_turns() {
        assert_eq!(served(&Qos::ALL, 640), [10, 10, 10, 10, 600]);
    }

    #[test]
    fn each_order_names_every_class_once() {
        let mut turns = Turns::default();
        for _ in 0..200 {
            let mut order = turns.next();
            order.sort_unstable();
            assert_eq!(order, Qos::ALL);
        }
    }
}
