//! Out of the socket and into messages: requests, then frames, then the handler.
//!
//! Not for: the meaning of the bytes (`http`, `ws`) and the effect of a message (`handler`). Rules:
//! a turn reads at most one lent buffer and decodes a stated number of frames. Input that it had no
//! time for waits in `unread`. Reading stops while the peer does not take its waiting output, and
//! while its room has not broadcast its earlier messages.

use singletrack_io::Interest;
use singletrack_io::socket::{self, Arrived, READ_BUFFER, Socket};
use singletrack_web::http::{self, Method, Reject, Request, Response};
use singletrack_web::ws::{self, Close, CloseCode, Decoder, Event, Role};

use super::{Connection, Flags, Open, Phase, Unread, caught, guard};
use crate::directory::Membership;
use crate::handler::{Echo, Handler, InRoom};
use crate::route::Route;

/// The most bytes that may wait for a peer before its own input is left unread.
const BACKLOG: usize = 64 * 1024;

/// The progress of a turn's reads.
struct Turn {
    frames_left: usize,
    messages: u64,
}

impl<S: Socket> Connection<S> {
    /// Reads and handles the input. `true`: there is more, for another turn.
    pub(super) fn read(&mut self) -> bool {
        let mut turn = Turn { frames_left: self.server.policy.limits.turn_frames, messages: 0 };
        let mut bytes = 0;
        if !self.unread_is_partial() && self.wants_input() {
            self.use_unread(&mut turn);
        }
        while self.is(Flags::READABLE) && self.wants_input() && turn.frames_left > 0 && bytes < READ_BUFFER {
            bytes += self.read_once(&mut turn);
        }
        if bytes > 0 && matches!(self.phase, Phase::Open(_)) {
            self.since = self.server.now();
            self.flags.remove(Flags::PINGED);
        }
        if bytes > 0 || turn.messages > 0 {
            let traffic = self.server.policy.metrics.traffic();
            traffic.bytes_in.add(bytes as u64);
            traffic.messages_in.add(turn.messages);
        }
        self.has_input()
    }

    /// Whether there is input that is wanted now.
    pub(super) fn has_input(&self) -> bool {
        (self.is(Flags::READABLE) || !self.unread_is_partial()) && self.wants_input()
    }

    /// Whether input is wanted now. If not, something is on its way that will bring another turn.
    pub(super) fn wants_input(&self) -> bool {
        match &self.phase {
            Phase::Open(_) if self.is(Flags::STOPPED) || self.member().is_ahead() => false,
            // Input after a close is thrown away, but it must be read: unread input would reset the
            // connection.
            Phase::Closing { .. } => !self.is(Flags::ENDED) && !self.is(Flags::BROKEN),
            // One answer at a time.
            Phase::Head { .. } => self.member().output().outbox.is_empty(),
            Phase::Open(_) if self.member().is_closing() => false,
            Phase::Open(_) => !self.is(Flags::BLOCKED) || self.member().output().outbox.bytes() <= BACKLOG,
        }
    }

    /// One system call, and the handling of its input.
    fn read_once(&mut self, turn: &mut Turn) -> usize {
        socket::with_read_buffer(|buffer| match self.socket.read(buffer) {
            Ok(Arrived::Bytes(count)) => {
                // A short read has drained the socket, unless the end of the stream may be behind
                // it.
                if count < buffer.len() && !self.is(Flags::HANGUP) {
                    self.flags.remove(Flags::READABLE);
                }
                self.take(&mut buffer[..count], turn);
                count
            }
            Ok(Arrived::Nothing) => {
                self.flags.remove(Flags::READABLE);
                0
            }
            Ok(Arrived::End) => {
                self.flags.remove(Flags::READABLE);
                self.flags.insert(Flags::ENDED);
                0
            }
            Err(error) => {
                log::debug!("{}: reading failed: {error}", self.member().queue().label());
                self.flags.remove(Flags::READABLE);
                self.flags.insert(Flags::BROKEN);
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

    /// Keeps the bytes that the next read continues from, if there are any.
    fn leave_unread(&mut self, unread: Unread) {
        if unread.skip > 0 || !unread.bytes.is_empty() {
            self.unread = Some(Box::new(unread));
        }
    }

    /// Handles bytes from the front and returns how many were used. Sets `seen` to the length that
    /// is known to be incomplete.
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
            (self.since, *idle) = (self.server.now(), false);
        }
        match http::parse_more(input, unread.seen, &self.server.policy.limits) {
            Ok(None) => {
                unread.seen = input.len();
                None
            }
            Ok(Some((request, used))) => {
                turn.frames_left -= 1;
                unread.seen = 0;
                unread.skip = request.body();
                self.server.policy.metrics.requests.add(1);
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
        let server = self.server.clone();
        if self.is(Flags::REFUSED) {
            server.policy.metrics.refused.add(1);
            return Err(Reject::busy("this server has as many connections as it can hold"));
        }
        let route = server.router.find(request.path(), &server.policy.limits)?;
        let handler: Box<dyn Handler> = match route {
            Route::Page => return Ok(Some(server.page.clone())),
            Route::Health if self.is(Flags::STOPPED) || server.is_draining() => {
                return Ok(Some(Response::text(503, "draining\n")));
            }
            Route::Health => return Ok(Some(Response::text(200, "ok\n"))),
            Route::Metrics => {
                let text = server.policy.metrics.text(&server.runtime.stats());
                return Ok(Some(Response::new(200, "text/plain; version=0.0.4; charset=utf-8", text)));
            }
            _ if request.upgrade().is_none() => {
                return Err(Reject::upgrade_required("this path serves WebSockets only"));
            }
            _ if self.is(Flags::STOPPED) || server.is_draining() => return Err(Reject::busy("the server is stopping")),
            Route::Echo => {
                server.origins.check(request)?;
                Box::new(Echo)
            }
            Route::Room(name) => {
                server.origins.check(request)?;
                let membership = server.directory.join(name).map_err(|_| Reject::busy("this room is full"))?;
                self.go_home(&membership);
                Box::new(InRoom { membership })
            }
            Route::Handler(factory, _) => {
                server.origins.check(request)?;
                // The panic is only caught here: the answer still goes out by HTTP, and nothing
                // could follow a close.
                let made = caught(&self.server, &self.conn, || factory(request));
                made.unwrap_or_else(|| Err(Reject::new(500, "the handler of this path failed")))?
            }
        };
        self.open(request, handler);
        Ok(None)
    }

    /// From now on input wakes the worker that is home to the members of this room.
    fn go_home(&mut self, membership: &Membership) {
        if let Some(home) = membership.home()
            && let Err(error) = self.server.io.gather(&mut self.socket, home, Interest::Both)
        {
            log::debug!("{} stays where it is: {error}", self.member().queue().label());
        }
    }

    fn open(&mut self, request: &Request, mut handler: Box<dyn Handler>) {
        let Some(upgrade) = request.upgrade() else { return };
        self.server.policy.metrics.upgrades.add(1);
        self.server.policy.metrics.sockets.add(1);
        // Before the handler hears of it: whatever it makes others send must come behind the
        // answer.
        self.member().output().outbox.push_own(ws::accept(upgrade));
        guard(&self.server, &self.conn, || handler.open(&self.conn, request));
        self.phase = Phase::Open(Open { handler, decoder: Decoder::new(Role::Server) });
    }

    fn respond(&mut self, request: &Request, response: &Response) {
        let goes_on = request.keep_alive() && !self.server.is_draining();
        let answer = response.encode(request.method() == Method::Head, goes_on);
        self.member().output().outbox.push_own(answer);
        if goes_on {
            self.since = self.server.now();
            self.phase = Phase::Head { idle: true };
            // Often there is room at once, so the next request of a pipeline need not wait for
            // another turn.
            self.write();
        } else {
            self.end_phase(None);
        }
    }

    /// Handles frames until there are no more bytes, or until this turn has done its share.
    fn frames(&mut self, input: &mut &mut [u8], turn: &mut Turn) {
        while turn.frames_left > 0
            && !input.is_empty()
            && let Phase::Open(open) = &mut self.phase
        {
            match open.decoder.decode(input, &self.server.policy.limits) {
                Ok(None) => break,
                Ok(Some(Event::Message(message))) => {
                    turn.messages += 1;
                    guard(&self.server, &self.conn, || open.handler.message(&self.conn, message));
                }
                Ok(Some(Event::Ping(payload))) => {
                    // An outbox keeps the latest pong only. A peer that takes its output gets one
                    // for each ping.
                    if !self.is(Flags::BLOCKED) && !self.member().output().outbox.is_empty() {
                        self.write();
                    }
                    self.member().output().outbox.push_pong(&payload);
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(theirs))) => {
                    let frame = ws::close_reply(theirs.as_ref());
                    // 1005 stands for "no code": the handler sees it, but it is never sent.
                    self.member().close(theirs.unwrap_or_else(|| Close::new(CloseCode(1005), "")), frame);
                }
                Err(breach) => {
                    log::debug!("{}: closed with {breach}", self.member().queue().label());
                    let frame = breach.frame();
                    self.member().close(breach, frame);
                }
            }
            turn.frames_left -= 1;
            // Usually that was all.
            if input.is_empty() || self.member().is_closing() || self.member().is_ahead() {
                break;
            }
            if self.member().output().outbox.bytes() > BACKLOG.max(self.server.policy.limits.outbox_bytes) {
                break;
            }
        }
        self.notice_close();
    }
}
