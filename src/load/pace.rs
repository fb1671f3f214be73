//! Sends at a rate: a shard's senders are told when their messages are due, whatever has come back meanwhile.
//!
//! Not for: what is sent (`peer`), nor for when each message is due (`Run::due`). Rules: senders take turns; the queue is woken for
//! the next message that is due, and no more often than the times of messages differ.

use std::sync::Arc;
use std::time::Duration;

use singletrack::queues::Source;

use super::peer::SEND;
use super::shard::Run;

/// Tells the senders of one shard in turn.
pub(super) struct Pace {
    run: Arc<Run>,
    shard: usize,
    /// Each with its number among all senders.
    senders: Vec<(usize, Source)>,
    /// How many messages were due so far, of all senders of the shard.
    told: usize,
}

impl Pace {
    /// Begins to tell `senders`, which belong to shard `shard`, until the run's time is over.
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
                // Balanced: entered once for each that was started.
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
