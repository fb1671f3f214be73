//! uWebSockets, as bun ships it: installed by npm from the files in `performance/bun`, below the
//! target folder.
//!
//! Rule: the lock file with its check sums determines what is installed, and no install scripts
//! run. npm installs those of bun's programs that may fit this machine. The first that runs is
//! used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::places::Places;

const FILES: [&str; 3] = ["package.json", "package-lock.json", "server.js"];
const LOCK: &str = "package-lock.json";

/// Installs bun where it is missing.
pub(super) fn install(places: &Places) -> Result<(), String> {
    let (from, to) = (places.bun_sources(), places.work().join("bun"));
    let same = |name: &str| matches!((fs::read(from.join(name)), fs::read(to.join(name))), (Ok(a), Ok(b)) if a == b);
    let installed = same(LOCK) && program(&to).is_some();
    fs::create_dir_all(&to).map_err(|error| format!("{} cannot be made: {error}", to.display()))?;
    for name in FILES {
        fs::copy(from.join(name), to.join(name)).map_err(|error| format!("{name} cannot be copied: {error}"))?;
    }
    if installed {
        return Ok(());
    }
    let output = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&to)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm cannot be started: {error}; bun is installed by it"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.lines().find(|line| line.contains("error")).unwrap_or_default();
        return Err(format!("npm could not install bun ({}): {last}", output.status));
    }
    program(&to).map(drop).ok_or_else(|| "npm installed bun, and none of its programs runs here".to_owned())
}

pub(super) fn command(places: &Places) -> Result<Command, String> {
    let folder = places.work().join("bun");
    let program = program(&folder).ok_or("bun is not installed")?;
    let mut command = Command::new(program);
    command.arg(folder.join("server.js")).args(["127.0.0.1", "0"]);
    Ok(command)
}

/// `node_modules/@oven/bun-linux-x64/bin/bun`, or that for another machine.
fn program(folder: &Path) -> Option<PathBuf> {
    let packages = fs::read_dir(folder.join("node_modules/@oven")).ok()?;
    let mut programs: Vec<_> = packages.flatten().map(|package| package.path().join("bin/bun")).collect();
    // The plain name before those for old processors and other C libraries.
    programs.sort();
    programs.into_iter().find(|program| {
        let version = Command::new(program).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
        version.is_ok_and(|output| output.status.success())
    })
}
