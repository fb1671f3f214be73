//! The one word of a source: what was merged and not handled yet.
//!
//! | word | meaning | who changes it |
//! |---|---|---|
//! | 0 | nothing waits, the source is in no queue | a merge: it gets the node, and queues it |
//! | bits | the source is in its queue, or about to be | merges add bits; the handler's run takes all at once |
//! | any + `CANCELLED` | no run begins any more | nobody takes `CANCELLED` back |
//!
//! Every move is one read-modify-write, so each merged bit is taken by exactly one run, and no two merges get the node.

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Release},
};
use crate::sync::planted;

/// The top bit of the word, so signals have 63.
const CANCELLED: u64 = 1 << 63;

/// See the module.
#[derive(Debug)]
pub(crate) struct Pending(AtomicU64);

impl Pending {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `bits`, the lower 63. `true`: nothing waited, the caller must queue the source.
    #[inline]
    pub(crate) fn add(&self, bits: u64) -> bool {
        let bits = bits & !CANCELLED;
        // AcqRel: the run that takes these bits sees what happened before; partner: the AcqRel in `take`.
        bits != 0 && self.0.fetch_or(bits, AcqRel) == 0
    }

    /// Takes all bits; `None` once cancelled.
    #[inline]
    pub(crate) fn take(&self) -> Option<u64> {
        if planted("source: a run takes its bits in two steps") {
            let bits = self.0.load(Acquire);
            self.0.store(bits & CANCELLED, Release);
            return (bits & CANCELLED == 0).then_some(bits);
        }
        // AcqRel: see `add`.
        let bits = self.0.fetch_and(CANCELLED, AcqRel);
        (bits & CANCELLED == 0).then_some(bits)
    }

    /// `true`: it was not cancelled before.
    pub(crate) fn cancel(&self) -> bool {
        // AcqRel: as a merge.
        self.0.fetch_or(CANCELLED, AcqRel) & CANCELLED == 0
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Acquire) & CANCELLED != 0
    }
}
