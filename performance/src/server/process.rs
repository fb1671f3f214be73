//! A server as a process of its own, on the cores that it was given: started, observed, ended.
//!
//! Not for: which server it is, or what it is asked. Rules: dropping this ends the process. CPU
//! time and memory are read from Linux, for the process and all its threads. Its standard error is
//! kept for the case that it fails.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How long a server may take to print its address.
const START: Duration = Duration::from_secs(20);
/// The line that every server prints when it is ready.
const LISTENING: &str = "listening on http://";

/// The cores that this process may use, in order.
pub(crate) fn cores() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return vec![0] };
    (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect()
}

/// Starts a process on `cores`: a process inherits them from the thread that starts it.
pub(crate) fn spawn_on(cores: &[usize], command: &mut Command) -> std::io::Result<Child> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    let start = || {
        sched_setaffinity(None, &set)?;
        command.spawn()
    };
    thread::scope(|scope| scope.spawn(start).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A server that accepts connections.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    pub(crate) address: SocketAddr,
}

/// The memory of a server's process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident memory: its own, and the file pages that it has read.
    pub(crate) resident: u64,
    /// Its own memory alone.
    pub(crate) user: u64,
    /// The peak of the resident memory.
    pub(crate) peak: u64,
}

impl Server {
    /// Starts it, and waits until it prints its address.
    ///
    /// # Errors
    /// With a sentence: when it cannot be started, ends, or prints something else or nothing.
    pub(crate) fn start(command: &mut Command, cores: &[usize], log: &Path) -> Result<Server, String> {
        let errors = File::create(log).map_err(|error| format!("{} cannot be written: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = spawn_on(cores, command).map_err(|error| format!("{program} cannot be started: {error}"))?;
        let stdout = child.stdout.take();
        // From here on any failure ends the process.
        let mut server = Server { child, log: log.to_owned(), address: ([127, 0, 0, 1], 0).into() };
        let (say, hear) = channel();
        thread::spawn(move || {
            // The end of the server ends this. The receiver may be gone by then.
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok) {
                let _ = say.send(line);
            }
        });
        let line = hear.recv_timeout(START).map_err(|error| match error {
            RecvTimeoutError::Timeout => server.fault(&format!("did not say within {START:?} where it listens")),
            RecvTimeoutError::Disconnected => server.fault("ended before it was ready"),
        })?;
        let address = line.strip_prefix(LISTENING).and_then(|address| address.trim_end_matches('/').parse().ok());
        server.address = address.ok_or_else(|| server.fault(&format!("said {line:?}, not where it listens")))?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> Result<Memory, String> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        let memory = || Some(Memory { resident: field("VmRSS:")?, user: field("RssAnon:")?, peak: field("VmHWM:")? });
        memory().ok_or_else(|| self.fault("holds no memory any more: it has ended"))
    }

    /// Fails if it has ended by itself.
    pub(crate) fn is_alive(&mut self) -> Result<(), String> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.fault(&format!("ended by itself ({status})"))),
            Err(error) => Err(self.fault(&format!("cannot be looked at: {error}"))),
        }
    }

    /// A sentence about it, with its last output.
    fn fault(&self, what: &str) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        match log.lines().rfind(|line| !line.trim().is_empty()) {
            Some(last) => format!("the server {what}; its last words: {last}"),
            None => format!("the server {what}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is just as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
