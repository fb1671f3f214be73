//! Out of the socket and into messages: requests, then frames, then the handler.
//!
//! Not for: what the bytes mean (`http`, `ws`) and what a message does (`handler`).
//! Rules: a turn reads at most one lent buffer and decodes a stated number of frames; what it had no time for waits in `unread`.
//! Reading stops while the peer itself does not take what waits for it, and while its room has not told what it said before.

use super::{Connection, Open, Phase, Signs, Unread, caught, guard};
use crate::directory::Seat;
use crate::handler::{Echo, Handler, InRoom};
use crate::http::{self, Method, Reject, Request, Response};
use crate::io::Interest;
use crate::io::socket::{self, Arrived, READ_BUFFER};
use crate::route::Route;
use crate::ws::{self, Close, CloseCode, Decoder, Event, Role};

/// Bytes that may wait for a peer that takes nothing before its own input is left unread.
const BACKLOG: usize = 64 * 1024;

/// What a turn has read so far.
struct Turn {
    frames_left: usize,
    messages: u64,
}

impl Connection {
    /// Reads and handles what there is. `true`: there is more, for another turn.
    pub(super) fn read(&mut self) -> bool {
        let mut turn = Turn { frames_left: self.hub.terms.limits.turn_frames, messages: 0 };
        let mut bytes = 0;
        if !self.unread_is_partial() && self.wants_input() {
            self.use_unread(&mut turn);
        }
        while self.is(Signs::READABLE) && self.wants_input() && turn.frames_left > 0 && bytes < READ_BUFFER {
            bytes += self.read_once(&mut turn);
        }
        if bytes > 0 && matches!(self.phase, Phase::Open(_)) {
            self.since = self.hub.now();
            self.signs.remove(Signs::PINGED);
        }
        if bytes > 0 || turn.messages > 0 {
            let traffic = self.hub.terms.metrics.traffic();
            traffic.bytes_in.add(bytes as u64);
            traffic.messages_in.add(turn.messages);
        }
        self.has_input()
    }

    /// Whether there is something to read that is wanted now.
    pub(super) fn has_input(&self) -> bool {
        (self.is(Signs::READABLE) || !self.unread_is_partial()) && self.wants_input()
    }

    /// Whether input is wanted now. If not, something is on its way that will bring another turn.
    pub(super) fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Open(_) if self.is(Signs::STOPPED) || self.member().is_ahead() => false,
            // What comes after a close is thrown away, but it must be read: unread input would reset the connection.
            Phase::Closing { .. } => !self.is(Signs::ENDED) && !self.is(Signs::BROKEN),
            // One answer at a time.
            Phase::Head { .. } => self.member().output().outbox.is_empty(),
            Phase::Open(_) if self.member().is_closing() => false,
            Phase::Open(_) => !self.is(Signs::BLOCKED) || self.member().output().outbox.bytes() <= BACKLOG,
        }
    }

    /// One system call, and what it brought.
    fn read_once(&mut self, turn: &mut Turn) -> usize {
        socket::with_read_buffer(|buffer| match socket::read(&self.socket, buffer) {
            Ok(Arrived::Bytes(count)) => {
                // A short read has drained the socket, unless the end of the stream may be behind it.
                if count < buffer.len() && !self.is(Signs::HANGUP) {
                    self.signs.remove(Signs::READABLE);
                }
                self.take(&mut buffer[..count], turn);
                count
            }
            Ok(Arrived::Nothing) => {
                self.signs.remove(Signs::READABLE);
                0
            }
            Ok(Arrived::End) => {
                self.signs.remove(Signs::READABLE);
                self.signs.insert(Signs::ENDED);
                0
            }
            Err(error) => {
                log::debug!("{}: reading failed: {error}", self.member().queue().label());
                self.signs.remove(Signs::READABLE);
                self.signs.insert(Signs::BROKEN);
                0
            }
        })
    }

    /// Handles bytes that were just read, behind those that wait.
    fn take(&mut self, fresh: &mut [u8], turn: &mut Turn) {
        let mut unread = self.unread.take().map_or_else(Unread::default, |unread| *unread);
        if unread.bytes.is_empty() {
            let used = self.handle(fresh, &mut unread, turn);
            if used < fresh.len() {
                unread.bytes = fresh[used..].to_vec();
            }
            return self.leave_unread(unread);
        }
        unread.bytes.extend_from_slice(fresh);
        self.use_up(unread, turn);
    }

    fn use_unread(&mut self, turn: &mut Turn) {
        if let Some(unread) = self.unread.take() {
            self.use_up(*unread, turn);
        }
    }

    fn use_up(&mut self, mut unread: Unread, turn: &mut Turn) {
        let mut bytes = std::mem::take(&mut unread.bytes);
        let used = self.handle(&mut bytes, &mut unread, turn);
        if used < bytes.len() {
            bytes.drain(..used);
            unread.bytes = bytes;
        }
        self.leave_unread(unread);
    }

    /// Keeps what the next read goes on from, if there is anything.
    fn leave_unread(&mut self, unread: Unread) {
        if unread.skip > 0 || !unread.bytes.is_empty() {
            self.unread = Some(Box::new(unread));
        }
    }

    /// Handles bytes from the front and says how many were used up. Sets `seen` to what is known to be incomplete.
    fn handle(&mut self, mut input: &mut [u8], unread: &mut Unread, turn: &mut Turn) -> usize {
        let all = input.len();
        loop {
            if unread.skip > 0 {
                let skipped = unread.skip.min(input.len());
                unread.skip -= skipped;
                input = &mut input[skipped..];
            }
            if input.is_empty() {
                unread.seen = 0;
                return all;
            }
            match &self.phase {
                Phase::Head { .. } => match self.head(input, unread, turn) {
                    Some(used) => input = &mut input[used..],
                    None => return all - input.len(),
                },
                Phase::Open(_) => {
                    unread.seen = 0;
                    self.frames(&mut input, turn);
                    if matches!(self.phase, Phase::Open(_)) {
                        return all - input.len();
                    }
                }
                Phase::Closing { .. } => {
                    unread.seen = 0;
                    return all;
                }
            }
        }
    }

    /// Handles one request at the front of `input`; `None` if it is not complete or must wait.
    fn head(&mut self, input: &[u8], unread: &mut Unread, turn: &mut Turn) -> Option<usize> {
        if turn.frames_left == 0 || !self.member().output().outbox.is_empty() {
            // One answer at a time: the next request waits until this one is written.
            unread.seen = 0;
            return None;
        }
        if let Phase::Head { idle } = &mut self.phase
            && *idle
        {
            (self.since, *idle) = (self.hub.now(), false);
        }
        match http::parse_more(input, unread.seen, &self.hub.terms.limits) {
            Ok(None) => {
                unread.seen = input.len();
                None
            }
            Ok(Some((request, used))) => {
                turn.frames_left -= 1;
                unread.seen = 0;
                unread.skip = request.body();
                self.hub.terms.metrics.requests.add(1);
                match self.serve(&request) {
                    Ok(Some(response)) => self.respond(&request, &response),
                    Ok(None) => {}
                    Err(reject) => self.reject(&reject, request.method() == Method::Head),
                }
                Some(used)
            }
            Err(reject) => {
                self.reject(&reject, false);
                Some(input.len())
            }
        }
    }

    /// Decides on a request: an answer, or (`None`) it has become a WebSocket.
    fn serve(&mut self, request: &Request) -> Result<Option<Response>, Reject> {
        let hub = self.hub.clone();
        if self.is(Signs::REFUSED) {
            hub.terms.metrics.refused.add(1);
            return Err(Reject::busy("this server has as many connections as it can hold"));
        }
        let route = hub.router.find(request.path(), &hub.terms.limits)?;
        let handler: Box<dyn Handler> = match route {
            Route::Page => return Ok(Some(hub.page.clone())),
            Route::Health if self.is(Signs::STOPPED) || hub.is_draining() => {
                return Ok(Some(Response::text(503, "draining\n")));
            }
            Route::Health => return Ok(Some(Response::text(200, "ok\n"))),
            Route::Metrics => {
                let text = hub.terms.metrics.text(&hub.runtime.stats());
                return Ok(Some(Response::new(200, "text/plain; version=0.0.4; charset=utf-8", text)));
            }
            _ if request.upgrade().is_none() => {
                return Err(Reject::upgrade_required("this path serves WebSockets only"));
            }
            _ if self.is(Signs::STOPPED) || hub.is_draining() => return Err(Reject::busy("the server is stopping")),
            Route::Echo => {
                hub.origins.check(request)?;
                Box::new(Echo)
            }
            Route::Room(name) => {
                hub.origins.check(request)?;
                let seat = hub.directory.seat(name).map_err(|_| Reject::busy("this room is full"))?;
                self.go_home(&seat);
                Box::new(InRoom { seat })
            }
            Route::Handler(factory, _) => {
                hub.origins.check(request)?;
                // Only caught: the answer is by HTTP still, and nothing could come behind a close.
                let made = caught(&self.hub, &self.conn, || factory(request));
                made.unwrap_or_else(|| Err(Reject::new(500, "the handler of this path failed")))?
            }
        };
        self.open(request, handler);
        Ok(None)
    }

    /// From now on what comes in wakes the worker that the other members of the room are at home with.
    fn go_home(&mut self, seat: &Seat) {
        if let Some(home) = seat.home()
            && let Err(error) = self.hub.io.gather(&mut self.socket, home, Interest::Both)
        {
            log::debug!("{} stays where it is: {error}", self.member().queue().label());
        }
    }

    fn open(&mut self, request: &Request, mut handler: Box<dyn Handler>) {
        let Some(upgrade) = request.upgrade() else { return };
        self.hub.terms.metrics.upgrades.add(1);
        self.hub.terms.metrics.sockets.add(1);
        // Before the handler is told: whatever it makes others send comes behind the answer.
        self.member().output().outbox.push_own(ws::accept(upgrade));
        guard(&self.hub, &self.conn, || handler.open(&self.conn, request));
        self.phase = Phase::Open(Open { handler, decoder: Decoder::new(Role::Server) });
    }

    fn respond(&mut self, request: &Request, response: &Response) {
        let goes_on = request.keep_alive() && !self.hub.is_draining();
        let answer = response.encode(request.method() == Method::Head, goes_on);
        self.member().output().outbox.push_own(answer);
        if goes_on {
            self.since = self.hub.now();
            self.phase = Phase::Head { idle: true };
            // Often there is room at once, and the next request of a pipeline need not wait for another turn.
            self.write();
        } else {
            self.end_phase(None);
        }
    }

    /// Handles frames until there are no more bytes, or enough for this turn.
    fn frames(&mut self, input: &mut &mut [u8], turn: &mut Turn) {
        while turn.frames_left > 0
            && !input.is_empty()
            && let Phase::Open(open) = &mut self.phase
        {
            match open.decoder.decode(input, &self.hub.terms.limits) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    turn.messages += 1;
                    guard(&self.hub, &self.conn, || open.handler.message(&self.conn, message));
                }
                Ok(Some(Event::Ping(payload))) => {
                    // An outbox keeps the latest pong only. Whoever takes what is sent gets one for each ping.
                    if !self.is(Signs::BLOCKED) && !self.member().output().outbox.is_empty() {
                        self.write();
                    }
                    self.member().output().outbox.push_pong(&payload);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(theirs))) => {
                    let frame = ws::close_reply(theirs.as_ref());
                    // 1005 stands for "no code": it is told to the handler and never sent.
                    self.member().close(theirs.unwrap_or_else(|| Close::new(CloseCode(1005), "")), frame);
                }
                Err(breach) => {
                    log::debug!("{}: closed with {breach}", self.member().queue().label());
                    let frame = breach.frame();
                    self.member().close(breach, frame);
                }
            }
            turn.frames_left -= 1;
            // As a rule that was all.
            if input.is_empty() || self.member().is_closing() || self.member().is_ahead() {
                break;
            }
            if self.member().output().outbox.bytes() > BACKLOG.max(self.hub.terms.limits.outbox_bytes) {
                break;
            }
        }
        self.notice_close();
    }
}
