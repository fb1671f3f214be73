//! The workloads Q1-Q20 on singletrack and on its Rust peers, in the same run.
//!
//! ```text
//! cargo bench -p singletrack-queues --bench workloads -- \
//!     [Q1 Q4 ...] [--peer NAME] [--allocator glibc|mimalloc|both] [--json]
//! ```
//!
//! How it measures: one workload after the other. Within a workload the peers and the allocators
//! take turns round by round (each once, then each again, another one first), so that a machine
//! that changes its speed changes it for all; the median over the rounds counts. A peer that has
//! spent its `--budget` on a workload sits out the remaining rounds. Every round runs in a process
//! of its own: it makes a runtime, verifies its result and ends the runtime again. A wrong result
//! ends the program with a sentence and status 1, a bad argument with status 2. Compare figures of
//! one run only.
//!
//! With several numbers of workers, `--workers 1,2,4`, each number is a row of its own, and the
//! rows take turns like the peers. So this one command shows how throughput grows with the cores:
//!
//! ```text
//! cargo bench -p singletrack-queues --bench workloads -- Q4 Q6 Q9 --workers 1,2,4,8,16 [--json]
//! ```
//!
//! Every peer is measured with glibc's malloc and with mimalloc, or with the one that `--allocator`
//! names. See `allocator` for how the choice is made.
//!
//! Two builds of this package are compared by `--against`, which takes the other build's binary of
//! this bench:
//!
//! ```text
//! cargo bench -p singletrack-queues --bench workloads -- Q4 Q9 --against PATH [--rounds 9]
//! ```
//!
//! Where to look: `workloads` has the list; `actors`, `idle`, `tree`, `savina`, `blocks` and
//! `round_trip` do the work and verify it; `peers` has the runtimes that are measured; `against`
//! and `ratio` compare builds.

mod actors;
mod against;
mod allocator;
mod blocks;
mod idle;
mod measure;
mod peers;
mod ratio;
mod report;
mod round_trip;
mod savina;
mod tree;
mod verify;
mod workloads;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use against::Against;
use allocator::Allocator;
use measure::{Sample, medians};
use peers::{PEERS, Peer};
use report::Report;
use workloads::{ABOUT, CASES, Case, Load};

#[global_allocator]
static ALLOCATOR: allocator::Chosen = allocator::Chosen;

#[derive(Parser)]
#[command(name = "workloads", about = "Measures singletrack and its Rust peers side by side.", after_help = known())]
struct Arguments {
    /// Workloads to run; all if none is named
    #[arg(value_name = "WORKLOAD", value_parser = workload)]
    workloads: Vec<&'static str>,
    /// Only this peer (may be repeated)
    #[arg(long = "peer", value_name = "NAME", value_parser = peer_number)]
    peers: Vec<usize>,
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Rounds for each peer, allocator and workload, 1 to 1,000; the median is reported [default:
    /// 5; 9 with --against]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// The allocator of everything that is measured
    #[arg(long, value_enum, value_name = "NAME", default_value_t = Allocators::Both)]
    allocator: Allocators,
    /// Compare this build's singletrack with that of another binary of this bench, in turns: ratios
    /// of ours to theirs
    #[arg(long, value_name = "BINARY", value_parser = binary, conflicts_with_all = ["peers", "budget"])]
    against: Option<PathBuf>,
    /// Multiplies every count: above 0, at most 10
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Workers of each runtime, 1 to 1,024; a list measures each number [default: one for each
    /// core]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Vec<u16>,
    /// Seconds that a peer may spend on one workload before it sits out the remaining rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    budget: u64,
    /// Accepted because `cargo bench` passes it; it has no effect
    #[arg(long, hide = true)]
    bench: bool,
    /// Run the case of this number here, once, and print the sample: how a round gets a process of
    /// its own
    #[arg(long, hide = true, value_name = "CASE", value_parser = clap::value_parser!(u16).range(..CASES.len() as i64))]
    in_child: Option<u16>,
}

/// Allocators by the names of the command line.
#[derive(Clone, Copy, ValueEnum)]
enum Allocators {
    Glibc,
    Mimalloc,
    Both,
}

impl Allocators {
    fn each(self) -> &'static [Allocator] {
        match self {
            Allocators::Glibc => &[Allocator::Glibc],
            Allocators::Mimalloc => &[Allocator::Mimalloc],
            Allocators::Both => &[Allocator::Glibc, Allocator::Mimalloc],
        }
    }
}

impl fmt::Display for Allocators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

fn known() -> String {
    let names: Vec<_> = PEERS.iter().map(|peer| peer.name()).collect();
    let mut text = format!("Peers: {}\n\nWorkloads:\n", names.join(", "));
    for (w, about) in ABOUT {
        text += &format!("  {w:<5} {about}\n");
    }
    text
}

fn workload(text: &str) -> Result<&'static str, String> {
    let mut names = ABOUT.iter().map(|(w, _)| *w);
    names.find(|w| w.eq_ignore_ascii_case(text)).ok_or_else(|| {
        let names: Vec<_> = ABOUT.iter().map(|(w, _)| *w).collect();
        format!("no workload of that name; there are {}", names.join(", "))
    })
}

fn peer_number(text: &str) -> Result<usize, String> {
    let mut peers = PEERS.iter();
    peers.position(|peer| peer.name() == text).ok_or_else(|| {
        let names: Vec<_> = PEERS.iter().map(|peer| peer.name()).collect();
        format!("no peer of that name; there are {}", names.join(", "))
    })
}

fn binary(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.metadata() {
        Ok(found) if found.is_file() => Ok(path),
        Ok(_) => Err("is a folder: name the binary that `cargo bench ... --no-run` prints there".to_owned()),
        Err(error) => Err(format!("cannot be used: {error}")),
    }
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if scale > 0.0 && scale <= 10.0 => Ok(scale),
        _ => Err("expected a number above 0 and at most 10".to_owned()),
    }
}

fn main() {
    let arguments = Arguments::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut workers: Vec<usize> = arguments.workers.iter().copied().map(usize::from).collect();
    if workers.is_empty() {
        workers.push(cores);
    }
    let loads: Vec<Load> = workers.iter().map(|&workers| Load { scale: arguments.scale, workers }).collect();
    let mut peers: Vec<&dyn Peer> = Vec::new();
    for (number, peer) in PEERS.iter().enumerate() {
        if arguments.peers.is_empty() || arguments.peers.contains(&number) {
            peers.push(*peer);
        }
    }
    if let Some(number) = arguments.in_child {
        let case = &CASES[usize::from(number)];
        verify::now_running(case.w, peers[0].name());
        verify::end_after(verify::PATIENCE * 4);
        print_for_parent((case.run)(peers[0], &loads[0]));
        return;
    }
    if let Some(theirs) = &arguments.against {
        compare(&arguments, theirs);
        return;
    }

    let wanted = |case: &&Case| arguments.workloads.is_empty() || arguments.workloads.contains(&case.w);
    let rounds = arguments.rounds.unwrap_or(5);
    let report = Report::new(arguments.json, peers.iter().map(|peer| peer.name()).collect());
    report.begin(&workers, rounds, arguments.scale);
    let budget = Duration::from_secs(arguments.budget);
    let each: Vec<(Allocator, &Load)> = arguments
        .allocator
        .each()
        .iter()
        .flat_map(|&allocator| loads.iter().map(move |load| (allocator, load)))
        .collect();
    let mut measured = false;
    for case in CASES.iter().filter(wanted) {
        let results = measure_case(case, &peers, &each, rounds, budget, &report);
        for (&(allocator, load), results) in each.iter().zip(&results) {
            report.row(case, allocator, (loads.len() > 1).then_some(load.workers), results);
            measured |= results.iter().any(Option::is_some);
        }
    }
    if !measured {
        eprintln!("workloads: nothing was measured: no peer that was named does a workload that was named.");
        std::process::exit(2);
    }
}

fn compare(arguments: &Arguments, theirs: &Path) {
    let named = |w: &&str| arguments.workloads.is_empty() || arguments.workloads.contains(w);
    let mut passed_on = vec![format!("--allocator={}", arguments.allocator), format!("--scale={}", arguments.scale)];
    passed_on.extend(arguments.workers.iter().map(|workers| format!("--workers={workers}")));
    let against = Against {
        theirs: theirs.to_owned(),
        workloads: ABOUT.iter().map(|(w, _)| *w).filter(named).collect(),
        arguments: passed_on,
        rounds: arguments.rounds.unwrap_or(9),
        json: arguments.json,
    };
    against.run();
}

/// The medians of a case: for each allocator and load, one for each peer.
fn measure_case(
    case: &Case,
    peers: &[&dyn Peer],
    each: &[(Allocator, &Load)],
    rounds: u32,
    budget: Duration,
    report: &Report,
) -> Vec<Vec<Option<Sample>>> {
    let takers: Vec<(Allocator, &Load, &dyn Peer)> =
        each.iter().flat_map(|&(allocator, load)| peers.iter().map(move |&peer| (allocator, load, peer))).collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); takers.len()];
    let mut spent = vec![Duration::ZERO; takers.len()];
    for round in 1..=rounds {
        for turn in 0..takers.len() {
            let number = (turn + round as usize - 1) % takers.len();
            let (allocator, load, peer) = takers[number];
            let sits_out = round > 1 && (samples[number].is_empty() || spent[number] >= budget);
            if sits_out {
                continue;
            }
            report.progress(case, peer.name(), round, rounds);
            verify::now_running(case.w, peer.name());
            let began = Instant::now();
            samples[number].extend(in_a_process_of_its_own(case, peer, allocator, load));
            spent[number] += began.elapsed();
        }
    }
    let median = |rounds: &Vec<Sample>| (!rounds.is_empty()).then(|| medians(rounds));
    samples.chunks(peers.len()).map(|samples| samples.iter().map(median).collect()).collect()
}

/// Runs a case in a fresh process, which has the allocator, and no memory, threads or caches that
/// others left behind.
fn in_a_process_of_its_own(case: &Case, peer: &dyn Peer, allocator: Allocator, load: &Load) -> Option<Sample> {
    let program = std::env::current_exe()
        .unwrap_or_else(|error| verify::fail(&format!("this program cannot find itself ({error})")));
    let number = CASES.iter().position(|other| std::ptr::eq(other, case)).unwrap_or_default();
    let output = Command::new(program)
        .env(allocator::VARIABLE, allocator.name())
        .args(["--in-child", &number.to_string(), "--peer", peer.name()])
        .args(["--scale", &load.scale.to_string()])
        .args(["--workers", &load.workers.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| verify::fail(&format!("its process could not be started ({error})")));
    if !output.status.success() {
        verify::fail(&format!("its process failed ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace();
    verify::equal("allocator of its process", words.next().unwrap_or_default(), allocator.name());
    let numbers: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some([]) => None,
        Some([cpu_s, values @ ..]) => Some(Sample { values: values.to_vec(), cpu_s: *cpu_s }),
        None => verify::fail(&format!("its process answered {text:?}")),
    }
}

/// Prints for `in_a_process_of_its_own`: the allocator, then the CPU time and the values, or
/// nothing when not supported.
fn print_for_parent(sample: Option<Sample>) {
    print!("{}", Allocator::of_this_process());
    if let Some(sample) = sample {
        print!(" {}", sample.cpu_s);
        for value in sample.values {
            print!(" {value}");
        }
    }
    println!();
}
