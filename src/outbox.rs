//! The frames that wait to be written to one connection: bounded, shared, in order.
//!
//! Pure: it holds bytes and counts them; whoever owns it writes them and says how many were taken. Not for encoding (except the
//! notice of missed messages), waking, or the moment when a slow peer is given up. Rules: frames leave in the order in which they came and are never
//! cut except where a write stopped; nothing comes behind a close; control frames stay within [`CONTROL_FRAMES`] beyond the
//! limits, so that a flood of pings cannot grow memory; an empty outbox holds no memory: it is one word, because most of them
//! are empty. What it held is kept by its thread for the next one that is not (`outbox/spare`).

mod frames;
mod spare;

use bytes::Bytes;

use frames::Frames;

use crate::limits::Limits;
use crate::ws::{self, Close, CloseCode, Opcode};

/// Control frames that may wait beyond the limits: two pongs (one half written), a ping, a notice and a close.
pub const CONTROL_FRAMES: usize = 5;
/// Room for so many is made at once: what is said in a moment comes in bursts, and a list that grows is moved each time.
const FIRST_FRAMES: usize = 16;
/// A list is kept if it has room for at most this many frames.
const KEPT_FRAMES: usize = 64;

/// What happens to a member that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowMember {
    /// It is closed with 1013. What waited for it is thrown away, so that the close reaches it and the memory is free at once.
    #[default]
    Close,
    /// It misses messages until there is room, and is then told how many: a text message `{"missed":12}`.
    DropAndTell,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// It waits; `first` if nothing waited before, so the connection must be woken.
    Queued {
        /// Whether nothing waited before.
        first: bool,
    },
    /// The member missed it and will be told ([`SlowMember::DropAndTell`]).
    Missed,
    /// The member was too slow: a close (1013) now waits instead of all that had not been begun. Wake the connection, forget the member.
    Full,
    /// A close was queued already, and nothing can come behind it; or all has [ended](Outbox::end).
    Closing,
}

/// The frames that wait for one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Nothing while nothing waits, unless a close was queued or all has ended.
    waiting: Option<Box<Waiting>>,
}

/// What waits, and how far it is written.
#[derive(Debug, Default)]
struct Waiting {
    frames: Frames,
    /// Bytes of `frames` that are not written.
    bytes: usize,
    /// Bytes of the first frame that are written.
    begun: usize,
    /// One more than the place of the last pong among those that wait, lent ones included; 0: it is gone.
    pong: usize,
    /// Messages missed and not told yet.
    missed: u64,
    closing: bool,
    /// Frames and bytes from the front that are lent to whoever writes them; they still count as waiting.
    lent: usize,
    lent_bytes: usize,
    /// It was abandoned while frames were lent: those that were not begun are dropped when they come back.
    abandoned: bool,
}

/// The frames of an outbox, lent to whoever writes them.
#[derive(Debug)]
#[must_use = "lent frames count as waiting until they are given back"]
pub struct Lent {
    frames: Frames,
    /// Bytes of `frames` that are not written.
    bytes: usize,
    /// Bytes of the first frame that are written.
    begun: usize,
}

impl Lent {
    /// The frames, in order.
    pub fn frames(&self) -> &[Bytes] {
        self.frames.as_slice()
    }

    /// Bytes of the first frame that are written already.
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// Notes that so many bytes more were written, and drops the frames that are whole.
    pub fn advance(&mut self, written: usize) {
        if written >= self.bytes {
            (self.bytes, self.begun) = (0, 0);
            return self.frames.clear();
        }
        self.bytes -= written;
        self.begun += written;
        let mut whole = 0;
        for frame in self.frames.as_slice() {
            if self.begun < frame.len() {
                break;
            }
            self.begun -= frame.len();
            whole += 1;
        }
        self.frames.take(whole);
    }
}

impl Outbox {
    /// An empty outbox. It holds no memory.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Frames that wait, a half-written one included.
    pub fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.is_empty())
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    /// Messages that the member missed and was not told of yet.
    pub fn missed(&self) -> u64 {
        self.waiting.as_ref().map_or(0, |waiting| waiting.missed)
    }

    /// Whether a close was queued, or all has ended: when the outbox is empty then, all is said.
    pub fn is_closing(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.closing)
    }

    /// Queues a message's frame. An empty outbox takes a frame of any size; otherwise both limits hold, the frame included, and
    /// `policy` says what happens to a member that is beyond them.
    #[inline]
    pub fn push(&mut self, frame: &Bytes, limits: &Limits, policy: SlowMember) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        let (mut frames, mut bytes) = (waiting.len() + 1, waiting.bytes.saturating_add(frame.len()));
        if waiting.missed > 0 {
            frames += 1;
            bytes = bytes.saturating_add(missed_notice(waiting.missed).len());
        }
        if first || (frames <= limits.outbox_frames && bytes <= limits.outbox_bytes) {
            waiting.tell_missed();
            waiting.append(frame.clone());
            return Push::Queued { first };
        }
        match policy {
            SlowMember::DropAndTell => {
                waiting.missed += 1;
                Push::Missed
            }
            SlowMember::Close => {
                self.abandon(
                    Close::new(CloseCode::TRY_AGAIN, "too slow: messages were waiting beyond the limit").frame(),
                );
                Push::Full
            }
        }
    }

    /// Queues a frame beyond the limits: the answer to what the same peer sent, whose input is not read while the outbox is
    /// full. What was missed is told first.
    pub fn push_own(&mut self, frame: Bytes) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        waiting.tell_missed();
        waiting.append(frame);
        Push::Queued { first }
    }

    /// Queues a pong. Only the latest one that is not half written is kept. Returns what [`push`](Outbox::push) would.
    pub fn push_pong(&mut self, payload: &[u8]) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        let frame = ws::pong(payload);
        match waiting.pong.checked_sub(1) {
            // What is lent may be on the wire already, as is what was begun.
            Some(place) if place >= waiting.lent.max(usize::from(waiting.begun > 0)) => {
                let former = waiting.frames.at(place - waiting.lent);
                waiting.bytes = waiting.bytes - former.len() + frame.len();
                *former = frame;
            }
            _ => {
                waiting.append(frame);
                waiting.pong = waiting.len();
            }
        }
        Push::Queued { first }
    }

    /// Queues a ping, beyond the limits if need be: the caller keeps at most one unanswered.
    pub fn push_ping(&mut self, payload: &[u8]) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        waiting.append(ws::ping(payload));
        Push::Queued { first }
    }

    /// Queues the close behind what waits (and behind the notice of missed messages): nothing more can be queued.
    pub fn push_close(&mut self, close: Bytes) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        waiting.tell_missed();
        waiting.append(close);
        waiting.closing = true;
        Push::Queued { first }
    }

    /// Throws away all that was not begun and queues the close behind the rest. Does nothing if a close waits already.
    pub fn abandon(&mut self, close: Bytes) {
        let Some((waiting, _)) = self.open() else { return };
        if waiting.lent > 0 {
            waiting.frames.clear();
            waiting.bytes = waiting.lent_bytes;
            waiting.abandoned = true;
        } else {
            waiting.keep_begun();
        }
        waiting.frames.shrink_to(2);
        waiting.pong = 0;
        waiting.missed = 0;
        waiting.append(close);
        waiting.closing = true;
    }

    /// Throws everything away, for there is nobody any more to write it: nothing can be queued from now on.
    ///
    /// Returns whether anything was waiting.
    pub fn end(&mut self) -> bool {
        let unsaid = !self.is_empty();
        self.waiting = Some(Box::new(Waiting { closing: true, ..Waiting::default() }));
        unsaid
    }

    /// Lends all frames, to be written while others push; `None` if nothing waits. They count as waiting until
    /// [`give_back`](Outbox::give_back), which has to follow.
    pub fn lend(&mut self) -> Option<Lent> {
        let waiting = self.waiting.as_mut().filter(|waiting| !waiting.is_empty())?;
        debug_assert_eq!(waiting.lent, 0);
        let lent = Lent { frames: std::mem::take(&mut waiting.frames), bytes: waiting.bytes, begun: waiting.begun };
        (waiting.lent, waiting.lent_bytes) = (lent.frames.len(), lent.bytes);
        Some(lent)
    }

    /// Takes lent frames back: those that were not written come first again.
    ///
    /// Returns whether anything waits.
    pub fn give_back(&mut self, lent: Lent) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        waiting.take_back(lent);
        if !waiting.frames.is_empty() {
            return true;
        }
        if waiting.closing {
            waiting.frames = Frames::default();
        } else {
            self.waiting.take().into_iter().for_each(spare::keep);
        }
        false
    }

    /// What waits, and whether that is nothing; `None` when nothing can be queued any more.
    #[inline]
    fn open(&mut self) -> Option<(&mut Waiting, bool)> {
        let waiting = self.waiting.get_or_insert_with(spare::take);
        let first = waiting.is_empty();
        (!waiting.closing).then_some((waiting, first))
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.frames.len() + self.lent
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_back(&mut self, mut lent: Lent) {
        self.pong = self.pong.saturating_sub(self.lent - lent.frames.len());
        self.bytes = self.bytes - self.lent_bytes + lent.bytes;
        self.begun = lent.begun;
        (self.lent, self.lent_bytes) = (0, 0);
        lent.frames.append(&mut self.frames);
        self.frames = lent.frames;
        if std::mem::take(&mut self.abandoned) {
            let close = self.frames.pop();
            self.keep_begun();
            close.into_iter().for_each(|close| self.append(close));
        }
        if self.frames.is_empty() {
            self.tell_missed();
        } else if self.frames.capacity() > KEPT_FRAMES && self.frames.len() < self.frames.capacity() / 8 {
            // A burst is over. Shrinking to a quarter leaves room, so that the list does not grow and shrink in turns.
            let kept = (self.frames.capacity() / 4).max(KEPT_FRAMES);
            self.frames.shrink_to(kept);
        }
    }

    /// Drops all but a frame that is half written.
    fn keep_begun(&mut self) {
        self.frames.truncate(usize::from(self.begun > 0));
        self.bytes = self.frames.as_slice().iter().map(Bytes::len).sum::<usize>() - self.begun;
    }

    /// Tells what was missed, if anything was: before the next message, before a close, or when all is written.
    fn tell_missed(&mut self) {
        if self.missed > 0 {
            let missed = std::mem::take(&mut self.missed);
            self.append(missed_notice(missed));
        }
    }

    #[inline]
    fn append(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame, FIRST_FRAMES);
    }
}

#[cold]
fn missed_notice(missed: u64) -> Bytes {
    ws::encode(Opcode::Text, format!("{{\"missed\":{missed}}}").as_bytes())
}

#[cfg(test)]
mod tests;
