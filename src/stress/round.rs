//! A family of checks, and the thread that runs it round by round.
//!
//! A family says what it checks and how one round goes; here is when it runs, with which choices, and what happens when it
//! does not come back: then the check is told broken, by the stage that it had reached, and its thread is left behind.
//! Not for: what any check means.

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
    /// Names its choices.
    pub(super) name: &'static str,
    /// What it has verdicts on.
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
    /// Is it the one that has to notice this fault? Then it takes its queue through the wrapper that can be broken.
    pub(super) fn must_notice(&self, fault: Fault) -> bool {
        self.checks.iter().any(|check| check.name == fault.caught_by())
    }
}

/// The most threads that a runtime of this many workers may have here; the library's own default.
pub(super) fn thread_cap(workers: usize) -> usize {
    64.max(2 * workers)
}

/// What all families stand on.
pub(super) struct Ground {
    /// Shared by the families that run beside one another.
    pub(super) runtime: Runtime,
    /// Its pollers.
    pub(super) io: Io,
    workers: usize,
    seed: u64,
    /// What is broken on purpose.
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

    /// No family begins another round.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Blocks that ran so far.
    pub(super) fn blocks(&self) -> u64 {
        self.runtime.stats().blocks + self.gone.load(Relaxed)
    }
}

/// What a round of a family works with.
pub(super) struct Round {
    /// What all families stand on.
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

    /// Says what is being waited for: told if it never comes.
    pub(super) fn stage(&self, what: impl fmt::Display) {
        *locked(&self.stage) = what.to_string();
        self.stages.fetch_add(1, Relaxed);
    }

    /// Is nothing wanted any more? For families whose rounds are long.
    pub(super) fn is_stopped(&self) -> bool {
        self.ground.stop.load(Relaxed)
    }

    /// How many workers each runtime has.
    pub(super) fn workers(&self) -> usize {
        self.ground.workers
    }

    /// A runtime that no other family uses. Without one there is nothing to verify, and that is told.
    pub(super) fn own_runtime(&self) -> Option<Own<'_>> {
        self.own(thread_cap(self.workers()))
    }

    /// As [`own_runtime`](Self::own_runtime), with no threads but the workers, however long one is held.
    pub(super) fn own_without_stand_ins(&self) -> Option<Own<'_>> {
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
    /// Starts it; it begins no round after `until`, but one in any case.
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

    /// Looks whether it gets on, and gives it up if it did not for `patience`.
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

    /// Has it ended, or was it given up?
    pub(super) fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(|thread| thread.is_finished())
    }

    /// Did it come to its end?
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
        // A queue that is broken on purpose goes on until the check that has to notice did; then the run is stopped.
        let broken = round.ground.fault.is_none() && round.scores.iter().any(|score| score.is_broken());
        // The next round will take about as long.
        if broken || round.is_stopped() || Instant::now() + begin.elapsed() >= until {
            return;
        }
    }
}
