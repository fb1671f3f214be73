//! One connection: what it is in the middle of, and when that must be over.
//!
//! A connection is the state of a [`Source`](singletrack_queues::Source)'s handler, so it is touched only on its own queue. Each run of the handler is a
//! *turn*: note what was signalled, read (`conn/read`), write (`conn/write`), then see whether to go on and until when to wait.
//! Not for: rooms and handlers, which see a [`Member`] or a [`Conn`].
//!
//! Rules:
//! - Edge-triggered: [`Signs::READABLE`] and [`Signs::BLOCKED`] remember what the last event or system call said until the next one.
//! - A turn reads no more than one lent buffer and a stated number of frames, then goes to the back.
//! - Whoever wants to end a WebSocket queues a close in the outbox; the turn that finds it there moves on to [`Phase::Closing`].
//! - One entry at most among the hub's deadlines, for the earliest. A deadline that moves into the future does not touch it: it
//!   comes in vain and is set again. So messages cost no timer work, and without connections nothing ticks.
//! - The clock is read where the time is noted: not at all by a turn that only writes, which is most of them in a room.
//! - An idle connection owns no buffer, and what only a busy one needs is made for it (`tests/memory.rs` counts every byte).

mod deadlines;
mod hub;
mod read;
mod write;

pub(crate) use deadlines::PLACES;
pub(crate) use hub::{Hub, Parts};

use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bitflags::bitflags;
use singletrack_queues::Queue;

use crate::handler::{Conn, Handler};
use crate::http::Reject;
use crate::io::{HANGUP, Interest, READABLE, Registered, WRITABLE, socket};
use crate::room::{FLUSH, Member, RESUME};
use crate::ws::{Close, CloseCode, Decoder};
use deadlines::Moment;

/// The deadline has come, or a former one.
const TICK: u64 = 1 << 16;
/// The server is about to stop: accept no more messages.
pub(crate) const STOP: u64 = 1 << 17;
/// The server stops: say so and end.
pub(crate) const AWAY: u64 = 1 << 18;
/// The server has no more time: end at once.
pub(crate) const ABORT: u64 = 1 << 19;
/// A turn left something to read.
const MORE: u64 = 1 << 20;

/// What a connection is in the middle of.
enum Phase {
    /// Waiting for a request head. `idle`: not a byte of it has come, and another request was answered before.
    Head { idle: bool },
    /// A WebSocket.
    Open(Open),
    /// The last bytes are on their way. `told`: all is written and the peer knows that no more comes.
    Closing { told: bool },
}

/// A WebSocket.
struct Open {
    handler: Box<dyn Handler>,
    decoder: Decoder,
}

/// Bytes that were read and not used up: an incomplete head, or what a turn had no time for.
#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    /// How many of `bytes` are known not to be a whole head.
    seen: usize,
    /// Bytes of a request's body that are still to be skipped.
    skip: usize,
}

/// How far a connection is: it begins with its first turn, and ends with its last.
enum Stage {
    Accepted { hub: Arc<Hub>, socket: Registered<TcpStream>, place: u32, refused: bool },
    Serving(Connection),
    Over,
}

/// A turn. Unless it comes to its end and says that the connection goes on, that is dropped: one that panicked, too, rather than
/// to leave the connection half changed.
struct InTurn<'a> {
    stage: &'a mut Stage,
    goes_on: bool,
}

impl Drop for InTurn<'_> {
    fn drop(&mut self) {
        if !self.goes_on {
            *self.stage = Stage::Over;
        }
    }
}

/// One connection. See the module.
pub(crate) struct Connection {
    hub: Arc<Hub>,
    /// What is told to others about it.
    conn: Conn,
    socket: Registered<TcpStream>,
    phase: Phase,
    /// Nothing while nothing was left unread.
    unread: Option<Box<Unread>>,
    /// When the wait for what must come next began: for a request head; for a sign of life, or the answer to a ping; for the
    /// peer's end, if it was told of ours.
    since: Moment,
    /// Since when the peer has taken nothing of what waits for it.
    stalled: Option<Moment>,
    /// When the hub brings a turn.
    expected: Option<Moment>,
    /// Where the hub keeps it.
    place: u32,
    /// The share of the jitter by which the next ping is late; a new one for each ping.
    share: u16,
    signs: Signs,
}

bitflags! {
    /// What is known of a connection beside its phase.
    #[derive(Clone, Copy)]
    struct Signs: u8 {
        /// There may be something to read.
        const READABLE = 1;
        /// The stream's end may hide behind what there is to read.
        const HANGUP = 1 << 1;
        /// There is no room to write; an event will tell.
        const BLOCKED = 1 << 2;
        /// The peer will send no more.
        const ENDED = 1 << 3;
        /// The connection broke: nobody can be told anything any more.
        const BROKEN = 1 << 4;
        /// Accepted beyond the limit, only to be told so.
        const REFUSED = 1 << 5;
        /// No more messages are accepted.
        const STOPPED = 1 << 6;
        /// A WebSocket's peer was sent a ping, and nothing has come since.
        const PINGED = 1 << 7;
    }
}

impl Connection {
    /// Takes over a socket that was accepted; from now on it runs on a queue of its own.
    pub(crate) fn start(hub: &Arc<Hub>, stream: TcpStream, refused: bool) {
        let id = hub.next_id();
        let queue = Queue::builder(format!("conn.{id}")).runtime(&hub.runtime).build();
        let (socket, attach) = match hub.io.register_spread(stream, Interest::Both) {
            Ok(registered) => registered,
            Err(error) => {
                hub.terms.metrics.accept_errors.add(1);
                log::warn!("a connection was dropped: it could not be watched: {error}");
                return;
            }
        };
        let place = hub.enter();
        let mut stage = Stage::Accepted { hub: hub.clone(), socket, place, refused };
        let member = Member::new(id, &queue, &hub.terms, move |own, bits| {
            if let Stage::Accepted { .. } = stage
                && let Stage::Accepted { hub, socket, place, refused } = std::mem::replace(&mut stage, Stage::Over)
            {
                stage = Stage::Serving(Connection::begin(hub, Member::of(own), socket, place, refused));
            }
            let mut turn = InTurn { stage: &mut stage, goes_on: false };
            if let Stage::Serving(this) = turn.stage {
                turn.goes_on = this.turn(bits);
            }
        });
        hub.seat(place, member.source());
        attach.to(member.source());
        // The first turn sets the deadline for the head, even if nothing ever comes.
        member.signal(FLUSH);
    }

    fn begin(hub: Arc<Hub>, member: Member, socket: Registered<TcpStream>, place: u32, refused: bool) -> Connection {
        let now = hub.now();
        Connection {
            share: hub.throw(),
            hub,
            conn: Conn::new(member),
            socket,
            phase: Phase::Head { idle: false },
            unread: None,
            since: now,
            stalled: None,
            expected: None,
            place,
            signs: if refused { Signs::REFUSED } else { Signs::empty() },
        }
    }

    /// One run on the queue. `false`: the connection is over and is to be dropped.
    fn turn(&mut self, bits: u64) -> bool {
        self.member().begin_turn();
        let due = (bits & TICK != 0).then(|| self.hub.now());
        // Events may be late, too, so before a deadline decides anything the system is asked.
        if bits & READABLE != 0 || (due.is_some() && self.is(Signs::PINGED)) {
            self.signs.insert(Signs::READABLE);
        }
        if bits & HANGUP != 0 {
            self.signs.insert(Signs::READABLE | Signs::HANGUP);
        }
        if bits & (WRITABLE | HANGUP | TICK) != 0 {
            self.signs.remove(Signs::BLOCKED);
        }
        if bits & STOP != 0 {
            self.stop();
        }
        if bits & AWAY != 0 {
            self.leave();
        }
        if bits & ABORT != 0 {
            self.give_up();
        }
        // Other bits (FLUSH, RESUME, MORE) need nothing noted: every turn reads if it may, and writes if something waits.
        debug_assert_eq!(
            bits & !(READABLE | WRITABLE | HANGUP | FLUSH | RESUME | TICK | STOP | AWAY | ABORT | MORE),
            0
        );
        let more = !self.is(Signs::BROKEN) && self.read();
        self.write();
        if let Some(now) = due {
            self.tick(now);
            self.write();
        }
        self.notice_close();
        self.member().end_turn();
        if self.is_over() {
            return false;
        }
        if more || self.has_input() {
            self.member().signal(MORE);
        }
        self.set_deadline();
        true
    }

    fn is(&self, sign: Signs) -> bool {
        self.signs.contains(sign)
    }

    fn member(&self) -> &Member {
        self.conn.member()
    }

    /// Whether what was left unread is nothing that could be used without further bytes.
    fn unread_is_partial(&self) -> bool {
        self.unread.as_ref().is_none_or(|unread| unread.bytes.len() == unread.seen)
    }

    /// Moves on to closing when a close waits in the outbox, whoever put it there.
    fn notice_close(&mut self) {
        if self.member().is_closing() && !matches!(self.phase, Phase::Closing { .. }) {
            let close = self.member().output().close.as_deref().cloned();
            self.end_phase(close);
        }
    }

    /// Tells the handler that it is over, once, and moves on to closing.
    fn end_phase(&mut self, close: Option<Close>) {
        self.unread = None;
        if let Phase::Open(open) = std::mem::replace(&mut self.phase, Phase::Closing { told: false }) {
            let close = close.unwrap_or_else(|| Close::new(CloseCode(1006), "the connection was lost"));
            self.hub.terms.metrics.sockets.add(-1);
            self.hub.terms.metrics.closed(close.code.0);
            let Open { mut handler, .. } = open;
            guard(&self.hub, &self.conn, || {
                handler.close(&self.conn, &close);
                // Dropped here: what a handler does when dropped is the user's code, too.
                drop(handler);
            });
        }
    }

    /// Refuses a request and ends the connection. `head_only`: whoever asked for a head gets no body.
    fn reject(&mut self, reject: &Reject, head_only: bool) {
        self.hub.terms.metrics.rejected_requests.add(1);
        log::debug!("{}: refused with {reject}", self.member().queue().label());
        self.member().output().outbox.push_own(reject.response().encode(head_only, false));
        self.end_phase(None);
    }

    /// The server is about to stop: from here on no message is accepted.
    fn stop(&mut self) {
        self.signs.insert(Signs::STOPPED);
        if let Phase::Open(open) = &mut self.phase {
            guard(&self.hub, &self.conn, || open.handler.drain(&self.conn));
        }
    }

    /// The server stops: says so.
    fn leave(&mut self) {
        match &self.phase {
            Phase::Head { idle: true } => self.end_phase(None),
            Phase::Head { .. } => self.reject(&Reject::busy("the server is stopping"), false),
            Phase::Open(_) => self.conn.close(CloseCode::AWAY, "the server is stopping"),
            Phase::Closing { .. } => {}
        }
    }

    /// Ends without ceremony: the peer is reset rather than left to wait.
    fn give_up(&mut self) {
        self.signs.insert(Signs::BROKEN);
    }

    /// Sees which deadline had passed `now`, when the turn began.
    fn tick(&mut self, now: Moment) {
        // Any other is still among the deadlines.
        self.expected = self.expected.filter(|at| *at > now);
        let limits = &self.hub.terms.limits;
        if self.stalled.is_some_and(|since| now >= since.after(limits.write_stall)) {
            log::debug!("{}: the peer takes nothing", self.member().queue().label());
            self.hub.terms.metrics.gone.add(1);
            return self.give_up();
        }
        let deaf = !self.wants_input();
        match self.phase {
            Phase::Head { idle: true } if now >= self.since.after(limits.keep_alive) => self.end_phase(None),
            Phase::Head { idle: false } if now >= self.since.after(limits.head_time) => {
                self.reject(&Reject::too_late(), false)
            }
            Phase::Head { .. } => {}
            // Whoever is not listened to cannot answer: a stalled write will find it out.
            Phase::Open(_) if deaf => self.signs.remove(Signs::PINGED),
            Phase::Open(_) if self.is(Signs::PINGED) => {
                if now >= self.since.after(limits.pong_timeout) {
                    log::debug!("{}: no answer to a ping", self.member().queue().label());
                    self.hub.terms.metrics.gone.add(1);
                    self.give_up();
                }
            }
            Phase::Open(_) => {
                if now >= self.since.after(self.hub.patience(self.share)) {
                    self.signs.insert(Signs::PINGED);
                    self.since = now;
                    self.share = self.hub.throw();
                    self.hub.terms.metrics.pings.add(1);
                    self.member().output().outbox.push_ping(b"");
                }
            }
            // That no close came back, or that unread input remains, is not worth a reset: the peer was told all.
            Phase::Closing { told: true } if now >= self.since.after(limits.close_time) => {
                self.signs.insert(Signs::ENDED)
            }
            Phase::Closing { .. } => {}
        }
    }

    /// The earliest deadline, if input `is_wanted`.
    fn deadline(&self, is_wanted: bool) -> Option<Moment> {
        let limits = &self.hub.terms.limits;
        let patience = match self.phase {
            Phase::Head { idle: true } => Some(limits.keep_alive),
            Phase::Head { idle: false } => Some(limits.head_time),
            // Until it is listened to again, something else is sure to come: room to write, the room's leave to go on, or the end.
            Phase::Open(_) if !is_wanted => None,
            Phase::Open(_) if self.is(Signs::PINGED) => Some(limits.pong_timeout),
            Phase::Open(_) => Some(self.hub.patience(self.share)),
            Phase::Closing { told } => told.then_some(limits.close_time),
        };
        let own = patience.map(|patience| self.since.after(patience));
        let stall = self.stalled.map(|since| since.after(limits.write_stall));
        match (own, stall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Sees to it that a turn comes no later than the earliest deadline.
    fn set_deadline(&mut self) {
        let comes_later = |deadline: &Moment| self.expected.is_none_or(|at| at > *deadline);
        // Input that is not wanted only takes a deadline away: as a rule one comes in time for all, and nothing need be asked.
        if self.deadline(true).is_some_and(|deadline| comes_later(&deadline))
            && let Some(deadline) = self.deadline(self.wants_input()).filter(comes_later)
        {
            let former = self.expected.replace(deadline);
            self.hub.expect(self.place, former, deadline);
        }
    }

    /// Whether the connection is to be dropped. Moves on when all is written.
    fn is_over(&mut self) -> bool {
        if self.is(Signs::BROKEN) {
            self.end_phase(None);
            return true;
        }
        if self.is(Signs::ENDED) && !matches!(self.phase, Phase::Closing { .. }) {
            // Nobody sends any more. Whoever asked by HTTP may still want the answer; a WebSocket ends with a close or is lost.
            self.signs.set(Signs::BROKEN, matches!(self.phase, Phase::Open(_)));
            self.end_phase(None);
            if self.is(Signs::BROKEN) {
                return true;
            }
        }
        let Phase::Closing { told } = &mut self.phase else { return false };
        if !self.conn.member().output().outbox.is_empty() {
            return false;
        }
        if !*told {
            *told = true;
            self.since = self.hub.now();
            socket::end_sending(&self.socket);
        }
        self.is(Signs::ENDED)
    }
}

/// Runs a handler's code: its panic ends this connection only.
fn guard(hub: &Hub, conn: &Conn, user: impl FnOnce()) {
    if caught(hub, conn, user).is_none() {
        conn.close(CloseCode::FAILED, "the server failed");
    }
}

/// Runs a handler's code, or what makes a handler: `None` if it panicked, which is logged and counted.
fn caught<R>(hub: &Hub, conn: &Conn, user: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(user)) {
        Ok(value) => Some(value),
        Err(panic) => {
            let said =
                panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            log::error!("a handler of {} panicked: {}", conn.queue().label(), said.unwrap_or("(no text)"));
            hub.terms.metrics.handler_panics.add(1);
            None
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // In a turn that panicked the handler has not been told; whatever it does now is caught by the queue.
        self.end_phase(None);
        // Whoever keeps a handle is told that nothing can be sent any more, and keeps no frames.
        let unsaid = self.member().output().outbox.end();
        if self.is(Signs::BROKEN) || unsaid {
            socket::reset_on_close(&self.socket);
        }
        self.hub.leave(self.place, self.expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_idle_connection_costs_does_not_grow_unnoticed() {
        assert!(size_of::<Connection>() <= 112, "{}", size_of::<Connection>());
    }
}
