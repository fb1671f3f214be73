//! The workloads of a thread outside the runtime that asks a queue and waits for the answer: Q20,
//! Q20g and Q2b.
//!
//! The rule of `actors` and `blocks` holds: the body is generic, and the peers supply the
//! operations that are measured.

use std::thread;
use std::time::{Duration, Instant};

use super::measure::{Clock, Sample, p50_p99_us};
use super::verify;
use super::workloads::Load;

/// A counter that lives on a queue and is reached from one thread outside.
pub(crate) trait Asked {
    /// Adds one and does not wait for it.
    fn add(&self);
    /// Adds one behind everything before, waits for it, and returns the new count.
    fn add_and_get(&self) -> u64;
}

/// Q20: one round trip after the other.
pub(crate) fn q20(load: &Load, asked: &impl Asked) -> Sample {
    let trips = load.of(50_000);
    let clock = Clock::start();
    for trip in 1..=trips {
        verify::equal("answer", asked.add_and_get(), trip);
    }
    clock.stop().ns_per(trips)
}

/// Q20g: a gap of 200 us before each round trip, so that every thread sleeps when it begins. The
/// gap is not part of the time, but its cost is part of the CPU time.
pub(crate) fn q20g(load: &Load, asked: &impl Asked) -> Sample {
    let trips = load.of(5_000);
    let mut times = Vec::with_capacity(trips as usize);
    let clock = Clock::start();
    for trip in 1..=trips {
        thread::sleep(Duration::from_micros(200));
        let began = Instant::now();
        let answer = asked.add_and_get();
        times.push(began.elapsed().as_nanos() as u64);
        verify::equal("answer", answer, trip);
    }
    let took = clock.stop();
    let [p50, _] = p50_p99_us(times);
    Sample::new(took, [p50 * 1e3, took.cpu_s * 1e9 / trips as f64])
}

/// Q2b: 100 blocks are submitted, then one is waited for.
pub(crate) fn q2b(load: &Load, asked: &impl Asked) -> Sample {
    const BACKLOG: u64 = 100;
    let rounds = load.of(20_000);
    let clock = Clock::start();
    for round in 1..=rounds {
        for _ in 0..BACKLOG {
            asked.add();
        }
        verify::equal("blocks that ran before", asked.add_and_get(), round * (BACKLOG + 1));
    }
    clock.stop().ns_per(rounds)
}
