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
//! Beside the state stand the class of the entry, and the classes in whose lines a token stands. A token that finds nothing to
//! overtake had come too late; one that was not met yet serves whoever lifts the queue next. So there is one token a class at
//! most: a queue that is lifted all the time does not fill lines that are rarely come to.
//!
//! Who may touch the memory: an entry with the drain right needs no handle, because a queue that has something to run stays;
//! a stale one has its own, which the token that overtook it counted *before* it said so; a token has its own, too. Who gives
//! the right back to a stale entry keeps a handle over that, because the entry may be met, run and dropped at once.
//! Not for: which class a queue is of (`lift`).

use crate::qos::Qos;
use crate::sync::atomic::{
    AtomicU16,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};
use crate::sync::{order_unless, planted};

const STATE: u16 = 3;
const NONE: u16 = 0;
const WAITS: u16 = 1;
const STALE: u16 = 2;
const REVIVED: u16 = 3;

/// The bits of the entry's class, and their shift.
const ENTRY: u16 = 7 << ENTRY_SHIFT;
const ENTRY_SHIFT: u32 = 2;
/// The token of the lowest class; those of the others in the bits above it.
const TOKEN: u16 = 1 << 5;

/// The bit of a token.
fn token(qos: Qos) -> u16 {
    TOKEN << qos as u32
}

/// `word` with its entry in the line of `qos`.
fn with_entry(word: u16, qos: Qos) -> u16 {
    word & !ENTRY | (qos as u16) << ENTRY_SHIFT
}

/// Does an entry or a token stand in the line of `qos`, or a higher one?
fn stands_in(word: u16, qos: Qos) -> bool {
    (word & ENTRY) >> ENTRY_SHIFT >= qos as u16 || word >= token(qos)
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
pub(crate) struct Ticket(AtomicU16);

impl Ticket {
    pub(crate) fn new() -> Self {
        Self(AtomicU16::new(NONE))
    }

    /// The holder of the drain right sends the queue to the pool, in class `qos`.
    pub(crate) fn schedule(&self, qos: Qos) -> Scheduled {
        let step = |word: u16| match word & STATE {
            NONE => Some(with_entry(word, qos) | WAITS),
            // The stale entry may stand in a lower line: the caller looks, and sends a token.
            STALE => Some(word | REVIVED),
            _ => None,
        };
        // Release: what the drainer did is visible to a token, which takes the right from here and not from the line.
        let release = order_unless("ticket: scheduling does not release", AcqRel);
        let moved = self.0.fetch_update(release, Relaxed, step);
        // The caller looks next whether the queue was lifted meanwhile; partner: the fence in `send_token`.
        if !planted("ticket: scheduling has no fence") {
            fence(SeqCst);
        }
        match moved {
            Ok(before) if before & STATE == STALE => Scheduled::Revived,
            Ok(_) => Scheduled::Push,
            Err(word) => unreachable!("a queue is scheduled by the holder of its drain right, and yet {word:#x} waits"),
        }
    }

    /// The entry, which is in no line yet, goes to a higher one than that it was scheduled for.
    pub(crate) fn enter(&self, qos: Qos) {
        // Relaxed: tells lifts what they need not send; the line has the entry.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| Some(with_entry(word, qos)));
    }

    /// Is there an entry that was overtaken, and not met yet? Only the holder of the drain right can rely on a `false`.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.load(Relaxed) & STATE == STALE
    }

    /// Whoever lifted the queue to `qos` asks. `true`: it waits in lower lines alone, and the caller must send a token there.
    pub(crate) fn send_token(&self, qos: Qos) -> bool {
        let step = |word: u16| match word & STATE {
            WAITS | REVIVED if !stands_in(word, qos) => Some(word | token(qos)),
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

    /// Has the entry that is met no ticket? Then it drains, and [`meet`](Self::meet) would say no more.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        // Relaxed: an entry without a ticket is the only way to its drain right, and came with what is to be seen. One with a
        // ticket cannot read an older word: the line that it came through orders this behind its schedule.
        self.0.load(Relaxed) == NONE
    }

    /// An entry is met in its line.
    pub(crate) fn meet(&self) -> Met {
        if self.is_none() {
            return Met { drains: true, has_handle: false };
        }
        if planted("ticket: an entry does not ask") {
            return Met { drains: true, has_handle: self.0.fetch_and(!(STATE | ENTRY), AcqRel) & STATE >= STALE };
        }
        // Acquire: what the last drainer did, if the right was given back to a stale entry, which then is not pushed again;
        // partner: `schedule`. The tokens stay.
        let acquire = order_unless("ticket: an entry does not acquire", Acquire);
        let state = self.0.fetch_and(!(STATE | ENTRY), acquire) & STATE;
        Met { drains: state != STALE, has_handle: state >= STALE }
    }

    /// The token of `qos` is met. The caller has a handle ready for the entry that it may overtake.
    pub(crate) fn overtake(&self, qos: Qos) -> Overtook {
        let step = |word: u16| {
            // One move: whoever lifts either sees the token, which then finds that the queue waits, or sends another.
            let kept = if planted("ticket: a token that was met stays noted") { word } else { word & !token(qos) };
            Some(match word & STATE {
                WAITS | REVIVED => kept & !STATE | STALE,
                _ => kept,
            })
        };
        // Acquire: what whoever scheduled it did; partner: `schedule`. Nothing is published: the entry that is met later gives
        // back a handle, and touches nothing else.
        let acquire = order_unless("ticket: a token does not acquire", Acquire);
        match self.0.fetch_update(acquire, Relaxed, step).unwrap_or(NONE) & STATE {
            WAITS => Overtook::First,
            REVIVED => Overtook::Revived,
            _ => Overtook::Nothing,
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
        assert_eq!(ticket.overtake(Qos::Default), Overtook::Nothing, "too late");
    }

    #[test]
    fn an_overtaken_entry_drains_nothing() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Utility);
        assert_eq!(ticket.overtake(Qos::Default), Overtook::First);
        assert_eq!(ticket.overtake(Qos::UserInitiated), Overtook::Nothing, "the second token");
        assert_eq!(ticket.meet(), Met { drains: false, has_handle: true });
        assert_eq!(ticket.schedule(Qos::Utility), Scheduled::Push);
    }

    #[test]
    fn a_stale_entry_gets_the_right_back_and_may_lose_it_again() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Utility);
        ticket.overtake(Qos::UserInitiated);
        assert_eq!(ticket.schedule(Qos::Default), Scheduled::Revived);
        assert_eq!(ticket.overtake(Qos::UserInitiated), Overtook::Revived, "it has its handle");
        assert_eq!(ticket.schedule(Qos::Default), Scheduled::Revived);
        assert_eq!(ticket.meet(), Met { drains: true, has_handle: true });
    }

    #[test]
    fn one_token_is_enough_for_a_class() {
        let ticket = Ticket::new();
        assert!(!ticket.send_token(Qos::UserInteractive), "it does not wait");
        ticket.schedule(Qos::Utility);
        assert!(!ticket.send_token(Qos::Utility));
        assert!(ticket.send_token(Qos::UserInitiated));
        assert!(!ticket.send_token(Qos::UserInitiated));
        assert!(!ticket.send_token(Qos::Default), "a higher one stands there");
        assert!(ticket.send_token(Qos::UserInteractive));
        ticket.overtake(Qos::UserInteractive);
        assert!(!ticket.send_token(Qos::UserInteractive), "it runs");
        ticket.schedule(Qos::UserInteractive);
        assert!(ticket.send_token(Qos::UserInteractive), "the revived entry stands in its old line");
    }

    #[test]
    fn a_token_that_was_not_met_yet_serves_the_next_lift() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Background);
        assert!(ticket.send_token(Qos::Utility));
        assert_eq!(ticket.meet(), DRAINS, "the entry came first");
        ticket.schedule(Qos::Background);
        assert!(!ticket.send_token(Qos::Utility), "the old token still stands there");
        assert_eq!(ticket.overtake(Qos::Utility), Overtook::First);
        assert_eq!(ticket.overtake(Qos::UserInitiated), Overtook::Nothing, "another, whose lift is over");
        ticket.schedule(Qos::Background);
        assert!(ticket.send_token(Qos::Utility), "it was met");
    }

    #[test]
    fn an_entry_that_enters_a_higher_line_needs_no_token_there() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Background);
        ticket.enter(Qos::UserInitiated);
        assert!(!ticket.send_token(Qos::UserInitiated));
        assert!(ticket.send_token(Qos::UserInteractive));
        assert_eq!(ticket.meet(), DRAINS);
        ticket.schedule(Qos::Background);
        assert!(!ticket.send_token(Qos::UserInitiated), "the token of a higher class still stands there");
    }
}
