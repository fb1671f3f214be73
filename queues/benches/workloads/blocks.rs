//! The workloads without a queue's state: Q2 and Q10 (exclusion on the caller's thread), Q7 and Q15
//! (one-shot blocks), Q13 (a parallel loop).
//!
//! The rule of `actors` holds: the body is generic, and the peers supply the one operation that is
//! measured.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use super::measure::{Clock, Sample, ThreadPeak, Took, pin};
use super::verify::{self, Latch, Random};
use super::workloads::Load;

/// A counter that only one thread at a time may touch.
pub(crate) trait Guarded: Sync {
    /// Adds one, `times` times, each in a critical section of its own. Threads of the workload call
    /// it.
    fn add(&self, times: u64);
    fn total(&self) -> u64;
}

/// Q2: one thread, without contention.
pub(crate) fn q2(load: &Load, guarded: &impl Guarded) -> Sample {
    let ops = load.of(5_000_000);
    let clock = Clock::start();
    guarded.add(ops);
    let took = clock.stop();
    verify::equal("the plain counter", guarded.total(), ops);
    took.ns_per(ops)
}

/// Q2c: two threads contend.
pub(crate) fn q2c(load: &Load, guarded: &impl Guarded) -> Sample {
    let each = load.of(5_000_000) / 2;
    let took = on_two_threads(false, |_| guarded.add(each))
        .unwrap_or_else(|| verify::fail("two threads could not be started"));
    verify::equal("the plain counter", guarded.total(), each * 2);
    took.ns_per(each * 2)
}

/// Runs a body on two threads at once, pinned to different CPUs if wanted. `None` if they could not
/// be pinned.
fn on_two_threads(pinned: bool, body: impl Fn(u64) + Sync) -> Option<Took> {
    let start = Barrier::new(3);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..2u64)
            .map(|index| {
                let (start, body) = (&start, &body);
                scope.spawn(move || {
                    let ready = !pinned || pin(index as usize);
                    start.wait();
                    if ready {
                        body(index);
                    }
                    ready
                })
            })
            .collect();
        let clock = Clock::start();
        start.wait();
        let mut ready = true;
        for thread in threads {
            ready &= thread.join().expect("a thread of the workload panicked");
        }
        let took = clock.stop();
        ready.then_some(took)
    })
}

/// Two numbers that are always equal, unless readers and writers overlap. The atomics are only
/// loaded and stored, so a safe program sees an overlap for the price of plain numbers.
#[derive(Default)]
pub(crate) struct Twins {
    left: AtomicU64,
    right: AtomicU64,
}

impl Twins {
    pub(crate) fn equal(&self) -> bool {
        self.left.load(Ordering::Relaxed) == self.right.load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self) {
        for half in [&self.left, &self.right] {
            half.store(half.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }
}

/// Twins behind a lock for readers and writers.
pub(crate) trait ReadWrite: Sync {
    /// Does each step under the lock and returns the number of reads that saw different twins.
    fn run(&self, steps: Steps) -> u64;
    fn twins(&self) -> &Twins;
}

/// A random row of reads (95 %) and writes (5 %).
#[derive(Clone)]
pub(crate) struct Steps {
    left: u64,
    random: Random,
}

/// One step of a `ReadWrite`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Step {
    Read,
    Write,
}

impl Iterator for Steps {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.left = self.left.checked_sub(1)?;
        Some(if self.random.below(20) == 0 { Step::Write } else { Step::Read })
    }
}

/// Q10: two threads read and write, loosely or pinned.
pub(crate) fn q10(load: &Load, pinned: bool, shared: &impl ReadWrite) -> Option<Sample> {
    let each = load.of(2_000_000) / 2;
    let steps = |thread| Steps { left: each, random: Random::new(thread) };
    let torn = AtomicU64::new(0);
    let took = on_two_threads(pinned, |thread| {
        torn.fetch_add(shared.run(steps(thread)), Ordering::Relaxed);
    })?;
    let writes = (0..2).flat_map(steps).filter(|step| *step == Step::Write).count() as u64;
    verify::equal("reads that overlapped a write", torn.into_inner(), 0);
    let twins = shared.twins();
    let written = (twins.left.load(Ordering::Relaxed), twins.right.load(Ordering::Relaxed));
    verify::equal("writes", written, (writes, writes));
    Some(took.ns_per(each * 2))
}

/// A mark for each one-shot block: which of them ran, and how often.
pub(crate) struct Marks(Vec<AtomicU8>);

impl Marks {
    /// Loads and stores only: a block has its mark to itself, and a locked instruction would cost
    /// as much as a block.
    pub(crate) fn mark(&self, block: u64) {
        let mark = &self.0[block as usize];
        mark.store(mark.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// Q7: one-shot blocks. `fork_join` submits that many, each of which marks its own number, and
/// waits for all.
pub(crate) fn q7(load: &Load, fork_join: impl FnOnce(u64, &Arc<Marks>)) -> Sample {
    let blocks = load.of(1_000_000);
    let marks: Vec<AtomicU8> = (0..blocks).map(|_| AtomicU8::new(0)).collect();
    let marks = Arc::new(Marks(marks));
    let clock = Clock::start();
    fork_join(blocks, &marks);
    let took = clock.stop();
    let wrong = marks.0.iter().filter(|mark| mark.load(Ordering::Relaxed) != 1);
    verify::equal("blocks that did not run exactly once", wrong.count(), 0);
    took.millions_per_s(blocks)
}

/// Q13: the wrapping sum of x * x; `sum` computes it for all x below its argument.
pub(crate) fn q13(load: &Load, sum: impl FnOnce(u64) -> u64) -> Sample {
    let count = load.of(50_000_000);
    let clock = Clock::start();
    let got = sum(count);
    let took = clock.stop();
    let n = u128::from(count);
    let expected = ((n - 1) * n * (2 * n - 1) / 6) as u64;
    verify::equal("sum of the squares", got, expected);
    Sample::new(took, [took.ms()])
}

/// One tiny iteration of Q13. The compiler may vectorise the loop but cannot turn it into a
/// formula, since it does not know that `zero` is 0.
pub(crate) fn square(x: u64, zero: u64) -> u64 {
    x.wrapping_mul(x ^ zero)
}

/// The second argument of `square`.
pub(crate) fn zero() -> u64 {
    std::hint::black_box(0)
}

/// A block that blocks: it sleeps for 10 ms.
pub(crate) struct Nap(Arc<Latch>);

impl Nap {
    pub(crate) fn take(self) {
        thread::sleep(Duration::from_millis(10));
        self.0.down();
    }
}

/// Q15: blocks that sleep, submitted at once. The runtime is made here so that its threads count.
pub(crate) fn q15<S>(
    load: &Load,
    start: impl FnOnce() -> S,
    submit: impl Fn(&S, Nap),
    stop: impl FnOnce(S),
) -> Option<Sample> {
    let blocks = load.of(1_000);
    let latch = Latch::new(blocks);
    let peak = ThreadPeak::start()?;
    let runtime = start();
    let clock = Clock::start();
    for _ in 0..blocks {
        submit(&runtime, Nap(Arc::clone(&latch)));
    }
    latch.wait("blocks that slept");
    let took = clock.stop();
    let threads = peak.stop();
    stop(runtime);
    Some(Sample::new(took, [took.ms(), threads as f64]))
}
