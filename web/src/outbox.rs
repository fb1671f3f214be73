//! The frames that wait to be written to one connection: bounded, shared, in order.
//!
//! Pure: it holds bytes and counts them; its owner writes them and reports how many were taken. Not
//! for: encoding (except the notice of missed messages), waking, or deciding when a slow peer is
//! given up. Rules:
//! - Frames leave in the order in which they came, and are never cut except where a write stopped.
//!   Nothing comes behind a close.
//! - Control frames stay within [`CONTROL_FRAMES`] beyond the limits, so that a flood of pings
//!   cannot grow memory.
//! - An empty outbox holds no memory: it is one word, because most outboxes are empty. Its thread
//!   keeps the former memory for the next outbox that fills (`outbox/spare`).

mod frames;
mod spare;

use bytes::Bytes;

use frames::Frames;

use crate::limits::Limits;
use crate::ws::{self, Close, CloseCode, Opcode};

/// Control frames that may wait beyond the limits: two pongs (one half written), a ping, a notice
/// and a close.
pub const CONTROL_FRAMES: usize = 5;
/// Room for this many frames is made at once: frames come in bursts, and a list that grows is moved
/// each time.
const FIRST_FRAMES: usize = 16;
/// A list is kept if it has room for at most this many frames.
const KEPT_FRAMES: usize = 64;

/// The policy for a member that does not keep up.
///
/// ```
/// use singletrack_web::outbox::{Outbox, Push};
/// use singletrack_web::{Limits, Message, SlowMember};
///
/// let mut limits = Limits::default();
/// limits.outbox_frames = 2;
/// let (mut outbox, news) = (Outbox::new(), Message::text("news").into_frame());
/// for _ in 0..2 {
///     outbox.push(&news, &limits, SlowMember::DropAndTell);
/// }
/// assert_eq!(outbox.push(&news, &limits, SlowMember::DropAndTell), Push::Missed);
/// assert_eq!(outbox.push(&news, &limits, SlowMember::Close), Push::Full);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowMember {
    /// It is closed with 1013. Its waiting frames are dropped, so that the close reaches it and the
    /// memory is free at once.
    #[default]
    Close,
    /// It misses messages until there is room. Then their number is reported to it, as a text
    /// message: `{"missed":12}`.
    DropAndTell,
}

/// The outcome of a push.
///
/// ```
/// use singletrack_web::outbox::{Outbox, Push};
/// use singletrack_web::{Limits, Message, SlowMember};
///
/// let (mut outbox, mut wakes) = (Outbox::new(), 0);
/// for word in ["one", "two"] {
///     match outbox.push(Message::text(word).frame(), &Limits::default(), SlowMember::Close) {
///         Push::Queued { first } => wakes += u32::from(first),
///         other => unreachable!("{other:?}"),
///     }
/// }
/// assert_eq!(wakes, 1, "the writer is woken once");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// The frame waits; `first` if nothing waited before, so the connection must be woken.
    Queued {
        /// Whether nothing waited before.
        first: bool,
    },
    /// The member missed it, and a notice will report that ([`SlowMember::DropAndTell`]).
    Missed,
    /// The member was too slow: a close (1013) has replaced all frames that were not begun. Wake
    /// the connection and forget the member.
    Full,
    /// A close was queued already, and nothing can come behind it; or the outbox has
    /// [ended](Outbox::end).
    Closing,
}

/// The frames that wait for one connection.
///
/// ```
/// use singletrack_web::{Limits, Message, Outbox, SlowMember};
///
/// let mut outbox = Outbox::new();
/// outbox.push(Message::text("hello").frame(), &Limits::default(), SlowMember::Close);
/// if let Some(mut lent) = outbox.lend() {
///     let written = lent.frames()[0].len(); // what the system took
///     lent.advance(written);
///     assert!(!outbox.give_back(lent), "nothing is left");
/// }
/// assert!(outbox.is_empty());
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    /// `None` while nothing waits, unless a close was queued or the outbox has ended.
    waiting: Option<Box<Waiting>>,
}

/// The waiting frames, and how far they are written.
#[derive(Debug, Default)]
struct Waiting {
    frames: Frames,
    /// Bytes of `frames` that are not written.
    bytes: usize,
    /// Bytes of the first frame that are written.
    begun: usize,
    /// The place of the last pong among the waiting frames, lent ones included, plus one; 0: it is
    /// gone.
    pong: usize,
    /// Messages missed and not reported yet.
    missed: u64,
    closing: bool,
    /// The number of frames lent to the writer, from the front, and their bytes; they still count
    /// as waiting.
    lent: usize,
    lent_bytes: usize,
    /// It was abandoned while frames were lent: those that were not begun are dropped when they
    /// come back.
    abandoned: bool,
}

/// The frames of an outbox, lent to the writer.
///
/// ```
/// use singletrack_web::{Limits, Message, Outbox, SlowMember, outbox::Lent};
/// use std::io::Write;
///
/// fn write_all(lent: &mut Lent, output: &mut impl Write) -> std::io::Result<()> {
///     while let [first, ..] = lent.frames() {
///         let written = output.write(&first[lent.begun()..])?;
///         lent.advance(written);
///     }
///     Ok(())
/// }
/// let (mut outbox, mut output) = (Outbox::new(), Vec::new());
/// outbox.push(Message::text("hi").frame(), &Limits::default(), SlowMember::Close);
/// let mut lent = outbox.lend().expect("a frame waits");
/// write_all(&mut lent, &mut output)?;
/// outbox.give_back(lent);
/// assert_eq!(output, b"\x81\x02hi");
/// # Ok::<(), std::io::Error>(())
/// ```
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
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("one").into_frame());
    /// outbox.push_own(Message::text("two").into_frame());
    /// let lent = outbox.lend().expect("two frames wait");
    /// assert_eq!(lent.frames().len(), 2);
    /// outbox.give_back(lent);
    /// ```
    pub fn frames(&self) -> &[Bytes] {
        self.frames.as_slice()
    }

    /// Bytes of the first frame that are written already.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("hello").into_frame());
    /// let mut lent = outbox.lend().expect("a frame waits");
    /// lent.advance(3); // the system had no room for more
    /// assert_eq!(lent.begun(), 3);
    /// outbox.give_back(lent);
    /// ```
    pub fn begun(&self) -> usize {
        self.begun
    }

    /// Notes that this many more bytes were written, and drops the frames that are complete.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("one").into_frame());
    /// outbox.push_own(Message::text("two").into_frame());
    /// let mut lent = outbox.lend().expect("two frames wait");
    /// lent.advance(6); // the first frame has five bytes
    /// assert_eq!((lent.frames().len(), lent.begun()), (1, 1));
    /// outbox.give_back(lent);
    /// ```
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
    /// Makes an empty outbox, which holds no memory.
    ///
    /// ```
    /// use singletrack_web::Outbox;
    ///
    /// assert!(Outbox::new().is_empty());
    /// ```
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// The number of waiting frames, a half-written one included.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("one").into_frame());
    /// outbox.push_own(Message::text("two").into_frame());
    /// assert_eq!(outbox.len(), 2);
    /// ```
    pub fn len(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.len())
    }

    /// Returns whether nothing waits.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("one").into_frame());
    /// assert!(!outbox.is_empty());
    /// ```
    pub fn is_empty(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.is_empty())
    }

    /// The number of waiting bytes.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("hello").into_frame());
    /// assert_eq!(outbox.bytes(), 7, "two bytes of header");
    /// ```
    pub fn bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    /// The number of messages that the member missed and that are not reported yet.
    ///
    /// ```
    /// use singletrack_web::{Limits, Message, Outbox, SlowMember};
    ///
    /// let mut limits = Limits::default();
    /// limits.outbox_frames = 1;
    /// let mut outbox = Outbox::new();
    /// for word in ["kept", "missed", "missed"] {
    ///     outbox.push(Message::text(word).frame(), &limits, SlowMember::DropAndTell);
    /// }
    /// assert_eq!((outbox.len(), outbox.missed()), (1, 2));
    /// ```
    pub fn missed(&self) -> u64 {
        self.waiting.as_ref().map_or(0, |waiting| waiting.missed)
    }

    /// Returns whether a close was queued, or the outbox has ended: once it is empty, nothing more
    /// is sent.
    ///
    /// ```
    /// use singletrack_web::{Close, CloseCode, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// assert!(!outbox.is_closing());
    /// outbox.push_close(Close::new(CloseCode::NORMAL, "done").frame());
    /// assert!(outbox.is_closing());
    /// ```
    pub fn is_closing(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.closing)
    }

    /// Queues a message's frame. An empty outbox takes a frame of any size. Otherwise both limits
    /// hold, the frame included, and `policy` applies to a member beyond them.
    ///
    /// ```
    /// use singletrack_web::outbox::{Outbox, Push};
    /// use singletrack_web::{Limits, Message, SlowMember};
    ///
    /// // One frame for all members, encoded once.
    /// let news = Message::text("news");
    /// let mut members = [Outbox::new(), Outbox::new()];
    /// for outbox in &mut members {
    ///     let pushed = outbox.push(news.frame(), &Limits::default(), SlowMember::Close);
    ///     assert_eq!(pushed, Push::Queued { first: true });
    /// }
    /// ```
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

    /// Queues a frame beyond the limits: a reply to the peer's own input, which is not read while
    /// the outbox is full. The notice of missed messages comes before it.
    ///
    /// ```
    /// use singletrack_web::outbox::{Outbox, Push};
    /// use singletrack_web::Message;
    ///
    /// let mut outbox = Outbox::new();
    /// let answer = Message::text("answer to your own message").into_frame();
    /// assert_eq!(outbox.push_own(answer), Push::Queued { first: true });
    /// ```
    pub fn push_own(&mut self, frame: Bytes) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        waiting.tell_missed();
        waiting.append(frame);
        Push::Queued { first }
    }

    /// Queues a pong. Only the latest pong that is not half written is kept. Returns the same as
    /// [`push`](Outbox::push).
    ///
    /// ```
    /// use singletrack_web::Outbox;
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_pong(b"first");
    /// outbox.push_pong(b"second"); // takes the place of the first
    /// assert_eq!(outbox.len(), 1);
    /// ```
    pub fn push_pong(&mut self, payload: &[u8]) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        let frame = ws::pong(payload);
        match waiting.pong.checked_sub(1) {
            // A lent frame may be on the wire already, and so may a begun one.
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

    /// Queues a ping, beyond the limits if necessary: the caller keeps at most one unanswered.
    ///
    /// ```
    /// use singletrack_web::{Outbox, ws};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_ping(b"are you there?");
    /// let lent = outbox.lend().expect("a frame waits");
    /// assert_eq!(lent.frames(), [ws::ping(b"are you there?")]);
    /// outbox.give_back(lent);
    /// ```
    pub fn push_ping(&mut self, payload: &[u8]) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        waiting.append(ws::ping(payload));
        Push::Queued { first }
    }

    /// Queues the close behind the waiting frames and the notice of missed messages. Nothing can be
    /// queued behind it.
    ///
    /// ```
    /// use singletrack_web::outbox::{Outbox, Push};
    /// use singletrack_web::{Close, CloseCode, Message};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("goodbye").into_frame());
    /// outbox.push_close(Close::new(CloseCode::NORMAL, "done").frame());
    /// let late = Message::text("one more thing").into_frame();
    /// assert_eq!(outbox.push_own(late), Push::Closing);
    /// ```
    pub fn push_close(&mut self, close: Bytes) -> Push {
        let Some((waiting, first)) = self.open() else { return Push::Closing };
        waiting.tell_missed();
        waiting.append(close);
        waiting.closing = true;
        Push::Queued { first }
    }

    /// Drops all frames that were not begun, and queues the close behind the rest. Does nothing if
    /// a close waits already.
    ///
    /// ```
    /// use singletrack_web::{Close, CloseCode, Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// for _ in 0..10 {
    ///     outbox.push_own(Message::text("news").into_frame());
    /// }
    /// outbox.abandon(Close::new(CloseCode::TRY_AGAIN, "too slow").frame());
    /// assert_eq!(outbox.len(), 1, "the close");
    /// ```
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

    /// Drops everything, because the connection is gone: nothing can be queued from now on.
    ///
    /// Returns whether anything was waiting.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("news").into_frame());
    /// assert!(outbox.end(), "a frame was lost");
    /// assert!(outbox.is_empty() && outbox.is_closing());
    /// ```
    pub fn end(&mut self) -> bool {
        let unsaid = !self.is_empty();
        self.waiting = Some(Box::new(Waiting { closing: true, ..Waiting::default() }));
        unsaid
    }

    /// Lends all frames, so that they are written while other threads push; `None` if nothing
    /// waits. They count as waiting until [`give_back`](Outbox::give_back), which must follow.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// assert!(outbox.lend().is_none(), "nothing waits");
    /// outbox.push_own(Message::text("one").into_frame());
    /// let lent = outbox.lend().expect("a frame waits");
    /// outbox.push_own(Message::text("two").into_frame()); // meanwhile
    /// assert_eq!((lent.frames().len(), outbox.len()), (1, 2));
    /// outbox.give_back(lent);
    /// ```
    pub fn lend(&mut self) -> Option<Lent> {
        let waiting = self.waiting.as_mut().filter(|waiting| !waiting.is_empty())?;
        debug_assert_eq!(waiting.lent, 0);
        let lent = Lent { frames: std::mem::take(&mut waiting.frames), bytes: waiting.bytes, begun: waiting.begun };
        (waiting.lent, waiting.lent_bytes) = (lent.frames.len(), lent.bytes);
        Some(lent)
    }

    /// Takes lent frames back: the unwritten ones come first again.
    ///
    /// Returns whether anything waits.
    ///
    /// ```
    /// use singletrack_web::{Message, Outbox};
    ///
    /// let mut outbox = Outbox::new();
    /// outbox.push_own(Message::text("hello").into_frame());
    /// let mut lent = outbox.lend().expect("a frame waits");
    /// lent.advance(3);
    /// assert!(outbox.give_back(lent), "the rest waits");
    /// assert_eq!(outbox.bytes(), 4);
    /// ```
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

    /// The waiting frames, and whether there are none; `None` when nothing can be queued any more.
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
            // A burst is over. Shrinking to a quarter leaves room, so that the list does not
            // alternate between growing and shrinking.
            let kept = (self.frames.capacity() / 4).max(KEPT_FRAMES);
            self.frames.shrink_to(kept);
        }
    }

    /// Drops all frames except one that is half written.
    fn keep_begun(&mut self) {
        self.frames.truncate(usize::from(self.begun > 0));
        self.bytes = self.frames.as_slice().iter().map(Bytes::len).sum::<usize>() - self.begun;
    }

    /// Reports missed messages, if there are any: before the next message, before a close, or when
    /// everything is written.
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
