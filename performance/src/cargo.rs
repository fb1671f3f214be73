//! The build tool with which this program was started.
//!
//! Not for: what is built.

use std::process::Command;

use crate::places::Places;

/// cargo, in the repository.
pub(crate) fn command(places: &Places) -> Command {
    // `cargo run` passes on which cargo it was.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(places.root());
    command
}

/// Runs it to its end.
///
/// # Errors
/// With a sentence. cargo itself has printed more.
pub(crate) fn run(places: &Places, arguments: &[&str]) -> Result<(), String> {
    let status =
        command(places).args(arguments).status().map_err(|error| format!("cargo cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed ({status})", arguments.join(" "))) }
}
