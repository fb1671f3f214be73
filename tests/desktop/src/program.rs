//! One of the programs, as a process.
//!
//! For: starting it on a display, its resource use, and its end. Not for: its window (`window`).
//! Rules: it is the binary that cargo built beside this test; it never outlives this value.

use std::{
    env, fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::display::Display;
use crate::wait::{DEADLINE, until};

/// A running program; dropping it kills it.
pub struct Program {
    child: Child,
}

/// The resources that a process has used so far, summed over its threads.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// CPU time in hundredths of a second.
    pub ticks: u64,
    /// The number of context switches.
    pub switches: u64,
}

impl Used {
    /// The use since `before`; `None` when a thread has ended since then, because its switches are
    /// no longer counted.
    pub fn since(self, before: Self) -> Option<Self> {
        let ticks = self.ticks.checked_sub(before.ticks)?;
        Some(Self { ticks, switches: self.switches.checked_sub(before.switches)? })
    }
}

/// The line that each program prints at its end.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// Blocks that ran on the main thread.
    pub blocks: u64,
    /// Turns that ran them.
    pub turns: u64,
    /// Frames that the window drew.
    pub frames: u64,
    /// The longest turn, in milliseconds.
    pub longest_turn_ms: f64,
    /// How often the main thread was woken.
    pub wakes: u64,
}

impl Program {
    /// Starts `name` with `args` in `folder`.
    ///
    /// # Errors
    /// A sentence, when it was not built.
    pub fn start(name: &str, args: &[&str], folder: &Path, display: &Display) -> Result<Self, String> {
        let binary = binary(name)?;
        let child = Command::new(&binary)
            .args(args)
            .current_dir(folder)
            .env("DISPLAY", display.name())
            .env_remove("WAYLAND_DISPLAY")
            // The program uses no settings or helpers of the user who runs the test.
            .env("DBUS_SESSION_BUS_ADDRESS", "disabled:")
            .env("GSETTINGS_BACKEND", "memory")
            .env("GTK_A11Y", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}; run `cargo build -p {name}` first", binary.display()))?;
        Ok(Self { child })
    }

    /// The resources that it has used so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn used(&self) -> Result<Used, String> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let read = |path: &Path| fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
        // The name may have spaces in it; the fields are counted from its end.
        let stat = read(&process.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
        let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
        let mut switches = 0;
        for task in fs::read_dir(process.join("task")).map_err(|e| e.to_string())?.flatten() {
            // A thread may have ended meanwhile.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let counts = status.lines().filter(|line| line.contains("ctxt_switches"));
            switches += counts.filter_map(|line| line.rsplit('\t').next()?.parse::<u64>().ok()).sum::<u64>();
        }
        Ok(Used { ticks: ticks.ok_or_else(|| format!("no times in {stat:?}"))?, switches })
    }

    /// Interrupts it, like Ctrl-C in its terminal.
    ///
    /// # Errors
    /// The system's error.
    pub fn interrupt(&self) -> Result<(), String> {
        kill_process(Pid::from_child(&self.child), Signal::INT).map_err(|e| format!("cannot interrupt it: {e}"))
    }

    /// Waits until it has ended with success, and reads its last line.
    ///
    /// # Errors
    /// When it hangs, fails, or prints something else.
    pub fn ended(mut self) -> Result<Statistics, String> {
        let status: ExitStatus = until("the program to end", DEADLINE, || {
            self.child.try_wait().map_err(|e| e.to_string())?.ok_or_else(|| "it goes on".into())
        })?;
        let mut said = String::new();
        if let Some(stdout) = &mut self.child.stdout {
            stdout.read_to_string(&mut said).map_err(|e| e.to_string())?;
        }
        if !status.success() {
            return Err(format!("it ended with {status} and said {said:?}"));
        }
        println!("{}", said.trim());
        Statistics::read(&said).ok_or_else(|| format!("it ended in order, but said {said:?}"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Statistics {
    fn read(said: &str) -> Option<Self> {
        let line = said.lines().last()?;
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
        let mut next = || numbers.next();
        let (blocks, turns, frames) = (next()? as u64, next()? as u64, next()? as u64);
        let (longest_turn_ms, wakes) = (next()?, next()? as u64);
        line.starts_with(&format!("{blocks} blocks in ")).then_some(Self {
            blocks,
            turns,
            frames,
            longest_turn_ms,
            wakes,
        })
    }
}

/// The path of the binary: beside the folder of this test's own binary.
fn binary(name: &str) -> Result<PathBuf, String> {
    let own = env::current_exe().map_err(|e| format!("cannot tell where this test lies: {e}"))?;
    let folder = own.ancestors().nth(2).ok_or("this test lies in no target folder")?;
    Ok(folder.join(name))
}
