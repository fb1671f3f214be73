//! The queues' half: runs their own bench as it is, and reads its lines.
//!
//! Not for: measuring. `queues/benches/workloads/main.rs` does that: it verifies every result,
//! takes the peers in turns and reports medians. Rule: the bench itself reports what it cannot do,
//! and its exit status 2 is ours.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::cargo;
use crate::places::Places;
use crate::results::Figure;
use crate::server::scenario::Size;

/// Seconds that one peer may spend on one workload before it sits out further rounds.
const BUDGET: &str = "3";

/// A line of the bench.
#[derive(Deserialize)]
struct Line {
    peer: String,
    w: String,
    metric: String,
    value: f64,
}

/// The fault of a run.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The arguments cannot be used; the bench has said why.
    Arguments,
    /// With a sentence.
    Failed(String),
}

/// Runs the bench. `each` receives every figure as soon as it is known.
pub(crate) fn run(
    places: &Places,
    names: &[&str],
    size: Size,
    rounds: u32,
    each: &mut dyn FnMut(&Figure),
) -> Result<Vec<Figure>, Fault> {
    let failed = |what: String| Fault::Failed(format!("the bench of the queues {what}"));
    let scale = match size {
        Size::Full => "1",
        Size::Quick => "0.1",
        Size::Tiny => "0.001",
    };
    let mut command = bench(places);
    command.args(names).args(["--json", "--rounds", &rounds.to_string(), "--budget", BUDGET, "--scale", scale]);
    // One figure for each peer and metric, as in the results that are kept.
    command.args(["--allocator", "mimalloc"]);
    let mut child =
        command.stdout(Stdio::piped()).spawn().map_err(|error| failed(format!("did not start: {error}")))?;
    let mut figures = Vec::new();
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
        let line: Line = serde_json::from_str(&line).map_err(|error| failed(format!("said {line:?}: {error}")))?;
        let Line { peer, w, metric, value } = line;
        let figure = Figure { w, metric, peer, value, rounds: Vec::new() };
        each(&figure);
        figures.push(figure);
    }
    let status = child.wait().map_err(|error| failed(format!("is lost: {error}")))?;
    match status.code() {
        Some(0) => Ok(figures),
        // cargo passes on the status of the bench.
        Some(2) => Err(Fault::Arguments),
        _ => Err(failed(format!("ended with {status}"))),
    }
}

/// Builds it, so that the build does not count as measuring.
pub(crate) fn build(places: &Places) -> Result<(), String> {
    cargo::run(places, &["bench", "--quiet", "-p", "singletrack-queues", "--bench", "workloads", "--no-run"])
}

fn bench(places: &Places) -> Command {
    let mut command = cargo::command(places);
    command.args(["bench", "--quiet", "-p", "singletrack-queues", "--bench", "workloads", "--"]);
    command
}
