//! The server's half: every scenario on every peer, in turns, each round on a fresh process.
//!
//! Not for: the definition of a scenario (`server/scenario.rs`), or the load itself, which
//! `singletrack load` makes and verifies. Rules: the server runs on the first core, the load
//! generator on the second. A peer that fails is reported by name, sits out that scenario, and has
//! no figures there. A figure is the median of its rounds.

pub(crate) mod idle;
pub(crate) mod load;
pub(crate) mod process;
pub(crate) mod scenario;

use std::cell::Cell;

use crate::peers::Peer;
use crate::places::Places;
use crate::progress::Progress;
use crate::results::Figure;
use load::Load;
use process::Server;
use scenario::{Scenario, Size, Work};

/// The plan of a measurement.
pub(crate) struct Plan<'a> {
    pub(crate) places: &'a Places,
    pub(crate) scenarios: Vec<&'static Scenario>,
    pub(crate) peers: Vec<&'static Peer>,
    pub(crate) size: Size,
    pub(crate) rounds: u32,
}

/// The figures of one round, by metric.
type Sample = Vec<(&'static str, f64)>;

impl Plan<'_> {
    /// The participants of a scenario.
    fn peers(&self, scenario: &Scenario) -> Vec<&'static Peer> {
        self.peers.iter().filter(|peer| scenario.is_for(peer)).copied().collect()
    }

    /// The approximate duration of all of it.
    pub(crate) fn takes(&self) -> std::time::Duration {
        let one = |scenario: &&Scenario| scenario.takes(self.size) * self.rounds * self.peers(scenario).len() as u32;
        self.scenarios.iter().map(one).sum()
    }

    /// Measures. `each` receives the figures of every scenario when it is over. A failure is
    /// printed at once, and counted.
    pub(crate) fn run(&self, progress: &Progress, each: &dyn Fn(&[Figure])) -> (Vec<Figure>, usize) {
        let faults = Cell::new(0);
        let fault = |what: String| {
            faults.set(faults.get() + 1);
            progress.around(|| eprintln!("error: {what}"));
        };
        let is_ready = |peer: &&Peer| match peer.prepare(self.places) {
            Ok(()) => true,
            Err(error) => {
                fault(format!("{}: {error}", peer.name));
                false
            }
        };
        let ready: Vec<&'static Peer> = self.peers.iter().copied().filter(is_ready).collect();
        let mut figures = Vec::new();
        for scenario in &self.scenarios {
            let mut peers = self.peers(scenario);
            peers.retain(|peer| ready.iter().any(|other| other.name == peer.name));
            let of_scenario = self.scenario(scenario, &peers, progress, &fault);
            each(&of_scenario);
            figures.extend(of_scenario);
        }
        (figures, faults.get())
    }

    fn scenario(
        &self,
        scenario: &Scenario,
        peers: &[&'static Peer],
        progress: &Progress,
        fault: &dyn Fn(String),
    ) -> Vec<Figure> {
        let mut samples: Vec<Result<Vec<Sample>, ()>> = vec![Ok(Vec::new()); peers.len()];
        for round in 0..self.rounds as usize {
            for turn in 0..peers.len() {
                // Each round begins with another peer.
                let number = (turn + round) % peers.len();
                let (peer, Ok(rounds)) = (peers[number], &mut samples[number]) else { continue };
                progress.now(format!("{}, round {} of {}: {}", scenario.name, round + 1, self.rounds, peer.name));
                match self.round(scenario, peer) {
                    Ok(sample) => rounds.push(sample),
                    Err(error) => {
                        fault(format!("{} in {}: {error}", peer.name, scenario.name));
                        samples[number] = Err(());
                    }
                }
                progress.done(scenario.takes(self.size));
            }
        }
        let mut figures = Vec::new();
        for (peer, rounds) in peers.iter().zip(samples) {
            let Ok(rounds) = rounds else { continue };
            let metrics = rounds.first().into_iter().flatten().enumerate();
            figures.extend(metrics.map(|(at, (metric, _))| {
                Figure::of(scenario.name, metric, peer.name, rounds.iter().map(|sample| sample[at].1).collect())
            }));
        }
        figures
    }

    /// One round on one peer: a fresh server, the load, and a check that the server is still alive.
    fn round(&self, scenario: &Scenario, peer: &Peer) -> Result<Sample, String> {
        let cores = process::cores();
        let (first, second) = (cores[0], *cores.last().unwrap_or(&cores[0]));
        let of_server = if scenario.free { &cores[..] } else { &[first] };
        let log = self.places.work().join(format!("{}.log", peer.name));
        let mut server = Server::start(&mut peer.command(self.places)?, of_server, &log)?;
        let (warm_up, measured) = scenario.lasts(self.size);
        let load = Load { program: self.places.singletrack(), core: second, warm_up, measured };
        let sample = match scenario.work(self.size) {
            work @ Work::Echo { .. } => load.run(&server, work)?.of_echo(),
            work @ Work::Rooms { silent, .. } => {
                let mut sample = load.run(&server, work)?.of_rooms();
                if silent > 0 {
                    sample.push(("MiB at most", server.memory()?.peak as f64 / (1 << 20) as f64));
                }
                sample
            }
            Work::Idle { held, connections } => {
                // The process has done its one-time work before its memory is read.
                let first = idle::hold(server.address, connections)?;
                let before = server.memory()?;
                let idle = idle::hold(server.address, held - connections)?;
                let after = server.memory()?;
                let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / idle.len() as f64;
                let outcome = load.run(&server, Work::Echo { connections })?;
                drop(first);
                let mut sample = vec![
                    ("user bytes/conn", each(before.user, after.user)),
                    ("RSS bytes/conn", each(before.resident, after.resident)),
                ];
                sample.extend(outcome.of_echo());
                sample
            }
        };
        server.is_alive()?;
        Ok(sample)
    }
}
