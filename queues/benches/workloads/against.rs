//! `--against`: this build beside another one, round by round.
//!
//! Both binaries run as child processes that print JSON. Within a workload they take turns, and the
//! first one changes from round to round. The figures of a round are compared with each other (see
//! `ratio`). Not for other peers: the bench itself compares those within one process.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

use super::ratio::{Comparison, Line, Row};
use super::report::{print, rounded, short};

/// The binaries to compare, and their arguments.
pub(crate) struct Against {
    /// The other build's binary of this bench.
    pub(crate) theirs: PathBuf,
    pub(crate) workloads: Vec<&'static str>,
    /// Arguments that both get: allocator, scale, workers.
    pub(crate) arguments: Vec<String>,
    pub(crate) rounds: u32,
    pub(crate) json: bool,
}

/// The figures of a row, ours and theirs, round by round.
struct Rounds {
    row: Row,
    values: Vec<(f64, f64)>,
    cpu: Vec<(f64, f64)>,
}

impl Against {
    pub(crate) fn run(&self) {
        let ours = std::env::current_exe().unwrap_or_else(|error| stop(1, &format!("cannot find itself: {error}")));
        if !self.json {
            let head = cells(
                ["", "metric", "allocator", "ours", "theirs", "ratio", "half within", "CPU", ""].map(str::to_owned),
            );
            let theirs = self.theirs.display();
            print(&format!(
                "theirs: {theirs}; ratio: ours / theirs, median of {} rounds; CPU: the same of CPU time\n{head}",
                self.rounds
            ));
        }
        for w in &self.workloads {
            let mut rows: Vec<Rounds> = Vec::new();
            for round in 0..self.rounds {
                // Each begins as often as the other: the first to run may find a cooler or a warmer
                // machine.
                let (our_lines, their_lines) = if round % 2 == 0 {
                    let first = self.figures(&ours, w);
                    (first, self.figures(&self.theirs, w))
                } else {
                    let first = self.figures(&self.theirs, w);
                    (self.figures(&ours, w), first)
                };
                for Line { row, value, cpu_s } in our_lines {
                    let Some(other) = their_lines.iter().find(|line| line.row == row) else { continue };
                    let at = rows.iter().position(|known| known.row == row).unwrap_or_else(|| {
                        rows.push(Rounds { row, values: Vec::new(), cpu: Vec::new() });
                        rows.len() - 1
                    });
                    rows[at].values.push((value, other.value));
                    rows[at].cpu.push((cpu_s, other.cpu_s));
                }
            }
            for Rounds { row, values, cpu } in rows {
                self.print(&row, &Comparison::of(&values), &Comparison::of(&cpu), values.len());
            }
        }
    }

    /// One round of a workload, by one binary.
    fn figures(&self, binary: &Path, w: &str) -> Vec<Line> {
        let name = binary.display();
        let output = Command::new(binary)
            .args([w, "--peer", "singletrack", "--json", "--rounds", "1"])
            .args(&self.arguments)
            .stderr(Stdio::inherit())
            .output()
            .unwrap_or_else(|error| stop(1, &format!("{name} cannot be started: {error}")));
        if !output.status.success() {
            stop(output.status.code().unwrap_or(1), &format!("{name} failed in {w}: {}", output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(|line| {
            Line::parse(line).unwrap_or_else(|| stop(1, &format!("{name} said {line:?}, which is no figure")))
        });
        lines.collect()
    }

    fn print(&self, row: &Row, compared: &Comparison, cpu: &Comparison, rounds: usize) {
        let Row { w, metric, allocator } = row;
        let Comparison { ours, theirs, ratio, lower, upper } = compared;
        if self.json {
            let (ours, theirs, ratio, cpu) = (rounded(*ours), rounded(*theirs), rounded(*ratio), rounded(cpu.ratio));
            print(&format!(
                "{{\"w\":\"{w}\",\"metric\":\"{metric}\",\"allocator\":\"{allocator}\",\"ours\":{ours},\
                 \"theirs\":{theirs},\"ratio\":{ratio},\"cpu_ratio\":{cpu},\"rounds\":{rounds}}}\n"
            ));
            return;
        }
        print(&cells([
            w.clone(),
            metric.clone(),
            allocator.clone(),
            short(*ours),
            short(*theirs),
            format!("{ratio:.2}"),
            format!("{lower:.2} - {upper:.2}"),
            format!("{:.2}", cpu.ratio),
            compared.verdict(row).to_owned(),
        ]));
    }
}

/// A line of the table.
fn cells([w, metric, allocator, ours, theirs, ratio, range, cpu, verdict]: [String; 9]) -> String {
    let line =
        format!("{w:<6}{metric:<16}{allocator:<10}{ours:>10}{theirs:>10}{ratio:>8}{range:>16}{cpu:>8}  {verdict}");
    line.trim_end().to_owned() + "\n"
}

fn stop(status: i32, sentence: &str) -> ! {
    eprintln!("workloads: {sentence}.");
    exit(status)
}
