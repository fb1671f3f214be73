//! A display without a screen: the test's own Xvfb.
//!
//! For: starting it on a free number, and freezing it. Not for: the windows on it (`window`).
//! Rules: it picks its number itself, so tests run in parallel; it never outlives this value.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::DEADLINE;

/// A running X server; dropping it kills it.
pub struct Display {
    child: Child,
    name: String,
}

impl Display {
    /// Starts one, and returns when programs can connect.
    ///
    /// # Errors
    /// A sentence, when there is no Xvfb, or it does not come up.
    pub fn start() -> Result<Self, String> {
        let mut child = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1000x700x24", "-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot start Xvfb: {e}; on Debian, apt-get install xvfb"))?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(stdout).read_line(&mut line);
            let _ = said.send(line);
        });
        let line = hear.recv_timeout(DEADLINE).unwrap_or_default();
        // The value is made before the error is returned, so that the process is killed in any
        // case.
        let mut display = Self { child, name: format!(":{}", line.trim()) };
        if line.trim().parse::<u32>().is_err() {
            let ended = display.child.try_wait();
            return Err(format!("Xvfb did not say its number, but {line:?}; its process: {ended:?}"));
        }
        Ok(display)
    }

    /// Its name, for `DISPLAY`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `meanwhile` while the server is stopped: a program that draws blocks, and its workers
    /// go on.
    ///
    /// # Errors
    /// The error of `meanwhile`, or the system's.
    pub fn frozen<T>(&self, meanwhile: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let signal = |signal| {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).map_err(|e| format!("cannot send {signal:?} to Xvfb: {e}"))
        };
        signal(Signal::STOP)?;
        let result = meanwhile();
        signal(Signal::CONT)?;
        result
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
