//! The one word of a concurrent queue: who is in, and who must wait.
//!
//! | bits | name | meaning |
//! |---|---|---|
//! | 0..31 | readers | blocks that run together now |
//! | 31..62 | listed | blocks in the mailbox, a running listed barrier included |
//! | 62 | `WAITING` | the drainer left; whoever lets the last one out sends it back |
//! | 63 | `WRITER` | a barrier that never was in the mailbox runs now |
//!
//! | word | a reader comes | a barrier comes |
//! |---|---|---|
//! | 0 | enters | enters as `WRITER` |
//! | readers only | enters | goes to the mailbox |
//! | listed or `WRITER` | goes to the mailbox | goes to the mailbox |
//!
//! So nothing overtakes what is in the mailbox. The drainer lets a listed reader in unless `WRITER`, and runs a listed
//! barrier itself when nobody is in; otherwise it sets `WAITING` and leaves. Every move is one read-modify-write of this
//! word, so either the drainer sees that the last one left, or the last one sees `WAITING`.

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
const LISTED_ALL: u64 = WAITING - LISTED;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate(AtomicU64);

impl Gate {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn change(&self, step: impl FnMut(u64) -> Option<u64>) -> bool {
        // AcqRel: who comes in sees what those did who left before; Relaxed on failure, nothing is read then.
        self.0.fetch_update(order_unless("gate: who comes in does not acquire", AcqRel), Relaxed, step).is_ok()
    }

    /// A reader comes in, if nothing is listed and nobody writes.
    #[inline]
    pub(crate) fn try_read(&self) -> bool {
        let shut = if planted("gate: a reader passes what is listed") { WRITER } else { WRITER | LISTED_ALL };
        self.change(|word| if word & shut == 0 { Some(word + READER) } else { None })
    }

    /// A barrier comes in, if nothing at all is here.
    #[inline]
    pub(crate) fn try_write(&self) -> bool {
        self.0.compare_exchange(0, WRITER, order_unless("gate: a writer does not acquire", Acquire), Relaxed).is_ok()
    }

    /// A reader leaves. `true`: the caller must send the drainer back.
    #[inline]
    #[must_use]
    pub(crate) fn read_ends(&self) -> bool {
        // AcqRel: what the readers did is visible to who comes next.
        let before = if planted("gate: a reader leaves in two steps") {
            let before = self.0.load(Acquire);
            self.0.fetch_sub(READER, AcqRel);
            before
        } else {
            self.0.fetch_sub(READER, order_unless("gate: a reader does not release", AcqRel))
        };
        before & READERS == READER && before & WAITING != 0 && self.take_waiting()
    }

    /// A barrier that came by [`try_write`](Self::try_write) leaves. `true`: as for `read_ends`.
    #[must_use]
    pub(crate) fn write_ends(&self) -> bool {
        let before = self.0.fetch_and(!WRITER, order_unless("gate: a writer does not release", AcqRel));
        before & WAITING != 0 && self.take_waiting()
    }

    /// Of those who see that the drainer waits and nobody is in, one sends it back.
    fn take_waiting(&self) -> bool {
        if planted("gate: who sends the drainer back leaves the note") {
            return true;
        }
        self.change(
            |word| if word & WAITING != 0 && word & (WRITER | READERS) == 0 { Some(word & !WAITING) } else { None },
        )
    }

    /// A block is going to be put into the mailbox: from now on nobody passes it.
    pub(crate) fn list(&self) {
        // Release is implied by the push that follows; this must come before it in every thread's eyes, which the one
        // modification order of this word and the caller's program order see to.
        self.0.fetch_add(LISTED, AcqRel);
    }

    /// The drainer lets a listed reader in. `false`: a writer is in; the drainer is noted as waiting and must leave.
    pub(crate) fn admit_reader(&self) -> bool {
        self.admit(WRITER, |word| word - LISTED + READER)
    }

    /// A listed reader is going to be dropped, and leaves as if it had been let in.
    pub(crate) fn count_as_reader(&self) {
        self.0.fetch_add(READER.wrapping_sub(LISTED), AcqRel);
    }

    /// The drainer may run a listed barrier. `false`: somebody is in; the drainer is noted as waiting and must leave.
    pub(crate) fn admit_barrier(&self) -> bool {
        self.admit(WRITER | READERS, |word| word)
    }

    fn admit(&self, unless: u64, enter: impl Fn(u64) -> u64) -> bool {
        let mut admitted = false;
        self.change(|word| {
            admitted = word & unless == 0;
            if !admitted && planted("gate: the drainer leaves without a word") {
                return None;
            }
            Some(if admitted { enter(word) } else { word | WAITING })
        });
        admitted
    }

    /// A listed barrier ended, or a listed block was dropped.
    pub(crate) fn unlist(&self) {
        self.0.fetch_sub(LISTED, order_unless("gate: a barrier does not release", Release));
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::Gate;

    #[test]
    fn readers_come_together_and_keep_a_barrier_out() {
        let gate = Gate::new();
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
        let gate = Gate::new();
        gate.list();
        assert!(!gate.try_read() && !gate.try_write());
        assert!(gate.admit_barrier());
        assert!(!gate.try_read(), "it runs now");
        gate.unlist();
        assert!(gate.try_read());
    }

    #[test]
    fn only_the_last_one_out_sends_the_drainer_back() {
        let gate = Gate::new();
        assert!(gate.try_read() && gate.try_read());
        gate.list();
        assert!(!gate.admit_barrier(), "two readers are in");
        assert!(!gate.read_ends());
        assert!(gate.read_ends());
        assert!(gate.admit_barrier());
    }

    #[test]
    fn a_writer_sends_the_drainer_back_once() {
        let gate = Gate::new();
        assert!(gate.try_write());
        gate.list();
        assert!(!gate.admit_reader());
        assert!(gate.write_ends());
        assert!(gate.admit_reader());
        assert!(!gate.read_ends(), "it does not wait any more");
    }
}
