//! Every scheduling choice of the pool: what a thread takes next, from whom it steals first, when
//! it looks around, and which sleeper is woken.
//!
//! **The seam for a simulation.** `worker`, `find` and `sleep` carry out what is chosen here, and
//! choose nothing themselves. So a simulator that replaces this module decides every order that the
//! pool can produce: the order of the classes ([`classes`](Choices::classes)), what goes first
//! within the default class ([`injector_first`](Choices::injector_first),
//! [`slot_first`](Choices::slot_first)), the first victim ([`victims`](Choices::victims)), when
//! deferred runnables have their round ([`round_is_due`](Choices::round_is_due)), when a thread
//! looks around and how long a turn of a queue is ([`is_due`](Choices::is_due),
//! [`budget`](Choices::budget)), and who is woken ([`sleeper`]).
//!
//! Counted, not timed: a test can predict it. The one exception is the *pace*. A busy thread looks
//! around (at what came from other threads, at its parker, at the timers) by time, but without a
//! clock between any two runnables, which would cost as much as a short one. At each look it reads
//! the clock, and learns what runnables and blocks have cost since the last one: as many of the
//! same cost as fit into [`LOOK_EVERY`] follow until the next look. So events wait for no more than
//! a few hundred microseconds of blocks that cost what those before them cost, and otherwise for a
//! tick of the monitor. Where a look itself takes long, looks are rarer. A queue runs many blocks
//! in one turn. Therefore the pace also sets the *budget* of a turn.
//!
//! Not for: where runnables wait (`find`), waking (`sleep`).

use std::time::Instant;

use crate::base::qos::Qos;
use crate::base::sync::now;

/// In nanoseconds.
const LOOK_EVERY: u64 = 200_000;
/// At most, however long a look takes: a tick of the monitor.
const LOOK_AT_LAST: u64 = 1_000_000;
/// The time between two looks is this many times as long as a look: looking takes two hundredths of
/// all time.
const TIMES: u64 = 50;
/// Most runnables between two looks.
const RUNNABLES: u32 = 61;
/// Most blocks in a turn of a queue, however short they are.
pub(super) const BLOCKS: u32 = 256;

/// One of this many takes begins with the deque instead of the slot. It bounds how long two queues
/// that feed each other delay a third.
const STREAK: u32 = 32;

/// One of this many turns begins with a class below the highest.
const AGED: u32 = 16;

/// The highest first.
const DOWN: [Qos; Qos::ALL.len()] =
    [Qos::UserInteractive, Qos::UserInitiated, Qos::Default, Qos::Utility, Qos::Background];

/// The looks around that deferred runnables wait at most, while their thread has other work.
const DEFERRED: u32 = 16;

/// The choices of one thread.
pub(super) struct Choices {
    /// The runnables that it took since the last look.
    runnables: u32,
    /// So many until the next look.
    span: u32,
    /// The blocks that it had begun at the last look.
    blocks: u64,
    budget: u32,
    /// The monitor's, at the last look.
    tick: u64,
    /// When it began, and when it ended, or when the thread woke up.
    look: Instant,
    looked: Instant,
    /// It has looked around: the injector is next.
    injector: bool,
    /// Takes until the deque goes first.
    streak: u32,
    /// Turns since a lower class went first, and how often one did.
    turns: u32,
    aged: usize,
    /// The looks at which something deferred waited.
    deferred: u32,
    random: u32,
}

impl Choices {
    pub(super) fn new(seed: usize) -> Self {
        let now = now();
        Self {
            runnables: 0,
            span: RUNNABLES,
            blocks: 0,
            budget: BLOCKS,
            tick: 0,
            look: now,
            looked: now,
            injector: false,
            streak: STREAK,
            turns: 0,
            aged: 0,
            deferred: 0,
            random: 0x9E37_79B9_u32.wrapping_mul(seed as u32 + 1) | 1,
        }
    }

    /// The thread takes one more runnable: must it look around first?
    #[inline(always)]
    pub(super) fn is_due(&mut self, tick: u64) -> bool {
        self.runnables += 1;
        self.runnables >= self.span || tick != self.tick
    }

    /// The thread begins to look around.
    pub(super) fn looks(&mut self, tick: u64) {
        (self.look, self.tick) = (now(), tick);
    }

    /// It has looked. It has begun so many `blocks` in its life.
    pub(super) fn has_looked(&mut self, blocks: u64) {
        self.has_looked_at(now(), blocks);
    }

    fn has_looked_at(&mut self, now: Instant, blocks: u64) {
        let nanos = |from: Instant, to: Instant| to.saturating_duration_since(from).as_nanos() as u64;
        let took = nanos(self.looked, self.look).max(1);
        let every = (nanos(self.look, now) * TIMES).clamp(LOOK_EVERY, LOOK_AT_LAST);
        // If they turn out to be longer than that, a tick of the monitor ends the wait.
        let fit = |count: u64, most: u32| u32::try_from(count * every / took).unwrap_or(most).clamp(1, most);
        self.span = fit(self.runnables.into(), RUNNABLES);
        // If there were none, nothing was learned: the thread has just woken up.
        if blocks > self.blocks {
            self.budget = fit(blocks - self.blocks, BLOCKS);
        }
        (self.runnables, self.blocks, self.looked) = (0, blocks, now);
        self.injector = true;
    }

    /// The thread wakes up: it was at its parker just now, for a time that says nothing about
    /// runnables.
    pub(super) fn wakes(&mut self, blocks: u64) {
        (self.runnables, self.blocks, self.looked) = (0, blocks, now());
    }

    /// How many blocks a turn of a queue may have.
    pub(super) fn budget(&self) -> u32 {
        self.budget
    }

    /// In which order to look into the lines of the classes. The highest goes first, but of
    /// [`AGED`] turns one begins with a lower class, which take this by turns. So of any
    /// `4 * AGED` turns, each class that has something gets one.
    #[inline]
    pub(super) fn classes(&mut self) -> [Qos; DOWN.len()] {
        self.turns += 1;
        if self.turns < AGED {
            return DOWN;
        }
        self.turns = 0;
        self.aged += 1;
        let mut order = DOWN;
        // The highest class comes last, the lower ones one after the other come first.
        order.rotate_left(1);
        let lower = DOWN.len() - 1;
        order[..lower].rotate_left(self.aged % lower);
        order
    }

    /// Does what came from other threads go before the thread's own? Once after each look, when the
    /// default class has its turn, which may be many turns later.
    #[inline(always)]
    pub(super) fn injector_first(&mut self) -> bool {
        let first = self.injector;
        if first {
            self.injector = false;
        }
        first
    }

    /// Does the runnable in the slot go before the thread's deque?
    #[inline(always)]
    pub(super) fn slot_first(&mut self) -> bool {
        let left = self.streak.checked_sub(1);
        self.streak = left.unwrap_or(STREAK);
        left.is_some()
    }

    /// In which order to steal from `count` threads: from a random one on (xorshift; Marsaglia,
    /// 2003).
    pub(super) fn victims(&mut self, count: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let first = self.random as usize % count;
        (first..count).chain(0..first)
    }

    /// The thread looks around, and has deferred something: have they waited long enough?
    pub(super) fn round_is_due(&mut self) -> bool {
        self.deferred += 1;
        self.deferred >= DEFERRED
    }

    /// The round of the deferred begins, because it is due, or because there is nothing else.
    pub(super) fn round_begins(&mut self) {
        self.deferred = 0;
    }
}

/// Takes the sleeper to wake: the one that fell asleep last. Its caches are warm, and the others
/// sleep on.
pub(super) fn sleeper(sleepers: &mut Vec<usize>) -> Option<usize> {
    sleepers.pop()
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Runs runnables of so many blocks, each of which takes so long, until the next look is due;
    /// how long that took.
    fn until_the_next_look(choices: &mut Choices, now: &mut Instant, blocks: u64, each: Duration) -> Duration {
        let begin = *now;
        let mut ran = choices.blocks;
        loop {
            let turn = blocks.min(choices.budget().into());
            ran += turn;
            *now += each * turn as u32;
            if choices.is_due(0) {
                break;
            }
        }
        let took = *now - begin;
        choices.look = *now;
        *now += Duration::from_micros(1);
        choices.has_looked_at(*now, ran);
        took
    }

    #[test]
    fn it_looks_by_time_if_runnables_are_long_and_by_count_if_they_are_short() {
        let mut choices = Choices::new(0);
        let mut now = choices.looked;
        for (each, fits) in
            [(Duration::from_micros(50), 4), (Duration::from_micros(1), 61), (Duration::from_millis(9), 1)]
        {
            for _ in 0..10 {
                until_the_next_look(&mut choices, &mut now, 1, each);
            }
            let looks = until_the_next_look(&mut choices, &mut now, 1, each);
            assert!(looks <= each * fits, "{looks:?} is more than {fits} runnables of {each:?}");
            assert!(looks + 2 * each >= each * fits, "{looks:?} is less than {fits} runnables of {each:?}");
        }
    }

    #[test]
    fn a_turn_of_long_blocks_has_few_of_them() {
        let mut choices = Choices::new(0);
        let mut now = choices.looked;
        for _ in 0..10 {
            until_the_next_look(&mut choices, &mut now, 1_000, Duration::from_micros(100));
        }
        assert!((1..=2).contains(&choices.budget()), "{} blocks of 100 us", choices.budget());
        for _ in 0..10 {
            until_the_next_look(&mut choices, &mut now, 1_000, Duration::from_nanos(20));
        }
        assert_eq!(choices.budget(), BLOCKS);
    }

    #[test]
    fn a_look_right_after_waking_up_does_not_shorten_the_turns() {
        let mut choices = Choices::new(0);
        choices.wakes(7);
        assert!(choices.is_due(1), "a tick has passed");
        choices.looks(1);
        choices.has_looked(7);
        assert_eq!(choices.budget(), BLOCKS);
    }

    #[test]
    fn looks_that_take_long_are_rare_but_not_rarer_than_ticks() {
        let mut choices = Choices::new(0);
        let mut now = choices.looked;
        for (look, every) in [(1, 200), (10, 500), (10_000, 1_000)].map(|(a, b)| (Duration::from_micros(a), b)) {
            for _ in 0..10 {
                now += Duration::from_micros(20) * choices.span;
                (choices.runnables, choices.look) = (choices.span, now);
                now += look;
                choices.has_looked_at(now, 0);
            }
            assert_eq!(choices.span, every / 20, "runnables of 20 us between looks of {look:?}");
        }
    }

    /// How often each class is served when all of `busy` always have something.
    fn served(busy: &[Qos], turns: usize) -> Vec<usize> {
        let mut choices = Choices::new(0);
        let mut counts = vec![0; busy.len()];
        for _ in 0..turns {
            let next = choices.classes().into_iter().find_map(|qos| busy.iter().position(|&class| class == qos));
            counts[next.expect("one is busy")] += 1;
        }
        counts
    }

    #[test]
    fn the_highest_class_gets_all_turns_but_one_in_sixteen() {
        assert_eq!(served(&[Qos::UserInteractive, Qos::Default], 160), [150, 10]);
        assert_eq!(served(&[Qos::UserInteractive, Qos::UserInitiated], 160), [150, 10]);
        assert_eq!(served(&[Qos::Background], 10), [10]);
    }

    #[test]
    fn every_class_gets_one_of_sixty_four_turns() {
        assert_eq!(served(&Qos::ALL, 640), [10, 10, 10, 10, 600]);
    }

    #[test]
    fn each_order_of_classes_names_every_class_once() {
        let mut choices = Choices::new(0);
        for _ in 0..200 {
            let mut order = choices.classes();
            order.sort_unstable();
            assert_eq!(order, Qos::ALL);
        }
    }

    #[test]
    fn of_thirty_three_takes_one_begins_with_the_deque() {
        let mut choices = Choices::new(0);
        let deque: Vec<_> = (0..99).filter(|_| !choices.slot_first()).collect();
        assert_eq!(deque, [32, 65, 98]);
    }

    #[test]
    fn every_thread_is_a_victim_once_and_each_is_the_first_at_some_time() {
        let mut choices = Choices::new(7);
        let mut firsts = [0; 5];
        for _ in 0..200 {
            let mut order: Vec<_> = choices.victims(5).collect();
            firsts[order[0]] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
        assert!(firsts.iter().all(|&first| first > 0), "{firsts:?}");
    }

    #[test]
    fn a_round_is_due_after_some_looks() {
        let mut choices = Choices::new(0);
        for _ in 0..2 {
            assert_eq!((1..).find(|_| choices.round_is_due()), Some(DEFERRED));
            choices.round_begins();
        }
    }
}
