//! The workloads on queues that mostly wait: memory of idle queues (Q11), wake-up from idle (Q12),
//! timers (Q14).

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::actors::{Actor, Queues, ask};
use super::measure::{Clock, Sample, p50_p99_us, resident_bytes};
use super::verify::{self, Latch, Random};
use super::workloads::Load;

/// Counts its visits down.
pub(crate) struct Touched(u64);

impl Actor for Touched {
    type Message = Arc<Latch>;

    fn receive(&mut self, latch: Arc<Latch>) {
        self.0 += 1;
        latch.down();
    }
}

/// Q11 on actors.
pub(crate) fn q11<R: Queues>(load: &Load) -> Option<Sample> {
    let runtime = R::start(load.workers);
    let sample = idle_memory(load, |latch| {
        let queue = runtime.queue(Touched(0));
        R::send(&queue, Arc::clone(latch));
        queue
    });
    runtime.stop();
    sample
}

/// Q11: the memory of idle queues. `touched` makes a queue and submits one block that counts the
/// latch down. The queues are made in batches that are drained, so that idle queues are measured
/// and not a backlog.
pub(crate) fn idle_memory<Q>(load: &Load, touched: impl Fn(&Arc<Latch>) -> Q) -> Option<Sample> {
    const BATCH: usize = 1_000;
    let batches = load.of(1_000_000).div_ceil(BATCH as u64);
    let count = batches as usize * BATCH;
    // Written before the measurement, so that the table of handles does not count.
    let mut queues: Vec<Option<Q>> = Vec::new();
    queues.resize_with(count, || None);
    std::hint::black_box(&mut queues);
    let before = resident_bytes()?;
    let clock = Clock::start();
    for batch in queues.chunks_mut(BATCH) {
        let latch = Latch::new(BATCH as u64);
        for slot in batch {
            *slot = Some(touched(&latch));
        }
        latch.wait("queues that ran their block");
    }
    let took = clock.stop();
    let grown = resident_bytes()?.saturating_sub(before);
    Some(Sample::new(took, [grown as f64 / count as f64]))
}

/// Notes how long after its submission a block starts.
struct Probe(Vec<u64>);

impl Actor for Probe {
    type Message = Instant;

    fn receive(&mut self, submitted: Instant) {
        self.0.push(submitted.elapsed().as_nanos() as u64);
    }
}

/// Q12: from submit to the block's first instruction on an idle runtime.
pub(crate) fn q12<R: Queues>(load: &Load) -> Sample {
    let count = load.of(5_000);
    let runtime = R::start(load.workers);
    let queue = runtime.queue(Probe(Vec::with_capacity(count as usize)));
    let clock = Clock::start();
    for _ in 0..count {
        thread::sleep(Duration::from_micros(200));
        R::send(&queue, Instant::now());
    }
    let delays = ask::<R, _, _>(&queue, |probe| std::mem::take(&mut probe.0));
    let took = clock.stop();
    verify::equal("blocks that ran", delays.len() as u64, count);
    drop(queue);
    runtime.stop();
    Sample::new(took, p50_p99_us(delays))
}

/// Notes how late each timer is.
pub(crate) struct Alarm {
    late: Vec<u64>,
    early: u64,
    done: Arc<Latch>,
}

impl Actor for Alarm {
    /// When the timer was due.
    type Message = Instant;

    fn receive(&mut self, due: Instant) {
        match Instant::now().checked_duration_since(due) {
            Some(late) => self.late.push(late.as_nanos() as u64),
            None => self.early += 1,
        }
        self.done.down();
    }
}

/// Q14: one-shot timers on one queue. `arm` sends the due time to the queue after the delay.
pub(crate) fn q14<R: Queues>(load: &Load, arm: impl Fn(&R, &R::Queue<Alarm>, Duration, Instant)) -> Sample {
    let count = load.of(100_000);
    let runtime = R::start(load.workers);
    let done = Latch::new(count);
    let queue = runtime.queue(Alarm { late: Vec::with_capacity(count as usize), early: 0, done: Arc::clone(&done) });
    let mut random = Random::new(14);
    let clock = Clock::start();
    for _ in 0..count {
        let delay = Duration::from_nanos(random.below(2_000_000_000));
        arm(&runtime, &queue, delay, Instant::now() + delay);
    }
    done.wait("timers that fired");
    let took = clock.stop();
    let (late, early) = ask::<R, _, _>(&queue, |alarm| (std::mem::take(&mut alarm.late), alarm.early));
    verify::equal("timers that fired too early", early, 0);
    verify::equal("timers that fired", late.len() as u64, count);
    drop(queue);
    runtime.stop();
    let [p50, p99] = p50_p99_us(late);
    Sample::new(took, [p50, p99, took.cpu_s])
}
