//! A real `singletrack serve` process.
//!
//! For: starting it on a free port, killing it, starting it again on the same port. Not for: its
//! internal state. Rules: it is ready when it reports that on stdout; it never outlives this value.

use std::{
    env,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use crate::wait::DEADLINE;

/// A running server; dropping it kills it.
pub struct Serve {
    child: Child,
    address: SocketAddr,
}

impl Serve {
    /// Starts `singletrack serve --listen ADDRESS`; port 0 picks a free one.
    ///
    /// The binary is the one in `SINGLETRACK_BIN`, else the workspace's release build.
    ///
    /// # Errors
    /// A sentence, when there is no binary or it does not print `listening on http://ADDRESS`.
    pub fn start(address: SocketAddr) -> Result<Serve, String> {
        let binary = binary();
        let mut child = Command::new(&binary)
            .args(["serve", "--listen", &address.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| {
                let binary = binary.display();
                format!("cannot start {binary}: {e}; run `cargo build --release` first, or set SINGLETRACK_BIN")
            })?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let (said, hear) = mpsc::channel();
        thread::spawn(move || {
            // This reads to the end, so that the server's pipe is never full or closed.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
        });
        let line = hear.recv_timeout(DEADLINE);
        let found = line.as_deref().ok().and_then(|l| l.strip_prefix("listening on http://")?.parse().ok());
        // The value is made before the error is returned, so that the process is killed in any
        // case.
        let mut serve = Serve { child, address: found.unwrap_or(address) };
        if found.is_none() {
            let ended = serve.child.try_wait();
            return Err(format!("the server did not say where it listens, but {line:?}; its process: {ended:?}"));
        }
        Ok(serve)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, as a crash or a power cut would; returns when the process is gone.
    ///
    /// # Errors
    /// The system's error, if the process could not be killed.
    pub fn kill(mut self) -> Result<(), String> {
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|e| format!("cannot kill the server: {e}"))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> PathBuf {
    if let Some(binary) = env::var_os("SINGLETRACK_BIN") {
        return binary.into();
    }
    let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    target.join("release/singletrack")
}
