//! Arguments, logging, the choice of the command, and helpers that several commands need.
//!
//! Not for: what the commands do; each has its own file.

mod load;
mod serve;
mod stress;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::process::{Resource, getrlimit, setrlimit};

/// The exit code after SIGINT, as shells define it.
const INTERRUPTED: u8 = 130;

/// Named serial queues over every core, and a WebSocket room server on top of them.
#[derive(Debug, Parser)]
#[command(
    name = "singletrack",
    version,
    about,
    after_help = "Without a command: serve, with its defaults.\n\n\
    Exit status: 0 done, 1 the machine did not give what is needed (such as the port), 2 arguments that cannot be used.\n\
    The log goes to standard error; RUST_LOG=debug tells more, RUST_LOG=warn less."
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve rooms, echo and a chat page over HTTP and WebSocket.
    Serve(serve::Arguments),
    /// Put the promises of the queues under load over all cores, with a verdict for each.
    #[command(long_about = stress::long_about())]
    Stress(stress::Arguments),
    /// Put a WebSocket server under load, verify every message, tell throughput and latency.
    #[command(long_about = load::ABOUT)]
    Load(load::Arguments),
}

/// Runs the command that the arguments ask for.
pub(crate) fn run() -> ExitCode {
    // clap answers --help and --version, and exits with 2 and a sentence for arguments that it
    // cannot use.
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match arguments.command.unwrap_or_else(|| Command::Serve(serve::Arguments::default_values())) {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Stress(arguments) => stress::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
    }
}

/// Raises the program's own limit on open files up to the hard one: every connection needs a
/// descriptor.
fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            log::debug!("the limit on open files stays as it is: {error}");
        }
    }
}

/// A bar of a thousand steps, on standard error, and only if that is a terminal.
fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(1_000), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} [{bar:32}] {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1_000, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
    }
}
