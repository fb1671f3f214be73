//! The right to drain a queue that waits in the pool. A ticket lets another thread take the queue
//! over from its place there.
//!
//! A queue waits in the pool as one *entry* in the line of its class. Nothing can be taken out of
//! the middle of a line. When a thread of a higher class waits for the queue, a *token* goes into
//! the higher line. The first of the two, entry or token, drains; the ticket decides which one it
//! is. An entry that lost is *stale*. It keeps a handle of the queue, so that the memory stays
//! until a worker meets the entry. If the queue is scheduled again before that, the stale entry
//! gets the drain right back, and no second entry is pushed. So there is at most one entry, and a
//! queue that was never boosted pays one load.
//!
//! | ticket | entry in the pool | drain right | scheduled | entry claimed | token claimed |
//! |---|---|---|---|---|---|
//! | `NONE` | none, or one that was pushed without a ticket | its drainer | `WAITS`, pushed | drains | nothing |
//! | `WAITS` | one | the entry | | `NONE`, drains | `STALE`, drains |
//! | `STALE` | one, with a handle | its drainer | `REVIVED` | `NONE`, drops the handle | nothing |
//! | `REVIVED` | one, with a handle | the entry | | `NONE`, drains, drops the handle | `STALE`, drains |
//!
//! The word also holds the class of the entry, and the classes whose lines hold a token. A token
//! that finds nothing to overtake came too late. A token that was not claimed yet serves the next
//! boost of the queue. So there is at most one token per class, and a queue that is boosted all the
//! time does not fill lines that workers rarely reach.
//!
//! These rules guard the memory. An entry with the drain right needs no handle, because a queue
//! that has something to run stays. A stale entry has its own handle. The token that overtakes the
//! entry counts this handle *before* it makes the entry stale. A token has its own handle, too. The
//! thread that gives the right back to a stale entry keeps a handle meanwhile, because the entry
//! may be claimed, run and dropped at once.
//!
//! Not for: the class of a queue (`boost`).

use crate::base::qos::Qos;
use crate::base::sync::atomic::{
    AtomicU16,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
    fence,
};

const STATE: u16 = 3;
const NONE: u16 = 0;
const WAITS: u16 = 1;
const STALE: u16 = 2;
const REVIVED: u16 = 3;

/// The bits of the entry's class, and their position.
const ENTRY: u16 = 7 << ENTRY_SHIFT;
const ENTRY_SHIFT: u32 = 2;
/// The token of the lowest class. The tokens of the other classes are the bits above it.
const TOKEN: u16 = 1 << 5;

/// The bit of a token.
fn token(qos: Qos) -> u16 {
    TOKEN << qos as u32
}

/// `word` with its entry in the line of `qos`.
fn with_entry(word: u16, qos: Qos) -> u16 {
    word & !ENTRY | (qos as u16) << ENTRY_SHIFT
}

/// Is there an entry or a token in the line of `qos`, or in a higher one?
fn stands_in(word: u16, qos: Qos) -> bool {
    (word & ENTRY) >> ENTRY_SHIFT >= qos as u16 || word >= token(qos)
}

/// The step that the thread that schedules a queue has to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheduled {
    /// Push an entry.
    Push,
    /// Nothing: the stale entry has the drain right again.
    Revived,
}

/// The state that a worker finds when it meets an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The entry has the drain right.
    pub(crate) drains: bool,
    /// The entry holds a handle, to be dropped last.
    pub(crate) has_handle: bool,
}

/// The state that a worker finds when it meets a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overtook {
    /// The queue was drained, or is being drained.
    Nothing,
    /// The token has the drain right. The entry that it overtook holds a handle already.
    Revived,
    /// As `Revived`, and the entry got the handle that the caller had prepared for it.
    First,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ticket(AtomicU16);

impl Ticket {
    pub(crate) fn new() -> Self {
        Self(AtomicU16::new(NONE))
    }

    /// As [`draw`](Self::draw), where classes are used: a boost that comes at the same time is not
    /// missed.
    pub(crate) fn schedule(&self, qos: Qos) -> Scheduled {
        let scheduled = self.draw(qos);
        // Next, the caller checks whether the queue was boosted meanwhile. Partner: the fence in
        // `send_token`.
        fence(SeqCst);
        scheduled
    }

    /// As [`schedule`](Self::schedule), in the class that the queue has once its ticket says that
    /// it waits. The queue may be boosted meanwhile, so that class is returned. If the ticket is
    /// revived, `class` is not called again, because the queue may be gone.
    pub(crate) fn schedule_as(&self, class: impl Fn() -> Qos) -> (Scheduled, Qos) {
        let before = class();
        let scheduled = self.schedule(before);
        if scheduled == Scheduled::Revived {
            return (scheduled, before);
        }
        // The boost came after the first look and before the ticket said that the queue waits. No
        // token is sent, so the entry itself goes to the higher line.
        let now = class();
        if now > before {
            self.enter(now);
        }
        (scheduled, now.max(before))
    }

    /// Sends the queue to the pool, in class `qos`. Called by the holder of the drain right.
    pub(crate) fn draw(&self, qos: Qos) -> Scheduled {
        let step = |word: u16| match word & STATE {
            NONE => Some(with_entry(word, qos) | WAITS),
            // The stale entry may be in a lower line: the caller checks, and sends a token.
            STALE => Some(word | REVIVED),
            _ => None,
        };
        // Release: the drainer's work is visible to a token, which takes the right from this word
        // and not from the line. Acquire is not needed, but comes with the same word.
        match self.0.fetch_update(AcqRel, Relaxed, step) {
            Ok(before) if before & STATE == STALE => Scheduled::Revived,
            Ok(_) => Scheduled::Push,
            Err(word) => unreachable!("a queue is scheduled by the holder of its drain right, and yet {word:#x} waits"),
        }
    }

    /// Does the queue wait in the pool with a ticket? The answer may be out of date.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.0.load(Relaxed) & STATE, WAITS | REVIVED)
    }

    /// The entry, which is in no line yet, goes to a higher line than the one that it was scheduled
    /// for.
    pub(crate) fn enter(&self, qos: Qos) {
        // Relaxed: this only saves boosts a token that they need not send. The line publishes the
        // entry.
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| Some(with_entry(word, qos)));
    }

    /// Was the entry overtaken, and not met yet? Only the holder of the drain right can rely on
    /// `false`.
    pub(crate) fn is_stale(&self) -> bool {
        self.0.load(Relaxed) & STATE == STALE
    }

    /// Called by the thread that boosted the queue to `qos`. `true`: the queue waits only in lower
    /// lines, and the caller must push a token into that of `qos`.
    pub(crate) fn send_token(&self, qos: Qos) -> bool {
        let step = |word: u16| match word & STATE {
            WAITS | REVIVED if !stands_in(word, qos) => Some(word | token(qos)),
            _ => None,
        };
        // The caller has counted its boost before. Partner: the fence in `schedule`. Either this
        // thread sees that the queue waits, or the thread that schedules it sees the boost.
        fence(SeqCst);
        // Relaxed: nothing is read or published through the word. The line publishes the token.
        self.0.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    /// Is there no ticket for this entry? Then it drains, and [`claim`](Self::claim) would add
    /// nothing.
    #[inline]
    pub(crate) fn is_none(&self) -> bool {
        // Relaxed: an entry without a ticket is the only way to its drain right, and its line has
        // published everything. An entry with a ticket cannot read an older word: the line orders
        // this load behind its schedule.
        self.0.load(Relaxed) == NONE
    }

    /// As [`claim`](Self::claim), for the two common cases: there is no ticket, or no token
    /// overtook the entry and its class is the default one. `true`: the entry drains and holds no
    /// handle. `false`: the caller must call `claim`.
    #[inline]
    pub(crate) fn claim_plain(&self) -> bool {
        const PLAIN: u16 = WAITS | (Qos::Default as u16) << ENTRY_SHIFT;
        // Relaxed: as in `is_none`. Acquire: as in `claim`.
        match self.0.load(Relaxed) {
            NONE => true,
            PLAIN => self.0.compare_exchange(PLAIN, NONE, Acquire, Relaxed).is_ok(),
            _ => false,
        }
    }

    /// A worker meets an entry in its line.
    pub(crate) fn claim(&self) -> Claim {
        if self.is_none() {
            return Claim { drains: true, has_handle: false };
        }
        // Acquire: the last drainer's work, if the right was given back to a stale entry, which is
        // not pushed again; partner: `schedule`. The tokens stay.
        let state = self.0.fetch_and(!(STATE | ENTRY), Acquire) & STATE;
        Claim { drains: state != STALE, has_handle: state >= STALE }
    }

    /// A worker meets the token of `qos`. The caller has a handle ready for the entry that the
    /// token may overtake.
    pub(crate) fn overtake(&self, qos: Qos) -> Overtook {
        let step = |word: u16| {
            // One move: the next boost either sees this token, which then finds that the queue
            // waits, or sends another.
            let kept = word & !token(qos);
            Some(match word & STATE {
                WAITS | REVIVED => kept & !STATE | STALE,
                _ => kept,
            })
        };
        // Acquire: the work of the thread that scheduled the queue; partner: `schedule`. Nothing is
        // published: the entry that is claimed later only gives back a handle.
        match self.0.fetch_update(Acquire, Relaxed, step).unwrap_or(NONE) & STATE {
            WAITS => Overtook::First,
            REVIVED => Overtook::Revived,
            _ => Overtook::Nothing,
        }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    const DRAINS: Claim = Claim { drains: true, has_handle: false };

    #[test]
    fn an_entry_that_nobody_overtakes_drains() {
        let ticket = Ticket::new();
        assert_eq!(ticket.claim(), DRAINS, "no ticket was drawn");
        assert_eq!(ticket.schedule(Qos::Utility), Scheduled::Push);
        assert_eq!(ticket.claim(), DRAINS);
        assert_eq!(ticket.overtake(Qos::Default), Overtook::Nothing, "too late");
    }

    #[test]
    fn an_overtaken_entry_drains_nothing() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Utility);
        assert_eq!(ticket.overtake(Qos::Default), Overtook::First);
        assert_eq!(ticket.overtake(Qos::UserInitiated), Overtook::Nothing, "the second token");
        assert_eq!(ticket.claim(), Claim { drains: false, has_handle: true });
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
        assert_eq!(ticket.claim(), Claim { drains: true, has_handle: true });
    }

    #[test]
    fn one_token_is_enough_for_a_class() {
        let ticket = Ticket::new();
        assert!(!ticket.send_token(Qos::UserInteractive), "it does not wait");
        ticket.schedule(Qos::Utility);
        assert!(!ticket.send_token(Qos::Utility));
        assert!(ticket.send_token(Qos::UserInitiated));
        assert!(!ticket.send_token(Qos::UserInitiated));
        assert!(!ticket.send_token(Qos::Default), "there is a token in a higher one");
        assert!(ticket.send_token(Qos::UserInteractive));
        ticket.overtake(Qos::UserInteractive);
        assert!(!ticket.send_token(Qos::UserInteractive), "it runs");
        ticket.schedule(Qos::UserInteractive);
        assert!(ticket.send_token(Qos::UserInteractive), "the revived entry is in its old line");
    }

    #[test]
    fn a_token_that_was_not_met_yet_serves_the_next_boost() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Background);
        assert!(ticket.send_token(Qos::Utility));
        assert_eq!(ticket.claim(), DRAINS, "the entry came first");
        ticket.schedule(Qos::Background);
        assert!(!ticket.send_token(Qos::Utility), "the old token is still there");
        assert_eq!(ticket.overtake(Qos::Utility), Overtook::First);
        assert_eq!(ticket.overtake(Qos::UserInitiated), Overtook::Nothing, "another, whose boost is over");
        ticket.schedule(Qos::Background);
        assert!(ticket.send_token(Qos::Utility), "it was claimed");
    }

    #[test]
    fn an_entry_that_enters_a_higher_line_needs_no_token_there() {
        let ticket = Ticket::new();
        ticket.schedule(Qos::Background);
        ticket.enter(Qos::UserInitiated);
        assert!(!ticket.send_token(Qos::UserInitiated));
        assert!(ticket.send_token(Qos::UserInteractive));
        assert_eq!(ticket.claim(), DRAINS);
        ticket.schedule(Qos::Background);
        assert!(!ticket.send_token(Qos::UserInitiated), "the token of a higher class is still there");
    }
}
