//! The results: figures by workload, metric and peer, and the file that keeps those of the last
//! whole run.
//!
//! Not for: measuring, or how a figure is shown. Rule: a figure is the median of its rounds, and
//! keeps them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// The label of this repository's own figures.
pub(crate) const OURS: &str = "singletrack";
/// Floors: they do less than the compared work, and so show what the machine allows: a lock, a loop
/// without queues.
pub(crate) const FLOORS: [&str; 3] = ["std", "parking_lot", "bare"];

/// The load of the generator. It is no merit of a server, so it is neither compared nor shown in
/// the tables.
pub(crate) const GENERATOR: &str = "generator %";

/// The most other threads that may want a core, on average. More would take one from the measured
/// programs.
pub(crate) const BUSY: f64 = 1.0;

/// One figure of one peer.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) w: String,
    pub(crate) metric: String,
    pub(crate) peer: String,
    pub(crate) value: f64,
    /// The rounds behind the median. Empty where a program of its own took it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rounds: Vec<f64>,
}

impl Figure {
    /// The median of the rounds.
    pub(crate) fn of(w: &str, metric: &str, peer: &str, rounds: Vec<f64>) -> Figure {
        let rounds: Vec<f64> = rounds.into_iter().map(rounded).collect();
        let value = rounded(median(&rounds));
        Figure { w: w.to_owned(), metric: metric.to_owned(), peer: peer.to_owned(), value, rounds }
    }

    pub(crate) fn json_line(&self) -> String {
        // Strings and finite numbers: serde_json has no reason to refuse.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Five significant digits: more would be noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let factor = 10_f64.powi(4 - value.abs().log10().floor() as i32);
    (value * factor).round() / factor
}

/// The middle one, or the mean of the middle two.
///
/// # Panics
/// When there is none.
fn median(rounds: &[f64]) -> f64 {
    let mut sorted = rounds.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

/// A whole run of the queues or of the server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Part {
    pub(crate) machine: Machine,
    /// The average number of other threads that wanted a core when it began. Above [`BUSY`], the
    /// figures are spoilt.
    pub(crate) busy: f64,
    /// The versions of the peers by name, as far as they are known.
    pub(crate) versions: BTreeMap<String, String>,
    pub(crate) rounds: u32,
    pub(crate) figures: Vec<Figure>,
}

/// One workload and metric, with the figures of the peers.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    pub(crate) w: &'a str,
    pub(crate) metric: &'a str,
    pub(crate) figures: Vec<&'a Figure>,
}

impl Part {
    /// The results of a run here and now.
    pub(crate) fn new((machine, busy): (Machine, f64), locks: &[String], rounds: u32, figures: Vec<Figure>) -> Part {
        let mut part = Part { machine, busy, versions: BTreeMap::new(), rounds, figures };
        let version = |peer: &str| {
            let known = |lock: &String| version(peer, lock).map(str::to_owned);
            Some((peer.to_owned(), locks.iter().find_map(known)?))
        };
        part.versions = part.peers().into_iter().filter(|peer| *peer != OURS).filter_map(version).collect();
        part
    }

    /// The names of the peers, in the order of their first figures, ourselves first.
    pub(crate) fn peers(&self) -> Vec<&str> {
        let mut peers = vec![OURS];
        for figure in &self.figures {
            if !peers.contains(&figure.peer.as_str()) {
                peers.push(&figure.peer);
            }
        }
        peers
    }

    /// The figures by workload and metric, in the order in which they were measured.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let mut rows: Vec<Row<'_>> = Vec::new();
        for figure in &self.figures {
            match rows.iter_mut().find(|row| row.w == figure.w && row.metric == figure.metric) {
                Some(row) => row.figures.push(figure),
                None => rows.push(Row { w: &figure.w, metric: &figure.metric, figures: vec![figure] }),
            }
        }
        rows
    }
}

impl<'a> Row<'a> {
    pub(crate) fn of(&self, peer: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.peer == peer).map(|figure| figure.value)
    }

    /// Whether more is better, as for rates.
    pub(crate) fn more_is_better(&self) -> bool {
        self.metric.split(' ').any(|word| word.ends_with("/s"))
    }

    /// The best of those that `counts` lets in.
    pub(crate) fn best(&self, counts: impl Fn(&str) -> bool) -> Option<&'a Figure> {
        let better = |a: &&&Figure, b: &&&Figure| {
            let order = a.value.total_cmp(&b.value);
            if self.more_is_better() { order.reverse() } else { order }
        };
        self.figures.iter().filter(|figure| counts(&figure.peer)).min_by(better).copied()
    }

    /// The factor by which we are better than `other`. Below one, we are worse.
    pub(crate) fn times_better(&self, other: f64) -> Option<f64> {
        let ours = self.of(OURS)?;
        let times = if self.more_is_better() { ours / other } else { other / ours };
        times.is_finite().then_some(times)
    }
}

/// The version of a library in a lock file, cargo's or npm's. Of several the last, which is the
/// newest: the others belong to other libraries.
fn version<'a>(library: &str, lock: &'a str) -> Option<&'a str> {
    let beginnings = [
        format!("name = \"{library}\"\nversion = \""),
        format!("\"node_modules/{library}\": {{\n      \"version\": \""),
    ];
    let (_, rest) = beginnings.iter().find_map(|beginning| lock.rsplit_once(beginning.as_str()))?;
    rest.split_once('"').map(|(version, _)| version)
}

/// The data of the tables.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Results {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queues: Option<Part>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<Part>,
}

impl Results {
    /// Reads the results of earlier runs. A missing file is no fault.
    pub(crate) fn read(path: &Path) -> Result<Results, String> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Results::default()),
            Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
        };
        serde_json::from_str(&text).map_err(|error| format!("{} is not understood: {error}", path.display()))
    }

    /// Writes them, a line for each figure, so that changes can be read.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        text.push('\n');
        fs::write(path, text).map_err(|error| format!("{} cannot be written: {error}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, OURS, Part, median, rounded};
    use crate::machine::Machine;

    fn figure(w: &str, metric: &str, peer: &str, value: f64) -> Figure {
        Figure::of(w, metric, peer, vec![value])
    }

    #[test]
    fn the_median_is_not_moved_by_one_round() {
        assert_eq!(median(&[3.0, 900.0, 1.0]), 3.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 900.0]), 3.0);
        assert_eq!(median(&[7.0]), 7.0);
    }

    #[test]
    fn figures_are_kept_with_five_digits() {
        for (value, kept) in [(7.837374, 7.8374), (122_489.4, 122_490.0), (0.0, 0.0), (f64::NAN, 0.0)] {
            assert_eq!(rounded(value), kept);
        }
    }

    #[test]
    fn what_is_best_depends_on_the_metric() {
        let figures = vec![
            figure("S1", "CPU us/msg", OURS, 6.0),
            figure("S1", "msgs/s", OURS, 100.0),
            figure("S1", "CPU us/msg", "bun", 9.0),
            figure("S1", "msgs/s", "bun", 50.0),
            figure("S1", "msgs/s", "bare", 200.0),
        ];
        let part = Part::new((Machine::default(), 0.0), &[], 1, figures);
        assert_eq!(part.peers(), [OURS, "bun", "bare"]);
        let rows = part.rows();
        assert_eq!(rows.len(), 2);
        let best = |row: usize, all: bool| rows[row].best(|peer| all || peer == "bun").unwrap().peer.as_str();
        assert_eq!((best(0, true), best(0, false), best(1, true), best(1, false)), (OURS, "bun", "bare", "bun"));
        assert_eq!(rows[0].times_better(9.0), Some(1.5));
        assert_eq!(rows[1].times_better(50.0), Some(2.0));
        assert_eq!(rows[1].times_better(200.0), Some(0.5));
    }

    #[test]
    fn versions_are_those_of_the_lock_files() {
        let cargo = "[[package]]\nname = \"axum\"\nversion = \"0.7.0\"\n\n[[package]]\nname = \"axum-core\"\nversion = \"0.5\"\n\n[[package]]\nname = \"axum\"\nversion = \"0.8.9\"\n";
        let npm = "{\n    \"node_modules/bun\": {\n      \"version\": \"1.4.5\",\n";
        let figures = ["axum", "bun", "bare", OURS].map(|peer| figure("S3", "p99 us", peer, 1.0));
        let part = Part::new((Machine::default(), 0.0), &[cargo.to_owned(), npm.to_owned()], 1, figures.to_vec());
        let versions: Vec<_> = part.versions.iter().map(|(peer, version)| format!("{peer} {version}")).collect();
        assert_eq!(versions, ["axum 0.8.9", "bun 1.4.5"]);
    }

    #[test]
    fn rates_are_told_from_costs_by_their_names() {
        for (metric, more) in [("Mops/s P=1", true), ("msgs/s", true), ("ns/op", false), ("ns/op loose", false)] {
            let figure = figure("Q", metric, OURS, 1.0);
            let part = Part::new((Machine::default(), 0.0), &[], 1, vec![figure]);
            assert_eq!(part.rows()[0].more_is_better(), more, "{metric}");
        }
    }
}
