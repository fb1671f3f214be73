//! Sends at a rate: the pace signals a shard's senders when their messages are due, whatever has
//! come back meanwhile.
//!
//! Not for: the contents (`peer`), nor for the time at which each message is due (`Run::due`).
//! Rules: senders take turns. The queue wakes for the next message that is due, and no more often
//! than the times of messages differ.

use std::sync::Arc;
use std::time::Duration;

use singletrack::queues::Source;

use super::peer::SEND;
use super::shard::Run;

/// Signals the senders of one shard in turn.
pub(super) struct Pace {
    run: Arc<Run>,
    shard: usize,
    /// The senders, each with its number among all.
    senders: Vec<(usize, Source)>,
    /// The number of messages due so far, over all senders of the shard.
    told: usize,
}

impl Pace {
    /// Begins to signal `senders`, which belong to shard `shard`, until the run's time is over.
    pub(super) fn start(run: &Arc<Run>, shard: usize, senders: Vec<(usize, Source)>) {
        if !senders.is_empty() {
            let pace = Pace { run: run.clone(), shard, senders, told: 0 };
            run.pacing.enter();
            run.shards[shard].queue.submit(move || pace.tell());
        }
    }

    fn tell(mut self) {
        let times = self.run.times();
        loop {
            let (sender, source) = &self.senders[self.told % self.senders.len()];
            let number = (self.told / self.senders.len()) as u64;
            let due = self.run.due(*sender, number);
            if due >= times.until || number >= self.run.plan.messages.unwrap_or(u64::MAX) {
                // Balanced: entered once for each pace that was started.
                let left = self.run.pacing.leave();
                debug_assert!(left.is_ok());
                return;
            }
            if due > times.now {
                let queue = self.run.shards[self.shard].queue.clone();
                queue.submit_after(Duration::from_nanos(due - times.now), move || self.tell());
                return;
            }
            source.merge(SEND);
            self.told += 1;
        }
    }
}
