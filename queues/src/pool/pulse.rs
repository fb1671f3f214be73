//! The turn of a drain: it ends after a time that no clock is read for.
//!
//! The monitor counts the pulse up once a millisecond while anything runs; a drain compares it with what it was when its turn
//! began.

use super::Pool;
use crate::sync::atomic::Ordering::Relaxed;

/// The value of `pulse` that tells drains to drop what is left.
pub(super) const PULSE_HALTED: u64 = u64::MAX;

impl Pool {
    /// A turn begins.
    #[inline]
    pub(crate) fn turn(&self) -> Turn {
        // Halted, it is over at once: the end lies before the pulse then.
        Turn { end: self.pulse.load(Relaxed).wrapping_add(2) }
    }
}

/// Tells a drain when its time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    /// The first pulse that is too late.
    end: u64,
}

/// What a drain shall do before its next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// Run it.
    On,
    /// Leave it for later: others wait.
    Yield,
    /// Drop it and all behind it.
    Halt,
}

impl Turn {
    /// The pulse is read once per block: a shared line that changes once a millisecond at most.
    #[inline]
    pub(crate) fn go(self, pool: &Pool) -> Go {
        match pool.pulse.load(Relaxed) {
            pulse if pulse < self.end => Go::On,
            PULSE_HALTED => Go::Halt,
            _ => Go::Yield,
        }
    }
}
