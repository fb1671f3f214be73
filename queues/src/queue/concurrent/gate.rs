//! The one word of a concurrent queue: how many are in, and whether the next must wait.
//!
//! | bits | name | meaning |
//! |---|---|---|
//! | 0..31 | readers | blocks that run together now; never more than the width |
//! | 31..62 | listed | blocks in the mailbox, a running listed barrier included |
//! | 62 | `WAITING` | the drainer left; the node that makes room sends it back |
//! | 63 | `WRITER` | a barrier that is not run by the drainer runs now |
//!
//! | word | a reader comes | a barrier comes |
//! |---|---|---|
//! | 0 | enters | enters as `WRITER` |
//! | readers only, fewer than the width | enters | goes to the mailbox |
//! | as many readers as the width | goes to the mailbox | goes to the mailbox |
//! | listed or `WRITER` | goes to the mailbox | goes to the mailbox |
//!
//! So nothing overtakes a node in the mailbox. The drainer lets a listed reader in unless `WRITER`
//! is set or the width is full. It lets a listed barrier in when nothing is in. Otherwise it sets
//! `WAITING` and leaves. Every move is one read-modify-write of this word. So either the drainer
//! sees that a node left, or the leaving node sees `WAITING`. Two nodes send the drainer back: the
//! one after which the width is no longer full, and the last one. If that was too early for a
//! barrier, the drainer waits again.

use crate::base::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

const READER: u64 = 1;
const READERS: u64 = (1 << 31) - 1;
const LISTED: u64 = 1 << 31;
const WAITING: u64 = 1 << 62;
const WRITER: u64 = 1 << 63;

/// The width of a queue that was given none.
pub(crate) const UNLIMITED: u32 = READERS as u32;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    word: AtomicU64,
    /// The maximum number of readers: from 1 to [`UNLIMITED`].
    width: u32,
}

impl Gate {
    pub(crate) fn new(width: u32) -> Self {
        debug_assert!((1..=UNLIMITED).contains(&width));
        Self { word: AtomicU64::new(0), width }
    }

    /// The maximum number of readers that run together.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    fn limit(&self) -> u64 {
        self.width.into()
    }

    fn change(&self, step: impl FnMut(u64) -> Option<u64>) -> bool {
        // AcqRel: a node that comes in sees the work of those that left before. Relaxed on failure:
        // nothing is read then.
        self.word.fetch_update(AcqRel, Relaxed, step).is_ok()
    }

    /// A reader comes in, if nothing is listed, no writer is in, and there is room.
    #[inline]
    pub(crate) fn try_read(&self) -> bool {
        // One comparison: any bit above the readers makes the word larger than any width.
        self.change(|word| if word < self.limit() { Some(word + READER) } else { None })
    }

    /// A barrier comes in, if nothing is in and nothing is listed.
    #[inline]
    pub(crate) fn try_write(&self) -> bool {
        self.word.compare_exchange(0, WRITER, Acquire, Relaxed).is_ok()
    }

    /// Is nothing listed? Then a node that was not let in may try again without overtaking another.
    pub(crate) fn is_unlisted(&self) -> bool {
        // Relaxed: a hint. The next try decides.
        self.word.load(Relaxed) & !(WRITER | READERS) == 0
    }

    /// Is the width 1, with one reader in? There may be more readers: see
    /// [`try_join`](Self::try_join).
    pub(crate) fn is_taken_by_one(&self) -> bool {
        // Relaxed: the caller is the reader that is in.
        self.width == 1 && self.word.load(Relaxed) & READERS == READER
    }

    /// A reader leaves. `true`: the caller must send the drainer back.
    #[inline]
    #[must_use]
    pub(crate) fn read_ends(&self) -> bool {
        // AcqRel: the next to come in sees what the readers did.
        let before = self.word.fetch_sub(READER, AcqRel);
        before & WAITING != 0 && self.makes_room(before & READERS) && self.take_waiting()
    }

    /// `before` readers were in before one left. Does that change what may come in? It does if that
    /// one was the last, or the width was full.
    fn makes_room(&self, before: u64) -> bool {
        before == READER || before == self.limit()
    }

    /// A barrier that came in by [`try_write`](Self::try_write) leaves. `true`: as for `read_ends`.
    #[must_use]
    pub(crate) fn write_ends(&self) -> bool {
        let before = self.word.fetch_and(!WRITER, AcqRel);
        before & WAITING != 0 && self.take_waiting()
    }

    /// Several threads may see that the drainer waits and that there is room. One of them sends it
    /// back.
    fn take_waiting(&self) -> bool {
        self.change(|word| {
            let room = word & WRITER == 0 && word & READERS < self.limit();
            if word & WAITING != 0 && room { Some(word & !WAITING) } else { None }
        })
    }

    /// A block is about to be put into the mailbox. From now on nothing passes it.
    pub(crate) fn list(&self) {
        // Release is implied by the push that follows. This step must come before the push in every
        // thread's eyes: the single modification order of this word and the caller's program order
        // guarantee it.
        self.word.fetch_add(LISTED, AcqRel);
    }

    /// The drainer lets a listed reader in. `false`: a writer is in, or there is no room. The
    /// drainer is noted as waiting and must leave.
    pub(crate) fn admit_reader(&self) -> bool {
        self.admit(|word| word & WRITER == 0 && word & READERS < self.limit(), |word| word - LISTED + READER)
    }

    /// A listed reader is about to be dropped. It leaves as if it had been let in.
    pub(crate) fn count_as_reader(&self) {
        self.word.fetch_add(READER.wrapping_sub(LISTED), AcqRel);
    }

    /// A block passes the listed ones and exceeds the width, because a reader waits for it.
    /// `false`: no reader is in. While a reader is in, no barrier is.
    pub(crate) fn try_join(&self) -> bool {
        self.change(|word| if word & READERS != 0 { Some(word + READER) } else { None })
    }

    /// A block counts as let in, whether or not there is room: it is about to be dropped.
    pub(crate) fn count_reader(&self) {
        self.word.fetch_add(READER, AcqRel);
    }

    /// The drainer lets in a listed barrier that it does not run itself: as `WRITER`. `false`: as
    /// for `admit_barrier`.
    pub(crate) fn admit_writer(&self) -> bool {
        self.admit(|word| word & (WRITER | READERS) == 0, |word| word - LISTED + WRITER)
    }

    /// The drainer may run a listed barrier. `false`: a reader or writer is in. The drainer is
    /// noted as waiting and must leave.
    pub(crate) fn admit_barrier(&self) -> bool {
        self.admit(|word| word & (WRITER | READERS) == 0, |word| word)
    }

    fn admit(&self, may: impl Fn(u64) -> bool, enter: impl Fn(u64) -> u64) -> bool {
        let mut admitted = false;
        self.change(|word| {
            admitted = may(word);
            Some(if admitted { enter(word) } else { word | WAITING })
        });
        admitted
    }

    /// A listed barrier ended, or a listed block was dropped.
    pub(crate) fn unlist(&self) {
        self.word.fetch_sub(LISTED, Release);
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::{Gate, Relaxed, UNLIMITED, WAITING, WRITER};

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

    #[test]
    fn the_drainer_is_sent_back_once_and_only_when_there_is_room() {
        let gate = Gate::new(2);
        for full in [2, 3, WRITER, WRITER + 1] {
            gate.word.store(WAITING + full, Relaxed);
            assert!(!gate.take_waiting(), "{full:#x}");
        }
        gate.word.store(WAITING + 1, Relaxed);
        assert!(gate.take_waiting() && !gate.take_waiting());
        assert_eq!(gate.word.load(Relaxed), 1);
    }

    #[test]
    fn only_the_one_reader_of_width_one_has_it_to_itself() {
        let (one, two) = (Gate::new(1), Gate::new(2));
        assert!(!one.is_taken_by_one(), "nobody is in");
        assert!(one.try_read() && one.is_taken_by_one());
        assert!(one.try_join() && !one.is_taken_by_one());
        assert!(two.try_read() && !two.is_taken_by_one());
    }

    #[test]
    fn what_is_dropped_is_counted_in_and_out() {
        let gate = Gate::new(1);
        gate.list();
        gate.count_as_reader();
        gate.count_reader();
        assert!(!gate.try_read() && !gate.try_write());
        assert!(!gate.read_ends() && !gate.read_ends());
        assert!(gate.try_write(), "nothing is in, and nothing is listed");
    }

    #[test]
    fn a_writer_that_the_drainer_lets_in_is_not_listed_any_more() {
        let gate = Gate::new(UNLIMITED);
        gate.list();
        assert!(gate.admit_writer() && gate.is_unlisted());
        assert!(!gate.write_ends() && gate.try_write());
    }
}
