//! One connection: the phase that it is in, and the deadline for that phase.
//!
//! A connection is the state of a [`Source`]'s handler, so it is
//! touched only on its own queue. Each run of the handler is a *turn*: note what was signalled,
//! read (`conn/read`), write (`conn/write`), then decide whether to go on and until when to wait.
//! Not for: rooms and handlers, which see a [`Member`] or a [`Conn`].
//!
//! Rules:
//! - Edge-triggered: [`Flags::READABLE`] and [`Flags::BLOCKED`] remember what the last event or
//!   system call said until the next one.
//! - A turn reads no more than one lent buffer and a stated number of frames, then goes to the back
//!   of the queue.
//! - To end a WebSocket, queue a close in the outbox. The turn that finds it there moves on to
//!   [`Phase::Closing`].
//! - A connection has at most one entry among the server's deadlines, for the earliest. A deadline
//!   that moves into the future does not touch the entry: its spurious turn sets it again. So
//!   messages cost no timer work, and without connections nothing ticks.
//! - The clock is read where the time is noted. A turn that only writes does not read it, and in a
//!   room most turns only write.
//! - An idle connection owns no buffer. State that only a busy one needs is allocated for it
//!   (`tests/memory.rs` counts every byte).

mod deadlines;
mod read;
mod shared;
mod write;

pub(crate) use deadlines::PLACES;
pub(crate) use shared::{Parts, ServerState};

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bitflags::bitflags;
use singletrack_io::socket::Socket;
use singletrack_io::{HANGUP, Interest, READABLE, Registered, WRITABLE};
use singletrack_queues::{Queue, Source};
use singletrack_web::http::Reject;
use singletrack_web::outbox::Outbox;
use singletrack_web::ws::{Close, CloseCode, Decoder};

use crate::handler::{Conn, Handler};
use crate::room::{FLUSH, Member, RESUME, Shared};
use deadlines::Moment;

/// The deadline has come, or an outdated one.
const TICK: u64 = 1 << 16;
/// The server is about to stop: accept no more messages.
pub(crate) const STOP: u64 = 1 << 17;
/// The server stops: close and end.
pub(crate) const AWAY: u64 = 1 << 18;
/// The server has no more time: end at once.
pub(crate) const ABORT: u64 = 1 << 19;
/// A turn left something to read.
const MORE: u64 = 1 << 20;

/// The phase of a connection.
enum Phase {
    /// Waiting for a request head. `idle`: no byte of it has come, and another request was answered
    /// before.
    Head { idle: bool },
    /// A WebSocket.
    Open(Open),
    /// The last bytes are on their way. `told`: all is written and the peer knows that no more
    /// comes.
    Closing { told: bool },
}

/// A WebSocket.
struct Open {
    handler: Box<dyn Handler>,
    decoder: Decoder,
}

/// Bytes that were read and not used: an incomplete head, or input that a turn had no time for.
#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    /// How many of `bytes` are known not to be a whole head.
    seen: usize,
    /// Bytes of a request's body that are still to be skipped.
    skip: usize,
}

/// How far a connection is. It begins with its first turn and ends with its last.
enum Stage<S: Socket> {
    Accepted { server: Arc<ServerState>, socket: Registered<S>, place: u32, refused: bool },
    Serving(Connection<S>),
    Over,
}

/// A turn. Unless it reaches its end and reports that the connection goes on, the connection is
/// dropped. That holds for a turn that panics, too, because it may leave the connection half
/// changed.
struct InTurn<'a, S: Socket> {
    stage: &'a mut Stage<S>,
    goes_on: bool,
}

impl<S: Socket> Drop for InTurn<'_, S> {
    fn drop(&mut self) {
        if !self.goes_on {
            *self.stage = Stage::Over;
        }
    }
}

/// One connection. See the module.
pub(crate) struct Connection<S: Socket> {
    server: Arc<ServerState>,
    /// The part of it that others see.
    conn: Conn,
    socket: Registered<S>,
    phase: Phase,
    /// `None` while nothing is left unread.
    unread: Option<Box<Unread>>,
    /// The beginning of the current wait: for a request head, for a sign of life or the answer to a
    /// ping, or for the peer's end after ours was announced.
    since: Moment,
    /// The time since which the peer has taken none of its waiting output.
    stalled: Option<Moment>,
    /// The time of the turn that the server has scheduled.
    expected: Option<Moment>,
    /// Its place in the server's list.
    place: u32,
    /// The share of the jitter that delays the next ping. Each ping draws a new one.
    share: u16,
    flags: Flags,
}

bitflags! {
    /// The state of a connection beside its phase.
    #[derive(Clone, Copy)]
    struct Flags: u8 {
        /// There may be something to read.
        const READABLE = 1;
        /// The stream's end may hide behind the unread input.
        const HANGUP = 1 << 1;
        /// There is no room to write. An event reports when there is.
        const BLOCKED = 1 << 2;
        /// The peer will send no more.
        const ENDED = 1 << 3;
        /// The connection broke: nothing can reach the peer any more.
        const BROKEN = 1 << 4;
        /// Accepted beyond the limit, only to be refused.
        const REFUSED = 1 << 5;
        /// No more messages are accepted.
        const STOPPED = 1 << 6;
        /// A WebSocket's peer was sent a ping, and nothing has come since.
        const PINGED = 1 << 7;
    }
}

impl<S: Socket> Connection<S> {
    /// Takes over an accepted socket. From now on it runs on a queue of its own.
    pub(crate) fn start(server: &Arc<ServerState>, socket: S, refused: bool) {
        let id = server.next_id();
        let queue = Queue::builder(format!("conn.{id}")).runtime(&server.runtime).build();
        let (socket, attach) = match server.io.register_spread(socket, Interest::Both) {
            Ok(registered) => registered,
            Err(error) => {
                server.policy.metrics.accept_errors.add(1);
                log::warn!("a connection was dropped: it could not be watched: {error}");
                return;
            }
        };
        let place = server.enter();
        let mut stage = Stage::Accepted { server: server.clone(), socket, place, refused };
        let shared = Shared::new(id, Outbox::new(), &server.policy);
        let own = Source::builder(&queue).sharing(shared).build_with_self(move |own, bits| {
            if let Stage::Accepted { .. } = stage
                && let Stage::Accepted { server, socket, place, refused } = std::mem::replace(&mut stage, Stage::Over)
            {
                stage = Stage::Serving(Connection::begin(server, Member::of(own), socket, place, refused));
            }
            let mut turn = InTurn { stage: &mut stage, goes_on: false };
            if let Stage::Serving(this) = turn.stage {
                turn.goes_on = this.turn(bits);
            }
        });
        server.keep_source(place, own.plain());
        attach.to(own.plain());
        // The first turn sets the deadline for the head, even if nothing ever comes.
        Member::of(&own).signal(FLUSH);
    }

    fn begin(
        server: Arc<ServerState>,
        member: Member,
        socket: Registered<S>,
        place: u32,
        refused: bool,
    ) -> Connection<S> {
        let now = server.now();
        Connection {
            share: server.jitter(),
            server,
            conn: Conn::new(member),
            socket,
            phase: Phase::Head { idle: false },
            unread: None,
            since: now,
            stalled: None,
            expected: None,
            place,
            flags: if refused { Flags::REFUSED } else { Flags::empty() },
        }
    }

    /// One run on the queue. `false`: the connection is over and must be dropped.
    fn turn(&mut self, bits: u64) -> bool {
        self.member().begin_turn();
        let due = (bits & TICK != 0).then(|| self.server.now());
        // Events may be late, too, so the turn asks the system before a deadline decides anything.
        if bits & READABLE != 0 || (due.is_some() && self.is(Flags::PINGED)) {
            self.flags.insert(Flags::READABLE);
        }
        if bits & HANGUP != 0 {
            self.flags.insert(Flags::READABLE | Flags::HANGUP);
        }
        if bits & (WRITABLE | HANGUP | TICK) != 0 {
            self.flags.remove(Flags::BLOCKED);
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
        // Other bits (FLUSH, RESUME, MORE) need nothing noted: every turn reads if it may, and
        // writes if something waits.
        debug_assert_eq!(
            bits & !(READABLE | WRITABLE | HANGUP | FLUSH | RESUME | TICK | STOP | AWAY | ABORT | MORE),
            0
        );
        let more = !self.is(Flags::BROKEN) && self.read();
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

    fn is(&self, sign: Flags) -> bool {
        self.flags.contains(sign)
    }

    fn member(&self) -> &Member {
        self.conn.member()
    }

    /// Whether the unread bytes are of no use without further bytes.
    fn unread_is_partial(&self) -> bool {
        self.unread.as_ref().is_none_or(|unread| unread.bytes.len() == unread.seen)
    }

    /// Moves on to closing when a close waits in the outbox, regardless of its origin.
    fn notice_close(&mut self) {
        if self.member().is_closing() && !matches!(self.phase, Phase::Closing { .. }) {
            let close = self.member().output().close.as_deref().cloned();
            self.end_phase(close);
        }
    }

    /// Reports the end to the handler, once, and moves on to closing.
    fn end_phase(&mut self, close: Option<Close>) {
        self.unread = None;
        if let Phase::Open(open) = std::mem::replace(&mut self.phase, Phase::Closing { told: false }) {
            let close = close.unwrap_or_else(|| Close::new(CloseCode(1006), "the connection was lost"));
            self.server.policy.metrics.sockets.add(-1);
            self.server.policy.metrics.closed(close.code.0);
            let Open { mut handler, .. } = open;
            guard(&self.server, &self.conn, || {
                handler.close(&self.conn, &close);
                // Dropped here: a handler's drop is the user's code, too.
                drop(handler);
            });
        }
    }

    /// Refuses a request and ends the connection. `head_only`: the answer to a HEAD request has no
    /// body.
    fn reject(&mut self, reject: &Reject, head_only: bool) {
        self.server.policy.metrics.rejected_requests.add(1);
        log::debug!("{}: refused with {reject}", self.member().queue().label());
        self.member().output().outbox.push_own(reject.response().encode(head_only, false));
        self.end_phase(None);
    }

    /// The server is about to stop: from here on no message is accepted.
    fn stop(&mut self) {
        self.flags.insert(Flags::STOPPED);
        if let Phase::Open(open) = &mut self.phase {
            guard(&self.server, &self.conn, || open.handler.drain(&self.conn));
        }
    }

    /// The server stops: close the connection.
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
        self.flags.insert(Flags::BROKEN);
    }

    /// Finds the deadline that had passed at `now`, when the turn began.
    fn tick(&mut self, now: Moment) {
        // A later one is still among the deadlines.
        self.expected = self.expected.filter(|at| *at > now);
        let limits = &self.server.policy.limits;
        if self.stalled.is_some_and(|since| now >= since.after(limits.write_stall)) {
            log::debug!("{}: the peer takes nothing", self.member().queue().label());
            self.server.policy.metrics.gone.add(1);
            return self.give_up();
        }
        let deaf = !self.wants_input();
        match self.phase {
            Phase::Head { idle: true } if now >= self.since.after(limits.keep_alive) => self.end_phase(None),
            Phase::Head { idle: false } if now >= self.since.after(limits.head_time) => {
                self.reject(&Reject::too_late(), false)
            }
            Phase::Head { .. } => {}
            // A peer cannot answer while its input is not read. A stalled write will find out
            // whether it is gone.
            Phase::Open(_) if deaf => self.flags.remove(Flags::PINGED),
            Phase::Open(_) if self.is(Flags::PINGED) => {
                if now >= self.since.after(limits.pong_timeout) {
                    log::debug!("{}: no answer to a ping", self.member().queue().label());
                    self.server.policy.metrics.gone.add(1);
                    self.give_up();
                }
            }
            Phase::Open(_) => {
                if now >= self.since.after(self.server.ping_delay(self.share)) {
                    self.flags.insert(Flags::PINGED);
                    self.since = now;
                    self.share = self.server.jitter();
                    self.server.policy.metrics.pings.add(1);
                    self.member().output().outbox.push_ping(b"");
                }
            }
            // A missing close or remaining unread input is not worth a reset: the peer has received
            // everything.
            Phase::Closing { told: true } if now >= self.since.after(limits.close_time) => {
                self.flags.insert(Flags::ENDED)
            }
            Phase::Closing { .. } => {}
        }
    }

    /// The earliest deadline, if input `is_wanted`.
    fn deadline(&self, is_wanted: bool) -> Option<Moment> {
        let limits = &self.server.policy.limits;
        let patience = match self.phase {
            Phase::Head { idle: true } => Some(limits.keep_alive),
            Phase::Head { idle: false } => Some(limits.head_time),
            // Until input is wanted again, something else is sure to come: room to write, the
            // room's RESUME, or the end.
            Phase::Open(_) if !is_wanted => None,
            Phase::Open(_) if self.is(Flags::PINGED) => Some(limits.pong_timeout),
            Phase::Open(_) => Some(self.server.ping_delay(self.share)),
            Phase::Closing { told } => told.then_some(limits.close_time),
        };
        let own = patience.map(|patience| self.since.after(patience));
        let stall = self.stalled.map(|since| since.after(limits.write_stall));
        match (own, stall) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Ensures that a turn comes no later than the earliest deadline.
    fn set_deadline(&mut self) {
        let comes_later = |deadline: &Moment| self.expected.is_none_or(|at| at > *deadline);
        // Unwanted input only removes a deadline. Usually one entry is early enough for all, and
        // nothing else needs to be checked.
        if self.deadline(true).is_some_and(|deadline| comes_later(&deadline))
            && let Some(deadline) = self.deadline(self.wants_input()).filter(comes_later)
        {
            let former = self.expected.replace(deadline);
            self.server.expect(self.place, former, deadline);
        }
    }

    /// Whether the connection must be dropped. Moves on when all is written.
    fn is_over(&mut self) -> bool {
        if self.is(Flags::BROKEN) {
            self.end_phase(None);
            return true;
        }
        if self.is(Flags::ENDED) && !matches!(self.phase, Phase::Closing { .. }) {
            // The peer sends no more. An HTTP peer may still want the answer. A WebSocket ends with
            // a close or is lost.
            self.flags.set(Flags::BROKEN, matches!(self.phase, Phase::Open(_)));
            self.end_phase(None);
            if self.is(Flags::BROKEN) {
                return true;
            }
        }
        let Phase::Closing { told } = &mut self.phase else { return false };
        if !self.conn.member().output().outbox.is_empty() {
            return false;
        }
        if !*told {
            *told = true;
            self.since = self.server.now();
            self.socket.end_sending();
        }
        self.is(Flags::ENDED)
    }
}

/// Runs a handler's code. A panic of it ends this connection only.
fn guard(server: &ServerState, conn: &Conn, user: impl FnOnce()) {
    if caught(server, conn, user).is_none() {
        conn.close(CloseCode::FAILED, "the server failed");
    }
}

/// Runs a handler's code, or the code that makes a handler. `None` if it panicked, which is logged
/// and counted.
fn caught<R>(server: &ServerState, conn: &Conn, user: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(user)) {
        Ok(value) => Some(value),
        Err(panic) => {
            let said =
                panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            log::error!("a handler of {} panicked: {}", conn.queue().label(), said.unwrap_or("(no text)"));
            server.policy.metrics.handler_panics.add(1);
            None
        }
    }
}

impl<S: Socket> Drop for Connection<S> {
    fn drop(&mut self) {
        // After a panic the handler does not know of the end yet. If it panics again now, the queue
        // catches that.
        self.end_phase(None);
        // From now on a send through a kept handle fails, and no frames are kept.
        let unsaid = self.member().output().outbox.end();
        if self.is(Flags::BROKEN) || unsaid {
            self.socket.reset_on_close();
        }
        self.server.leave(self.place, self.expected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_idle_connection_costs_does_not_grow_unnoticed() {
        let bytes = size_of::<Connection<std::os::fd::OwnedFd>>();
        assert!(bytes <= 112, "{bytes}");
    }
}
