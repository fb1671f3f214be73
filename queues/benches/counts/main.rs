//! The costs of an operation, in counts that do not depend on the machine's speed or load.
//!
//! ```text
//! cargo bench -p singletrack-queues --bench counts [-- --json | --update | --break FAULT]
//! ```
//!
//! Callgrind, which this program starts itself, counts instructions, locked instructions and system
//! calls; the allocator of this program counts allocations and their bytes. Each operation is
//! counted in several stretches, each on one thread, and the least count is used: a disturbance of
//! a stretch (the monitor's tick) only adds to it. The counts are compared with
//! `queues/benches/counts/limits.txt`. The exit status is 1 if a count differs, in either
//! direction, and 2 for a bad argument or where nothing can be counted.
//!
//! These counts cannot show whether an operation gets faster with more cores. So two threads also
//! do the same operations apart, under lackey, which traces everything that they touch: an
//! operation may not write a line of memory that both touch. With many cores the throughput of Q4,
//! Q6 and Q9 depends on that (see the bench `workloads`); the counts show it on two.
//!
//! Reading the clock is a system call for a program under valgrind, and none outside it. The
//! allocator's own instructions are not in the counts.
//!
//! With `--files` it prints something else: the source files that a block passes on its way. That
//! needs a build in which nothing is inlined: `cargo bench --profile dev ... -- --files --most 14`.
//!
//! Where to look: `operations` does what is counted, `meter` counts it, `callgrind` starts the
//! child and reads its file, `limits` compares; `apart` does what two threads do, `lackey` traces
//! it; `files` lists the files. An ordinary test, `queues/tests/counts.rs`, also checks the
//! allocations.

mod apart;
mod callgrind;
mod files;
mod lackey;
mod limits;
mod meter;
mod operations;

use std::io::Write;
use std::path::Path;
use std::process::{Command, exit};

use clap::Parser;

use limits::{Cost, Limits, Tolerance, difference, short};

/// Stretches of each operation.
const STRETCHES: usize = 7;
/// For instructions. They repeat exactly where one thread does everything, and within half a
/// percent elsewhere. The optimiser causes changes of two or three percent when code in other
/// places changes. Small steps cannot add up, because each is measured from the committed count.
/// Turns of a queue have a number of blocks that goes by the clock, so what is done once in a turn
/// is a few instructions more for each block where the machine is busy, and fewer are no fault.
const SAME_COMPILER: Tolerance = Tolerance { share: 0.03, least: 6.0, both_ways: false };
/// For locked instructions, which no optimiser adds or takes away. Work that is done once in a long
/// turn is a fraction.
const LOCKED: Tolerance = Tolerance { share: 0.0, least: 0.2, both_ways: true };
/// For bytes: as much as a deque that grows under a thread that was kept waiting.
const GROWTH: Tolerance = Tolerance { share: 0.0, least: 24.0, both_ways: true };
/// For system calls. An operation makes whole ones; the few calls of a thread that wakes up
/// meanwhile are counted with them.
const WHOLE: Tolerance = Tolerance { share: 0.0, least: 0.5, both_ways: true };
/// Where each operation wakes a thread, the number of system calls is unknown.
const WAKES_THREADS: &str = "run a waiting sync";
/// Another compiler optimises differently: then only a difference that no optimiser explains is a
/// fault.
const OTHER_COMPILER: Tolerance = Tolerance { share: 0.25, least: 10.0, both_ways: false };

#[derive(Parser)]
#[command(name = "counts", about = "Counts instructions, allocations and system calls of each operation.")]
struct Arguments {
    /// One JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Write the counts down as the new limits
    #[arg(long)]
    update: bool,
    /// Add something to each operation, to see that it is found
    #[arg(long = "break", value_name = "FAULT", value_parser = faults_known(), conflicts_with = "update")]
    fault: Option<String>,
    /// Print the files that a block passes from its submission to its execution, in a build of the
    /// dev profile
    #[arg(long, conflicts_with_all = ["json", "update", "fault"])]
    files: bool,
    /// With --files: fail if there are more
    #[arg(long, value_name = "N", requires = "files")]
    most: Option<usize>,
    /// Accepted because `cargo bench` passes it; it has no effect
    #[arg(long, hide = true)]
    bench: bool,
    /// Do the operations here and print what the allocator counted
    #[arg(long, hide = true)]
    in_child: bool,
    /// Run the one block of --files here
    #[arg(long, hide = true)]
    files_in_child: bool,
    /// Do here what two threads do apart
    #[arg(long, hide = true)]
    apart_in_child: bool,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(fault) = &arguments.fault {
        meter::plan_fault(fault);
    }
    if arguments.in_child {
        return child();
    }
    if arguments.apart_in_child {
        return apart::child(arguments.fault.as_deref());
    }
    if arguments.files_in_child {
        return files::child();
    }
    let faults = if arguments.files { files::check(arguments.most) } else { compare(&arguments) };
    match faults {
        Ok(faults) if faults.is_empty() => {}
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("counts: {fault}"));
            exit(1);
        }
        Err(sentence) => {
            eprintln!("counts: {sentence}");
            exit(2);
        }
    }
}

fn faults_known() -> Vec<&'static str> {
    meter::FAULTS.into_iter().chain([apart::FAULT]).collect()
}

/// Does everything, and prints a line for each stretch, in the order of callgrind's file.
fn child() {
    for _ in 0..STRETCHES {
        operations::all();
    }
    for meter::Stretch { name, ops, allocations, bytes } in meter::take() {
        println!("{name}|{ops}|{allocations}|{bytes}");
    }
}

/// Counts everything that can be counted, and returns a sentence for each difference.
fn compare(arguments: &Arguments) -> Result<Vec<String>, String> {
    let fault = arguments.fault.as_deref();
    let mut faults = Vec::new();
    if fault != Some(apart::FAULT) {
        faults.extend(compare_costs(arguments)?);
    }
    if !arguments.update && fault.is_none_or(|fault| fault == apart::FAULT) {
        faults.extend(compare_apart(arguments)?);
    }
    Ok(faults)
}

/// Compares whether threads that have nothing to do with one another disturb each other.
fn compare_apart(arguments: &Arguments) -> Result<Vec<String>, String> {
    let seen = lackey::run(&with_fault("--apart-in-child", arguments.fault.as_deref()))?;
    let mut text = if arguments.json { String::new() } else { lackey::HEAD.to_owned() };
    seen.iter().for_each(|seen| text += &seen.line(arguments.json));
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(seen.iter().filter_map(lackey::Seen::fault).collect())
}

/// The arguments of a child.
fn with_fault<'a>(child: &'a str, fault: Option<&'a str>) -> Vec<&'a str> {
    let mut arguments = vec![child];
    arguments.extend(fault.iter().flat_map(|fault| ["--break", *fault]));
    arguments
}

fn compare_costs(arguments: &Arguments) -> Result<Vec<String>, String> {
    if !cfg!(target_arch = "x86_64") {
        return Err("instructions are counted on x86-64 only".to_owned());
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/counts/limits.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let limits = match Limits::parse(&text) {
        // The file is about to be written anew.
        Err(_) if arguments.update => Limits::default(),
        limits => limits.map_err(|error| format!("limits.txt: {error}"))?,
    };
    let rustc = rustc()?;
    let costs = costs(arguments.fault.as_deref())?;
    if arguments.update {
        std::fs::write(&path, file(&rustc, &costs)).map_err(|error| format!("limits.txt: {error}"))?;
    }
    // The reader of the pipe may have closed it.
    let _ = std::io::stdout().write_all(table(&costs, &limits, arguments.json).as_bytes());
    if arguments.update {
        return Ok(Vec::new());
    }
    let same = rustc == limits.rustc;
    if !same {
        eprintln!(
            "counts: the limits were counted with {}, this is {rustc}: only large differences count",
            limits.rustc
        );
    }
    Ok(faults(&costs, &limits, if same { SAME_COMPILER } else { OTHER_COMPILER }))
}

/// The compiler's own version line: the compiler of this directory, which also compiled this
/// program.
fn rustc() -> Result<String, String> {
    let output =
        Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc --version: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The least count of all stretches of each operation, divided by the number of its operations.
fn costs(fault: Option<&str>) -> Result<Vec<(String, Cost)>, String> {
    let (output, parts) = callgrind::run(&with_fault("--in-child", fault))?;
    let mut costs: Vec<(String, Cost)> = Vec::new();
    let mut parts = parts.into_iter();
    for line in output.lines() {
        let cells: Vec<&str> = line.split('|').collect();
        let [name, ops, allocations, bytes] = cells[..] else { return Err(format!("the child said: {line}")) };
        let part = parts.next().filter(|part| part.name == name).ok_or("callgrind's file has other stretches")?;
        let number = |cell: &str| cell.parse::<f64>().map_err(|error| format!("the child said {cell}: {error}"));
        let ops = number(ops)?;
        let cost = Cost {
            instructions: part.instructions as f64 / ops,
            locked: part.locked as f64 / ops,
            allocations: number(allocations)? / ops,
            bytes: number(bytes)? / ops,
            system_calls: if name == WAKES_THREADS { f64::NAN } else { part.system_calls as f64 / ops },
        };
        match costs.iter_mut().find(|(known, _)| known == name) {
            _ if name == meter::DISCARDED => {}
            Some((_, least)) => *least = least.least(cost),
            None => costs.push((name.to_owned(), cost)),
        }
    }
    Ok(costs)
}

impl Cost {
    fn least(self, other: Self) -> Self {
        Self {
            instructions: self.instructions.min(other.instructions),
            locked: self.locked.min(other.locked),
            allocations: self.allocations.min(other.allocations),
            bytes: self.bytes.min(other.bytes),
            system_calls: self.system_calls.min(other.system_calls),
        }
    }
}

fn faults(costs: &[(String, Cost)], limits: &Limits, instructions: Tolerance) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, is) in costs {
        let Some(limit) = limits.find(name) else {
            faults.push(format!("\"{name}\" has no limit yet: {}", limits::UPDATE));
            continue;
        };
        faults.extend(difference(name, "instructions", limit.instructions, is.instructions, instructions));
        faults.extend(difference(name, "locked instructions", limit.locked, is.locked, LOCKED));
        faults.extend(difference(name, "allocations", limit.allocations, is.allocations, Tolerance::ALLOCATIONS));
        faults.extend(difference(name, "bytes", limit.bytes, is.bytes, GROWTH));
        faults.extend(difference(name, "system calls", limit.system_calls, is.system_calls, WHOLE));
    }
    let gone = limits.rows.iter().filter(|(name, _)| !costs.iter().any(|(known, _)| known == name));
    faults.extend(
        gone.map(|(name, _)| format!("\"{name}\" has a limit and is not counted any more: {}", limits::UPDATE)),
    );
    faults
}

/// The printed table: a line for each operation.
fn table(costs: &[(String, Cost)], limits: &Limits, as_json: bool) -> String {
    let mut text = String::new();
    if !as_json {
        text += &format!("{:<40}{:>13}{:>8}{:>8}", "operation", "instructions", "limit", "ratio");
        text += &format!("{:>8}{:>13}{:>9}{:>14}\n", "locked", "allocations", "bytes", "system calls");
    }
    for (name, cost) in costs {
        let limit = limits.find(name);
        text += &if as_json { json(name, cost, limit) } else { line(name, cost, limit) };
        text += "\n";
    }
    text
}

fn line(name: &str, cost: &Cost, limit: Option<&Cost>) -> String {
    let [was, ratio] = limit.map_or([const { String::new() }; 2], |limit| {
        [format!("{:.1}", limit.instructions), format!("{:.3}", cost.instructions / limit.instructions)]
    });
    let Cost { instructions, locked, allocations, bytes, system_calls } = cost;
    let [allocations, bytes] = [allocations, bytes].map(|number| short(*number));
    let system_calls = known(*system_calls, limits::UNKNOWN);
    format!(
        "{name:<40}{instructions:>13.1}{was:>8}{ratio:>8}{locked:>8.1}{allocations:>13}{bytes:>9}{system_calls:>14}"
    )
}

fn json(name: &str, cost: &Cost, limit: Option<&Cost>) -> String {
    let Cost { instructions, locked, allocations, bytes, system_calls } = cost;
    let was = limit.map_or("null".to_owned(), |limit| limit.instructions.to_string());
    let system_calls = known(*system_calls, "null");
    format!(
        "{{\"operation\":\"{name}\",\"instructions\":{instructions:.3},\"limit\":{was},\"locked\":{locked:.3},\"allocations\":{allocations:.3},\"bytes\":{bytes:.3},\"system_calls\":{system_calls}}}"
    )
}

/// With one digit behind the point, or the sign for an unknown number.
fn known(number: f64, unknown: &str) -> String {
    if number.is_nan() { unknown.to_owned() } else { format!("{number:.1}") }
}

/// The text of the file of limits.
fn file(rustc: &str, costs: &[(String, Cost)]) -> String {
    let mut text = format!(
        "# What one operation costs: instructions without the allocator's, locked ones among them, allocations, their bytes, and system calls.\n\
         # Written by {}\n\
         # Read queues/benches/counts/main.rs before you change a number by hand.\n\
         {rustc}\n\
         # {:<38} | instructions | locked | allocations |   bytes | system calls\n",
        limits::UPDATE,
        "operation",
    );
    for (name, cost) in costs {
        let Cost { instructions, locked, allocations, bytes, system_calls } = cost;
        let system_calls = known(*system_calls, limits::UNKNOWN);
        text += &format!(
            "{name:<40} | {instructions:>12.1} | {locked:>6.1} | {allocations:>11.3} | {bytes:>7.3} | {system_calls:>12}\n"
        );
    }
    text
}
