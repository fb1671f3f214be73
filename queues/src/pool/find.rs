//! Where runnables wait for a worker, and how one is found: the only door to crossbeam-deque.
//!
//! Four places. Each thread has a *next* slot (the runnable it submitted last: run next, while its data is warm), a
//! FIFO deque, and a line of what is put off; all share an injector for what comes from other threads. A thread takes from its
//! slot, its deque, the injector, then steals half of somebody's deque, starting at a random one; last of all it moves what it
//! put off into its deque.
//!
//! That is the line of the default class. Each other class of service has a line of its own, shared by all: little stands
//! in the higher ones, and the lower ones are in no hurry. A program that uses no classes pays one load of a flag for them.
//!
//! The slot cannot be stolen by a searching worker: a message that hops between two queues stays on one core. So that it
//! never hides work, a displaced runnable goes to the deque, the slot is used a bounded number of times in a row, and
//! the monitor empties the slot of a thread that sits in one block for long. What is put off cannot be stolen either, since
//! it shall wait for more to come; it gets its round by [`Patience`](super::patience::Patience), or from the monitor.
//!
//! What a running block left for others (`pieces`) stands in one more deque of its thread: it is no runnable, and whoever looks
//! for one comes to it last, because its own thread comes back to it anyway.
//! Not for: waking anybody (`sleep`).

use std::cell::Cell;
use std::ptr::{self, NonNull};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::block::{Node, Runnable};
use crate::qos::Qos;
use crate::sync::atomic::{
    AtomicBool, AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

/// How often in a row the slot goes before the deque: bounds how long two queues that feed each other delay a third.
const STREAK: u32 = 32;

/// The part that everybody may take from.
pub(crate) struct Shared {
    injector: Injector<Runnable>,
    /// The lines of the classes, by number; that of the default class stays empty.
    lines: [Injector<Runnable>; Qos::ALL.len()],
    /// Something was ever put into a line; never taken back.
    graded: AtomicBool,
}

/// The part of one thread that others may take from.
pub(crate) struct Exposed {
    stealer: Stealer<Runnable>,
    pieces: Stealer<Runnable>,
    /// For the monitor alone.
    later: Stealer<Runnable>,
    /// Set by the owner alone (from null), taken by whoever swaps it to null.
    next: AtomicPtr<Node>,
}

/// The part that only its thread touches.
pub(crate) struct Own {
    deque: Worker<Runnable>,
    /// Last in, first out for its thread; the oldest, which is the largest, for others.
    pieces: Worker<Runnable>,
    later: Worker<Runnable>,
    streak: Cell<u32>,
    random: Cell<u32>,
}

impl Own {
    pub(crate) fn new(seed: u32) -> (Self, Exposed) {
        let (deque, later, pieces) = (Worker::new_fifo(), Worker::new_fifo(), Worker::new_lifo());
        let next = AtomicPtr::new(ptr::null_mut());
        let exposed = Exposed { stealer: deque.stealer(), later: later.stealer(), pieces: pieces.stealer(), next };
        (Self { deque, later, pieces, streak: Cell::new(0), random: Cell::new(seed | 1) }, exposed)
    }

    /// Puts `runnable` behind everything of this thread.
    pub(crate) fn push_back(&self, runnable: Runnable) {
        self.deque.push(runnable);
    }

    /// Puts `runnable` off, until [`begin_round`](Self::begin_round).
    pub(crate) fn push_later(&self, runnable: Runnable) {
        self.later.push(runnable);
    }

    /// Is something put off?
    #[inline]
    pub(crate) fn has_later(&self) -> bool {
        !self.later.is_empty()
    }

    /// What is put off goes behind everything else of this thread, where others can take it.
    pub(crate) fn begin_round(&self) {
        while let Some(runnable) = self.later.pop() {
            self.deque.push(runnable);
        }
    }

    /// Has this thread something that others can take?
    pub(crate) fn has_stealable(&self) -> bool {
        !self.deque.is_empty()
    }

    /// Makes `runnable` the next; `true` if another one was displaced into the deque, where others can see it.
    pub(crate) fn push_next(&self, exposed: &Exposed, runnable: Runnable) -> bool {
        if exposed.set_next(runnable) {
            return false;
        }
        // Release as in `set_next`; Acquire is not needed, what comes back was put there by this thread.
        match NonNull::new(exposed.next.swap(runnable.0.as_ptr(), Release)) {
            Some(displaced) => {
                self.deque.push(Runnable(displaced));
                true
            }
            None => false,
        }
    }

    /// The next runnable of this thread.
    pub(crate) fn pop(&self, exposed: &Exposed) -> Option<Runnable> {
        if self.streak.get() < STREAK {
            if let Some(next) = exposed.take_next() {
                self.streak.set(self.streak.get() + 1);
                return Some(next);
            }
            self.streak.set(0);
            self.deque.pop()
        } else {
            self.streak.set(0);
            self.deque.pop().or_else(|| exposed.take_next())
        }
    }

    /// Where to start stealing (xorshift; Marsaglia, 2003).
    fn pick(&self, among: usize) -> usize {
        let mut x = self.random.get();
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        self.random.set(x);
        x as usize % among
    }

    /// Takes from the injector: one, and some more into the deque.
    pub(crate) fn pop_shared(&self, shared: &Shared) -> Option<Runnable> {
        loop {
            match shared.injector.steal_batch_and_pop(&self.deque) {
                Steal::Success(runnable) => return Some(runnable),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// Leaves a piece of the running block to whoever has nothing to do.
    #[inline]
    pub(super) fn leave_piece(&self, piece: Runnable) {
        self.pieces.push(piece);
    }

    /// How many pieces nobody took yet.
    #[inline]
    pub(super) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Takes the piece back that was left last, unless somebody took it.
    #[inline]
    pub(super) fn take_piece_back(&self) -> Option<Runnable> {
        self.pieces.pop()
    }

    /// Takes from the other threads' deques: one, and half of the rest into the own deque.
    pub(crate) fn steal<'a>(&self, count: usize, others: impl Fn(usize) -> Option<&'a Exposed>) -> Option<Runnable> {
        let first = self.pick(count);
        loop {
            let mut again = false;
            for victim in (first..count).chain(0..first).filter_map(&others) {
                match victim.stealer.steal_batch_and_pop(&self.deque) {
                    Steal::Success(runnable) => return Some(runnable),
                    Steal::Retry => again = true,
                    Steal::Empty => {}
                }
            }
            if !again {
                return None;
            }
        }
    }

    /// Takes a piece of a block that another thread runs, and tells whose.
    pub(super) fn steal_piece<'a>(
        &self,
        count: usize,
        others: impl Fn(usize) -> Option<&'a Exposed>,
    ) -> Option<(usize, Runnable)> {
        let first = self.pick(count);
        (first..count).chain(0..first).find_map(|index| Some((index, others(index)?.take_piece()?)))
    }

    /// Moves everything of this thread where all can see it; `true` if there was something.
    pub(crate) fn give_away(&self, exposed: &Exposed, shared: &Shared) -> bool {
        self.begin_round();
        let mut any = false;
        while let Some(runnable) = self.deque.pop().or_else(|| exposed.take_next()) {
            shared.push(runnable);
            any = true;
        }
        any
    }
}

impl Exposed {
    /// Makes `runnable` the next, if there is none. By its thread alone.
    #[inline]
    pub(super) fn set_next(&self, runnable: Runnable) -> bool {
        // Relaxed: only this thread sets it, and a thief only empties it.
        let free = self.next.load(Relaxed).is_null();
        if free {
            // Release: partner is the Acquire of a thief's `take_next`.
            self.next.store(runnable.0.as_ptr(), Release);
        }
        free
    }

    /// Takes what the slot holds.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<Runnable> {
        // Relaxed peek: saves the locked instruction; the swap decides.
        if self.next.load(Relaxed).is_null() {
            return None;
        }
        // Acquire: what the owner wrote before it put it there; partner: the Release in `push_next`.
        NonNull::new(self.next.swap(ptr::null_mut(), Acquire)).map(Runnable)
    }

    /// Takes one that is put off, from a thread that does not come to it.
    pub(crate) fn take_later(&self) -> Option<Runnable> {
        loop {
            match self.later.steal() {
                Steal::Success(runnable) => return Some(runnable),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    /// Has its thread something that nobody else can take?
    pub(crate) fn has_own(&self) -> bool {
        self.has_next() || !self.later.is_empty()
    }

    fn has_next(&self) -> bool {
        !self.next.load(Relaxed).is_null()
    }

    pub(crate) fn has_stealable(&self) -> bool {
        !self.stealer.is_empty()
    }

    /// Takes the piece that was left first.
    pub(super) fn take_piece(&self) -> Option<Runnable> {
        loop {
            match self.pieces.steal() {
                Steal::Success(piece) => return Some(piece),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    pub(super) fn has_pieces(&self) -> bool {
        !self.pieces.is_empty()
    }
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self { injector: Injector::new(), lines: Default::default(), graded: AtomicBool::new(false) }
    }

    pub(crate) fn grade(&self) {
        // Relaxed, peek and all: whoever misses it takes in the old order for a moment. That work in a line is found at all
        // does not depend on it, see `has_any`.
        if !self.graded.load(Relaxed) {
            self.graded.store(true, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn is_graded(&self) -> bool {
        self.graded.load(Relaxed)
    }

    /// Puts `runnable` into the line of a class other than the default one.
    pub(crate) fn push_as(&self, runnable: Runnable, qos: Qos) {
        debug_assert_ne!(qos, Qos::Default, "its line is the injector");
        self.lines[qos as usize].push(runnable);
    }

    /// Takes the first of a line.
    pub(crate) fn pop_as(&self, qos: Qos) -> Option<Runnable> {
        let line = &self.lines[qos as usize];
        if line.is_empty() { None } else { take_one(line) }
    }

    pub(crate) fn push(&self, runnable: Runnable) {
        self.injector.push(runnable);
    }

    pub(crate) fn has_any(&self) -> bool {
        !self.injector.is_empty() || self.lines.iter().any(|line| !line.is_empty())
    }

    /// Takes one, without a deque to put more into.
    pub(crate) fn pop(&self) -> Option<Runnable> {
        std::iter::once(&self.injector).chain(&self.lines).find_map(take_one)
    }
}

fn take_one(line: &Injector<Runnable>) -> Option<Runnable> {
    loop {
        match line.steal() {
            Steal::Success(runnable) => return Some(runnable),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use crate::block;
    use std::panic::Location;

    fn runnables(count: usize) -> Vec<Runnable> {
        (0..count).map(|_| Runnable(block::block(|| {}, Location::caller()))).collect()
    }

    fn free(all: Vec<Runnable>) {
        for runnable in all {
            // SAFETY: made by `runnables`, never run.
            unsafe { (runnable.0.as_ref().vtable.discard)(runnable.0) };
        }
    }

    #[test]
    fn the_last_submitted_goes_first_and_the_displaced_ones_in_order() {
        let (own, exposed) = Own::new(1);
        let all = runnables(3);
        assert!(!own.push_next(&exposed, all[0]), "nothing to displace");
        assert!(own.push_next(&exposed, all[1]));
        assert!(own.push_next(&exposed, all[2]));
        let order: Vec<_> = std::iter::from_fn(|| own.pop(&exposed)).collect();
        assert_eq!(order, [all[2], all[0], all[1]]);
        free(all);
    }

    #[test]
    fn the_slot_does_not_starve_the_deque() {
        let (own, exposed) = Own::new(1);
        let all = runnables(2);
        own.push_back(all[0]);
        let mut turns = 0;
        own.push_next(&exposed, all[1]);
        while own.pop(&exposed) != Some(all[0]) {
            turns += 1;
            own.push_next(&exposed, all[1]);
        }
        assert_eq!(turns, STREAK);
        free(all);
    }

    #[test]
    fn what_is_put_off_waits_for_its_round_and_then_goes_behind_the_rest() {
        let (own, exposed) = Own::new(1);
        let all = runnables(4);
        own.push_later(all[0]);
        own.push_later(all[1]);
        own.push_back(all[2]);
        assert!(exposed.has_own() && own.has_later());
        assert_eq!((own.pop(&exposed), own.pop(&exposed)), (Some(all[2]), None));
        assert!(!exposed.has_stealable());
        own.push_back(all[3]);
        own.begin_round();
        assert!(!exposed.has_own() && exposed.has_stealable());
        let order: Vec<_> = std::iter::from_fn(|| own.pop(&exposed)).collect();
        assert_eq!(order, [all[3], all[0], all[1]]);
        own.push_later(all[0]);
        assert_eq!((exposed.take_later(), exposed.take_later()), (Some(all[0]), None));
        free(all);
    }

    #[test]
    fn what_is_given_away_is_found_by_others() {
        let shared = Shared::new();
        let (own, exposed) = Own::new(1);
        let all = runnables(3);
        own.push_back(all[0]);
        own.push_later(all[1]);
        own.push_next(&exposed, all[2]);
        assert!(own.give_away(&exposed, &shared));
        assert!(!own.give_away(&exposed, &shared));
        let (other, _) = Own::new(2);
        let mut found = vec![other.pop_shared(&shared).expect("three were given")];
        found.extend(std::iter::from_fn(|| other.deque.pop()));
        found.extend(std::iter::from_fn(|| shared.pop()));
        found.sort_by_key(|runnable| runnable.0);
        let mut expected = all.clone();
        expected.sort_by_key(|runnable| runnable.0);
        assert_eq!(found, expected);
        free(all);
    }
}
