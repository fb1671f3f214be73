//! The allocations of each operation, to the byte, compared with
//! `queues/benches/counts/limits.txt`.
//!
//! A binary of its own, because it counts in a global allocator. The bench `counts`, which shares
//! the operations with this test, counts instructions and system calls.

#[path = "../benches/counts/limits.rs"]
mod limits;
#[path = "../benches/counts/meter.rs"]
mod meter;
#[path = "../benches/counts/operations.rs"]
mod operations;

use limits::{Limits, Tolerance, UPDATE, difference};
use meter::{DISCARDED, FAULTS, Stretch};

fn committed() -> Limits {
    Limits::parse(include_str!("../benches/counts/limits.txt")).expect("the limits can be read")
}

/// For counts that repeat exactly, with the limit rounded to three digits.
const EXACT: Tolerance = Tolerance { share: 0.0, least: 0.001, both_ways: true };
/// For bytes; the smallest allocation has eight.
const BYTES: Tolerance = Tolerance { share: 0.0, least: 7.9, both_ways: true };

/// The stretches of three rounds: the first round also pays for what is made once.
fn rounds() -> Vec<Stretch> {
    for _ in 0..6 {
        operations::all();
    }
    let mut stretches = meter::take();
    stretches.retain(|stretch| stretch.name != DISCARDED);
    stretches
}

/// The least that one operation of that name allocated, and the bytes of that.
fn least(stretches: &[Stretch], name: &str) -> Option<[f64; 2]> {
    let counted = stretches.iter().filter(|stretch| stretch.name == name);
    let per_op = counted
        .map(|Stretch { ops, allocations, bytes, .. }| [*allocations, *bytes].map(|all| all as f64 / *ops as f64));
    per_op.reduce(|least, other| [least[0].min(other[0]), least[1].min(other[1])])
}

/// A sentence for each operation that allocates more or less than its limit.
fn differences(limits: &Limits, stretches: &[Stretch]) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, limit) in &limits.rows {
        match least(stretches, name) {
            None => differences.push(format!("\"{name}\" has a limit and is not counted any more: {UPDATE}")),
            Some([allocations, bytes]) => {
                differences.extend(difference(
                    name,
                    "allocations",
                    limit.allocations,
                    allocations,
                    Tolerance::ALLOCATIONS,
                ));
                differences.extend(difference(name, "bytes", limit.bytes, bytes, BYTES));
            }
        }
    }
    let unknown = stretches.iter().filter(|stretch| limits.find(stretch.name).is_none());
    differences.extend(unknown.map(|stretch| format!("\"{}\" has no limit yet: {UPDATE}", stretch.name)));
    differences
}

#[test]
fn each_operation_allocates_what_it_is_said_to_and_one_more_would_be_found() {
    let limits = committed();
    let found = differences(&limits, &rounds());
    assert!(found.is_empty(), "\n\n{}\n", found.join("\n"));

    meter::plan_fault(FAULTS[0]);
    let found = differences(&limits, &rounds());
    assert_eq!(
        found.len(),
        2 * limits.rows.len(),
        "one more allocation, of eight bytes, in each operation: {found:#?}"
    );
}

#[test]
fn the_promises_of_the_design_hold() {
    let limits = committed();
    let cost = |name| limits.find(name).unwrap_or_else(|| panic!("\"{name}\" is counted"));
    let submit = cost("submit to a busy queue");
    assert!(submit.allocations < 0.1, "one allocation for many blocks");
    assert_eq!(submit.locked, 1.0, "one swap");
    assert_eq!(cost("sync on an idle queue").locked, 2.0, "the drain right is taken, and given back");
    for name in ["sync on an idle queue", "sync through one target", "run a waiting sync", "merge, the first"] {
        assert_eq!(cost(name).allocations, 0.0, "{name} allocates nothing");
    }
    for name in ["submit to a busy queue", "run a block", "run a call", "sync on an idle queue", "hop to another queue"]
    {
        assert_eq!(cost(name).system_calls, 0.0, "{name} needs nothing of the kernel");
    }
    assert!(cost("make a queue").bytes <= 128.0, "an idle queue is small");
    assert!(limits.rustc.starts_with("rustc "), "the compiler that made the counted code is on record");
}

#[test]
fn a_cost_that_grew_or_fell_is_told_with_what_to_do() {
    let two_percent = Tolerance { share: 0.02, least: 0.9, both_ways: true };
    let tell = |limit, is, tolerance| difference("submit", "instructions", limit, is, tolerance);
    assert_eq!(tell(100.0, 101.9, two_percent), None);
    assert_eq!(tell(100.0, 98.1, two_percent), None);
    let more = tell(100.0, 103.0, two_percent).expect("three percent more");
    assert!(
        more.contains("\"submit\" costs more instructions: 100 before, 103 now") && more.contains(UPDATE),
        "{more}"
    );
    let fewer = tell(100.0, 97.0, two_percent).expect("three percent less");
    assert!(fewer.contains("costs fewer instructions: 100 before, 97 now") && fewer.contains(UPDATE), "{fewer}");
    assert_eq!(tell(100.0, 50.0, Tolerance { both_ways: false, ..two_percent }), None);
    assert_eq!(tell(1.0, 1.5, two_percent), None, "less than one instruction is nothing");
    assert!(tell(0.0, 1.0, EXACT).is_some());
    assert_eq!(tell(f64::NAN, 1.0, two_percent), None, "nothing is known");
    assert_eq!(tell(1.016, 640.0 / 630.0, EXACT), None, "limits are rounded");
}

#[test]
fn a_line_that_is_no_limit_is_refused_by_its_number() {
    let limits = Limits::parse("# a comment\nrustc 1.0\n\na b | 1.5 | 1 | 2 | 3 | 0\n").expect("all lines are fine");
    assert_eq!((limits.rustc.as_str(), limits.rows.len()), ("rustc 1.0", 1));
    assert_eq!(limits.find("a b").map(|cost| (cost.instructions, cost.allocations)), Some((1.5, 2.0)));
    for bad in ["a | 1 | 2 | 3 | 4", "a | 1 | 2 | 3 | 4 | many", "| |", "a"] {
        let error = Limits::parse(&format!("# a comment\n{bad}\n")).expect_err(bad);
        assert!(error.contains("line 2"), "{error}");
    }
}
