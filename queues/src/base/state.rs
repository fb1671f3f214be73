//! The one word of a queue besides its mailbox: is the queue suspended or inactive, and did its
//! drainer leave because of that?
//!
//! | bits | name | set | cleared |
//! |---|---|---|---|
//! | 0 | `HELD` | by the drainer that meets a suspension: it leaves, and no thread has the drain right | by the last `resume` or `activate`, which schedules the queue again |
//! | 1 | `INACTIVE` | when the queue is made, if ever | by the first `activate` |
//! | 2.. | count | `suspend` adds one | `resume` takes one |
//!
//! Together with the mailbox, these are all the states of a queue and all its moves:
//!
//! | state | tail | word | moves |
//! |---|---|---|---|
//! | idle | null | 0 | push: scheduled; `sync`: running on the caller; suspend: idle, suspended |
//! | scheduled | node | 0 | a worker: running; suspend: scheduled, suspended |
//! | running | node | 0 | last block ends: idle; budget ends: scheduled; suspend: running, suspended |
//! | idle, suspended | null | n | push: scheduled, suspended; `sync` queues up; last resume: idle |
//! | scheduled, suspended | node | n | a worker: held; last resume: scheduled |
//! | running, suspended | node | n | block ends: held, or idle, suspended; last resume: running |
//! | held | node | n + `HELD` | last resume: scheduled |
//! | inactive | any | as above, n = 0 too, + `INACTIVE` | as suspended; activate: as above without the bit, or scheduled |
//!
//! An inactive queue is suspended once more, by a bit instead of the count. So neither can take the
//! other back. `HELD` does not exist without a count or `INACTIVE`, nor with a null tail. Every
//! move is one read-modify-write of this word. So a resume either comes before the drainer's
//! [`hold`](State::hold), which then fails and drains on, or it sees `HELD`.

use crate::base::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};

const HELD: u32 = 1;
const INACTIVE: u32 = 2;
const ONE: u32 = 4;

/// The result of a `resume`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It was not suspended, or not inactive.
    NotSuspended,
    /// Other suspensions still hold it, or its drainer never noticed the suspension.
    Nothing,
    /// The drainer left: the caller has the drain right and must schedule the queue.
    Schedule,
}

/// The result of a `clear`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// As for [`Resumed::Schedule`].
    pub(crate) drainer_left: bool,
    pub(crate) suspensions: u32,
    pub(crate) inactive: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct State(AtomicU32);

impl State {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The state of a queue that waits for `activate`.
    pub(crate) fn inactive() -> Self {
        Self(AtomicU32::new(INACTIVE))
    }

    /// Is the queue neither suspended nor inactive? Acquire: whatever happened before a `resume` is
    /// visible to the block that runs because of it.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.0.load(Acquire) == 0
    }

    /// Adds one suspension. `false`: the count is full (2^30 - 1).
    pub(crate) fn suspend(&self) -> bool {
        // AcqRel on all moves of this word: each happens after the one before, as under a lock.
        // None is hot.
        self.0.fetch_update(AcqRel, Relaxed, |word| word.checked_add(ONE)).is_ok()
    }

    /// Takes one suspension back.
    pub(crate) fn resume(&self) -> Resumed {
        let step = |word: u32| match word {
            0..ONE => None,
            word if word - ONE == HELD => Some(0),
            word => Some(word - ONE),
        };
        match self.0.fetch_update(AcqRel, Relaxed, step) {
            Err(_) => Resumed::NotSuspended,
            Ok(before) if before == ONE + HELD => Resumed::Schedule,
            Ok(_) => Resumed::Nothing,
        }
    }

    /// The queue may run, unless it is suspended. `Nothing` if it was active already.
    pub(crate) fn activate(&self) -> Resumed {
        let step = |word: u32| match word & !INACTIVE {
            left if left == word => None,
            HELD => Some(0),
            left => Some(left),
        };
        match self.0.fetch_update(AcqRel, Relaxed, step) {
            Ok(before) if before == INACTIVE + HELD => Resumed::Schedule,
            Ok(_) => Resumed::Nothing,
            Err(_) => Resumed::NotSuspended,
        }
    }

    /// The drainer wants to leave because of a suspension, or because the queue is inactive.
    /// `false`: it was resumed or activated meanwhile, and the drainer must go on.
    pub(crate) fn hold(&self) -> bool {
        let step = |word: u32| {
            if word & !HELD == 0 { None } else { Some(word | HELD) }
        };
        // Acquire on failure: the drain goes on because of that `resume`, as in `is_clear`.
        self.0.fetch_update(AcqRel, Acquire, step).is_ok()
    }

    /// Takes every suspension back, and activates: the last handle is dropped.
    pub(crate) fn clear(&self) -> Cleared {
        let before = self.0.swap(0, AcqRel);
        Cleared { drainer_left: before & HELD != 0, suspensions: before / ONE, inactive: before & INACTIVE != 0 }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn suspensions_count() {
        let state = State::new();
        assert!(state.suspend() && state.suspend());
        assert_eq!(state.resume(), Resumed::Nothing);
        assert!(!state.is_clear());
        assert_eq!(state.resume(), Resumed::Nothing);
        assert!(state.is_clear());
        assert_eq!(state.resume(), Resumed::NotSuspended);
    }

    #[test]
    fn only_the_last_resume_of_a_held_queue_schedules_it() {
        let state = State::new();
        assert!(!state.hold(), "nothing to hold for");
        assert!(state.suspend() && state.suspend());
        assert!(state.hold());
        assert_eq!(state.resume(), Resumed::Nothing);
        assert_eq!(state.resume(), Resumed::Schedule);
        assert!(state.is_clear());
    }

    #[test]
    fn clearing_tells_whether_the_drainer_had_left() {
        let state = State::new();
        assert!(state.suspend());
        assert!(!state.clear().drainer_left);
        assert!(state.suspend() && state.hold());
        assert!(state.clear().drainer_left);
        assert!(state.is_clear());
    }

    #[test]
    fn an_inactive_queue_is_held_until_it_is_both_activated_and_resumed() {
        let state = State::inactive();
        assert_eq!(state.resume(), Resumed::NotSuspended, "a resume does not activate");
        assert!(state.suspend() && state.hold());
        assert_eq!(state.activate(), Resumed::Nothing, "still suspended");
        assert_eq!(state.activate(), Resumed::NotSuspended, "twice is harmless");
        assert_eq!(state.resume(), Resumed::Schedule);
        let state = State::inactive();
        assert!(state.suspend() && state.hold());
        assert_eq!(state.resume(), Resumed::Nothing, "still inactive");
        assert!(!state.is_clear());
        assert_eq!(state.activate(), Resumed::Schedule);
        assert!(state.is_clear() && !state.hold());
    }
}
