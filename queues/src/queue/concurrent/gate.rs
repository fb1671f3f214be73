//! The one word of a concurrent queue: who is in, and who must wait.
//!
//! | bits | name | meaning |
//! |---|---|---|
//! | 0..31 | readers | blocks that run together now; never more than the width |
//! | 31..62 | listed | blocks in the mailbox, a running listed barrier included |
//! | 62 | `WAITING` | the drainer left; whoever makes room for what it met sends it back |
//! | 63 | `WRITER` | a barrier that is not run by the drainer runs now |
//!
//! | word | a reader comes | a barrier comes |
//! |---|---|---|
//! | 0 | enters | enters as `WRITER` |
//! | readers only, fewer than the width | enters | goes to the mailbox |
//! | as many readers as the width | goes to the mailbox | goes to the mailbox |
//! | listed or `WRITER` | goes to the mailbox | goes to the mailbox |
//!
//! So nothing overtakes what is in the mailbox. The drainer lets a listed reader in unless `WRITER` or as many are in as
//! the width, and a listed barrier when nobody is in; otherwise it sets `WAITING` and leaves. Every move is one
//! read-modify-write of this word, so either the drainer sees that somebody left, or who leaves sees `WAITING`: the one
//! that makes the width not full any more, and the last one, send the drainer back. If that was too early for a barrier,
//! the drainer waits again.

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use crate::sync::{order_unless, planted};

const READER: u64 = 1;
const READERS: u64 = (1 << 31) - 1;
const LISTED: u64 = 1 << 31;
const WAITING: u64 = 1 << 62;
const WRITER: u64 = 1 << 63;

/// The width of a queue without one.
pub(crate) const UNLIMITED: u32 = READERS as u32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    /// At most so many readers: at least 1, at most [`UNLIMITED`].
    width: u32,
}

impl Gate {
    pub(crate) fn new(width: u32) -> Self {
        debug_assert!((1..=UNLIMITED).contains(&width));
        Self { word: AtomicU64::new(0), width }
    }

    /// How many readers run together at most.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    fn limit(&self) -> u64 {
        if planted("gate: the width is not asked for") { READERS } else { self.width.into() }
    }

    fn change(&self, step: impl FnMut(u64) -> Option<u64>) -> bool {
        // AcqRel: who comes in sees what those did who left before; Relaxed on failure, nothing is read then.
        self.word.fetch_update(order_unless("gate: who comes in does not acquire", AcqRel), Relaxed, step).is_ok()
    }

    /// A reader comes in, if nothing is listed, nobody writes, and there is room.
    #[inline]
    pub(crate) fn try_read(&self) -> bool {
        // One comparison: whatever is above the readers makes the word larger than any width.
        let passes = if planted("gate: a reader passes what is listed") { READERS | WRITER } else { u64::MAX };
        self.change(|word| if word & passes < self.limit() { Some(word + READER) } else { None })
    }

    /// A barrier comes in, if nothing at all is here.
    #[inline]
    pub(crate) fn try_write(&self) -> bool {
        let acquire = order_unless("gate: a writer does not acquire", Acquire);
        self.word.compare_exchange(0, WRITER, acquire, Relaxed).is_ok()
    }

    /// Is nothing listed, so that who is not let in may try again without overtaking anybody?
    pub(crate) fn is_unlisted(&self) -> bool {
        // Relaxed: a hint; the try decides.
        self.word.load(Relaxed) & !(WRITER | READERS) == 0
    }

    /// A reader leaves. `true`: the caller must send the drainer back.
    #[inline]
    #[must_use]
    pub(crate) fn read_ends(&self) -> bool {
        // AcqRel: what the readers did is visible to who comes next.
        let before = if planted("gate: a reader leaves in two steps") {
            let before = self.word.load(Acquire);
            self.word.fetch_sub(READER, AcqRel);
            before
        } else {
            self.word.fetch_sub(READER, order_unless("gate: a reader does not release", AcqRel))
        };
        before & WAITING != 0 && self.makes_room(before & READERS) && self.take_waiting()
    }

    /// Does the one that leaves so many readers change what may come in: was it the last, or was the width full?
    fn makes_room(&self, before: u64) -> bool {
        before == READER || before == self.limit() && !planted("gate: only the last reader sends the drainer back")
    }

    /// A barrier that came by [`try_write`](Self::try_write) leaves. `true`: as for `read_ends`.
    #[must_use]
    pub(crate) fn write_ends(&self) -> bool {
        let before = self.word.fetch_and(!WRITER, order_unless("gate: a writer does not release", AcqRel));
        before & WAITING != 0 && self.take_waiting()
    }

    /// Of those who see that the drainer waits and that there is room, one sends it back.
    fn take_waiting(&self) -> bool {
        if planted("gate: who sends the drainer back leaves the note") {
            return true;
        }
        self.change(|word| {
            let room = word & WRITER == 0 && word & READERS < self.limit();
            if word & WAITING != 0 && room { Some(word & !WAITING) } else { None }
        })
    }

    /// A block is going to be put into the mailbox: from now on nobody passes it.
    pub(crate) fn list(&self) {
        // Release is implied by the push that follows; this must come before it in every thread's eyes, which the one
        // modification order of this word and the caller's program order see to.
        self.word.fetch_add(LISTED, AcqRel);
    }

    /// The drainer lets a listed reader in. `false`: a writer is in, or there is no room; the drainer is noted as waiting
    /// and must leave.
    pub(crate) fn admit_reader(&self) -> bool {
        self.admit(|word| word & WRITER == 0 && word & READERS < self.limit(), |word| word - LISTED + READER)
    }

    /// A listed reader is going to be dropped, and leaves as if it had been let in.
    pub(crate) fn count_as_reader(&self) {
        self.word.fetch_add(READER.wrapping_sub(LISTED), AcqRel);
    }

    /// A block comes in past what is listed, beyond the width, because somebody is in who waits for it. `false`: nobody is.
    /// While somebody is, no barrier is.
    pub(crate) fn try_join(&self) -> bool {
        self.change(|word| {
            let somebody = word & READERS != 0 || planted("gate: one joins nobody");
            if somebody { Some(word + READER) } else { None }
        })
    }

    /// A block counts as let in, whether or not there is room: it is going to be dropped.
    pub(crate) fn count_reader(&self) {
        self.word.fetch_add(READER, AcqRel);
    }

    /// The drainer lets a listed barrier in that it does not run itself: as `WRITER`. `false`: as for `admit_barrier`.
    pub(crate) fn admit_writer(&self) -> bool {
        self.admit(|word| word & (WRITER | READERS) == 0, |word| word - LISTED + WRITER)
    }

    /// The drainer may run a listed barrier. `false`: somebody is in; the drainer is noted as waiting and must leave.
    pub(crate) fn admit_barrier(&self) -> bool {
        self.admit(|word| word & (WRITER | READERS) == 0, |word| word)
    }

    fn admit(&self, may: impl Fn(u64) -> bool, enter: impl Fn(u64) -> u64) -> bool {
        let mut admitted = false;
        self.change(|word| {
            admitted = may(word);
            if !admitted && planted("gate: the drainer leaves without a word") {
                return None;
            }
            Some(if admitted { enter(word) } else { word | WAITING })
        });
        admitted
    }

    /// A listed barrier ended, or a listed block was dropped.
    pub(crate) fn unlist(&self) {
        self.word.fetch_sub(LISTED, order_unless("gate: a barrier does not release", Release));
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::{Gate, UNLIMITED};

    #[test]
    fn readers_come_together_and_keep_a_barrier_out() {
        let gate = Gate::new(UNLIMITED);
        assert!(gate.try_read() && gate.try_read());
        assert!(!gate.try_write());
        assert!(!gate.read_ends() && !gate.read_ends());
        assert!(gate.try_write());
        assert!(!gate.try_read());
        assert!(!gate.write_ends());
        assert!(gate.try_read());
    }

    #[test]
    fn nobody_passes_what_is_listed() {
        let gate = Gate::new(UNLIMITED);
        gate.list();
        assert!(!gate.try_read() && !gate.try_write());
        assert!(gate.admit_barrier());
        assert!(!gate.try_read(), "it runs now");
        gate.unlist();
        assert!(gate.try_read());
    }

    #[test]
    fn only_the_last_one_out_sends_the_drainer_back() {
        let gate = Gate::new(UNLIMITED);
        assert!(gate.try_read() && gate.try_read());
        gate.list();
        assert!(!gate.admit_barrier(), "two readers are in");
        assert!(!gate.read_ends());
        assert!(gate.read_ends());
        assert!(gate.admit_barrier());
    }

    #[test]
    fn a_writer_sends_the_drainer_back_once() {
        let gate = Gate::new(UNLIMITED);
        assert!(gate.try_write());
        gate.list();
        assert!(!gate.admit_reader());
        assert!(gate.write_ends());
        assert!(gate.admit_reader());
        assert!(!gate.read_ends(), "it does not wait any more");
    }

    #[test]
    fn no_more_than_the_width_come_in_and_each_that_leaves_makes_room_for_one() {
        let gate = Gate::new(2);
        assert!(gate.try_read() && gate.try_read() && !gate.try_read());
        gate.list();
        gate.list();
        assert!(!gate.admit_reader(), "it is full");
        assert!(gate.read_ends());
        assert!(gate.admit_reader() && !gate.admit_reader());
        assert!(gate.read_ends() && !gate.read_ends(), "sent back once");
        assert!(gate.admit_reader());
        assert!(!gate.read_ends(), "the drainer does not wait");
        assert!(gate.try_write());
    }
}
