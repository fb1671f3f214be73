//! Clocks and gauges: wall time, CPU time of the process, resident memory, threads, and the
//! statistics over rounds.
//!
//! It knows no workload and no peer. CPU time is that of the whole process (user and system, all
//! threads), so a figure includes the producers as well as the workers. Memory, threads and pinning
//! are read from Linux; elsewhere the gauges return `None`, and the workloads that need them are
//! reported as not supported.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::ratio::median;

/// The result of one round of one workload: one value for each metric of the case, and the CPU time
/// that it took.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) values: Vec<f64>,
    pub(crate) cpu_s: f64,
}

impl Sample {
    pub(crate) fn new(took: Took, values: impl Into<Vec<f64>>) -> Sample {
        Sample { values: values.into(), cpu_s: took.cpu_s }
    }
}

/// A started measurement.
pub(crate) struct Clock {
    wall: Instant,
    cpu_s: f64,
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { cpu_s: process_cpu_s(), wall: Instant::now() }
    }

    pub(crate) fn stop(self) -> Took {
        Took { wall: self.wall.elapsed(), cpu_s: process_cpu_s() - self.cpu_s }
    }
}

/// A finished measurement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) wall: Duration,
    pub(crate) cpu_s: f64,
}

impl Took {
    pub(crate) fn ns_per(self, ops: u64) -> Sample {
        Sample::new(self, [self.wall.as_secs_f64() * 1e9 / ops as f64])
    }

    pub(crate) fn millions_per_s(self, ops: u64) -> Sample {
        Sample::new(self, [ops as f64 / self.wall.as_secs_f64() / 1e6])
    }

    pub(crate) fn ms(self) -> f64 {
        self.wall.as_secs_f64() * 1e3
    }
}

fn process_cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// The median of each metric over the rounds, and of the CPU time.
///
/// # Panics
/// When there is no round.
pub(crate) fn medians(rounds: &[Sample]) -> Sample {
    let median_of = |pick: &dyn Fn(&Sample) -> f64| median(rounds.iter().map(pick).collect());
    Sample {
        values: (0..rounds[0].values.len()).map(|metric| median_of(&|round| round.values[metric])).collect(),
        cpu_s: median_of(&|round| round.cpu_s),
    }
}

/// The 50th and the 99th percentile, in microseconds, of durations in nanoseconds.
///
/// # Panics
/// When there is no duration.
pub(crate) fn p50_p99_us(mut nanoseconds: Vec<u64>) -> [f64; 2] {
    nanoseconds.sort_unstable();
    let last = nanoseconds.len() - 1;
    [last / 2, last * 99 / 100].map(|at| nanoseconds[at] as f64 / 1e3)
}

/// Bytes of resident memory of this process.
pub(crate) fn resident_bytes() -> Option<u64> {
    own_status("VmRSS:").map(|kib| kib * 1024)
}

/// Threads of this process.
pub(crate) fn threads() -> Option<u64> {
    own_status("Threads:")
}

fn own_status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Samples the number of threads every millisecond, on a thread of its own that it does not count.
pub(crate) struct ThreadPeak {
    before: u64,
    stop: Arc<AtomicBool>,
    sampler: JoinHandle<u64>,
}

impl ThreadPeak {
    /// Starts sampling; threads that exist now are not counted. `None` where threads cannot be
    /// counted.
    pub(crate) fn start() -> Option<ThreadPeak> {
        // A joined thread of the previous measurement may still be counted for an instant: the
        // least of a few looks is used.
        let mut before = threads()?;
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(1));
            before = before.min(threads()?);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let seen_stop = Arc::clone(&stop);
        let sampler = thread::spawn(move || {
            let mut peak = 0;
            while !seen_stop.load(Ordering::Relaxed) {
                peak = peak.max(threads().unwrap_or(0));
                thread::sleep(Duration::from_millis(1));
            }
            peak
        });
        Some(ThreadPeak { before, stop, sampler })
    }

    /// The most threads seen at once beyond those at the start.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let peak = self.sampler.join().unwrap_or(0);
        peak.saturating_sub(self.before + 1)
    }
}

/// Pins the calling thread to the `index`th CPU that it may use (modulo their number). `false`
/// where there are fewer than two such CPUs or where threads cannot be pinned.
#[cfg(target_os = "linux")]
pub(crate) fn pin(index: usize) -> bool {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let Ok(allowed) = sched_getaffinity(None) else {
        return false;
    };
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cpus.len() < 2 {
        return false;
    }
    let mut one = CpuSet::new();
    one.set(cpus[index % cpus.len()]);
    sched_setaffinity(None, &one).is_ok()
}

/// Threads are pinned on Linux only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin(_index: usize) -> bool {
    false
}
