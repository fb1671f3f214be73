//! The frames that wait to be written to one connection: bounded, shared, in order.
//!
//! Pure: it holds bytes and counts them; whoever owns it writes them and says how many were taken. Not for encoding (except the
//! notice of missed messages), waking, or the moment when a slow peer is given up. Rules: frames leave in the order in which they came and are never
//! cut except where a write stopped; nothing comes behind a close; control frames stay within [`CONTROL_FRAMES`] beyond the
//! limits, so that a flood of pings cannot grow memory; an empty outbox holds no memory.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use crate::limits::Limits;
use crate::ws::{self, Close, CloseCode, Opcode};

/// Control frames that may wait beyond the limits: two pongs (one half written), a ping, a notice and a close.
pub const CONTROL_FRAMES: usize = 5;
/// A drained outbox keeps a ring of at most this many frames while it is in use.
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
    /// A close waits already: nothing can come behind it.
    Closing,
}

/// The frames that wait for one connection.
#[derive(Debug, Default)]
pub struct Outbox {
    frames: VecDeque<Bytes>,
    /// Bytes of `frames` that are not written.
    bytes: usize,
    /// Bytes of the first frame that are written.
    begun: usize,
    /// Frames ever taken off the front: with it a frame is found by its number.
    taken: u64,
    /// The number of the last pong that was queued, plus one.
    pong: u64,
    /// Messages missed and not told yet.
    missed: u64,
    policy: SlowMember,
    closing: bool,
}

impl Outbox {
    /// An empty outbox. It holds no memory.
    pub fn new(policy: SlowMember) -> Outbox {
        Outbox {
            policy,
            ..Outbox::default()
        }
    }

    /// Frames that wait, a half-written one included.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Messages that the member missed and was not told of yet.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Whether a close was queued: when the outbox is empty then, all is said.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    /// Queues a message's frame. An empty outbox takes a frame of any size; otherwise both limits hold, the frame included.
    pub fn push(&mut self, frame: Bytes, limits: &Limits) -> Push {
        if self.closing {
            return Push::Closing;
        }
        let first = self.is_empty();
        let notice = if self.missed > 0 {
            Some(missed_notice(self.missed))
        } else {
            None
        };
        let extra = notice.as_ref().map_or(0, Bytes::len);
        let frames = self.len() + 1 + usize::from(notice.is_some());
        let bytes = self.bytes.saturating_add(frame.len()).saturating_add(extra);
        if first || (frames <= limits.outbox_frames && bytes <= limits.outbox_bytes) {
            if let Some(notice) = notice {
                self.missed = 0;
                self.append(notice);
            }
            self.append(frame);
            return Push::Queued { first };
        }
        match self.policy {
            SlowMember::DropAndTell => {
                self.missed += 1;
                Push::Missed
            }
            SlowMember::Close => {
                self.abandon(
                    Close::new(
                        CloseCode::TRY_AGAIN,
                        "too slow: messages were waiting beyond the limit",
                    )
                    .frame(),
                );
                Push::Full
            }
        }
    }

    /// Queues a frame beyond the limits: the answer to what the same peer sent, whose input is not read while the outbox is
    /// full. What was missed is told first.
    pub fn push_own(&mut self, frame: Bytes) -> Push {
        if self.closing {
            return Push::Closing;
        }
        let first = self.is_empty();
        self.tell_missed();
        self.append(frame);
        Push::Queued { first }
    }

    /// Queues a pong. Only the latest one that is not half written is kept. Returns what [`push`](Outbox::push) would.
    pub fn push_pong(&mut self, payload: &[u8]) -> Push {
        if self.closing {
            return Push::Closing;
        }
        let first = self.is_empty();
        let frame = ws::pong(payload);
        let index = self
            .pong
            .checked_sub(self.taken + 1)
            .map(|index| index as usize);
        match index {
            Some(index) if index > 0 || self.begun == 0 => {
                if let Some(waiting) = self.frames.get_mut(index) {
                    self.bytes = self.bytes - waiting.len() + frame.len();
                    *waiting = frame;
                }
            }
            _ => {
                self.append(frame);
                self.pong = self.taken + self.frames.len() as u64;
            }
        }
        Push::Queued { first }
    }

    /// Queues a ping, beyond the limits if need be: the caller keeps at most one unanswered.
    pub fn push_ping(&mut self, payload: &[u8]) -> Push {
        if self.closing {
            return Push::Closing;
        }
        let first = self.is_empty();
        self.append(ws::ping(payload));
        Push::Queued { first }
    }

    /// Queues the close behind what waits (and behind the notice of missed messages): nothing more can be queued.
    pub fn push_close(&mut self, close: Bytes) -> Push {
        if self.closing {
            return Push::Closing;
        }
        let first = self.is_empty();
        self.tell_missed();
        self.append(close);
        self.closing = true;
        Push::Queued { first }
    }

    /// Throws away all that was not begun and queues the close behind the rest. Does nothing if a close waits already.
    pub fn abandon(&mut self, close: Bytes) {
        if self.closing {
            return;
        }
        self.frames.truncate(usize::from(self.begun > 0));
        self.frames.shrink_to(2);
        self.bytes = self.frames.iter().map(Bytes::len).sum::<usize>() - self.begun;
        self.pong = 0;
        self.missed = 0;
        self.append(close);
        self.closing = true;
    }

    /// Fills `slices` from the front with what waits, and returns how many were filled: what one gathered write takes.
    pub fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            let skip = if filled == 0 { self.begun } else { 0 };
            *slice = IoSlice::new(&frame[skip..]);
            filled += 1;
        }
        filled
    }

    /// Takes `written` bytes off the front. If messages were missed and everything is written now, the notice waits afterwards.
    ///
    /// Returns whether anything waits.
    pub fn advance(&mut self, written: usize) -> bool {
        let mut left = written.min(self.bytes);
        self.bytes -= left;
        while let Some(front) = self.frames.front() {
            let rest = front.len() - self.begun;
            if rest > left {
                self.begun += left;
                break;
            }
            left -= rest;
            self.begun = 0;
            self.frames.pop_front();
            self.taken += 1;
        }
        if self.frames.is_empty() && !self.closing {
            self.tell_missed();
        }
        if self.frames.is_empty() {
            self.frames = VecDeque::new();
        } else if self.frames.capacity() > KEPT_FRAMES
            && self.frames.len() < self.frames.capacity() / 8
        {
            // A burst is over. Shrinking to a quarter leaves room, so that the ring does not grow and shrink in turns.
            let kept = (self.frames.capacity() / 4).max(KEPT_FRAMES);
            self.frames.shrink_to(kept);
        }
        !self.frames.is_empty()
    }

    fn tell_missed(&mut self) {
        if self.missed > 0 {
            self.append(missed_notice(self.missed));
            self.missed = 0;
        }
    }

    fn append(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }
}

fn missed_notice(missed: u64) -> Bytes {
    ws::encode(Opcode::Text, format!("{{\"missed\":{missed}}}").as_bytes())
}

#[cfg(test)]
mod tests;
