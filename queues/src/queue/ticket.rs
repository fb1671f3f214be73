//! The right to drain a queue that waits in the pool, so that it can be taken over from its place there.
//!
//! A queue waits in the pool as one *entry* in the line of its class, and nothing can be taken out of the middle of a line.
//! When somebody of a higher class waits for the queue, a *token* goes into the higher line, and whoever comes first, entry or
//! token, drains: the ticket tells. An entry that lost is *stale*; it keeps a handle of the queue, so that the memory stays
//! until it is met. If the queue is scheduled again before that, the stale entry gets the right back instead of a second one.
//! So there is one entry at most, and a queue that was never lifted pays one load.
//!
//! | ticket | entry in the pool | drain right | scheduled | entry met | token met |
//! |---|---|---|---|---|---|
//! | `NONE` | none, or one from before classes were used | its drainer | `WAITS`, pushed | drains | nothing |
//! | `WAITS` | one | the entry | | `NONE`, drains | `STALE`, drains |
//! | `STALE` | one, with a handle | its drainer | `REVIVED` | `NONE`, drops the handle | nothing |
//! | `REVIVED` | one, with a handle | the entry | | `NONE`, drains, drops the handle | `STALE`, drains |
//!
//! Beside the state stand the class of the entry, and the best class in which an entry or a token waits.
//! Not for: which class a queue is of (`lift`).

use crate::qos::Qos;
use crate::sync::atomic::{
    AtomicU8,
    Ordering::{AcqRel, Relaxed, SeqCst},
    fence,
};
use crate::sync::{order_unless, planted};

const STATE: u8 = 3;
const NONE: u8 = 0;
const WAITS: u8 = 1;
const STALE: u8 = 2;
const REVIVED: u8 = 3;

/// The shift of the entry's class, and of the best one.
const ENTRY: u8 = 2;
const BEST: u8 = 5;
const CLASS: u8 = 7;

fn pack(state: u8, entry: u8, best: u8) -> u8 {
    state | entry << ENTRY | best << BEST
}

fn entry(word: u8) -> u8 {
    word >> ENTRY & CLASS
}

fn best(word: u8) -> u8 {
    word >> BEST
}

/// What whoever schedules a queue has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduled {
    /// Push an entry.
    Push,
    /// Nothing: the stale entry has the drain right again.
    Revived,
}

/// What an entry finds when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// It has the drain right.
    pub(crate) drains: bool,
    /// It holds a handle, to be dropped last.
    pub(crate) has_handle: bool,
}

/// What a token finds when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtook {
    /// The queue was drained, or is being drained.
    Nothing,
    /// The token has the drain right. The entry that it overtook holds a handle already.
    Revived,
    /// As `Revived`, and the entry got the handle that the caller had ready for it.
    First,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ticket(AtomicU8);

impl Ticket {
    pub(crate) fn new() -> Self {
        Self(AtomicU8::new(NONE))
    }

    /// The holder of the drain right sends the queue to the pool, in class `qos`.
    pub(crate) fn schedule(&self, qos: Qos) -> Scheduled {
        let class = qos as u8;
        let step = |word: u8| match word & STATE {
            NONE => Some(pack(WAITS, class, class)),
            // The stale entry may stand in a lower line: the caller looks, and sends a token.
            STALE => Some(pack(REVIVED, entry(word), entry(word))),
            _ => None,
        };
        // Release: what the drainer did is visible to a token, which takes the right from here and not from the line.
        let release = order_unless("ticket: scheduling does not release", AcqRel);
        let moved = self.0.fetch_update(release, Relaxed, step);
        // The caller looks next whether the queue was lifted meanwhile; partner: the fence in `waits_below`.
        if !planted("ticket: scheduling has no fence") {
            fence(SeqCst);
        }
        match moved {
            Ok(before) if before & STATE == STALE => Scheduled::Revived,
            Ok(_) => Scheduled::Push,
            Err(word) => unreachable!("a queue is scheduled by the holder of its drain right, and yet {word:#x} waits"),
        }
    }

    /// Is there an entry that was overtaken, and not met yet? Only the holder of the drain right can rely on a `false`.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.load(Relaxed) & STATE == STALE
    }

    /// The queue waits below `qos`: `true` if the caller must send a token into that class.
    pub(crate) fn waits_below(&self, qos: Qos) -> bool {
        let class = qos as u8;
        let step = |word: u8| match word & STATE {
            WAITS | REVIVED if best(word) < class => Some(pack(word & STATE, entry(word), class)),
            _ => None,
        };
        // The caller counted its lift before. Partner: the fence in `schedule`. Either we see that the queue waits, or whoever
        // schedules it sees the lift.
        if !planted("ticket: a lift has no fence") {
            fence(SeqCst);
        }
        // Relaxed: nothing is read or published by it; the line has the token.
        self.0.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    /// An entry is met in its line.
    #[inline]
    pub(crate) fn meet(&self) -> Met {
        // Relaxed: an entry without a ticket is the only way to its drain right, and came with what is to be seen.
        if self.0.load(Relaxed) == NONE {
            return Met { drains: true, has_handle: false };
        }
        self.meet_slow()
    }

    #[cold]
    fn meet_slow(&self) -> Met {
        if planted("ticket: an entry does not ask") {
            return Met { drains: true, has_handle: self.0.swap(NONE, AcqRel) & STATE >= STALE };
        }
        // Acquire: what the last drainer did, if the right was given back to a stale entry, which then is not pushed again;
        // partner: `schedule`. Release: the next to schedule follows us.
        let word = self.0.swap(NONE, order_unless("ticket: an entry does not acquire", AcqRel)) & STATE;
        Met { drains: word != STALE, has_handle: word >= STALE }
    }

    /// A token is met. The caller has a handle ready for the entry that it may overtake.
    pub(crate) fn overtake(&self) -> Overtook {
        let step = |word: u8| match word & STATE {
            WAITS | REVIVED => Some(pack(STALE, entry(word), 0)),
            _ => None,
        };
        // Acquire: what whoever scheduled it did; partner: `schedule`. Release: the entry that is met later sees it.
        match self.0.fetch_update(order_unless("ticket: a token does not acquire", AcqRel), Relaxed, step) {
            Ok(before) if before & STATE == WAITS => Overtook::First,
            Ok(_) => Overtook::Revived,
            Err(_) => Overtook::Nothing,
        }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    const DRAINS: Met = Met { drains: true, has_handle: false };

    #[test]
    fn an_entry_that_nobody_overtakes_drains() {
        let ticket = Ticket::new();
        assert_eq!(ticket.meet(), DRAINS, "no ticket was drawn");
        assert_eq!(ticket.schedule(Qos::Utility), Scheduled::Push);
        assert_eq!(ticket.meet(), DRAINS);
        assert_eq!(ticket.overtake(), Overtook::Nothing, "too late");
    }

    #[test]
    fn an_overtaken_entry_drains_nothing() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Utility);
        assert_eq!(ticket.overtake(), Overtook::First);
        assert_eq!(ticket.overtake(), Overtook::Nothing, "the second token");
        assert_eq!(ticket.meet(), Met { drains: false, has_handle: true });
        assert_eq!(ticket.schedule(Qos::Utility), Scheduled::Push);
    }

    #[test]
    fn a_stale_entry_gets_the_right_back_and_may_lose_it_again() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Utility);
        ticket.overtake();
        assert_eq!(ticket.schedule(Qos::Default), Scheduled::Revived);
        assert_eq!(ticket.overtake(), Overtook::Revived, "it has its handle");
        assert_eq!(ticket.schedule(Qos::Default), Scheduled::Revived);
        assert_eq!(ticket.meet(), Met { drains: true, has_handle: true });
    }

    #[test]
    fn one_token_is_enough_for_a_class() {
        let ticket = Ticket::new();
        assert!(!ticket.waits_below(Qos::UserInteractive), "it does not wait");
        ticket.schedule(Qos::Utility);
        assert!(!ticket.waits_below(Qos::Utility));
        assert!(ticket.waits_below(Qos::UserInitiated));
        assert!(!ticket.waits_below(Qos::UserInitiated));
        assert!(ticket.waits_below(Qos::UserInteractive));
        ticket.overtake();
        assert!(!ticket.waits_below(Qos::UserInteractive), "it runs");
        ticket.schedule(Qos::UserInteractive);
        assert!(ticket.waits_below(Qos::UserInteractive), "the revived entry stands in its old line");
    }
}
