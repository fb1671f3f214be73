//! The limit on how much of a frame a turn of the main queue may take.

use std::time::{Duration, Instant};

use crate::base::sync::now;

/// How long a [turn](crate::MainQueue::drain) may go on: by time, by number of blocks, or until
/// either is used up.
///
/// A block is never interrupted. The time is checked between two blocks, so a turn lasts at most
/// the given time and the rest of one block. At least one block runs, however small the budget, so
/// a queue always makes progress.
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
    /// All blocks that were waiting when the turn began.
    pub const ALL: Self = Self { time: None, blocks: usize::MAX };

    /// At most this much time.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::time::Duration;
    ///
    /// let main = MainQueue::new("main");
    /// main.handle().submit(|| ());
    /// // Even no time is enough for one block.
    /// assert!(!main.drain(Budget::time(Duration::ZERO)));
    /// ```
    #[must_use]
    pub const fn time(time: Duration) -> Self {
        Self { time: Some(time), blocks: usize::MAX }
    }

    /// At most this many blocks; 0 counts as 1.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    ///
    /// let main = MainQueue::new("main");
    /// main.handle().submit(|| ());
    /// main.handle().submit(|| ());
    /// assert!(main.drain(Budget::blocks(1)), "the second one waits");
    /// ```
    #[must_use]
    pub const fn blocks(blocks: usize) -> Self {
        Self { time: None, blocks }
    }

    /// This budget, and at most `blocks` blocks.
    ///
    /// ```
    /// use singletrack_queues::{Budget, MainQueue};
    /// use std::time::Duration;
    ///
    /// let main = MainQueue::new("main");
    /// for _ in 0..3 {
    ///     main.handle().submit(|| ());
    /// }
    /// let _more = main.drain(Budget::time(Duration::from_secs(60)).and_blocks(2));
    /// assert_eq!(main.handle().stats().ran, 2);
    /// ```
    #[must_use]
    pub const fn and_blocks(mut self, blocks: usize) -> Self {
        self.blocks = blocks;
        self
    }

    /// Starts the budget at the beginning of a turn.
    pub(super) fn begin(self) -> Spending {
        let begin = now();
        Spending { begin, end: self.time.and_then(|time| begin.checked_add(time)), blocks: self.blocks.max(1) }
    }
}

/// The rest of a budget during a turn.
pub(super) struct Spending {
    begin: Instant,
    end: Option<Instant>,
    blocks: usize,
}

impl Spending {
    /// Counts one block that ran. May another one run?
    pub(super) fn spend_one(&mut self) -> bool {
        self.blocks -= 1;
        self.blocks > 0 && self.end.is_none_or(|end| now() < end)
    }
    /// The time since the turn began.
    pub(super) fn so_far(&self) -> Duration {
        now().saturating_duration_since(self.begin)
    }
}
