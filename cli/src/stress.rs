//! The stress test: what the queues promise, under load over all cores, with a verdict per check.
//!
//! Part of the program, not of the library: it uses nothing but the public API. The checks come in
//! families, a file each. Most families run *beside one another* on one runtime whose workers wait
//! in pollers, so that each is the others' load. Families that measure, or that fill the machine by
//! themselves, run *alone* afterwards, on runtimes of their own. A family runs in rounds until its
//! time is over, at least one. A check that makes no progress for a long time is a broken promise,
//! not a hang. Not for: arguments and printing (`command/stress.rs`), nor for measuring speed.

mod apply;
mod barriers;
mod channels;
mod choice;
mod classes;
mod deadlines;
mod deadlocks;
mod event_sources;
mod fairness;
mod fault;
mod groups;
mod hierarchy;
mod inactive;
mod ledger;
mod main_queue;
mod many_queues;
mod merges;
mod once;
mod panics;
mod programs;
mod random_programs;
mod round;
mod scopes;
mod score;
mod semaphores;
mod shutdown;
mod sleepers;
mod sockets;
mod sources;
mod specifics;
mod subject;
mod suspend;
mod sync;
mod targets;
mod tickers;
mod timers;
mod work_items;
mod workloop;

pub(crate) use fault::Fault;
pub(crate) use score::Line;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::Serialize;
use singletrack::io::{Io, signal};
use singletrack::queues::Runtime;

use round::{Family, Ground, Place, Running};

/// The families, in the order of the table.
const FAMILIES: &[Family] = &[
    ledger::FAMILY,
    sync::FAMILY,
    targets::FAMILY,
    barriers::FAMILY,
    hierarchy::FAMILY,
    suspend::FAMILY,
    panics::FAMILY,
    groups::FAMILY,
    timers::FAMILY,
    deadlines::FAMILY,
    once::FAMILY,
    sources::FAMILY,
    workloop::FAMILY,
    apply::FAMILY,
    scopes::FAMILY,
    main_queue::FAMILY,
    deadlocks::FAMILY,
    sockets::FAMILY,
    work_items::FAMILY,
    semaphores::FAMILY,
    inactive::FAMILY,
    specifics::FAMILY,
    tickers::FAMILY,
    merges::FAMILY,
    event_sources::FAMILY,
    channels::FAMILY,
    random_programs::FAMILY,
    sleepers::FAMILY,
    fairness::FAMILY,
    many_queues::FAMILY,
    classes::FAMILY,
    shutdown::FAMILY,
];

/// The families, in the order of the table.
pub(crate) fn families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|family| family.name)
}

/// The check of that name.
///
/// # Errors
/// A sentence with the list of all checks.
pub(crate) fn check(name: &str) -> Result<&'static str, String> {
    let all = || FAMILIES.iter().flat_map(|family| family.checks).map(|check| check.name);
    all()
        .find(|known| *known == name)
        .ok_or_else(|| format!("no check has this name; use one of {}", all().collect::<Vec<_>>().join(", ")))
}

/// The time without progress after which a check counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time that running rounds have to end after an interrupt.
const FAREWELL: Duration = Duration::from_secs(2);
/// The time between two looks at the families.
const LOOK: Duration = Duration::from_millis(20);
/// The share of the time for families beside one another. Those that run alone share the rest.
const BESIDE: f64 = 0.75;

/// The plan of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The approximate duration.
    pub(crate) time: Duration,
    /// Workers of each runtime.
    pub(crate) workers: usize,
    /// The seed of all choices.
    pub(crate) seed: u64,
    /// The fault that is planted on purpose.
    pub(crate) fault: Option<Fault>,
    /// The checks to make, with those that share their load. An empty list means all.
    pub(crate) only: Vec<&'static str>,
}

/// The progress of a run.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    /// The finished part, between 0 and 1.
    pub(crate) part: f64,
    /// Blocks run so far.
    pub(crate) blocks: u64,
    /// The number of checks seen broken.
    pub(crate) broken: usize,
    /// The families that run now.
    pub(crate) what: &'static str,
}

/// The outcome. Its fields are the output of `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// All promises held.
    pub(crate) ok: bool,
    /// The duration.
    pub(crate) seconds: f64,
    /// Workers of each runtime.
    pub(crate) workers: usize,
    /// The seed, which gives the same choices again.
    pub(crate) seed: u64,
    /// Blocks that ran.
    pub(crate) blocks: u64,
    /// Blocks per second.
    pub(crate) blocks_per_s: u64,
    /// Threads of the runtime that most checks share.
    pub(crate) threads: Threads,
    /// A line per check that ran.
    pub(crate) checks: Vec<Line>,
    /// The fault that was planted on purpose.
    pub(crate) broken: Option<&'static str>,
    /// The run was interrupted: the checks are those that had begun.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) interrupted: bool,
}

/// Threads of a runtime.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Threads {
    /// The limit.
    pub(crate) cap: usize,
    /// The highest number.
    pub(crate) peak: usize,
    /// The number at the end.
    pub(crate) now: usize,
}

/// Runs the checks. `show` is called now and then. The first interrupt (SIGINT, SIGTERM) ends the
/// run early, the second one the process.
///
/// # Errors
/// When the system gives no threads or descriptors for the runtime.
pub(crate) fn run(plan: &Plan, show: &mut dyn FnMut(&Progress)) -> Result<Verdict, Box<dyn std::error::Error>> {
    let io = Io::new(plan.workers)?;
    let cap = round::thread_cap(plan.workers);
    let runtime =
        Runtime::builder().workers(plan.workers).thread_cap(cap).name("stress").parkers(io.parkers()).build()?;
    let ground = Arc::new(Ground::new(runtime, io, plan));
    let interrupt = Arc::new(AtomicBool::new(false));
    let told = interrupt.clone();
    let signals = ground.runtime.queue("stress.signals");
    let _signals = signal::on_end(&ground.io, &signals, move || told.store(true, Relaxed))?;
    let begin = Instant::now();
    let mut stage = Stage { plan, ground: &ground, interrupt: &interrupt, show, begin, all: Vec::new() };
    stage.perform();
    let interrupted = interrupt.load(Relaxed);
    let seconds = stage.begin.elapsed().as_secs_f64();
    let stats = ground.runtime.stats();
    let families = stage.all;
    close(&ground, &families);

    let mut checks: Vec<Line> = families.iter().flat_map(Running::lines).collect();
    for line in checks.iter_mut().filter(|line| line.count == 0 && line.ok && !interrupted && plan.fault.is_none()) {
        line.ok = false;
        line.seen = Some("it ended without having verified anything".into());
    }
    let blocks = ground.blocks();
    Ok(Verdict {
        ok: checks.iter().all(|line| line.ok),
        seconds: (seconds * 1_000.0).round() / 1_000.0,
        workers: plan.workers,
        seed: plan.seed,
        blocks,
        blocks_per_s: (blocks as f64 / seconds.max(0.001)) as u64,
        threads: Threads { cap, peak: stats.peak_threads, now: stats.threads },
        checks,
        broken: plan.fault.map(Fault::name),
        interrupted,
    })
}

/// Shuts down the shared runtime, which is idle now: nothing may be left in it.
fn close(ground: &Ground, families: &[Running]) {
    let last = families.iter().find_map(|family| family.score("shutdown"));
    if let Some(score) = last.filter(|_| families.iter().all(Running::has_ended)) {
        let report = ground.runtime.shutdown(PATIENCE);
        score.expect(!report.deadline_passed && report.dropped == 0, || {
            format!("the runtime that the other checks had shared was not idle after them: {report}")
        });
    }
}

/// The running families.
struct Stage<'a> {
    plan: &'a Plan,
    ground: &'a Arc<Ground>,
    interrupt: &'a AtomicBool,
    show: &'a mut dyn FnMut(&Progress),
    begin: Instant,
    all: Vec<Running>,
}

impl Stage<'_> {
    fn perform(&mut self) {
        let only = &self.plan.only;
        let chosen = |family: &&Family| match self.plan.fault {
            _ if !only.is_empty() => family.checks.iter().any(|check| only.contains(&check.name)),
            // A queue that is broken on purpose goes only to the family that must notice.
            Some(fault) => family.must_notice(fault),
            None => true,
        };
        let (beside, alone): (Vec<_>, Vec<_>) =
            FAMILIES.iter().filter(chosen).partition(|family| family.place == Place::Beside);
        let share = if alone.is_empty() { 1.0 } else { BESIDE };
        self.run_together(&beside, "beside one another", share);
        for (turn, family) in alone.iter().enumerate() {
            if !self.is_enough() {
                let part = share + (1.0 - share) * (turn + 1) as f64 / alone.len() as f64;
                self.run_together(&[*family], family.name, part);
            }
        }
    }

    /// Whether the run was interrupted, or the planted fault was noticed.
    fn is_enough(&self) -> bool {
        let noticed = |fault: Fault| {
            let mut lines = self.all.iter().flat_map(Running::lines).filter(|line| !line.ok);
            lines.any(|line| line.name == fault.caught_by() || self.plan.only.contains(&line.name))
        };
        self.interrupt.load(Relaxed) || self.plan.fault.is_some_and(noticed)
    }

    /// Starts `families` and returns when all of them have ended, or hang.
    fn run_together(&mut self, families: &[&Family], what: &'static str, part: f64) {
        let until = self.begin + self.plan.time.mul_f64(part);
        let first = self.all.len();
        self.all.extend(families.iter().map(|family| Running::start(family, self.ground, until)));
        let mut farewell = None;
        while !self.all[first..].iter().all(Running::is_over) {
            std::thread::sleep(LOOK);
            self.all[first..].iter_mut().for_each(|family| family.look(PATIENCE));
            let (begin, time) = (self.begin, self.plan.time);
            (self.show)(&Progress {
                part: (begin.elapsed().as_secs_f64() / time.as_secs_f64()).min(part),
                blocks: self.ground.blocks(),
                broken: self.all.iter().flat_map(Running::lines).filter(|line| !line.ok).count(),
                what,
            });
            if self.is_enough() {
                self.ground.stop();
                let end = *farewell.get_or_insert_with(|| Instant::now() + FAREWELL);
                if Instant::now() >= end {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_noticed_by_its_check_and_ends_the_run() {
        for &fault in Fault::ALL {
            let plan =
                Plan { time: Duration::from_secs(60), workers: 2, seed: 1, fault: Some(fault), only: Vec::new() };
            let verdict = run(&plan, &mut |_| ()).expect("a few threads and descriptors");
            let broken: Vec<_> = verdict.checks.iter().filter(|line| !line.ok).map(|line| line.name).collect();
            assert!(!verdict.ok && broken.contains(&fault.caught_by()), "{fault} was noticed by {broken:?}");
            assert_eq!(verdict.broken, Some(fault.name()));
        }
    }

    #[test]
    fn random_programs_alone_notice_a_fault_of_another_check() {
        for fault in [Fault::TwoAtOnce, Fault::BlockLost, Fault::ResumeLost] {
            let only = vec!["random-programs"];
            let plan = Plan { time: Duration::from_secs(60), workers: 2, seed: 1, fault: Some(fault), only };
            let verdict = run(&plan, &mut |_| ()).expect("a few threads and descriptors");
            let lines: Vec<_> = verdict.checks.iter().map(|line| (line.name, line.ok)).collect();
            assert_eq!(lines, [("random-programs", false)], "{fault}");
        }
    }

    #[test]
    fn an_unknown_check_gets_the_list() {
        assert_eq!(check("no-loss"), Ok("no-loss"));
        assert!(check("nonsense").is_err_and(|error| error.contains("no-loss") && error.contains("random-programs")));
    }

    #[test]
    fn each_fault_has_one_family_that_must_notice_it() {
        for &fault in Fault::ALL {
            let families = FAMILIES.iter().filter(|family| family.must_notice(fault)).map(|family| family.name);
            assert_eq!(families.count(), 1, "{fault}");
        }
    }

    #[test]
    fn no_two_checks_have_the_same_name() {
        let mut names: Vec<_> = FAMILIES.iter().flat_map(|family| family.checks).map(|check| check.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
