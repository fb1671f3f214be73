//! The arguments of the command line.
//!
//! Not for: carrying them out. Rule: arguments that cannot be used end the program with status 2
//! and a sentence, before anything is built or measured.

use clap::{Parser, ValueEnum};

use crate::peers::{self, PEERS, Peer};
use crate::server::scenario::{self, SCENARIOS, Scenario, Size};

/// Measures singletrack beside its peers in one run, and makes the tables of performance/README.md.
#[derive(Debug, Parser)]
#[command(after_help = examples(), after_long_help = known())]
pub(crate) struct Arguments {
    /// Workloads to run, such as S3 or Q4; all if none is named
    #[arg(value_name = "WORKLOAD", value_parser = workload)]
    pub(crate) workloads: Vec<Workload>,
    /// Only this half
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) only: Option<Half>,
    /// Only this server (may be repeated); ours is singletrack
    #[arg(long = "peer", value_name = "NAME", value_parser = peers::named)]
    pub(crate) peers: Vec<&'static Peer>,
    /// Rounds of each workload and peer, 1 to 100, taken in turns; the median counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// A look in about two minutes: one round, shorter ones, all connections; the tables stay as
    /// they are
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// Whether everything works, in half a minute: few connections, figures that say nothing; the
    /// tables stay as they are
    #[arg(long)]
    smoke: bool,
    /// One JSON object a line instead of tables
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure nothing: make the tables and the picture from the figures that are kept
    #[arg(long, conflicts_with_all = ["workloads", "only", "peers", "rounds", "quick", "smoke", "json"])]
    pub(crate) render: bool,
    /// Be this peer's server; how they are started
    #[arg(long, hide = true, exclusive = true, value_name = "PEER", value_parser = peers::named)]
    pub(crate) serve: Option<&'static Peer>,
}

/// The two benches.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Half {
    /// The workloads of the queues, Q1 and so on.
    Queues,
    /// The server beside others, S1 to S5.
    Server,
}

/// The workloads that a name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Workload {
    /// One of the queues' bench, which knows its own workloads.
    Queues(String),
    /// One or several of the server's.
    Server(Vec<&'static Scenario>),
}

impl Workload {
    fn of_queues(&self) -> Option<&str> {
        match self {
            Workload::Queues(name) => Some(name),
            Workload::Server(_) => None,
        }
    }

    fn of_server(&self) -> &[&'static Scenario] {
        match self {
            Workload::Queues(_) => &[],
            Workload::Server(some) => some,
        }
    }
}

fn workload(name: &str) -> Result<Workload, String> {
    let number = name.strip_prefix(['Q', 'q']).unwrap_or_default();
    if number.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(Workload::Queues(name.to_owned()));
    }
    scenario::named(name).map(Workload::Server)
}

fn examples() -> String {
    "Examples:\n  cargo run --release -p singletrack-performance                  everything, and the tables\n  \
     cargo run --release -p singletrack-performance -- --only server the server's half, and the tables\n  \
     cargo run --release -p singletrack-performance -- S3 --rounds 2 one workload, to standard output\n\n\
     Exit status: 0 done, 1 when a peer failed (the others are still measured), 2 for arguments that cannot be used."
        .to_owned()
}

fn known() -> String {
    let names: Vec<_> = PEERS.iter().map(|peer| peer.name).collect();
    let mut text = format!("{}\n\nServers: {}\n\nWorkloads of the server:\n", examples(), names.join(", "));
    for scenario in SCENARIOS {
        text += &format!("  {:<9} {}\n", scenario.name, scenario.about);
    }
    text + "\nThose of the queues: cargo bench -p singletrack-queues --bench workloads -- --help\n"
}

impl Arguments {
    pub(crate) fn size(&self) -> Size {
        match (self.quick, self.smoke) {
            (true, _) => Size::Quick,
            (_, true) => Size::Tiny,
            _ => Size::Full,
        }
    }

    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.size() == Size::Full { 5 } else { 1 })
    }

    /// Whether this half is wanted.
    pub(crate) fn wants(&self, half: Half) -> bool {
        let named = |workload: &Workload| workload.of_queues().is_some() == (half == Half::Queues);
        let meant = self.workloads.is_empty() || self.workloads.iter().any(named);
        // Peers are servers: a run that names one does not mean the queues.
        let peers = self.peers.is_empty() || half == Half::Server;
        meant && peers && self.only.is_none_or(|only| only == half)
    }

    /// Refuses arguments that can be given together but leave something that was named unmeasured.
    ///
    /// # Errors
    /// With a sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (half, of, only) in [(Half::Queues, "the queues", "queues"), (Half::Server, "the server", "server")] {
            let named = |workload: &Workload| workload.of_queues().is_some() == (half == Half::Queues);
            if self.workloads.iter().any(named) && !self.wants(half) {
                let why = if self.only.is_some_and(|only| only != half) {
                    format!("--only {only} is what would measure them")
                } else {
                    "a --peer is a server".to_owned()
                };
                return Err(format!("workloads of {of} are named, and nothing of them would be measured: {why}"));
            }
        }
        if !self.wants(Half::Queues) && !self.wants(Half::Server) {
            return Err("nothing would be measured: a --peer is a server, and --only queues leaves servers out".into());
        }
        let servers = self.servers();
        let takes_part = |scenario: &&Scenario| servers.iter().any(|peer| scenario.is_for(peer));
        if self.wants(Half::Server) && !self.scenarios().iter().any(takes_part) {
            return Err("nothing would be measured: the servers that are named do none of the workloads".into());
        }
        Ok(())
    }

    /// Whether a half, once measured, is complete. Only complete halves are kept and shown.
    pub(crate) fn is_whole(&self) -> bool {
        self.workloads.is_empty() && self.peers.is_empty() && self.size() == Size::Full
    }

    /// The server's workloads.
    pub(crate) fn scenarios(&self) -> Vec<&'static Scenario> {
        let named: Vec<_> = self.workloads.iter().flat_map(Workload::of_server).map(|scenario| scenario.name).collect();
        let named = |scenario: &&Scenario| self.workloads.is_empty() || named.contains(&scenario.name);
        SCENARIOS.iter().filter(named).collect()
    }

    /// The servers, ourselves first.
    pub(crate) fn servers(&self) -> Vec<&'static Peer> {
        let named = |peer: &&Peer| self.peers.is_empty() || self.peers.iter().any(|other| other.name == peer.name);
        PEERS.iter().filter(named).collect()
    }

    /// The queues' workloads by name; all if none.
    pub(crate) fn queues(&self) -> Vec<&str> {
        self.workloads.iter().filter_map(Workload::of_queues).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Half};
    use clap::Parser;

    fn parsed(line: &str) -> Result<Arguments, String> {
        Arguments::try_parse_from(["performance"].into_iter().chain(line.split_whitespace()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_part_is_what_was_named() {
        let halves = |line| {
            let arguments = parsed(line).unwrap();
            (arguments.wants(Half::Queues), arguments.wants(Half::Server), arguments.is_whole())
        };
        assert_eq!(halves(""), (true, true, true));
        assert_eq!(halves("--only queues"), (true, false, true));
        assert_eq!(halves("--only server --rounds 7"), (false, true, true));
        assert_eq!(halves("Q4 q12"), (true, false, false));
        assert_eq!(halves("S1 Q4"), (true, true, false));
        assert_eq!(halves("--peer bun"), (false, true, false));
        assert_eq!(halves("--quick"), (true, true, false));
        assert_eq!(halves("--smoke"), (true, true, false));
        assert_eq!(parsed("q1 S3 Q2").unwrap().queues(), ["q1", "Q2"]);
        assert_eq!(parsed("S3-free S2").unwrap().scenarios().len(), 2);
        assert_eq!(parsed("--peer axum --peer singletrack").unwrap().servers()[0].name, "singletrack");
    }

    #[test]
    fn what_leaves_something_unmeasured_is_refused_with_a_sentence() {
        for (line, says) in [
            ("--only server Q1", "--only queues is what would"),
            ("--only queues S3", "--only server is what would"),
            ("--peer bun Q1", "a --peer is a server"),
            ("--peer bun S1 Q4", "a --peer is a server"),
            ("--peer bun --only queues", "leaves servers out"),
            ("--peer fastwebsockets S3", "do none of the workloads"),
            ("--peer bun S3-free", "do none of the workloads"),
        ] {
            let error = parsed(line).unwrap().check().unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
        for line in ["", "S1 Q4", "--only queues Q1", "--peer bun S3", "--peer fastwebsockets", "--render", "--smoke"] {
            assert_eq!(parsed(line).unwrap().check(), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_sentence() {
        for (line, says) in [
            ("S9", "no workload of that name"),
            ("Qx", "no workload of that name"),
            ("--peer nginx", "no peer of that name"),
            ("--rounds 0", "1..=100"),
            ("--rounds 1000", "1..=100"),
            ("--only half", "possible values"),
            ("--quick --smoke", "cannot be used with"),
            ("--render S1", "cannot be used with"),
            ("--serve nginx", "no peer of that name"),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(says), "{line}: {error}");
        }
    }
}
