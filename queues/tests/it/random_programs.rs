//! Random programs keep every promise: each run tries a few fixed ones and a few new ones.
//!
//! The programs are those of the stress test, which runs them without end. `SINGLETRACK_SEED=N`
//! runs only the program of that seed, many times, since the seed does not determine what its
//! threads do first.

#[path = "../../../cli/src/stress/choice.rs"]
mod choice;
#[path = "../../../cli/src/stress/programs/mod.rs"]
mod programs;

use programs::verify::Check;
use programs::{Plant, Program, run};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Only a program that hangs makes no progress for so long.
const PATIENCE: Duration = Duration::from_secs(30);
/// As `PATIENCE`, where a hang is no fault.
const SHORT: Duration = Duration::from_millis(500);
/// How long new programs are tried.
const TIME: Duration = Duration::from_secs(2);

/// Runs the program of `seed` and fails with everything that is needed to run it again.
fn check(seed: u64) {
    let program = Program::draw(seed);
    let text = program.to_string();
    let outcome = run(program, None, PATIENCE).expect("the system gives a few threads");
    let findings: Vec<String> =
        outcome.findings.iter().map(|found| format!("{:?}: {}", found.check, found.text)).collect();
    assert!(findings.is_empty(), "{}\n\n{text}\nrun it again with SINGLETRACK_SEED={seed}", findings.join("\n"));
}

/// The seed of a program that the environment asks to run again.
fn asked_for() -> Option<u64> {
    std::env::var("SINGLETRACK_SEED").ok().map(|seed| seed.parse().expect("SINGLETRACK_SEED is a whole number"))
}

#[test]
fn the_same_programs_every_time() {
    match asked_for() {
        Some(seed) => (0..100).for_each(|_| check(seed)),
        None => (0..150).for_each(check),
    }
}

#[test]
fn programs_that_nobody_has_seen() {
    if asked_for().is_some() {
        return;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (first, end) = (now.as_secs() << 20, Instant::now() + TIME);
    (first..).take_while(|_| Instant::now() < end).for_each(check);
}

/// Runs programs with a broken promise until the check notices; fails when it does not in very many
/// programs.
fn is_found(plant: Plant, check: Check) {
    let mut blocks = 0;
    for seed in 0..5_000 {
        let outcome = run(Program::draw(seed), Some(plant), SHORT).expect("the system gives a few threads");
        if outcome.findings.iter().any(|found| found.check == check) {
            return;
        }
        blocks += outcome.blocks;
    }
    panic!("{plant:?} was not noticed by {check:?} in {blocks} blocks");
}

#[test]
fn each_broken_promise_is_found_by_its_check() {
    let table = [
        (Plant::Twice, Check::Once),
        (Plant::Lost, Check::Once),
        (Plant::Swapped, Check::Order),
        (Plant::Astray, Check::Exclusion),
        (Plant::Astray, Check::Width),
        (Plant::Astray, Check::Place),
        (Plant::Overtaken, Check::Barriers),
        (Plant::Early, Check::Timers),
        (Plant::CancelIgnored, Check::Once),
        (Plant::PermitTwice, Check::Permits),
        (Plant::ValueMissing, Check::Place),
        (Plant::EndTwice, Check::Sources),
        (Plant::MemberForgotten, Check::Groups),
        (Plant::NumberSkipped, Check::Once),
        (Plant::AdditionTwice, Check::Sources),
    ];
    table.into_iter().for_each(|(plant, check)| is_found(plant, check));
}

/// The threads of the program that hangs stay behind, so this is a test of its own.
#[test]
fn a_program_that_hangs_is_given_up_and_described() {
    is_found(Plant::ResumeLost, Check::Hang);
}
