//! The state that the connections of a run share: its plan and clock, a count of everything per
//! worker, and the first breach.
//!
//! Each worker of the generator has a shard: a serial queue with a share of the connections, and a
//! tally that only blocks of that queue touch. The tally's lock serves only the last look of the
//! main thread, and is taken once per turn of a connection, never per message. Not for: the
//! behaviour of connections (`peer`).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use singletrack::Limits;
use singletrack::queues::{Group, Queue, Semaphore};

use super::latency::Latency;
use super::plan::{Plan, Seat};

/// Later than anything.
pub(super) const NEVER: u64 = u64::MAX;

/// The state that all connections of a run share.
pub(super) struct Run {
    pub(super) plan: Plan,
    pub(super) address: SocketAddr,
    /// Part of each payload and of the names of rooms.
    pub(super) tag: u32,
    /// The limits on the server's messages.
    pub(super) limits: Limits,
    base: Instant,
    /// The time at which the first message was due. Messages that are due between `from` and
    /// `until` are measured.
    begun: AtomicU64,
    from: AtomicU64,
    until: AtomicU64,
    /// The number of sent messages, by sender.
    sent: Box<[AtomicU32]>,
    /// A permit for each connection that may be opening.
    pub(super) opening: Semaphore,
    /// The paces that signal senders, with a rate.
    pub(super) pacing: Group,
    pub(super) shards: Box<[Shard]>,
    broken: AtomicBool,
    breaches: Mutex<Breaches>,
}

/// The breaches of servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaches {
    pub(super) first: Option<String>,
    pub(super) count: usize,
}

/// The share of one worker.
pub(super) struct Shard {
    pub(super) queue: Queue,
    tally: Mutex<Tally>,
}

/// The counts of a shard's connections.
pub(super) struct Tally {
    pub(super) counts: Counts,
    /// The time from when a message was due until a receiver had it.
    pub(super) latency: Latency,
    /// The time from when a message was due until it was sent: the generator's own part.
    pub(super) late: Latency,
    /// The beginning of the last turn that received something.
    pub(super) latest: u64,
    /// The output of a connection's turn: empty between turns.
    pub(super) outgoing: Vec<u8>,
}

/// Figures that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) opened: u64,
    pub(super) ended: u64,
    pub(super) sent: u64,
    /// Receptions that the sent messages must bring, apart from slow members.
    pub(super) owed: u64,
    pub(super) received: u64,
    pub(super) slow: SlowCounts,
}

/// The fates of the slow members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SlowCounts {
    pub(crate) received: u64,
    /// Messages that the server reported as missed.
    pub(crate) missed: u64,
    /// Members closed with 1013.
    pub(crate) closed: u64,
    /// Members whose connection was reset, which is all that is left of a close that they did not
    /// read.
    pub(crate) reset: u64,
    /// Members that received everything, or the number of messages that they missed.
    pub(crate) served: u64,
}

impl Counts {
    pub(super) fn add(&mut self, other: Counts) {
        let Counts { opened, ended, sent, owed, received, slow } = other;
        self.opened += opened;
        self.ended += ended;
        self.sent += sent;
        self.owed += owed;
        self.received += received;
        self.slow.received += slow.received;
        self.slow.missed += slow.missed;
        self.slow.closed += slow.closed;
        self.slow.reset += slow.reset;
        self.slow.served += slow.served;
    }

    /// A number that changes with any progress.
    pub(super) fn progress(&self) -> u64 {
        let SlowCounts { received, missed, closed, reset, served } = self.slow;
        self.opened + self.ended + self.received + received + missed + closed + reset + served
    }
}

/// The times of a run, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: u64,
    pub(super) from: u64,
    pub(super) until: u64,
}

impl Run {
    pub(super) fn new(plan: Plan, address: SocketAddr, tag: u32, queues: impl Iterator<Item = Queue>) -> Run {
        let never = || AtomicU64::new(NEVER);
        let mut limits = Limits::default();
        limits.message_bytes = limits.message_bytes.max(plan.bytes);
        Run {
            address,
            tag,
            limits,
            base: Instant::now(),
            begun: never(),
            from: never(),
            // Nobody sends before the beginning.
            until: AtomicU64::new(0),
            sent: (0..plan.groups() * plan.senders()).map(|_| AtomicU32::new(0)).collect(),
            opening: Semaphore::new(plan.handshakes),
            pacing: Group::new(),
            shards: queues.map(Shard::new).collect(),
            broken: AtomicBool::new(false),
            breaches: Mutex::default(),
            plan,
        }
    }

    /// Nanoseconds since the run was made.
    pub(super) fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    // Relaxed in all of these: a turn that still sees the old time sends or counts one message more
    // or fewer, as if it had come a moment earlier. Exact comparisons happen when all is quiet,
    // through the tallies' locks.

    pub(super) fn times(&self) -> Times {
        Times { now: self.now(), from: self.from.load(Relaxed), until: self.until.load(Relaxed) }
    }

    /// Sets the times: messages are due from now on.
    pub(super) fn begin(&self) -> Times {
        let nanoseconds = |time: Duration| time.as_nanos() as u64;
        let now = self.now();
        let from = now + nanoseconds(self.plan.warmup);
        let until = from + nanoseconds(self.plan.time);
        self.begun.store(now, Relaxed);
        self.from.store(from, Relaxed);
        self.until.store(until, Relaxed);
        Times { now, from, until }
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// From now on nothing more is sent.
    pub(super) fn stop_sending(&self) {
        self.until.fetch_min(self.now(), Relaxed);
    }

    /// The sender number of a seat, counted over all rooms.
    pub(super) fn sender(&self, seat: Seat) -> usize {
        seat.group * self.plan.senders() + seat.place
    }

    /// The number of messages that a sender has sent.
    pub(super) fn sent(&self, sender: usize) -> u32 {
        self.sent.get(sender).map_or(0, |sent| sent.load(Relaxed))
    }

    pub(super) fn set_sent(&self, sender: usize, count: u32) {
        if let Some(sent) = self.sent.get(sender) {
            sent.store(count, Relaxed);
        }
    }

    /// The time at which message `number` of a sender is due, if a rate was asked for. Senders take
    /// turns at equal distances.
    pub(super) fn due(&self, sender: usize, number: u64) -> u64 {
        self.due_in_turn(number * self.sent.len() as u64 + sender as u64)
    }

    /// Whether there are senders, but none has sent. Then nothing has been verified.
    pub(super) fn nobody_sent(&self) -> bool {
        !self.sent.is_empty() && self.sent.iter().all(|sent| sent.load(Relaxed) == 0)
    }

    /// The time at which the message with `before` others before it is due. Where messages come
    /// more often than timers are exact, those of a tenth of a millisecond are due together at its
    /// end.
    fn due_in_turn(&self, before: u64) -> u64 {
        let Some(rate) = self.plan.rate else { return NEVER };
        let after = before as f64 / rate * 1e9;
        let after = if rate > 1e9 / STEP { (after / STEP).ceil() * STEP } else { after };
        self.begun().saturating_add(after as u64)
    }

    /// The number of messages that a rate has made due before the end.
    pub(super) fn due_in_all(&self) -> u64 {
        let until = self.times().until;
        let (mut low, mut high) = (0, self.plan.all_messages().unwrap_or(1 << 48));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.due_in_turn(middle) < until { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn shard(&self, seat: Seat) -> &Shard {
        &self.shards[seat.number % self.shards.len()]
    }

    /// The counts so far. Do not call it on a shard's queue.
    pub(super) fn counts(&self) -> Counts {
        let mut all = Counts::default();
        // In the queue's order: a plain wait for the lock could take as long as turns follow one
        // another.
        self.shards.iter().for_each(|shard| all.add(shard.queue.sync(|| shard.tally().counts)));
        all
    }

    /// The time of the last reception.
    pub(super) fn latest(&self) -> u64 {
        self.shards.iter().map(|shard| shard.tally().latest).max().unwrap_or(0)
    }

    /// The latencies of all shards: of messages, and of the generator.
    pub(super) fn latencies(&self) -> (Latency, Latency) {
        let (mut latency, mut late) = (Latency::new(), Latency::new());
        for shard in &self.shards {
            let tally = shard.tally();
            latency.add(&tally.latency);
            late.add(&tally.late);
        }
        (latency, late)
    }

    pub(super) fn breach(&self, what: String) {
        // Nothing that panics runs under the lock.
        let mut breaches = self.breaches.lock().unwrap_or_else(PoisonError::into_inner);
        breaches.count += 1;
        breaches.first.get_or_insert(what);
        self.broken.store(true, Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    pub(super) fn breaches(&self) -> Breaches {
        self.breaches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A tenth of a millisecond.
const STEP: f64 = 100_000.0;

impl Shard {
    fn new(queue: Queue) -> Shard {
        let (latency, late) = (Latency::new(), Latency::new());
        let tally = Tally { counts: Counts::default(), latency, late, latest: 0, outgoing: Vec::new() };
        Shard { queue, tally: Mutex::new(tally) }
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        // A turn that panics leaves figures that are behind at worst. The panic itself is reported.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::{Pattern, tests::plan};

    fn run(rate: f64, messages: Option<u64>) -> Run {
        let mut plan = plan(Pattern::Rooms { rooms: 2, members: 5, senders: 3, slow: 0 });
        (plan.rate, plan.messages) = (Some(rate), messages);
        plan.time = Duration::from_millis(500);
        let run = Run::new(plan, ([127, 0, 0, 1], 80).into(), 1, std::iter::empty());
        run.begin();
        run
    }

    #[test]
    fn senders_take_turns_at_equal_distances() {
        let run = run(1000.0, None);
        let after = |sender, number| run.due(sender, number) - run.begun();
        assert_eq!([after(0, 0), after(1, 0), after(5, 0), after(0, 1)], [0, 1_000_000, 5_000_000, 6_000_000]);
    }

    #[test]
    fn messages_that_are_due_closer_than_timers_are_exact_are_due_together() {
        let run = run(50_000.0, None);
        let after: Vec<u64> = (0..11).map(|before| run.due_in_turn(before) - run.begun()).collect();
        assert_eq!(after, [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2].map(|step| step * 100_000));
    }

    #[test]
    fn a_run_in_which_nobody_sent_is_told_from_one_without_senders() {
        let run = run(1000.0, None);
        assert!(run.nobody_sent());
        run.set_sent(5, 1);
        assert!(!run.nobody_sent());
        let idle = Run::new(plan(Pattern::Echo { connections: 0 }), ([127, 0, 0, 1], 80).into(), 1, std::iter::empty());
        assert!(!idle.nobody_sent());
    }

    #[test]
    fn what_is_due_before_the_end_is_counted() {
        for (rate, messages, expected) in
            [(1000.0, None, 500), (3.0, None, 2), (1e6, None, 499_901), (1000.0, Some(7), 42)]
        {
            let run = run(rate, messages);
            assert_eq!(run.due_in_all(), expected, "{rate}");
        }
    }
}
