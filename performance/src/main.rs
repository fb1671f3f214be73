//! Singletrack beside its peers in one run: the queues, the server, memory; and the tables made
//! from it.
//!
//! ```text
//! cargo run --release -p singletrack-performance
//! ```
//!
//! The modules, in reading order: `arguments` reads the command line; `queues` runs the queues' own
//! bench; `server` runs the scenarios, on the servers of `peers`; `results` keeps the figures in
//! `performance/results.json`; `readme` and `picture` are made of those. Compare figures of one run
//! only.
//!
//! It measures Linux processes on Linux.

#[cfg(not(target_os = "linux"))]
compile_error!("the performance runner reads Linux's /proc and pins processes to cores: run it on Linux");

mod arguments;
mod cargo;
mod machine;
mod peers;
mod picture;
mod places;
mod progress;
mod queues;
mod readme;
mod results;
mod server;
mod show;

use std::io::{ErrorKind, Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use arguments::{Arguments, Half};
use machine::Machine;
use places::Places;
use progress::Progress;
use results::{BUSY, Figure, Part, Results};
use server::Plan;
use server::scenario::Size;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The approximate duration of the queues' bench: the start of each workload, and a round of all.
const QUEUES: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(40));

/// A reason to end the program early.
enum Stop {
    /// The reason was already printed.
    Arguments,
    Failed(String),
}

impl From<String> for Stop {
    fn from(what: String) -> Stop {
        Stop::Failed(what)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(peer) = arguments.serve {
        return match peer.serve() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        };
    }
    if let Err(what) = arguments.check() {
        eprintln!("error: {what}");
        return ExitCode::from(2);
    }
    match run(&arguments) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            let what = if faults == 1 { "one thing" } else { "some things" };
            let kept = if arguments.is_whole() { "; the tables stay as they were" } else { "" };
            eprintln!("error: {what} failed, see above{kept}");
            ExitCode::FAILURE
        }
        Err(Stop::Arguments) => ExitCode::from(2),
        Err(Stop::Failed(what)) => {
            eprintln!("error: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of failures of peers while the others were measured.
fn run(arguments: &Arguments) -> Result<usize, Stop> {
    let places = Places::find()?;
    let mut results = Results::read(&places.results())?;
    if arguments.render {
        return render(&places, &results).map(|()| 0);
    }
    build(arguments, &places)?;
    peers::raise_file_limit();
    let (machine, busy) = (Machine::this(), machine::busy());
    let locks = places.locks().map(|path| std::fs::read_to_string(path).unwrap_or_default());
    let mut faults = 0;
    announce(arguments, &places, &machine, busy);
    if arguments.wants(Half::Queues) {
        let figures = queues(arguments, &places)?;
        results.queues = Some(Part::new((machine.clone(), busy), &locks, arguments.rounds(), figures));
    }
    if arguments.wants(Half::Server) {
        let plan = plan(arguments, &places);
        let progress = Progress::new(plan.takes());
        let (figures, failed) = plan.run(&progress, &|figures| progress.around(|| print(arguments, figures)));
        results.server = Some(Part::new((machine, busy), &locks, arguments.rounds(), figures));
        faults = failed;
    }
    if arguments.is_whole() && faults == 0 {
        results.write(&places.results())?;
        render(&places, &results)?;
    }
    Ok(faults)
}

fn build(arguments: &Arguments, places: &Places) -> Result<(), String> {
    if arguments.wants(Half::Server) {
        cargo::run(places, &["build", "--quiet", "--release", "-p", "singletrack-cli", "--bin", "singletrack"])?;
    }
    if arguments.wants(Half::Queues) {
        queues::build(places)?;
    }
    Ok(())
}

fn plan<'a>(arguments: &Arguments, places: &'a Places) -> Plan<'a> {
    let (scenarios, peers) = (arguments.scenarios(), arguments.servers());
    Plan { places, scenarios, peers, size: arguments.size(), rounds: arguments.rounds() }
}

/// Prints the machine, and the expected duration.
fn announce(arguments: &Arguments, places: &Places, machine: &Machine, busy: f64) {
    let mut takes = Duration::ZERO;
    if arguments.wants(Half::Queues) && arguments.queues().is_empty() {
        takes += match arguments.size() {
            Size::Full => QUEUES.0 + QUEUES.1 * arguments.rounds(),
            Size::Quick | Size::Tiny => QUEUES.0,
        };
    }
    if arguments.wants(Half::Server) {
        takes += plan(arguments, places).takes();
    }
    let long = match takes.as_secs() {
        0 => "a while".to_owned(),
        seconds @ 1..100 => format!("about {seconds} s"),
        seconds => format!("about {} minutes", (seconds + 30) / 60),
    };
    eprintln!("{}; {long}, in which anything else that runs here spoils the figures", machine.sentence());
    if busy > BUSY {
        eprintln!("the machine is busy with {busy} threads on average: look at ratios at most");
    }
}

fn queues(arguments: &Arguments, places: &Places) -> Result<Vec<Figure>, Stop> {
    let print_now = |figure: &Figure| {
        if arguments.json {
            say(&format!("{}\n", figure.json_line()));
        }
    };
    let names = arguments.queues();
    let figures = queues::run(places, &names, arguments.size(), arguments.rounds(), &mut |figure| print_now(figure));
    let figures = figures.map_err(|fault| match fault {
        queues::Fault::Arguments => Stop::Arguments,
        queues::Fault::Failed(what) => Stop::Failed(what),
    })?;
    if !arguments.json {
        let part = Part::new((Machine::default(), 0.0), &[], arguments.rounds(), figures.clone());
        say(&show::table(&part, &part.peers()));
    }
    Ok(figures)
}

fn print(arguments: &Arguments, figures: &[Figure]) {
    if arguments.json {
        figures.iter().for_each(|figure| say(&format!("{}\n", figure.json_line())));
    } else if !figures.is_empty() {
        let part = Part::new((Machine::default(), 0.0), &[], arguments.rounds(), figures.to_vec());
        let names: Vec<_> = arguments.servers().iter().map(|peer| peer.name).collect();
        say(&format!("\n{}", show::table(&part, &names)));
    }
}

/// Writes to standard output. A reader that has read enough and left is no fault.
fn say(text: &str) {
    if let Err(error) = stdout().write_all(text.as_bytes()).and_then(|()| stdout().flush()) {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(0);
        }
        eprintln!("error: the figures cannot be written: {error}");
        std::process::exit(1);
    }
}

/// Makes the picture, the tables and the README's summary.
fn render(places: &Places, results: &Results) -> Result<(), Stop> {
    let svg = picture::svg(results).map_err(|error| format!("the picture cannot be drawn: {error}"))?;
    let path = places.picture();
    std::fs::write(&path, svg).map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    readme::rewrite(&places.tables(), &readme::section(results))?;
    readme::rewrite(&places.readme(), &readme::summary(results))?;
    eprintln!("README.md, performance/README.md and {} are made from {}", path.display(), places.results().display());
    Ok(())
}
