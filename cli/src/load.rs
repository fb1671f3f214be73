//! The load generator: many WebSocket clients against one server, every message verified.
//!
//! Part of the program, not of the library: it uses the public API alone. Its clients are queues,
//! too: a worker of the generator waits in a poller and has one serial queue, on which the
//! connections of its share live. The main thread directs: it opens all connections, begins,
//! watches, ends, and reports. Not for: arguments and printing (`command/load.rs`). Rules: every
//! wait has a limit. A server that stands still is reported just as one that lies. Every share of a
//! figure that comes from the generator itself is reported beside it.

mod connect;
mod frame;
mod handshake;
mod latency;
mod pace;
mod payload;
mod peer;
mod plan;
mod plot;
mod process;
mod report;
mod shard;
mod verify;

pub(crate) use connect::reachable;
pub(crate) use frame::Kind;
pub(crate) use latency::Percentiles;
pub(crate) use plan::{Pattern, Plan, Target};
pub(crate) use plot::draw;
pub(crate) use report::{Report, ServerUsage};

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use singletrack::io::{Io, signal};
use singletrack::queues::{Runtime, Source};

use pace::Pace;
use peer::{AUDIT, LEAVE, SEND, WAKE};
use plan::Part;
use process::Usage;
use report::{Course, Sample};
use shard::Run;

/// The time between two looks at the counts.
const LOOK: Duration = Duration::from_millis(20);
/// The time between two points of the picture, and between two looks at the server's memory.
const SAMPLE: f64 = 0.1;
/// A pause after the last handshake, for servers that let members join a moment after the answer.
const SETTLE: Duration = Duration::from_millis(100);
/// The time that the server has to answer the closing of connections. The rest is reset.
const FAREWELL: Duration = Duration::from_secs(2);

/// How far a run has got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    /// The finished part of that phase, between 0 and 1.
    pub(crate) part: f64,
    pub(crate) connections: u64,
    pub(crate) deliveries: u64,
    pub(crate) deliveries_per_s: f64,
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    WarmingUp,
    Measuring,
    /// Waiting for the messages on their way.
    Draining,
    /// Reading the messages left by slow members.
    ReadingSlow,
}

/// Runs `plan` against `address`. Faults of the server are in the report.
///
/// # Errors
/// A sentence, when this process cannot have the threads or descriptors that it needs.
pub(crate) fn run(plan: &Plan, address: SocketAddr, show: &mut dyn FnMut(&Progress)) -> Result<Report, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the load generator cannot start: {error}");
    let io = Io::new(plan.workers).map_err(|error| failed(&error))?;
    let runtime = Runtime::builder().workers(plan.workers).name("load").parkers(io.parkers());
    let runtime = runtime.build().map_err(|error| failed(&error))?;
    let queues = (0..plan.workers).map(|worker| runtime.queue(format!("load.{worker}")));
    let run = Arc::new(Run::new(plan.clone(), address, tag(), queues));

    let interrupt = Arc::new(AtomicBool::new(false));
    let control = runtime.queue("load.control");
    let heard = {
        let interrupt = interrupt.clone();
        signal::on_end(&io, &control, move || interrupt.store(true, Relaxed)).map_err(|error| failed(&error))?
    };
    let mut director = Director {
        run,
        io,
        show,
        interrupt,
        sources: Vec::new(),
        course: Course::default(),
        seen: 0,
        last_progress: Instant::now(),
    };
    director.direct();
    drop(heard);
    Ok(director.report())
}

/// A tag that differs from that of any other run on the same server.
fn tag() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (now.as_nanos() as u64 ^ u64::from(std::process::id()) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
        as u32
}

/// The main thread's part of a run.
struct Director<'a> {
    run: Arc<Run>,
    io: Io,
    show: &'a mut dyn FnMut(&Progress),
    interrupt: Arc<AtomicBool>,
    sources: Vec<Source>,
    course: Course,
    /// The progress at the last look, and the time of its last change.
    seen: u64,
    last_progress: Instant,
}

impl Director<'_> {
    fn direct(&mut self) {
        self.course.start = self.usage();
        let began = Instant::now();
        if !self.connect() {
            return;
        }
        self.course.connect_s = began.elapsed().as_secs_f64();
        std::thread::sleep(SETTLE);
        self.course.connected = self.usage();
        self.course.notice(self.course.connected);
        if self.measure() && self.drain() {
            self.read_slow();
        }
        self.leave();
    }

    /// Opens all connections, a limited number at a time.
    fn connect(&mut self) -> bool {
        let all = self.run.plan.connections();
        for number in 0..all {
            while !self.run.opening.wait_timeout(LOOK) {
                if !self.look(Phase::Connecting, number as f64 / all as f64, true) {
                    return false;
                }
            }
            if self.is_over() {
                return false;
            }
            match peer::open(&self.run, &self.io, self.run.plan.seat(number)) {
                Ok(source) => self.sources.push(source),
                Err(what) => {
                    self.run.breach(what);
                    return false;
                }
            }
            if number % 256 == 0 && !self.look(Phase::Connecting, number as f64 / all as f64, true) {
                return false;
            }
        }
        while (self.run.counts().opened as usize) < all {
            if !self.look(Phase::Connecting, 1.0, true) {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Lets the senders send for the time of the warm-up and of the plan, or until each has sent
    /// its messages. `false`: a breach ended it early.
    fn measure(&mut self) -> bool {
        let times = self.run.begin();
        if self.run.plan.warmup.is_zero() {
            self.take_sample();
        }
        self.start_senders();
        let (all, end) = (self.run.plan.all_messages(), times.until);
        loop {
            let (now, counts) = (self.run.now(), self.run.counts());
            let over = now >= end || all.is_some_and(|all| counts.sent >= all && counts.received == counts.owed);
            let last = self.course.samples.last().map(|sample| sample.at);
            if over || now >= times.from && last.is_none_or(|last| now as f64 / 1e9 - last >= SAMPLE) {
                self.take_sample();
            }
            if over && all.is_some() {
                self.end_at_the_last();
            }
            if over {
                break;
            }
            let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
            let (phase, part) = match all {
                _ if now < times.from => (Phase::WarmingUp, share(now - times.now, times.from - times.now)),
                Some(all) => (Phase::Measuring, share(counts.sent, all)),
                None => (Phase::Measuring, share(now - times.from, end - times.from)),
            };
            if !self.look(phase, part, false) {
                self.take_sample();
                break;
            }
            let next = if now < times.from { times.from } else { end };
            std::thread::sleep(LOOK.min(Duration::from_nanos(next.saturating_sub(self.run.now()))));
        }
        self.run.stop_sending();
        self.course.interrupted = self.interrupt.load(Relaxed);
        !self.run.is_broken()
    }

    fn take_sample(&mut self) {
        let sample = Sample {
            at: self.run.now() as f64 / 1e9,
            counts: self.run.counts(),
            own_cpu: own_cpu(),
            server: self.usage(),
        };
        self.course.notice(sample.server);
        self.course.samples.push(sample);
    }

    /// If a number of messages was asked for, the time ends with the last of them, not with the
    /// look that saw it.
    fn end_at_the_last(&mut self) {
        let latest = self.run.latest() as f64 / 1e9;
        if let [.., before, last] = &mut self.course.samples[..] {
            last.at = latest.clamp(before.at, last.at);
        }
    }

    fn start_senders(&self) {
        let plan = &self.run.plan;
        let shards = self.run.shards.len();
        let mut of_shard: Vec<Vec<(usize, Source)>> = vec![Vec::new(); shards];
        for (number, source) in self.sources.iter().enumerate() {
            let seat = plan.seat(number);
            if seat.part == Part::Talks {
                of_shard[seat.number % shards].push((self.run.sender(seat), source.clone()));
            }
        }
        for (shard, senders) in of_shard.into_iter().enumerate() {
            if plan.rate.is_some() {
                Pace::start(&self.run, shard, senders);
            } else {
                senders.iter().for_each(|(_, source)| source.merge(SEND));
            }
        }
    }

    /// Waits until every receiver has all that was sent. `false`: something never came.
    fn drain(&mut self) -> bool {
        self.last_progress = Instant::now();
        loop {
            // In this order, so that the messages released last are counted.
            let all_told = self.run.pacing.wait_timeout(Duration::ZERO);
            let counts = self.counts_at_rest();
            if counts.received == counts.owed && all_told {
                break;
            }
            if !self.look(Phase::Draining, counts.received as f64 / counts.owed.max(1) as f64, true) {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        if self.run.plan.rate.is_some() {
            self.course.not_sent = self.run.due_in_all().saturating_sub(self.run.counts().sent);
        }
        // Counts alone could be right by accident, so each connection compares its own.
        self.audit();
        if self.run.nobody_sent() && !self.is_over() {
            self.run.breach("nobody came to send anything in the time of the run: give it longer, by --seconds".into());
        }
        !self.run.is_broken()
    }

    /// The counts once they stand still: a turn that began before the end may have sent one more.
    fn counts_at_rest(&self) -> shard::Counts {
        loop {
            let first = self.run.counts();
            // After this, each queue has run all that it was given before.
            self.settle();
            let second = self.run.counts();
            if first.owed == second.owed {
                return second;
            }
        }
    }

    /// The slow members read the messages that wait for them.
    fn read_slow(&mut self) {
        let plan = &self.run.plan;
        let all = plan.groups() * plan.slow();
        for (number, source) in self.sources.iter().enumerate() {
            if plan.seat(number).part == Part::Slow {
                source.merge(WAKE);
            }
        }
        self.last_progress = Instant::now();
        loop {
            let slow = self.run.counts().slow;
            let done = slow.closed + slow.reset + slow.served;
            if done as usize >= all || !self.look(Phase::ReadingSlow, done as f64 / all as f64, true) {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Closes what is open, and gives the server a moment to answer.
    fn leave(&mut self) {
        let end = Instant::now() + FAREWELL;
        self.sources.iter().for_each(|source| source.merge(LEAVE));
        while self.run.counts().ended < self.sources.len() as u64 && Instant::now() < end {
            std::thread::sleep(LOOK);
        }
    }

    /// One look: reports the progress, and returns whether to go on. `waits`: something must happen
    /// within the plan's patience.
    fn look(&mut self, phase: Phase, part: f64, waits: bool) -> bool {
        let counts = self.run.counts();
        let progress = counts.progress();
        if progress != self.seen {
            (self.seen, self.last_progress) = (progress, Instant::now());
        }
        let rate = self.course.samples.last().map_or(0.0, |last| {
            let first = self.course.samples[self.course.samples.len().saturating_sub(6)];
            (last.counts.received - first.counts.received) as f64 / (last.at - first.at).max(1e-9)
        });
        (self.show)(&Progress {
            phase,
            part,
            // A connection that has ended may never have been open.
            connections: counts.opened.saturating_sub(counts.ended),
            deliveries: counts.received,
            deliveries_per_s: rate,
        });
        // With a low rate, nothing may be due for long.
        if !waits && counts.received == counts.owed {
            self.last_progress = Instant::now();
        }
        if self.last_progress.elapsed() > self.run.plan.patience {
            self.stalled(phase);
        }
        !self.is_over()
    }

    fn is_over(&mut self) -> bool {
        self.course.interrupted |= self.interrupt.load(Relaxed);
        self.run.is_broken() || self.course.interrupted
    }

    /// There was no progress for too long: reports which connections wait for what.
    fn stalled(&mut self, phase: Phase) {
        self.run.stop_sending();
        self.audit();
        if !self.run.is_broken() {
            self.run.breach(format!("no progress for {:?} ({phase:?})", self.run.plan.patience));
        }
    }

    /// Each connection reports what it has not received.
    fn audit(&self) {
        self.sources.iter().for_each(|source| source.merge(AUDIT));
        self.settle();
    }

    /// Waits until the queues have run what they were given before.
    fn settle(&self) {
        self.run.shards.iter().for_each(|shard| shard.queue.sync(|| {}));
    }

    fn usage(&self) -> Option<Usage> {
        Usage::of(self.run.plan.pid?)
    }

    fn report(&self) -> Report {
        let (run, slow) = (&self.run, self.run.counts().slow);
        Report::of(&run.plan, &self.course, run.latencies(), run.breaches(), slow)
    }
}

/// Processor time of this process, in seconds.
fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
