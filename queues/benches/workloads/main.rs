//! The workloads Q1-Q19 on singletrack and on its Rust peers, in the same run.
//!
//! ```text
//! cargo bench -p singletrack-queues --bench workloads -- [Q1 Q4 ...] [--peer NAME] [--json]
//! ```
//!
//! How it measures: one workload after the other; within a workload the peers take turns round by round (each once,
//! then each again, another one first), so that a machine that changes its speed changes it for all; the median over the
//! rounds counts. A peer that has spent its `--budget` on a workload sits out the remaining rounds. Every round makes a
//! runtime, verifies its result and ends the runtime again. A wrong result ends the program with a sentence and status 1, a bad argument
//! with status 2. Compare figures of one run only.
//!
//! With several numbers of workers, `--workers 1,2,4`, each is a row of its own, and they take turns like the peers. So this is
//! the one command for how throughput grows with the cores, where there are as many:
//!
//! ```text
//! cargo bench -p singletrack-queues --bench workloads -- Q4 Q6 Q9 --workers 1,2,4,8,16 [--json]
//! ```
//!
//! All peers allocate with mimalloc: the global allocator is chosen when a program is compiled, and with glibc's it is
//! the allocator that would be measured. Memory (Q11) is measured in a fresh process for each peer and round.
//!
//! Where to look: `workloads` has the list, `actors`, `idle`, `tree`, `savina` and `blocks` what each does and verifies,
//! `peers` who does it.

mod actors;
mod blocks;
mod idle;
mod measure;
mod peers;
mod report;
mod savina;
mod tree;
mod verify;
mod workloads;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

use measure::{Sample, medians};
use peers::{PEERS, Peer};
use report::Report;
use workloads::{ABOUT, CASES, Case, Load};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// Rounds for each peer and workload, 1 to 1,000; the median is reported
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Multiplies every count: above 0, at most 10
    #[arg(long, value_name = "F", default_value_t = 1.0, value_parser = scale)]
    scale: f64,
    /// Workers of each runtime, 1 to 1,024; a list measures each number [default: one for each core]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Vec<u16>,
    /// Seconds that a peer may spend on one workload before it sits out the remaining rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    budget: u64,
    /// Accepted because `cargo bench` passes it; it has no effect
    #[arg(long, hide = true)]
    bench: bool,
    /// Run the one named case here, once, and print the sample: how a workload gets a process of its own
    #[arg(long, hide = true)]
    in_child: bool,
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
    let wanted = |case: &&Case| arguments.workloads.is_empty() || arguments.workloads.contains(&case.w);
    let cases: Vec<&Case> = CASES.iter().filter(wanted).collect();

    if arguments.in_child {
        verify::now_running(cases[0].w, peers[0].name());
        print_for_parent((cases[0].run)(peers[0], &loads[0]));
        return;
    }

    let report = Report::new(arguments.json, peers.iter().map(|peer| peer.name()).collect());
    report.begin(&workers, arguments.rounds, arguments.scale);
    let mut measured = false;
    for case in cases {
        let budget = Duration::from_secs(arguments.budget);
        let results = measure_case(case, &peers, &loads, arguments.rounds, budget, &report);
        for (load, results) in loads.iter().zip(&results) {
            report.row(case, (loads.len() > 1).then_some(load.workers), results);
            measured |= results.iter().any(Option::is_some);
        }
    }
    if !measured {
        eprintln!("workloads: nothing was measured: no peer that was named does a workload that was named.");
        std::process::exit(2);
    }
}

/// The medians of a case: for each load, one for each peer.
fn measure_case(
    case: &Case,
    peers: &[&dyn Peer],
    loads: &[Load],
    rounds: u32,
    budget: Duration,
    report: &Report,
) -> Vec<Vec<Option<Sample>>> {
    let takers: Vec<(&Load, &dyn Peer)> =
        loads.iter().flat_map(|load| peers.iter().map(move |&peer| (load, peer))).collect();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); takers.len()];
    let mut spent = vec![Duration::ZERO; takers.len()];
    for round in 1..=rounds {
        for turn in 0..takers.len() {
            let number = (turn + round as usize - 1) % takers.len();
            let (load, peer) = takers[number];
            let sits_out = round > 1 && (samples[number].is_empty() || spent[number] >= budget);
            if sits_out {
                continue;
            }
            report.progress(case, peer.name(), round, rounds);
            verify::now_running(case.w, peer.name());
            let began = Instant::now();
            let sample =
                if case.w == "Q11" { in_a_process_of_its_own(case, peer, load) } else { (case.run)(peer, load) };
            spent[number] += began.elapsed();
            samples[number].extend(sample);
        }
    }
    let median = |rounds: &Vec<Sample>| (!rounds.is_empty()).then(|| medians(rounds));
    samples.chunks(peers.len()).map(|samples| samples.iter().map(median).collect()).collect()
}

/// Runs a case in a fresh process, so that memory which others left behind is not counted.
fn in_a_process_of_its_own(case: &Case, peer: &dyn Peer, load: &Load) -> Option<Sample> {
    let program = std::env::current_exe()
        .unwrap_or_else(|error| verify::fail(&format!("this program cannot find itself ({error})")));
    let output = Command::new(program)
        .args(["--in-child", case.w, "--peer", peer.name()])
        .args(["--scale", &load.scale.to_string()])
        .args(["--workers", &load.workers.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| verify::fail(&format!("its process could not be started ({error})")));
    if !output.status.success() {
        verify::fail(&format!("its process failed ({})", output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    match numbers.as_deref() {
        Some([]) => None,
        Some([cpu_s, values @ ..]) => Some(Sample { values: values.to_vec(), cpu_s: *cpu_s }),
        None => verify::fail(&format!("its process answered {text:?}")),
    }
}

/// What `in_a_process_of_its_own` reads: the CPU time and the values, or nothing when not supported.
fn print_for_parent(sample: Option<Sample>) {
    if let Some(sample) = sample {
        print!("{}", sample.cpu_s);
        for value in sample.values {
            print!(" {value}");
        }
        println!();
    }
}
