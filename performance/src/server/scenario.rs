//! The workloads of the server: names, sizes, and the figures of each.
//!
//! Not for: running them. Rule: the sizes are those of S1 to S5. A smaller run has fewer
//! connections, and its figures only show that everything works.

use std::time::Duration;

use crate::peers::Peer;
use crate::results::OURS;

/// The size of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Size {
    /// For figures that are kept.
    Full,
    /// For a quick look.
    Quick,
    /// For a check that it works at all.
    Tiny,
}

/// The demands of a scenario on a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Work {
    /// One message in flight on each connection, echoed.
    Echo { connections: usize },
    /// In each room `senders` members send, each waiting for its own copy, and `silent` members
    /// read nothing.
    Rooms { rooms: usize, members: usize, senders: usize, silent: usize },
    /// Connections that say nothing, beside others with an echo.
    Idle { held: usize, connections: usize },
}

/// A workload.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    work: Work,
    /// The server may use all cores, and the load generator one of them. Only for our own server.
    pub(crate) free: bool,
}

const fn on_one_core(name: &'static str, about: &'static str, work: Work) -> Scenario {
    Scenario { name, about, work, free: false }
}

const CHAT: Work = Work::Rooms { rooms: 100, members: 10, senders: 10, silent: 0 };
const ECHO: Work = Work::Echo { connections: 64 };

/// All of them, in the order in which they run.
pub(crate) const SCENARIOS: &[Scenario] = &[
    on_one_core("S1-64", "64 connections, one message in flight on each, echoed", ECHO),
    on_one_core("S1-1000", "the same with 1,000 connections", Work::Echo { connections: 1000 }),
    on_one_core("S1-10000", "the same with 10,000 connections", Work::Echo { connections: 10_000 }),
    on_one_core(
        "S2",
        "10 rooms of 100, one member of each sends",
        Work::Rooms { rooms: 10, members: 100, senders: 1, silent: 0 },
    ),
    on_one_core("S3", "100 rooms of 10, everybody sends", CHAT),
    on_one_core("S4-10000", "10,000 idle connections, and S1-64", Work::Idle { held: 10_000, connections: 64 }),
    on_one_core("S4-19000", "19,000 idle connections, and S1-64", Work::Idle { held: 19_000, connections: 64 }),
    on_one_core(
        "S5",
        "S3 with one member of each room that reads nothing",
        Work::Rooms { rooms: 100, members: 10, senders: 9, silent: 1 },
    ),
    Scenario { name: "S1-free", about: "S1-64, the server on all cores", work: ECHO, free: true },
    Scenario { name: "S3-free", about: "S3, the server on all cores", work: CHAT, free: true },
];

/// The scenarios of this name, or of this kind: `S1` is all of S1.
///
/// # Errors
/// With a sentence that lists the known ones.
pub(crate) fn named(name: &str) -> Result<Vec<&'static Scenario>, String> {
    let is_meant = |scenario: &&Scenario| {
        let rest = scenario.name.get(..name.len()).filter(|start| start.eq_ignore_ascii_case(name));
        rest.is_some()
            && ["", "-"].contains(&scenario.name.get(name.len()..).map_or("?", |rest| &rest[..rest.len().min(1)]))
    };
    let meant: Vec<_> = SCENARIOS.iter().filter(is_meant).collect();
    if meant.is_empty() {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!("no workload of that name; the server has {}, the queues Q1 and so on", names.join(", ")));
    }
    Ok(meant)
}

impl Scenario {
    /// Its work at this size.
    pub(crate) fn work(&self, size: Size) -> Work {
        if size != Size::Tiny {
            return self.work;
        }
        match self.work {
            Work::Echo { connections } => Work::Echo { connections: connections.min(64) / 8 },
            Work::Rooms { senders, silent, .. } => {
                Work::Rooms { rooms: 2, members: 4, senders: senders.min(4 - silent), silent }
            }
            Work::Idle { .. } => Work::Idle { held: 50, connections: 8 },
        }
    }

    /// The duration of the load: warm-up and measurement.
    pub(crate) fn lasts(&self, size: Size) -> (Duration, Duration) {
        let (warm_up, measured) = match (size, self.work) {
            (Size::Tiny, _) => (100, 200),
            (Size::Quick, _) => (200, 500),
            (Size::Full, Work::Rooms { silent: 1.., .. }) => (500, 1500),
            (Size::Full, _) => (200, 1000),
        };
        (Duration::from_millis(warm_up), Duration::from_millis(measured))
    }

    /// The approximate duration of one round of one peer.
    pub(crate) fn takes(&self, size: Size) -> Duration {
        let connections = match self.work(size) {
            Work::Echo { connections } => connections,
            Work::Rooms { rooms, members, .. } => rooms * members,
            Work::Idle { held, connections } => held + connections,
        };
        let (warm_up, measured) = self.lasts(size);
        // A handshake and a farewell at both ends, and the start of two processes.
        warm_up + measured + Duration::from_micros(120) * connections as u32 + Duration::from_millis(300)
    }

    /// Whether this server can take part.
    pub(crate) fn is_for(&self, peer: &Peer) -> bool {
        let needs_rooms = matches!(self.work, Work::Rooms { .. });
        (peer.rooms || !needs_rooms) && (peer.name == OURS || !self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::{SCENARIOS, named};

    #[test]
    fn a_name_means_one_and_a_kind_means_all_of_it() {
        let names = |name| named(name).unwrap().iter().map(|scenario| scenario.name).collect::<Vec<_>>();
        assert_eq!(names("s3"), ["S3", "S3-free"]);
        assert_eq!(names("S1-64"), ["S1-64"]);
        assert_eq!(names("S1"), ["S1-64", "S1-1000", "S1-10000", "S1-free"]);
        for name in ["", "S", "S6", "S1-", "S1-6", "S1-645", "Q1", "äö"] {
            assert!(named(name).unwrap_err().contains("S5"), "{name:?}");
        }
        assert!(SCENARIOS.iter().all(|scenario| names(scenario.name).contains(&scenario.name)));
    }
}
