//! `singletrack stress`: arguments, the progress bar, and the verdict as a table or as JSON.
//!
//! Not for: the checks, which are in `stress.rs`. Rules: the verdict alone goes to standard output.
//! The progress bar goes to standard error, and only to a terminal. Exit 0 when every promise held,
//! 1 when one was seen broken, 2 for arguments that cannot be used, 130 when it was interrupted.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;

use super::{INTERRUPTED, grouped, progress_bar};
use crate::stress::{Fault, Plan, Progress, Verdict, check, families};

/// The default duration.
const SECONDS: f64 = 10.0;
/// A queue that is broken on purpose is detected sooner.
const SECONDS_BROKEN: f64 = 3.0;
const MAX_SECONDS: f64 = 7.0 * 86_400.0;
/// The same limit as the library's.
const MAX_WORKERS: usize = 1024;

/// The beginning of `stress --help`.
const EXIT_CODES: &str = "\
Exit code: 0 when every promise held, 1 when one was seen broken, 2 for arguments that cannot be used, 130 when it was \
interrupted (the verdict so far is printed).";

/// The description, for the long help.
pub(crate) fn long_about() -> String {
    format!(
        "Puts the promises of the queues under load over all cores, and says for each whether it held.\n\nFamilies of checks \
         make queues, submit numbered blocks from many threads, and compare what ran with what was promised. Most run beside \
         one another on one runtime, so that each is the others' load. They are: {}.\n\n{EXIT_CODES}",
        families().collect::<Vec<_>>().join(", ")
    )
}

const EXAMPLES: &str = "\
Examples:
  singletrack stress                       ten seconds on all cores
  singletrack stress --seconds 60 --json   a minute, for a script
  singletrack stress --seed 42             the choices of an earlier run again
  singletrack stress --only timers         one check
  singletrack stress --break two-at-once   a queue that is broken on purpose: see it caught
";

/// The examples behind the options, in the long help.
fn examples() -> String {
    let width = |text: fn(Fault) -> &'static str| Fault::ALL.iter().map(|&fault| text(fault).len()).max().unwrap_or(0);
    let (names, whats) = (width(Fault::name), width(Fault::what));
    let way = |&fault: &Fault| format!("\n  {:names$}  {:whats$}  {}", fault.name(), fault.what(), fault.caught_by());
    let ways = Fault::ALL.iter().map(way);
    format!("{EXAMPLES}\nWays to break a queue, and the check that has to notice:{}", ways.collect::<String>())
}

/// The arguments of `stress`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_long_help = examples(), after_help = "See --help for the ways to break a queue.")]
pub(crate) struct Arguments {
    /// How long to run, about, in seconds; each check runs at least once [default: 10, with --break
    /// 3].
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<f64>,
    /// Workers of each runtime [default: one per core].
    #[arg(long, value_name = "N", value_parser = workers)]
    workers: Option<usize>,
    /// Where all choices come from; the same number chooses the same work [default: from the
    /// clock].
    #[arg(long, value_name = "N", value_parser = seed)]
    seed: Option<u64>,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Make this check alone, with those that share its load; may be given more than once.
    #[arg(long, value_name = "CHECK", value_parser = check)]
    only: Vec<&'static str>,
    /// Break a queue on purpose, and run the check that must notice it, or those of --only, until
    /// it is noticed.
    #[arg(long = "break", value_name = "NAME")]
    fault: Option<Fault>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let usable = |seconds: &f64| (0.1..=MAX_SECONDS).contains(seconds);
    text.parse().ok().filter(usable).ok_or_else(|| format!("give a number of seconds between 0.1 and {MAX_SECONDS}"))
}

fn workers(text: &str) -> Result<usize, String> {
    let usable = |workers: &usize| (1..=MAX_WORKERS).contains(workers);
    text.parse()
        .ok()
        .filter(usable)
        .ok_or_else(|| format!("give a whole number of workers between 1 and {MAX_WORKERS}"))
}

fn seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("give a whole number between 0 and {}", u64::MAX))
}

/// A seed that is short enough to type again, and exact in every reader of JSON.
fn seed_from_clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) ^ now.as_secs() & 0xffff_ffff
}

/// Runs the checks and prints the verdict.
pub(crate) fn run(args: &Arguments) -> ExitCode {
    // Thousands of blocks panic on purpose, and the runtime logs each. An explicit RUST_LOG is
    // respected.
    if std::env::var_os("RUST_LOG").is_none() {
        log::set_max_level(log::LevelFilter::Off);
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let seconds = args.seconds.unwrap_or(if args.fault.is_some() { SECONDS_BROKEN } else { SECONDS });
    let plan = Plan {
        time: Duration::from_secs_f64(seconds),
        workers: args.workers.unwrap_or_else(cores).min(MAX_WORKERS),
        seed: args.seed.unwrap_or_else(seed_from_clock),
        fault: args.fault,
        only: args.only.clone(),
    };
    let bar = progress_bar();
    let outcome = crate::stress::run(&plan, &mut |progress| show(&bar, progress));
    bar.finish_and_clear();
    let verdict = match outcome {
        Ok(verdict) => verdict,
        Err(error) => {
            eprintln!(
                "error: the stress test cannot start: {error}; lower --workers or raise the limits of this process"
            );
            return ExitCode::FAILURE;
        }
    };
    // A reader that went away, such as `head`, is no reason to panic. The exit code still gives the
    // result.
    let _ = print(&verdict, args.json);
    if verdict.interrupted {
        ExitCode::from(INTERRUPTED)
    } else if verdict.ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show(bar: &ProgressBar, progress: &Progress) {
    if bar.is_hidden() {
        return;
    }
    let Progress { part, blocks, broken, what } = progress;
    bar.set_position((part * 1_000.0) as u64);
    let trouble = if *broken > 0 { format!(", {broken} broken") } else { String::new() };
    bar.set_message(format!("{} blocks{trouble} · {what}", grouped(*blocks)));
}

fn print(verdict: &Verdict, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, verdict)?;
        return writeln!(out);
    }
    table(verdict, &mut out)
}

fn table(verdict: &Verdict, out: &mut impl Write) -> io::Result<()> {
    for line in &verdict.checks {
        let word = if line.ok { "ok    " } else { "BROKEN" };
        writeln!(out, "{word}  {:<14} {:>13}  {}", line.name, grouped(line.count), line.counts)?;
        if let Some(seen) = &line.seen {
            writeln!(out, "        seen: {seen}")?;
        }
    }
    let Verdict { seconds, workers, seed, blocks, blocks_per_s, threads, .. } = verdict;
    writeln!(
        out,
        "\n{} blocks in {seconds:.1} s ({} per second) on {workers} workers; threads: {} at most, {} at the end, {} allowed; \
         seed {seed}",
        grouped(*blocks),
        grouped(*blocks_per_s),
        threads.peak,
        threads.now,
        threads.cap,
    )?;
    writeln!(out, "{}", sentence(verdict))
}

fn sentence(verdict: &Verdict) -> String {
    let broken: Vec<&str> = verdict.checks.iter().filter(|line| !line.ok).map(|line| line.name).collect();
    let early = if verdict.interrupted { "Interrupted. " } else { "" };
    match (verdict.broken, &broken[..]) {
        (None, []) if verdict.checks.len() == 1 => format!("{early}The promise held."),
        (None, []) => format!("{early}All {} promises held.", verdict.checks.len()),
        (None, names) => format!("{early}Broken: {}. Run again with --seed {}.", names.join(", "), verdict.seed),
        (Some(fault), []) => format!("{early}The queue was broken on purpose ({fault}), and no check noticed."),
        (Some(fault), names) => {
            format!("{early}The queue was broken on purpose ({fault}); noticed by: {}.", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_of_each_limit() {
        assert!(seconds("0.1").is_ok() && seconds("0").is_err() && seconds("-1").is_err() && seconds("NaN").is_err());
        assert!(workers("1").is_ok() && workers("1024").is_ok() && workers("0").is_err() && workers("1025").is_err());
        assert!(seed("0").is_ok() && seed("18446744073709551615").is_ok() && seed("1.5").is_err());
    }
}
