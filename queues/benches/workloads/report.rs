//! The output of the bench: a table for people, a JSON object a line for programs, a progress line
//! for a terminal.
//!
//! Results go to stdout at the end of each workload; progress goes to stderr,
//! and only when that is a terminal.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use super::allocator::Allocator;
use super::measure::Sample;
use super::workloads::Case;

/// How results are printed.
pub(crate) struct Report {
    json: bool,
    peers: Vec<&'static str>,
    width: usize,
    progress: bool,
}

impl Report {
    pub(crate) fn new(json: bool, peers: Vec<&'static str>) -> Report {
        let width = peers.iter().map(|peer| peer.len()).max().unwrap_or(0).max(10);
        Report { json, peers, width, progress: stderr().is_terminal() }
    }

    /// The measured machine and settings, and the table's head.
    pub(crate) fn begin(&self, workers: &[usize], rounds: u32, scale: f64) {
        if self.json {
            return;
        }
        let workers: Vec<String> = workers.iter().map(usize::to_string).collect();
        let workers = workers.join(", ");
        let mut text = format!("{workers} workers, median of {rounds} rounds, scale {scale}; `-`: not supported\n");
        text += &self.line("", "", "", |peer| self.peers[peer].to_owned());
        print(&text);
    }

    /// The results of a case with an allocator: one for each peer, in the order of the peers. The
    /// number of workers is part of the metric's name where it tells rows apart.
    pub(crate) fn row(&self, case: &Case, allocator: Allocator, workers: Option<usize>, results: &[Option<Sample>]) {
        if self.progress {
            eprint!("\r\x1b[K");
        }
        let mut text = String::new();
        for (metric, name) in case.metrics.iter().enumerate() {
            let name = &workers.map_or((*name).to_owned(), |workers| format!("{name} W={workers}"));
            if self.json {
                for (peer, result) in self.peers.iter().zip(results) {
                    if let Some(sample) = result {
                        text += &json_line(peer, case.w, name, sample.values[metric], sample.cpu_s, allocator);
                    }
                }
            } else {
                let cell = |peer: usize| results[peer].as_ref().map_or("-".to_owned(), |s| short(s.values[metric]));
                text += &self.line(case.w, name, allocator.name(), cell);
            }
        }
        print(&text);
    }

    /// A line of the table: three words, and a cell for each peer.
    fn line(&self, w: &str, metric: &str, allocator: &str, cell: impl Fn(usize) -> String) -> String {
        let mut text = format!("{w:<6}{metric:<18}{allocator:<8}");
        for peer in 0..self.peers.len() {
            text += &format!("  {:>width$}", cell(peer), width = self.width);
        }
        text + "\n"
    }

    pub(crate) fn progress(&self, case: &Case, peer: &str, round: u32, rounds: u32) {
        if self.progress {
            let metric = case.metrics[0];
            eprint!("\r\x1b[K{} {metric}, round {round} of {rounds}: {peer}", case.w);
            // A progress line that cannot be shown is no reason to stop.
            let _ = stderr().flush();
        }
    }
}

/// Writes to stdout. The reader may close the pipe early: that ends the program without an error.
pub(crate) fn print(text: &str) {
    if let Err(error) = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("workloads: the results cannot be written: {error}.");
        std::process::exit(1);
    }
}

fn json_line(peer: &str, w: &str, metric: &str, value: f64, cpu_s: f64, allocator: Allocator) -> String {
    // Names are our own plain words, and finite numbers print as in JSON; the order of the fields
    // is for the reader.
    let (value, cpu_s) = (rounded(value), rounded(cpu_s));
    let figure = format!(r#""peer":"{peer}","w":"{w}","metric":"{metric}","value":{value},"cpu_s":{cpu_s}"#);
    format!("{{{figure},\"allocator\":\"{allocator}\"}}\n")
}

/// Five significant digits: more would be noise.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let digits = 4 - value.abs().log10().floor() as i32;
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}

/// Three significant digits or whole numbers.
pub(crate) fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
