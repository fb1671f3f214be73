//! The server's counters, and their output in Prometheus' text format.
//!
//! Only counters: the code that changes something counts it here. Not for: logging, and deciding
//! anything by a count. Rule: a count per message is updated once per turn, in a slot of the
//! worker's own, so that cores do not share a line.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use singletrack_queues::{Runtime, Stats};

/// A count that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, n: u64) {
        // Relaxed, here and below: nobody concludes anything about other memory from a count.
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A current value.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, n: i64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        u64::try_from(self.0.load(Relaxed)).unwrap_or(0)
    }
}

/// The counts of one worker, alone on their cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Traffic {
    pub(crate) messages_in: Count,
    pub(crate) messages_out: Count,
    pub(crate) bytes_in: Count,
    pub(crate) bytes_out: Count,
    pub(crate) writes: Count,
}

/// Close codes that have a count of their own. All others share one.
const CODES: std::ops::RangeInclusive<u16> = 1000..=1014;

/// All counts of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    traffic: Box<[Traffic]>,
    pub(crate) connections: Gauge,
    pub(crate) accepted: Count,
    pub(crate) refused: Count,
    pub(crate) accept_errors: Count,
    pub(crate) requests: Count,
    pub(crate) rejected_requests: Count,
    pub(crate) upgrades: Count,
    pub(crate) sockets: Gauge,
    pub(crate) rooms: Gauge,
    pub(crate) slow_members: Count,
    pub(crate) missed: Count,
    pub(crate) pings: Count,
    pub(crate) gone: Count,
    pub(crate) handler_panics: Count,
    closes: [Count; 15],
    other_closes: Count,
}

impl Metrics {
    pub(crate) fn new(workers: usize) -> Metrics {
        Metrics {
            traffic: (0..workers.max(1)).map(|_| Traffic::default()).collect(),
            connections: Gauge::default(),
            accepted: Count::default(),
            refused: Count::default(),
            accept_errors: Count::default(),
            requests: Count::default(),
            rejected_requests: Count::default(),
            upgrades: Count::default(),
            sockets: Gauge::default(),
            rooms: Gauge::default(),
            slow_members: Count::default(),
            missed: Count::default(),
            pings: Count::default(),
            gone: Count::default(),
            handler_panics: Count::default(),
            closes: Default::default(),
            other_closes: Count::default(),
        }
    }

    /// The slot of the worker that runs the caller.
    pub(crate) fn traffic(&self) -> &Traffic {
        let index = Runtime::current_parker().unwrap_or(0);
        self.traffic.get(index).unwrap_or(&self.traffic[0])
    }

    /// Counts a WebSocket that ended with `code`.
    pub(crate) fn closed(&self, code: u16) {
        if CODES.contains(&code) {
            self.closes[usize::from(code - CODES.start())].add(1);
        } else {
            self.other_closes.add(1);
        }
    }

    fn sum(&self, part: impl Fn(&Traffic) -> &Count) -> u64 {
        self.traffic.iter().map(|traffic| part(traffic).get()).sum()
    }

    /// All counts in Prometheus' text format.
    pub(crate) fn text(&self, runtime: &Stats) -> String {
        let mut out = String::with_capacity(4096);
        let mut tell = |name: &str, kind: &str, help: &str, value: u64| {
            let _ = write!(
                out,
                "# HELP singletrack_{name} {help}\n# TYPE singletrack_{name} {kind}\nsingletrack_{name} {value}\n"
            );
        };
        tell("connections", "gauge", "Connections that are open, of any kind.", self.connections.get());
        tell("websockets", "gauge", "Connections that are open WebSockets.", self.sockets.get());
        tell("rooms", "gauge", "Rooms that have members.", self.rooms.get());
        tell("accepted_total", "counter", "Connections accepted.", self.accepted.get());
        tell("refused_total", "counter", "Connections answered with 503 for want of room.", self.refused.get());
        tell("accept_errors_total", "counter", "Times that accepting a connection failed.", self.accept_errors.get());
        tell("requests_total", "counter", "HTTP requests read, handshakes included.", self.requests.get());
        tell("rejected_requests_total", "counter", "HTTP requests refused.", self.rejected_requests.get());
        tell("upgrades_total", "counter", "Connections that became WebSockets.", self.upgrades.get());
        tell("messages_in_total", "counter", "WebSocket messages accepted.", self.sum(|t| &t.messages_in));
        tell("messages_out_total", "counter", "WebSocket messages queued for a peer.", self.sum(|t| &t.messages_out));
        tell("bytes_in_total", "counter", "Bytes read from connections.", self.sum(|t| &t.bytes_in));
        tell("bytes_out_total", "counter", "Bytes written to connections.", self.sum(|t| &t.bytes_out));
        tell("writes_total", "counter", "System calls that wrote to a connection.", self.sum(|t| &t.writes));
        tell("slow_members_total", "counter", "Members closed because they did not keep up.", self.slow_members.get());
        tell(
            "missed_messages_total",
            "counter",
            "Messages that slow members missed and are told of.",
            self.missed.get(),
        );
        tell("pings_total", "counter", "Pings sent to silent peers.", self.pings.get());
        tell(
            "gone_total",
            "counter",
            "Peers given up because nothing came from them or went to them.",
            self.gone.get(),
        );
        tell("handler_panics_total", "counter", "Panics of handlers.", self.handler_panics.get());
        tell("runtime_workers", "gauge", "Workers of the runtime.", runtime.workers as u64);
        tell("runtime_threads", "gauge", "Threads of the runtime.", runtime.threads as u64);
        tell("runtime_peak_threads", "gauge", "Most threads that the runtime has had.", runtime.peak_threads as u64);
        tell("runtime_panics_total", "counter", "Blocks that panicked.", runtime.panics);
        tell("runtime_rejected_total", "counter", "Blocks refused after shutdown began.", runtime.rejected);
        out.push_str(
            "# HELP singletrack_closes_total WebSockets closed, by code.\n# TYPE singletrack_closes_total counter\n",
        );
        for (code, count) in CODES.zip(&self.closes) {
            if count.get() > 0 {
                let _ = writeln!(out, "singletrack_closes_total{{code=\"{code}\"}} {}", count.get());
            }
        }
        let _ = writeln!(out, "singletrack_closes_total{{code=\"other\"}} {}", self.other_closes.get());
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number() {
        let metrics = Metrics::new(2);
        metrics.closed(1000);
        metrics.closed(4000);
        metrics.traffic().messages_in.add(3);
        let text = metrics.text(&singletrack_queues::Runtime::global().stats());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(name.starts_with("singletrack_") && value.parse::<u64>().is_ok(), "{line}");
        }
        assert!(text.contains("singletrack_messages_in_total 3\n"), "{text}");
        assert!(text.contains("singletrack_closes_total{code=\"1000\"} 1\n"), "{text}");
        assert!(text.contains("singletrack_closes_total{code=\"other\"} 1\n"), "{text}");
    }
}
