//! How much of a frame a turn of the main queue may take.

use std::time::{Duration, Instant};

use crate::sync::now;

/// How long a [turn](crate::MainQueue::drain) may go on: by time, by number of blocks, or until either is used up.
///
/// A block is never interrupted: the time is looked at between two, so a turn lasts the time and the rest of one block.
/// At least one block runs, however small the budget, so a queue always moves.
///
/// ```
/// use singletrack_queues::Budget;
/// use std::time::Duration;
///
/// let a_quarter_of_a_frame = Budget::time(Duration::from_millis(4));
/// let no_more_than_a_hundred = a_quarter_of_a_frame.and_blocks(100);
/// # let _ = no_more_than_a_hundred;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    time: Option<Duration>,
    blocks: usize,
}

impl Budget {
    /// All that waited when the turn began.
    pub const ALL: Self = Self { time: None, blocks: usize::MAX };

    /// For so long.
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self { time: Some(time), blocks: usize::MAX }
    }

    /// So many blocks; none is taken for one.
    #[must_use]
    pub const fn blocks(blocks: usize) -> Self {
        Self { time: None, blocks }
    }

    /// This, and no more than so many blocks.
    #[must_use]
    pub const fn and_blocks(mut self, blocks: usize) -> Self {
        self.blocks = blocks;
        self
    }

    /// The turn begins.
    pub(super) fn begin(self) -> Spending {
        let begin = now();
        Spending { begin, end: self.time.and_then(|time| begin.checked_add(time)), blocks: self.blocks.max(1) }
    }
}

/// What is left of a budget.
pub(super) struct Spending {
    begin: Instant,
    end: Option<Instant>,
    blocks: usize,
}

impl Spending {
    /// One block ran: may another?
    pub(super) fn spend_one(&mut self) -> bool {
        self.blocks -= 1;
        self.blocks > 0 && self.end.is_none_or(|end| now() < end)
    }
    /// How long the turn has lasted.
    pub(super) fn so_far(&self) -> Duration {
        now().saturating_duration_since(self.begin)
    }
}
