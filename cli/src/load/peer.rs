//! One connection of the generator: a socket and what it expects, on the queue of its shard.
//!
//! A turn reads the input, checks each message, and sends all due messages with one write. Not for:
//! the plan of the run (`plan`, and the director in `load`), nor for the rules of messages
//! (`verify`, `payload`). Rules: a message is checked in the read buffer, without a copy. A turn
//! ends, however fast a server sends. The output that waits for a server that does not read is
//! bounded. Any fault of the server ends the connection and is reported once, with the connection's
//! name.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use singletrack::io::socket::{self, Arrived, READ_BUFFER, Socket};
use singletrack::io::{FIRST_FREE_BIT, HANGUP, Io, READABLE, Registered, WRITABLE};
use singletrack::queues::Source;
use singletrack::ws::{Close, CloseCode, Decoder, Event, Opcode, Role, encode_frame};

use super::connect;
use super::frame::{self, Kind};
use super::handshake;
use super::payload::Stamp;
use super::plan::{Part, Seat};
use super::shard::{Run, Tally, Times};
use super::verify::{Breach, Ledger, missed_notice};

/// Send the first message, or the messages that a rate makes due.
pub(super) const SEND: u64 = FIRST_FREE_BIT;
/// A slow member reads from now on.
pub(super) const WAKE: u64 = FIRST_FREE_BIT << 1;
/// Nothing more will come: report what is missing.
pub(super) const AUDIT: u64 = FIRST_FREE_BIT << 2;
/// Close.
pub(super) const LEAVE: u64 = FIRST_FREE_BIT << 3;

/// The most bytes that may wait for the socket before a rate's further messages wait, too.
const BACKLOG: usize = 256 * 1024;
/// The most full read buffers before the other connections of the shard, and the main thread, get
/// their turn.
const READS: usize = 8;
/// The most bytes of a strange message that are reported.
const TOLD: usize = 80;

/// A connection, until it has ended.
struct Peer {
    run: Arc<Run>,
    socket: Option<Registered<OwnedFd>>,
    line: Line,
}

/// The tools of a turn.
struct Turn<'a> {
    run: &'a Run,
    times: Times,
    tally: &'a mut Tally,
    /// The signal for the next turn, if this one left something to read.
    more: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    /// The handshake was sent, and this much of the answer has come.
    Asked(Vec<u8>),
    Open,
    Leaving,
}

/// The state of a connection.
struct Line {
    seat: Seat,
    stage: Stage,
    key: String,
    mask: [u8; 4],
    decoder: Decoder,
    ledger: Ledger,
    /// Its sender number, if it is a sender, and the number of messages that it has sent.
    sender: u32,
    number: u64,
    /// The number of receptions that one of its messages brings.
    fan_out: u64,
    /// Its own latest message has come back, or it may send its first.
    may_send: bool,
    /// A slow member that reads now.
    awake: bool,
    unsent: Vec<u8>,
}

/// The reason for which a connection ended.
enum End {
    /// The regular end.
    Done,
    /// A fault of the server.
    Breach(String),
}

impl From<Breach> for End {
    fn from(breach: Breach) -> End {
        End::Breach(breach.to_string())
    }
}

/// Opens the connection of `seat` without waiting for anything. Its source takes the bits above.
///
/// # Errors
/// A sentence that says what the system refused.
pub(super) fn open(run: &Arc<Run>, io: &Io, seat: Seat) -> Result<Source, String> {
    let plan = &run.plan;
    let (registered, attach) = connect::begin(io, run.address, seat.part == Part::Slow)
        .map_err(|error| format!("{}: cannot connect to {}: {error}", plan.name(seat), run.address))?;
    let is_idle = seat.part == Part::Idle;
    let first = if is_idle { 0 } else { (seat.group * plan.senders()) as u32 };
    let line = Line {
        seat,
        stage: Stage::Connecting,
        key: handshake::key(u64::from(run.tag) << 32 | seat.number as u64),
        mask: (run.tag ^ (seat.number as u32).wrapping_mul(0x9e37_79b9)).to_ne_bytes(),
        decoder: Decoder::new(Role::Client),
        ledger: Ledger::new(first, if is_idle { 0 } else { plan.senders() }),
        sender: run.sender(seat) as u32,
        number: 0,
        fan_out: (plan.members() - plan.slow()) as u64,
        may_send: false,
        awake: false,
        unsent: Vec::new(),
    };
    let mut peer = Peer { run: run.clone(), socket: Some(registered), line };
    let source = Source::builder(&run.shard(seat).queue).build_with_self(move |own, bits| peer.turn(own, bits));
    attach.to(source.clone());
    Ok(source)
}

impl Peer {
    fn turn(&mut self, own: &Source, bits: u64) {
        let (Some(socket), run) = (&self.socket, &*self.run) else { return };
        let mut tally = run.shard(self.line.seat).tally();
        let mut turn = Turn { run, times: run.times(), tally: &mut tally, more: 0 };
        let Err(end) = self.line.turn(socket, bits, &mut turn) else {
            if turn.more != 0 {
                own.merge(turn.more);
            }
            return;
        };
        // Without a reset, thousands of closed connections would keep their ports for a minute.
        socket.reset_on_close();
        self.socket = None;
        tally.outgoing.clear();
        tally.counts.ended += 1;
        drop(tally);
        if let End::Breach(what) = end
            && self.line.stage != Stage::Leaving
        {
            run.breach(format!("{}: {what}", run.plan.name(self.line.seat)));
        }
    }
}

impl Line {
    fn turn(&mut self, socket: &OwnedFd, bits: u64, turn: &mut Turn<'_>) -> Result<(), End> {
        if self.stage == Stage::Connecting && bits & (READABLE | WRITABLE | HANGUP) != 0 {
            self.ask(socket, turn)?;
        }
        if bits & WAKE != 0 {
            self.awake = true;
            connect::widen(socket);
        }
        // A slow member shakes hands and then leaves all input unread.
        let reads = self.seat.part != Part::Slow || self.awake || self.stage != Stage::Open;
        if bits & (READABLE | HANGUP | WAKE) != 0 && reads {
            // A sleeper missed every event that came while it slept, the end, too.
            self.read(socket, bits & (HANGUP | WAKE) != 0, turn)?;
        }
        if bits & WAKE != 0 {
            self.is_served(turn)?;
        }
        if bits & AUDIT != 0 {
            self.audit(turn)?;
        }
        if bits & LEAVE != 0 {
            self.stage = Stage::Leaving;
            let close = CloseCode::NORMAL.0.to_be_bytes();
            turn.tally.outgoing.extend(encode_frame(true, Opcode::Close, &close, Some(self.mask)));
        } else if self.stage == Stage::Open && self.seat.part == Part::Talks {
            self.may_send |= bits & SEND != 0;
            let more_room = bits & WRITABLE != 0 && turn.times.now < turn.times.until;
            if turn.run.plan.rate.is_none() {
                self.answer_itself(turn);
            } else if bits & SEND != 0 || more_room {
                self.say_what_is_due(turn);
            }
        }
        self.write(socket, bits & WRITABLE != 0, turn)
    }

    /// The connection is established, or has failed: sends the handshake.
    fn ask(&mut self, socket: &OwnedFd, turn: &mut Turn<'_>) -> Result<(), End> {
        if let Err(error) = connect::outcome(socket) {
            return Err(End::Breach(format!("cannot connect to {}: {}", turn.run.address, said(&error))));
        }
        let plan = &turn.run.plan;
        let path = plan.path(self.seat, turn.run.tag);
        turn.tally.outgoing.extend_from_slice(handshake::request(&plan.target.authority, &path, &self.key).as_bytes());
        self.stage = Stage::Asked(Vec::new());
        Ok(())
    }

    fn read(&mut self, socket: &OwnedFd, to_the_end: bool, turn: &mut Turn<'_>) -> Result<(), End> {
        for reads in 0..READS {
            if reads > 0 {
                turn.times.now = turn.run.now();
            }
            let arrived = socket::with_read_buffer(|buffer| {
                let arrived = socket.read(buffer).map_err(|error| self.failed(&error, turn))?;
                if let Arrived::Bytes(count) = arrived {
                    self.take(&mut buffer[..count], turn)?;
                }
                Ok::<_, End>(arrived)
            })?;
            match arrived {
                // A short read has drained the socket, unless the end of the stream may be behind
                // it.
                Arrived::Bytes(count) if count == READ_BUFFER || to_the_end => {}
                Arrived::Bytes(_) | Arrived::Nothing => return Ok(()),
                Arrived::End if self.stage == Stage::Leaving => return Err(End::Done),
                Arrived::End => {
                    let when = if self.stage == Stage::Open { "without a close frame" } else { "during the handshake" };
                    return Err(End::Breach(format!("the server closed the connection {when}")));
                }
            }
        }
        turn.more = READABLE | if to_the_end { HANGUP } else { 0 };
        Ok(())
    }

    /// The system reports that the connection is gone.
    fn failed(&self, error: &io::Error, turn: &mut Turn<'_>) -> End {
        // The server reset it long ago, to bound its memory: that rule at work.
        if self.awake && error.kind() == io::ErrorKind::ConnectionReset {
            turn.tally.counts.slow.reset += 1;
            return End::Done;
        }
        End::Breach(format!("the connection failed: {}", said(error)))
    }

    fn take(&mut self, input: &mut [u8], turn: &mut Turn<'_>) -> Result<(), End> {
        let Stage::Asked(head) = &mut self.stage else { return self.frames(input, turn) };
        head.extend_from_slice(input);
        let answer = handshake::answer(head, &self.key);
        let Some(used) = answer.map_err(|what| End::Breach(format!("the server {what}")))? else { return Ok(()) };
        let mut rest = head.split_off(used);
        (self.stage, self.key) = (Stage::Open, String::new());
        turn.tally.counts.opened += 1;
        turn.run.opening.signal();
        self.frames(&mut rest, turn)
    }

    fn frames(&mut self, mut input: &mut [u8], turn: &mut Turn<'_>) -> Result<(), End> {
        loop {
            if !self.decoder.is_partial() {
                while let Some((kind, payload)) = frame::take_message(&mut input) {
                    self.message(kind, payload, turn)?;
                }
            }
            if input.is_empty() {
                return Ok(());
            }
            match self.decoder.decode(&mut input, &turn.run.limits) {
                Ok(None) => {}
                Ok(Some(Event::Message(message))) => {
                    let kind = if message.is_text() { Kind::Text } else { Kind::Binary };
                    self.message(kind, message.payload(), turn)?;
                }
                // A server that does not read the waiting output would not read the answer.
                Ok(Some(Event::Ping(_))) if self.unsent.len() > BACKLOG => {}
                Ok(Some(Event::Ping(payload))) => {
                    turn.tally.outgoing.extend(encode_frame(true, Opcode::Pong, &payload, Some(self.mask)));
                }
                Ok(Some(Event::Pong(_))) => {}
                Ok(Some(Event::Close(close))) => {
                    if self.stage == Stage::Leaving {
                        return Err(End::Done);
                    }
                    if self.awake && close.as_ref().is_some_and(|close| close.code == CloseCode::TRY_AGAIN) {
                        turn.tally.counts.slow.closed += 1;
                        return Err(End::Done);
                    }
                    let why =
                        close.map_or_else(|| "without a code".to_owned(), |close| format!("with {}", shown(&close)));
                    return Err(End::Breach(format!("the server closed the connection {why}")));
                }
                Err(breach) => return Err(End::Breach(format!("the server broke the protocol: {}", breach.reason))),
            }
        }
    }

    #[inline]
    fn message(&mut self, kind: Kind, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), End> {
        let Some(stamp) = Stamp::read(payload) else { return self.strange(payload, turn) };
        if stamp.run != turn.run.tag {
            return Err(Breach::Run.into());
        }
        if kind != turn.run.plan.kind {
            return Err(Breach::Kind.into());
        }
        self.ledger.enter(stamp.sender, stamp.number)?;
        if self.seat.part == Part::Slow {
            turn.tally.counts.slow.received += 1;
            return self.is_served(turn);
        }
        turn.tally.counts.received += 1;
        turn.tally.latest = turn.times.now;
        if stamp.due >= turn.times.from && stamp.due < turn.times.until {
            turn.tally.latency.count(turn.times.now.saturating_sub(stamp.due));
        }
        self.may_send |= stamp.sender == self.sender && self.seat.part == Part::Talks;
        Ok(())
    }

    /// A message that none of our senders wrote: either the notice for a slow member, or a breach.
    #[cold]
    fn strange(&mut self, payload: &[u8], turn: &mut Turn<'_>) -> Result<(), End> {
        if self.seat.part == Part::Slow
            && let Some(count) = missed_notice(payload)
        {
            self.ledger.excuse(count);
            let missed = &mut turn.tally.counts.slow.missed;
            *missed = missed.saturating_add(count);
            return self.is_served(turn);
        }
        let told = payload[..payload.len().min(TOLD)].escape_ascii();
        let more = if payload.len() > TOLD { "..." } else { "" };
        Err(End::Breach(format!("{}: {told}{more}", Breach::Altered)))
    }

    /// A slow member that reads is done when it has everything, or knows how much it missed.
    fn is_served(&self, turn: &mut Turn<'_>) -> Result<(), End> {
        if !self.awake {
            return Ok(());
        }
        // Nobody sends any more, so the messages that notices speak of are among those that have
        // not come.
        let first = self.seat.group * turn.run.plan.senders();
        if self.ledger.is_excused_too_much(|place| turn.run.sent(first + place)) {
            return Err(End::Breach("the server claims that more messages were missed than were".into()));
        }
        if self.audit(turn).is_err() {
            return Ok(());
        }
        turn.tally.counts.slow.served += 1;
        Err(End::Done)
    }

    /// Compares the received messages with the sent ones.
    fn audit(&self, turn: &Turn<'_>) -> Result<(), End> {
        let address = turn.run.address;
        match self.stage {
            Stage::Connecting => return Err(End::Breach(format!("{address} did not accept the connection"))),
            Stage::Asked(_) => return Err(End::Breach("the server did not answer the handshake".into())),
            Stage::Open => {}
            Stage::Leaving => return Ok(()),
        }
        if self.seat.part == Part::Slow && !self.awake {
            return Ok(());
        }
        let first = self.seat.group * turn.run.plan.senders();
        self.ledger.audit(|place| turn.run.sent(first + place)).map_err(|breach| match breach {
            Breach::Missing { .. } => End::Breach(format!("{breach}: it never came")),
            _ => breach.into(),
        })
    }

    /// Without a rate: sends the next message when the one before has come back.
    fn answer_itself(&mut self, turn: &mut Turn<'_>) {
        let may_send = std::mem::take(&mut self.may_send) && turn.times.now < turn.times.until;
        if may_send && self.number < turn.run.plan.messages.unwrap_or(u64::MAX) {
            self.say(turn.times.now, turn);
        }
    }

    /// With a rate: sends all due messages, unless too much already waits for the server.
    fn say_what_is_due(&mut self, turn: &mut Turn<'_>) {
        let last = turn.times.until.min(turn.times.now.saturating_add(1));
        while self.number < turn.run.plan.messages.unwrap_or(u64::MAX) {
            let due = turn.run.due(self.sender as usize, self.number);
            if due >= last || self.unsent.len() + turn.tally.outgoing.len() > BACKLOG {
                break;
            }
            if due >= turn.times.from {
                turn.tally.late.count(turn.times.now - due);
            }
            self.say(due, turn);
        }
    }

    fn say(&mut self, due: u64, turn: &mut Turn<'_>) {
        let (run, plan) = (turn.run.tag, &turn.run.plan);
        let stamp = Stamp { run, sender: self.sender, number: self.number as u32, due };
        frame::append_message(&mut turn.tally.outgoing, plan.kind, plan.bytes, self.mask, |payload| {
            stamp.write(payload)
        });
        self.number += 1;
        turn.run.set_sent(self.sender as usize, self.number as u32);
        turn.tally.counts.sent += 1;
        turn.tally.counts.owed += self.fan_out;
    }

    /// Writes the waiting output, then the output of this turn. The tally's buffer is empty
    /// afterwards.
    fn write(&mut self, socket: &OwnedFd, has_room: bool, turn: &mut Turn<'_>) -> Result<(), End> {
        if self.unsent.is_empty() && turn.tally.outgoing.is_empty() {
            return Ok(());
        }
        // Output that already waits needs room in the socket, which an event reports.
        let waited = !self.unsent.is_empty();
        if waited && !has_room {
            self.unsent.append(&mut turn.tally.outgoing);
            return Ok(());
        }
        let mut sent = 0;
        let all = self.unsent.len() + turn.tally.outgoing.len();
        while sent < all {
            let waiting = self.unsent.len();
            let pieces = [
                IoSlice::new(&self.unsent[sent.min(waiting)..]),
                IoSlice::new(&turn.tally.outgoing[sent.saturating_sub(waiting)..]),
            ];
            let pieces = if sent >= waiting { &pieces[1..] } else { &pieces[..] };
            match socket.write_gathered(pieces) {
                Ok(Some(count)) => sent += count,
                Ok(None) => break,
                // The server may have sent its reason, so read it. A slow member's connection may
                // be reset at any time.
                Err(error) => return Err(self.failed(&error, turn)),
            }
        }
        let waiting = self.unsent.len();
        self.unsent.drain(..sent.min(waiting));
        self.unsent.extend_from_slice(&turn.tally.outgoing[sent.saturating_sub(waiting)..]);
        turn.tally.outgoing.clear();
        Ok(())
    }
}

/// A close as one line, whatever the server wrote into it.
fn shown(close: &Close) -> String {
    close.to_string().chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// An error of the system in its words, without the number.
fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".into(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the server reset it".into(),
        _ => error.to_string(),
    }
}
