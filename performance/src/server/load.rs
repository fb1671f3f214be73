//! The load: `singletrack load` as a process of its own, and its report of one run.
//!
//! Not for: making messages or verifying them. The generator does both, and fails when a server
//! loses, changes or reorders one. Rules: the server's CPU time is that of the measured time alone,
//! as the generator reads it. A generator that hangs is ended.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::results::GENERATOR;

use super::Sample;
use super::process::{Server, spawn_on};
use super::scenario::Work;

/// The time beyond warm-up and measurement: to open connections, to close them, and for slow
/// members to catch up.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of measurements that may find nothing before it counts as the server's fault.
const ATTEMPTS: usize = 3;
/// The bytes of a message.
const BYTES: usize = 64;

/// The load of one run.
pub(crate) struct Load {
    pub(crate) program: PathBuf,
    pub(crate) core: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// The generator's report of a run, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Outcome {
    ok: bool,
    breach: Option<String>,
    messages: u64,
    messages_per_s: f64,
    deliveries: u64,
    deliveries_per_s: f64,
    latency_us: Latency,
    generator: Generator,
    server: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Generator {
    /// The share of its core that it used.
    busy: f64,
}

#[derive(Debug, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

#[derive(Debug, Deserialize)]
struct Usage {
    cpu_s: f64,
}

impl Load {
    /// Loads a server. On a busy machine it may get no core at all while it is measured. Then it is
    /// loaded again.
    ///
    /// # Errors
    /// With a sentence, when the server broke a rule, or the generator did not do its work.
    pub(crate) fn run(&self, server: &Server, work: Work) -> Result<Outcome, String> {
        for _ in 0..ATTEMPTS {
            let outcome = self.once(server, work)?;
            if outcome.messages > 0 && outcome.deliveries > 0 {
                return Ok(outcome);
            }
        }
        Err(format!("{ATTEMPTS} times no message came back within {:?}", self.measured))
    }

    fn once(&self, server: &Server, work: Work) -> Result<Outcome, String> {
        let mut command = Command::new(&self.program);
        command.arg("load").arg(format!("ws://{}", server.address)).args(pattern(work)).args([
            "--json".to_owned(),
            format!("--pid={}", server.pid()),
            format!("--bytes={BYTES}"),
            format!("--warmup={}", self.warm_up.as_secs_f64()),
            format!("--seconds={}", self.measured.as_secs_f64()),
            "--workers=1".to_owned(),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            spawn_on(&[self.core], &mut command).map_err(|error| format!("the load did not start: {error}"))?;
        let (said, complained) = (read(child.stdout.take()), read(child.stderr.take()));
        let status = wait(&mut child, self.warm_up + self.measured + PATIENCE)?;
        let (said, complained) = (said.join().unwrap_or_default(), complained.join().unwrap_or_default());
        let outcome: Outcome = serde_json::from_str(&said).map_err(|error| {
            let last = complained.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            format!("the load ended with {status} and without figures ({error}): {last}")
        })?;
        match &outcome {
            Outcome { breach: Some(breach), .. } => Err(breach.clone()),
            Outcome { ok: false, .. } => Err(format!("the load failed ({status}) without a reason")),
            Outcome { server: None, .. } => Err("the load could not read the server's CPU time".to_owned()),
            _ => Ok(outcome),
        }
    }
}

/// The pattern of the traffic, as options of the generator.
fn pattern(work: Work) -> Vec<String> {
    match work {
        Work::Echo { connections } | Work::Idle { connections, .. } => vec![format!("--connections={connections}")],
        Work::Rooms { rooms, members, senders, silent } => vec![
            format!("--rooms={rooms}"),
            format!("--members={members}"),
            format!("--senders={senders}"),
            format!("--slow={silent}"),
        ],
    }
}

/// Reads everything, so that the writer is never held up.
fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        // After a failure, the text read so far is used.
        let _ = from.map(|mut from| from.read_to_string(&mut text));
        text
    })
}

fn wait(child: &mut Child, patience: Duration) -> Result<std::process::ExitStatus, String> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if begun.elapsed() < patience => thread::sleep(Duration::from_millis(5)),
            outcome => {
                // It may have ended just now, which is just as good.
                let _ = child.kill();
                let _ = child.wait();
                return Err(match outcome {
                    Err(error) => format!("the load is lost: {error}"),
                    Ok(_) => format!("the load did not end within {patience:?}"),
                });
            }
        }
    }
}

impl Outcome {
    fn cpu_us(&self, of: u64) -> f64 {
        self.server.as_ref().map_or(f64::NAN, |server| server.cpu_s * 1e6 / of as f64)
    }

    /// The figures of an echo.
    pub(crate) fn of_echo(&self) -> Sample {
        let mut sample = vec![("CPU us/msg", self.cpu_us(self.messages)), ("msgs/s", self.messages_per_s)];
        sample.extend(self.both());
        sample
    }

    /// The figures of rooms.
    pub(crate) fn of_rooms(&self) -> Sample {
        let cpu = self.cpu_us(self.deliveries);
        let mut sample = vec![("CPU us/delivery", cpu), ("deliveries/s", self.deliveries_per_s)];
        sample.extend(self.both());
        sample
    }

    fn both(&self) -> Sample {
        let Latency { p50, p99 } = self.latency_us;
        vec![("p50 us", p50), ("p99 us", p99), (GENERATOR, self.generator.busy * 100.0)]
    }
}
