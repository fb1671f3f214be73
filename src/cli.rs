//! Arguments, logging, and which command was meant.
//!
//! Not for: what the commands do; each has its own file.

mod serve;
mod stress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Named serial queues over every core, and a WebSocket room server on top of them.
#[derive(Debug, Parser)]
#[command(
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
}

/// Runs the command that the arguments ask for.
pub(crate) fn run() -> ExitCode {
    // clap answers --help and --version, and ends with 2 and a sentence for what it cannot use.
    let arguments = Arguments::parse();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match arguments.command.unwrap_or_else(|| Command::Serve(serve::Arguments::default_values())) {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Stress(arguments) => stress::run(&arguments),
    }
}
