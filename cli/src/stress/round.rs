//! A family of checks, and the thread that runs it round by round.
//!
//! A family defines what it checks and how one round goes. This file defines when it runs, with
//! which choices, and what happens when it does not return: then the check is reported as failed,
//! with the stage that it had reached, and its thread is left behind. Not for: what any check
//! means.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use singletrack::io::Io;
use singletrack::queues::{Report, Runtime};

use super::choice::Choice;
use super::fault::Fault;
use super::score::{Check, Line, Score, locked};
use super::{PATIENCE, Plan};

/// Checks that share a load.
#[derive(Clone, Copy)]
pub(super) struct Family {
    /// The name of its stream of choices.
    pub(super) name: &'static str,
    /// The checks on which it gives verdicts.
    pub(super) checks: &'static [Check],
    /// When it runs.
    pub(super) place: Place,
    /// Makes the load once and verifies it.
    pub(super) round: fn(&Round, Choice),
}

/// When a family runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Together with others, as one another's load.
    Beside,
    /// By itself.
    Alone,
}

impl Family {
    /// Whether this family must notice the fault. If so, it uses its queue through the wrapper that
    /// can be broken.
    pub(super) fn must_notice(&self, fault: Fault) -> bool {
        self.checks.iter().any(|check| check.name == fault.caught_by())
    }
}

/// The thread cap of a runtime with this many workers here: the library's own default.
pub(super) fn thread_cap(workers: usize) -> usize {
    64.max(2 * workers)
}

/// The part that all families share.
pub(super) struct Ground {
    /// Shared by the families that run beside one another.
    pub(super) runtime: Runtime,
    /// Its pollers.
    pub(super) io: Io,
    workers: usize,
    seed: u64,
    /// The fault that is planted on purpose.
    pub(super) fault: Option<Fault>,
    stop: AtomicBool,
    /// Blocks that ran on runtimes that are gone.
    gone: AtomicU64,
}

impl Ground {
    pub(super) fn new(runtime: Runtime, io: Io, plan: &Plan) -> Ground {
        let Plan { workers, seed, fault, .. } = *plan;
        Ground { runtime, io, workers, seed, fault, stop: AtomicBool::new(false), gone: AtomicU64::new(0) }
    }

    /// From now on no family begins another round.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Counts blocks that ran on runtimes that are gone.
    pub(super) fn count(&self, blocks: usize) {
        self.gone.fetch_add(blocks as u64, Relaxed);
    }

    /// The number of blocks that ran so far.
    pub(super) fn blocks(&self) -> u64 {
        self.runtime.stats().blocks + self.gone.load(Relaxed)
    }
}

/// The tools of a family's round.
pub(super) struct Round {
    /// The part that all families share.
    pub(super) ground: Arc<Ground>,
    scores: Vec<Arc<Score>>,
    stage: Mutex<String>,
    stages: AtomicUsize,
}

impl Round {
    /// The score of the check at this place in the family's list.
    pub(super) fn score(&self, check: usize) -> &Arc<Score> {
        &self.scores[check]
    }

    /// Names what the round waits for, which is reported if it never comes.
    pub(super) fn stage(&self, what: impl fmt::Display) {
        *locked(&self.stage) = what.to_string();
        self.stages.fetch_add(1, Relaxed);
    }

    /// Whether the run is over. For families whose rounds are long.
    pub(super) fn is_stopped(&self) -> bool {
        self.ground.stop.load(Relaxed)
    }

    /// The number of workers of each runtime.
    pub(super) fn workers(&self) -> usize {
        self.ground.workers
    }

    /// A runtime that no other family uses. Without one there is nothing to verify, and that is
    /// reported.
    pub(super) fn own_runtime(&self) -> Option<Own<'_>> {
        self.own(thread_cap(self.workers()))
    }

    /// As [`own_runtime`](Self::own_runtime), with no threads but the workers, however long one is
    /// held.
    pub(super) fn own_without_replacements(&self) -> Option<Own<'_>> {
        self.own(self.workers())
    }

    fn own(&self, cap: usize) -> Option<Own<'_>> {
        match Runtime::builder().workers(self.workers()).thread_cap(cap).name("stress-own").build() {
            Ok(runtime) => Some(Own { runtime, ground: &self.ground }),
            Err(error) => {
                self.scores.iter().for_each(|score| score.broken(|| format!("no runtime of its own: {error}")));
                None
            }
        }
    }
}

/// A runtime of one round; it ends with the round.
pub(super) struct Own<'a> {
    /// The runtime.
    pub(super) runtime: Runtime,
    ground: &'a Ground,
}

impl Own<'_> {
    /// Shuts it down.
    pub(super) fn shutdown(&self, deadline: Duration) -> Report {
        self.runtime.shutdown(deadline)
    }
}

impl Drop for Own<'_> {
    fn drop(&mut self) {
        self.runtime.shutdown(PATIENCE);
        self.ground.gone.fetch_add(self.runtime.stats().blocks, Relaxed);
    }
}

/// A family on its thread.
pub(super) struct Running {
    round: Arc<Round>,
    thread: Option<JoinHandle<()>>,
    pulse: u64,
    since: Instant,
}

impl Running {
    /// Starts it. It begins no round after `until`, but one in any case.
    pub(super) fn start(family: &Family, ground: &Arc<Ground>, until: Instant) -> Running {
        let scores = family.checks.iter().map(|check| Arc::new(Score::new(*check))).collect();
        let stages = AtomicUsize::new(0);
        let round = Arc::new(Round { ground: ground.clone(), scores, stage: Mutex::default(), stages });
        let (family, on) = (*family, round.clone());
        let started = std::thread::Builder::new().name(family.name.into()).spawn(move || rounds(&family, &on, until));
        if let Err(error) = &started {
            round.scores.iter().for_each(|score| score.broken(|| format!("no thread for it: {error}")));
        }
        Running { round, thread: started.ok(), pulse: 0, since: Instant::now() }
    }

    /// Checks its progress, and gives it up if there was none for `patience`.
    pub(super) fn look(&mut self, patience: Duration) {
        let pulse = self.round.stages.load(Relaxed) as u64 + self.round.scores.iter().map(|s| s.count()).sum::<u64>();
        if pulse != self.pulse || self.is_over() {
            (self.pulse, self.since) = (pulse, Instant::now());
        } else if self.since.elapsed() > patience {
            let stage = locked(&self.round.stage).clone();
            for score in &self.round.scores {
                score.broken(|| format!("nothing moved for {} s: {stage} did not finish", patience.as_secs()));
            }
            self.thread = None;
        }
    }

    /// Whether it has ended or was given up.
    pub(super) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(|thread| thread.is_finished())
    }

    /// Whether it came to its end.
    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| thread.is_finished())
    }

    /// The score of a check of this family.
    pub(super) fn score(&self, name: &str) -> Option<&Arc<Score>> {
        self.round.scores.iter().find(|score| score.name() == name)
    }

    /// The outcome so far.
    pub(super) fn lines(&self) -> Vec<Line> {
        self.round.scores.iter().map(|score| score.line()).collect()
    }
}

fn rounds(family: &Family, round: &Round, until: Instant) {
    for number in 0.. {
        let begin = Instant::now();
        let choice = Choice::new(round.ground.seed, family.name, number);
        if catch_unwind(AssertUnwindSafe(|| (family.round)(round, choice))).is_err() {
            let stage = locked(&round.stage).clone();
            round
                .scores
                .iter()
                .for_each(|score| score.broken(|| format!("a call of the library panicked in: {stage}")));
        }
        // A queue that is broken on purpose runs on until the check that must notice has noticed.
        // Then the run is stopped.
        let broken = round.ground.fault.is_none() && round.scores.iter().any(|score| score.is_broken());
        // The next round will take about as long.
        if broken || round.is_stopped() || Instant::now() + begin.elapsed() >= until {
            return;
        }
    }
}
