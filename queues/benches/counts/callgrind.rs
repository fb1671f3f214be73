//! Runs this program again under callgrind, and reads what it counted.
//!
//! For: instructions, locked instructions and system calls of each stretch of the child. Not for:
//! what the child does (`operations`). Rules: only a thread inside a stretch is counted. Callgrind
//! runs one thread at a time and has no clock in its counts, so a stretch that takes the same path
//! costs the same, whatever else the machine does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The counts of one stretch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) instructions: u64,
    /// Instructions that lock the bus: each is an atomic read-modify-write. Fences are not among
    /// them.
    pub(crate) locked: u64,
    pub(crate) system_calls: u64,
}

/// Runs this program with `arguments` under callgrind; returns its output, and the parts in the
/// order in which they were counted.
pub(crate) fn run(arguments: &[&str]) -> Result<(String, Vec<Part>), String> {
    let (output, text) = profile(arguments)?;
    Ok((output, parts(&text)?))
}

/// Runs this program with `arguments` under callgrind; returns its output, and callgrind's file.
pub(crate) fn profile(arguments: &[&str]) -> Result<(String, String), String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let [out, log] = ["out", "log"].map(file);
    let child = Command::new("valgrind")
        .args(["--tool=callgrind", "--combine-dumps=yes", "--collect-atstart=no"])
        .args(["--collect-bus=yes", "--collect-systime=yes"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--log-file={}", log.display()))
        .arg(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}); it is in Debian's package of that name"))?;
    if !child.status.success() {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        return Err(format!("under valgrind the program ended with {}:\n{log}", child.status));
    }
    let text = read(&out)?;
    for file in [&out, &log] {
        // A file that stays behind is in the target folder, and the next run of that number
        // overwrites it.
        let _ = std::fs::remove_file(file);
    }
    Ok((String::from_utf8_lossy(&child.stdout).into_owned(), text))
}

fn file(end: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("counts.{}.{end}", std::process::id()))
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("callgrind left no {}: {error}", path.display()))
}

/// Each part has a line with the request that triggered it, one with the names of its numbers, and
/// one with their sums.
fn parts(text: &str) -> Result<Vec<Part>, String> {
    let (mut parts, mut name, mut events) = (Vec::new(), None, Vec::new());
    for line in text.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            // The last part is the end of the program, which is no stretch.
            name = trigger.strip_prefix("Client Request: ");
        } else if let Some(names) = line.strip_prefix("events: ") {
            events = names.split_whitespace().collect();
        } else if let Some(numbers) = line.strip_prefix("totals: ") {
            let Some(name) = name.take() else { continue };
            let numbers: Result<Vec<u64>, _> = numbers.split_whitespace().map(str::parse).collect();
            let numbers = numbers.map_err(|error| format!("callgrind's {line}: {error}"))?;
            let number = |event: &str| {
                let at = events.iter().position(|known| *known == event);
                // Callgrind leaves out zeroes at the end of the line.
                at.map(|at| numbers.get(at).copied().unwrap_or(0)).ok_or(format!("callgrind counted no {event}"))
            };
            let [instructions, locked, system_calls] = [number("Ir")?, number("Ge")?, number("sysCount")?];
            parts.push(Part { name: name.to_owned(), instructions, locked, system_calls });
        }
    }
    Ok(parts)
}
