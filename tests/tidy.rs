//! The rules of the house, checked over the whole tree in a tenth of a second.
//!
//! For: what each rule allows, and one test per rule that runs it over the repository. Not for: style (rustfmt and
//! clippy see to that). Rules: an exception stands in a table here, with its reason, and one that is no longer needed
//! is a finding too. Each rule is shown to fail in `tests/tidy/samples.rs`. Rule 1 itself is `tests/tidy/order.rs`, the
//! others are `tests/tidy/rules.rs`; below both is a reader of Rust text, `tests/tidy/source.rs`.

#[path = "tidy/order.rs"]
mod order;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/samples.rs"]
mod samples;
#[path = "tidy/source.rs"]
mod source;

use source::{Source, read_tree};
use std::{path::Path, sync::OnceLock};

/// Rule 4: each library, and the one module that may name it.
const DOORS: &[(&str, &str)] = &[
    ("polling", "src/io/poller"),
    ("tungstenite", "src/ws"),
    ("hdrhistogram", "src/load/latency"),
    ("plotters", "src/load/plot"),
    ("crossbeam_deque", "queues/src/pool/find"),
    ("rayon", "queues/src/parallel"),
    ("loom", "queues/src/sync"),
];

/// Rule 5: what is pure, and what purity excludes: sockets, threads, the clock, queues, the log.
const PURE: &[&str] = &[
    "queues/src/pool/turns",
    "queues/src/state",
    "queues/src/ticker/schedule",
    "queues/src/timer/deadlines",
    "queues/src/workloop/turns",
    "src/data",
    "src/http",
    "src/load/frame",
    "src/load/handshake",
    "src/load/payload",
    "src/load/plan",
    "src/load/verify",
    "src/ws",
    "src/route",
    "src/outbox",
    "src/limits",
];
const IMPURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::os",
    "socket2",
    "polling",
    "rustix",
    "crate::io",
    "std::thread",
    "sync::thread",
    "Instant::now",
    "SystemTime::now",
    ".elapsed",
    "singletrack_queues",
    "crate::queue",
    "Queue",
    "Isolated",
    "log",
    "trace!",
    "debug!",
    "info!",
    "warn!",
    "error!",
];

/// Rule 6: where `unsafe` may stand.
const UNSAFE: &[&str] = &[
    "queues/benches/counts/meter.rs",
    "queues/src/apply.rs",
    "queues/src/block.rs",
    "queues/src/block/chunk.rs",
    "queues/src/group.rs",
    "queues/src/handoff.rs",
    "queues/src/isolated.rs",
    "queues/src/main_queue/entry.rs",
    "queues/src/mailbox.rs",
    "queues/src/models/apply.rs",
    "queues/src/models/chunk.rs",
    "queues/src/models/concurrent.rs",
    "queues/src/models/counts.rs",
    "queues/src/models/gate.rs",
    "queues/src/models/group.rs",
    "queues/src/models/handoff.rs",
    "queues/src/models/isolated.rs",
    "queues/src/models/mailbox.rs",
    "queues/src/models/monitor.rs",
    "queues/src/models/scope.rs",
    "queues/src/models/slot.rs",
    "queues/src/models/source.rs",
    "queues/src/models/source_end.rs",
    "queues/src/models/state.rs",
    "queues/src/models/ticket.rs",
    "queues/src/models/timed.rs",
    "queues/src/models/work_item.rs",
    "queues/src/models/workloop.rs",
    "queues/src/pool.rs",
    "queues/src/pool/cpu.rs",
    "queues/src/pool/find.rs",
    "queues/src/pool/fork.rs",
    "queues/src/pool/slot.rs",
    "queues/src/pool/worker.rs",
    "queues/src/queue.rs",
    "queues/src/queue/concurrent.rs",
    "queues/src/queue/concurrent/drain.rs",
    "queues/src/queue/concurrent/grant.rs",
    "queues/src/queue/concurrent/sync.rs",
    "queues/src/queue/core.rs",
    "queues/src/queue/current.rs",
    "queues/src/queue/life.rs",
    "queues/src/queue/lift.rs",
    "queues/src/queue/schedule.rs",
    "queues/src/queue/sync.rs",
    "queues/src/queue/target.rs",
    "queues/src/queue/timed.rs",
    "queues/src/queue/visit.rs",
    "queues/src/scope.rs",
    "queues/src/scope/family.rs",
    "queues/src/scope/outside.rs",
    "queues/src/source.rs",
    "queues/src/source/body.rs",
    "queues/src/sync.rs",
    "queues/src/workloop.rs",
    "queues/src/workloop/classes.rs",
    "queues/tests/it/fork.rs",
    "src/event/look.rs",
    "src/io/poller.rs",
    "tests/it/channel/outside.rs",
    "tests/memory.rs",
];

/// Rule 7: the trip-wire, and the files that were looked at and are long for a reason.
const LINES: usize = 450;
const LONG: &[(&str, &str)] = &[];

/// Rule 2: the reason that every finding of it gives.
const ALONE: &str = "a program takes the queues without sockets and files";
/// Rule 2: and of its second half.
const BELOW: &str = "pool and timer run runnables, whoever made them";

fn the_tree() -> &'static [Source] {
    static TREE: OnceLock<Vec<Source>> = OnceLock::new();
    TREE.get_or_init(|| read_tree(root()))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn holds(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n\n{}\n", findings.join("\n"));
}

/// A rule about a module that is gone would hold for ever.
fn all_exist(modules: impl Iterator<Item = &'static str>) {
    let gone: Vec<&str> = modules.filter(|module| !the_tree().iter().any(|f| f.is_in(module))).collect();
    assert!(gone.is_empty(), "renamed or deleted? Mend the table in tests/tidy.rs: {gone:?}");
}

#[test]
fn rule_1_modules_import_only_what_stands_below_them() {
    holds(order::reading_order(the_tree()));
}

fn rule_2(tree: &[Source]) -> Vec<String> {
    let mut findings =
        rules::never_names(tree, "queues/src", &["std::net", "std::fs", "polling", "tungstenite"], ALONE);
    for place in ["queues/src/pool", "queues/src/timer"] {
        findings.extend(rules::never_names(tree, place, &["Queue", "crate::queue"], BELOW));
    }
    findings
}

#[test]
fn rule_2_queues_know_no_sockets_and_pool_knows_no_queue() {
    holds(rule_2(the_tree()));
}

fn rule_3(tree: &[Source]) -> Vec<String> {
    let io = ["crate::conn", "crate::room", "crate::http", "crate::ws"];
    let mut findings = rules::never_names(tree, "src/io", &io, "readiness is all that io knows");
    let room = ["crate::io", "crate::http", "crate::conn"];
    findings.extend(rules::never_names(
        tree,
        "src/room",
        &room,
        "a member is an outbox and a way to wake its connection",
    ));
    findings
}

#[test]
fn rule_3_io_and_room_do_not_know_each_other() {
    holds(rule_3(the_tree()));
}

fn rule_4(tree: &[Source]) -> Vec<String> {
    DOORS.iter().flat_map(|(library, door)| rules::one_door(tree, library, door)).collect()
}

#[test]
fn rule_4_each_library_has_one_door() {
    holds(rule_4(the_tree()));
    all_exist(DOORS.iter().map(|(_, door)| *door));
}

fn rule_5(tree: &[Source]) -> Vec<String> {
    PURE.iter()
        .flat_map(|place| rules::never_names(tree, place, IMPURE, "it is pure; time and bytes are arguments"))
        .collect()
}

#[test]
fn rule_5_pure_files_stay_pure() {
    holds(rule_5(the_tree()));
    all_exist(PURE.iter().copied());
}

#[test]
fn rule_6_unsafe_stands_only_where_it_is_listed_and_argued() {
    holds(rules::unsafe_is_listed(the_tree(), UNSAFE));
}

#[test]
fn rule_7_each_file_has_one_job_and_says_which() {
    holds(rules::one_job(the_tree(), LINES, LONG));
}

#[test]
fn rule_8_nothing_is_unfinished_and_no_test_hopes() {
    holds(rules::nothing_unfinished(the_tree()));
}

#[test]
fn rule_8_comments_name_what_exists() {
    holds(rules::comments_name_what_exists(the_tree(), |path| root().join(path).exists()));
}
