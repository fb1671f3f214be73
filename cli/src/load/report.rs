//! The outcome of a run. Its fields are the output of `load --json`.
//!
//! Not for: printing. Rule: names and units are a contract, because scripts read them.

use serde::Serialize;

use super::latency::{Latency, Percentiles};
use super::plan::{Pattern, Plan};
use super::process::Usage;
use super::shard::{Breaches, Counts, SlowCounts};

/// The outcome of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Whether the server did all it must, and nothing else.
    pub(crate) ok: bool,
    /// Its first fault, and the number of connections that saw a fault.
    pub(crate) breach: Option<String>,
    pub(crate) breaches: usize,
    /// Whether a signal ended the run early.
    pub(crate) interrupted: bool,
    pub(crate) target: String,
    pub(crate) pattern: &'static str,
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
    pub(crate) members: usize,
    pub(crate) senders: usize,
    pub(crate) slow: usize,
    pub(crate) idle: usize,
    pub(crate) bytes: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) workers: usize,
    /// The time until all connections were open.
    pub(crate) connect_s: f64,
    /// The measured time, without the warm-up.
    pub(crate) seconds: f64,
    pub(crate) messages: u64,
    pub(crate) deliveries: u64,
    pub(crate) messages_per_s: f64,
    pub(crate) deliveries_per_s: f64,
    /// The time from when a message was due until a receiver had it.
    pub(crate) latency_us: Percentiles,
    /// With a rate: the time from when a message was due until it was sent, which is the
    /// generator's own part of the latency.
    pub(crate) late_us: Option<Percentiles>,
    /// With a rate: the messages that were due and never sent, because the server took no more.
    pub(crate) not_sent: u64,
    pub(crate) generator: Generator,
    pub(crate) server: Option<ServerUsage>,
    pub(crate) slow_members: Option<SlowCounts>,
    /// The data of the pictures.
    #[serde(skip)]
    pub(crate) latency: Latency,
    #[serde(skip)]
    pub(crate) rates: Vec<Rate>,
}

/// Deliveries per second at one moment of the measured time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    pub(crate) at: f64,
    pub(crate) deliveries_per_s: f64,
}

/// The cost of the generator itself.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Generator {
    pub(crate) cpu_s: f64,
    pub(crate) cpu_us_per_delivery: f64,
    /// The share of its workers' time that was spent computing. Near 1, the generator may limit the
    /// figures.
    pub(crate) busy: f64,
}

/// The cost of the server's process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct ServerUsage {
    pub(crate) pid: u32,
    pub(crate) cpu_s: f64,
    pub(crate) cpu_us_per_message: f64,
    pub(crate) cpu_us_per_delivery: f64,
    /// Memory before the first connection, with all connections and nothing sent, and at its peak.
    pub(crate) rss_start_kib: u64,
    pub(crate) rss_connected_kib: u64,
    pub(crate) rss_peak_kib: u64,
    pub(crate) bytes_per_connection: u64,
    pub(crate) threads_start: u64,
    pub(crate) threads_peak: u64,
}

/// One moment of a run.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Seconds of the run's clock.
    pub(super) at: f64,
    pub(super) counts: Counts,
    /// Processor time of the generator so far.
    pub(super) own_cpu: f64,
    pub(super) server: Option<Usage>,
}

/// The observations at the moments that matter.
#[derive(Clone, Debug, Default)]
pub(super) struct Course {
    pub(super) connect_s: f64,
    pub(super) start: Option<Usage>,
    pub(super) connected: Option<Usage>,
    pub(super) rss_peak_kib: u64,
    pub(super) threads_peak: u64,
    pub(super) samples: Vec<Sample>,
    pub(super) interrupted: bool,
    pub(super) not_sent: u64,
}

impl Course {
    /// Remembers the peak of the server's process.
    pub(super) fn notice(&mut self, usage: Option<Usage>) {
        let usage = usage.unwrap_or_default();
        self.rss_peak_kib = self.rss_peak_kib.max(usage.resident_kib);
        self.threads_peak = self.threads_peak.max(usage.threads);
    }
}

impl Report {
    /// Makes a report of the counts.
    pub(super) fn of(
        plan: &Plan,
        course: &Course,
        (latency, late): (Latency, Latency),
        breaches: Breaches,
        slow: SlowCounts,
    ) -> Report {
        let first = course.samples.first().copied().unwrap_or_default();
        let last = course.samples.last().copied().unwrap_or_default();
        let seconds = last.at - first.at;
        let (messages, deliveries) =
            (last.counts.sent - first.counts.sent, last.counts.received - first.counts.received);
        let cpu_s = last.own_cpu - first.own_cpu;
        let (pattern, rooms) = match plan.pattern {
            Pattern::Echo { .. } => ("echo", 0),
            Pattern::Rooms { rooms, .. } => ("rooms", rooms),
        };
        Report {
            ok: breaches.count == 0,
            breach: breaches.first,
            breaches: breaches.count,
            interrupted: course.interrupted,
            target: format!("ws://{}{}", plan.target.authority, plan.target.prefix),
            pattern,
            connections: plan.connections(),
            rooms,
            members: plan.members(),
            senders: plan.senders(),
            slow: plan.slow(),
            idle: plan.idle,
            bytes: plan.bytes,
            rate: plan.rate,
            workers: plan.workers,
            connect_s: rounded(course.connect_s, 1e3),
            seconds: rounded(seconds, 1e3),
            messages,
            deliveries,
            messages_per_s: rounded(ratio(messages as f64, seconds), 1.0),
            deliveries_per_s: rounded(ratio(deliveries as f64, seconds), 1.0),
            latency_us: latency.percentiles(),
            late_us: plan.rate.map(|_| late.percentiles()),
            not_sent: course.not_sent,
            generator: Generator {
                cpu_s: rounded(cpu_s, 1e3),
                cpu_us_per_delivery: rounded(ratio(cpu_s * 1e6, deliveries as f64), 1e3),
                busy: rounded(ratio(cpu_s, seconds * plan.workers as f64), 1e3),
            },
            server: plan.pid.map(|pid| server(pid, plan, course, &first, &last)),
            slow_members: (plan.slow() > 0).then_some(slow),
            latency,
            rates: rates(&course.samples),
        }
    }
}

fn server(pid: u32, plan: &Plan, course: &Course, first: &Sample, last: &Sample) -> ServerUsage {
    let cpu = |sample: &Sample| sample.server.map_or(0.0, |usage| usage.cpu);
    let cpu_s = (cpu(last) - cpu(first)).max(0.0);
    let (start, connected) = (course.start.unwrap_or_default(), course.connected.unwrap_or_default());
    let grown = connected.resident_kib.saturating_sub(start.resident_kib) * 1024;
    ServerUsage {
        pid,
        cpu_s: rounded(cpu_s, 1e3),
        cpu_us_per_message: rounded(ratio(cpu_s * 1e6, (last.counts.sent - first.counts.sent) as f64), 1e3),
        cpu_us_per_delivery: rounded(ratio(cpu_s * 1e6, (last.counts.received - first.counts.received) as f64), 1e3),
        rss_start_kib: start.resident_kib,
        rss_connected_kib: connected.resident_kib,
        rss_peak_kib: course.rss_peak_kib,
        bytes_per_connection: grown / plan.connections().max(1) as u64,
        threads_start: start.threads,
        threads_peak: course.threads_peak,
    }
}

fn rates(samples: &[Sample]) -> Vec<Rate> {
    let begin = samples.first().map_or(0.0, |sample| sample.at);
    samples
        .windows(2)
        .map(|pair| Rate {
            at: (pair[0].at + pair[1].at) / 2.0 - begin,
            deliveries_per_s: ratio(
                (pair[1].counts.received - pair[0].counts.received) as f64,
                pair[1].at - pair[0].at,
            ),
        })
        .collect()
}

/// The quotient, or 0 if the divisor is 0.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn rounded(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::tests::plan;

    fn sample(at: f64, sent: u64, received: u64, cpu: f64) -> Sample {
        let server = Some(Usage { cpu, resident_kib: 1000, threads: 3 });
        Sample { at, counts: Counts { sent, received, ..Counts::default() }, own_cpu: cpu / 2.0, server }
    }

    #[test]
    fn figures_are_those_between_the_first_and_the_last_sample() {
        let mut plan = plan(Pattern::Rooms { rooms: 2, members: 5, senders: 1, slow: 1 });
        plan.pid = Some(7);
        let start = Some(Usage { cpu: 0.0, resident_kib: 100, threads: 3 });
        let connected = Some(Usage { resident_kib: 124, ..Usage::default() });
        let samples = vec![sample(2.0, 100, 400, 1.0), sample(3.0, 150, 600, 1.5), sample(4.0, 300, 1200, 2.0)];
        let course = Course { start, connected, rss_peak_kib: 200, threads_peak: 4, samples, ..Course::default() };
        let latencies = (Latency::new(), Latency::new());
        let report = Report::of(&plan, &course, latencies, Breaches::default(), SlowCounts::default());
        assert!(report.ok && report.late_us.is_none() && report.slow_members.is_some());
        assert_eq!((report.messages, report.deliveries, report.seconds), (200, 800, 2.0));
        assert_eq!((report.messages_per_s, report.deliveries_per_s), (100.0, 400.0));
        assert_eq!((report.generator.cpu_us_per_delivery, report.generator.busy), (625.0, 0.25));
        let server = report.server.expect("it was watched");
        assert_eq!((server.cpu_us_per_message, server.cpu_us_per_delivery), (5000.0, 1250.0));
        // 24 KiB for 12 connections.
        assert_eq!((server.bytes_per_connection, server.rss_peak_kib, server.threads_peak), (2048, 200, 4));
        let rates: Vec<(f64, f64)> = report.rates.iter().map(|rate| (rate.at, rate.deliveries_per_s)).collect();
        assert_eq!(rates, [(0.5, 200.0), (1.5, 600.0)]);
    }

    #[test]
    fn nothing_measured_is_zero_and_not_a_division_by_it() {
        let plan = plan(Pattern::Echo { connections: 1 });
        let latencies = (Latency::new(), Latency::new());
        let breaches = Breaches { first: Some("it broke".into()), count: 2 };
        let report = Report::of(&plan, &Course::default(), latencies, breaches, SlowCounts::default());
        assert_eq!((report.ok, report.breaches, report.breach.as_deref()), (false, 2, Some("it broke")));
        assert_eq!((report.messages_per_s, report.generator.busy, report.seconds), (0.0, 0.0, 0.0));
    }
}
