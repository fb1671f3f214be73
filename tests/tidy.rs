//! The rules of the house, checked over the whole tree in a tenth of a second.
//!
//! For: the exceptions to each rule, and one test per rule that runs it over the repository. Not
//! for: style, which rustfmt and clippy check. Rules: an exception stands in a table here, with its
//! reason, and one that is no longer needed is a finding too. `tests/tidy/samples.rs` shows that
//! each rule can fail. Rule 1 itself is `tests/tidy/order.rs`, the others are
//! `tests/tidy/rules.rs`. Below both is a reader of Rust text, `tests/tidy/source.rs`.

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
    ("polling", "io/src/poller"),
    ("tungstenite", "web/src/ws"),
    ("hdrhistogram", "cli/src/load/latency"),
    ("plotters", "cli/src/load/plot"),
    ("crossbeam_deque", "queues/src/pool/find"),
    ("rayon", "queues/src/parallel/par_iter"),
    ("loom", "queues/src/base/sync"),
];

/// Rule 5: the pure modules, and the names that purity excludes: sockets, threads, the clock,
/// queues, the log.
const PURE: &[&str] = &[
    "queues/src/base/state",
    "queues/src/source/ticker/schedule",
    "queues/src/time/timer/deadlines",
    "queues/src/kinds/workloop/turns",
    "cli/src/load/frame",
    "cli/src/load/handshake",
    "cli/src/load/payload",
    "cli/src/load/plan",
    "cli/src/load/verify",
    "io/src/data",
    "src/route",
    "web/src",
];
const IMPURE: &[&str] = &[
    "std::net",
    "std::fs",
    "std::os",
    "socket2",
    "polling",
    "rustix",
    "crate::poller",
    "singletrack_io",
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
    "io/src/event/lent.rs",
    "io/src/event/look.rs",
    "io/src/poller/wait.rs",
    "io/tests/it/channel/outside.rs",
    "queues/benches/counts/meter.rs",
    "queues/benches/workloads/allocator.rs",
    "queues/src/base/block.rs",
    "queues/src/base/block/chunk.rs",
    "queues/src/base/fork.rs",
    "queues/src/base/handoff.rs",
    "queues/src/base/mailbox.rs",
    "queues/src/base/memory.rs",
    "queues/src/base/memory/depot.rs",
    "queues/src/base/memory/fork.rs",
    "queues/src/base/memory/pages.rs",
    "queues/src/base/sync.rs",
    "queues/src/kinds/concurrent_isolated.rs",
    "queues/src/kinds/exclusive.rs",
    "queues/src/kinds/exclusive.rs",
    "queues/src/kinds/isolated.rs",
    "queues/src/kinds/main_queue/entry.rs",
    "queues/src/kinds/workloop.rs",
    "queues/src/kinds/workloop/classes.rs",
    "queues/src/models/apply.rs",
    "queues/src/models/chunk.rs",
    "queues/src/models/concurrent.rs",
    "queues/src/models/counts.rs",
    "queues/src/models/gate.rs",
    "queues/src/models/group.rs",
    "queues/src/models/handoff.rs",
    "queues/src/models/isolated.rs",
    "queues/src/models/mailbox.rs",
    "queues/src/models/memory.rs",
    "queues/src/models/monitor.rs",
    "queues/src/models/scope.rs",
    "queues/src/models/slot.rs",
    "queues/src/models/source.rs",
    "queues/src/models/source_end.rs",
    "queues/src/models/state.rs",
    "queues/src/models/ticket.rs",
    "queues/src/models/timed.rs",
    "queues/src/models/timer.rs",
    "queues/src/models/work_item.rs",
    "queues/src/models/workloop.rs",
    "queues/src/parallel/apply.rs",
    "queues/src/parallel/scope.rs",
    "queues/src/parallel/scope/state.rs",
    "queues/src/parallel/scope/outside.rs",
    "queues/src/pool/cpu.rs",
    "queues/src/pool/end.rs",
    "queues/src/pool/find.rs",
    "queues/src/pool/fork.rs",
    "queues/src/pool/help.rs",
    "queues/src/pool/slot.rs",
    "queues/src/pool/worker.rs",
    "queues/src/queue.rs",
    "queues/src/queue/concurrent.rs",
    "queues/src/queue/concurrent/drain.rs",
    "queues/src/queue/concurrent/sync.rs",
    "queues/src/queue/core.rs",
    "queues/src/queue/current.rs",
    "queues/src/queue/help.rs",
    "queues/src/queue/life.rs",
    "queues/src/queue/origin.rs",
    "queues/src/queue/schedule.rs",
    "queues/src/queue/sync.rs",
    "queues/src/queue/task.rs",
    "queues/src/queue/end.rs",
    "queues/src/queue/entry.rs",
    "queues/src/queue/level.rs",
    "queues/src/queue/turn.rs",
    "queues/src/queue/waiting.rs",
    "queues/src/source/body.rs",
    "queues/src/source/builder.rs",
    "queues/src/source/handle.rs",
    "queues/src/source/head.rs",
    "queues/src/source/ticker.rs",
    "queues/src/work/group.rs",
    "queues/src/work/work_item.rs",
    "queues/tests/it/fork.rs",
    "tests/memory.rs",
    "tests/process/child.rs",
];

/// Rule 7: the limit on lines, examples in docs apart, and the files that were reviewed and are
/// longer for a reason.
const LINES: usize = 500;
const LONG: &[(&str, &str)] = &[];

/// Rule 7: how wide a comment may be.
const COLUMNS: usize = 100;

/// Rule 7: words of a private dialect, and the field's word.
const RETIRED: &[(&str, &str)] = &[
    ("stand-in", "replacement thread"),
    ("stood in for", "replaced"),
    ("how-manieth", "number"),
    ("stood_in_for", "replaced"),
    ("clock on the wall", "wall clock"),
    ("in vain", "spurious"),
    ("hurry", "send_token"),
    ("lifted", "boosted"),
    ("lifts_", "boosts_"),
    ("odd_hours", "reentrancy"),
    ("whoever", "the thread that, or the caller"),
];

/// Rule 2: the reason that each of its findings gives.
const ALONE: &str = "a program takes the queues without sockets and files";
/// Rule 2: the reason for its second half.
const BELOW: &str = "pool and timer run runnables of any origin";

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

#[test]
fn rule_1_files_of_a_folder_do_not_import_each_other_in_a_circle() {
    holds(order::knots(the_tree()));
}

fn rule_2(tree: &[Source]) -> Vec<String> {
    let mut findings = rules::never_names(tree, "queues/src", &["std::net", "std::fs"], ALONE);
    for place in ["queues/src/pool", "queues/src/time"] {
        findings.extend(rules::never_names(tree, place, &["Queue", "crate::queue"], BELOW));
    }
    findings
}

#[test]
fn rule_2_queues_know_no_sockets_and_pool_knows_no_queue() {
    holds(rule_2(the_tree()));
}

fn rule_3(tree: &[Source]) -> Vec<String> {
    let never = [
        "singletrack_io",
        "singletrack_web::http",
        "crate::conn",
        "Outbox::new",
        "Outbox::default",
        "Source::new",
        "Source::on",
        "Source::builder",
    ];
    rules::never_names(
        tree,
        "src/room",
        &never,
        "the connection makes its outbox and its wake-up, and a room borrows them",
    )
}

#[test]
fn rule_3_a_room_does_not_know_sockets_and_connections() {
    holds(rule_3(the_tree()));
    all_exist(["src/room"].into_iter());
}

/// Rule 4: and the log, for the queues alone.
const LOG_DOOR: (&str, &str) = ("log", "queues/src/base/report");

/// Rule 4: reading the clock, and what is done to a socket, each with its one door, for the places
/// that leave it to that door.
const CLOCK: &[&str] = &["Instant::now", "SystemTime::now", ".elapsed", "clock_gettime"];
const CLOCK_DOOR: &str = "queues/src/base/sync";
const SOCKETS: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UdpSocket",
    "socket2",
    "net::recv",
    "net::recvmsg",
    "net::send",
    "net::sendmsg",
    "net::accept",
    "net::accept_with",
    "net::connect",
    "net::shutdown",
];
const SOCKETS_DOOR: &str = "io/src/socket";

fn rule_4_seams(tree: &[Source]) -> Vec<String> {
    let clock = |place| rules::one_seam(tree, place, CLOCK, CLOCK_DOOR, "`now`");
    let sockets = |place| rules::one_seam(tree, place, SOCKETS, SOCKETS_DOOR, "the trait `Socket`");
    let mut findings: Vec<_> = ["queues/src", "io/src", "src"].into_iter().flat_map(clock).collect();
    findings.extend(["io/src", "src"].into_iter().flat_map(sockets));
    findings
}

#[test]
fn rule_4_the_clock_and_sockets_have_one_door_each() {
    holds(rule_4_seams(the_tree()));
    all_exist([CLOCK_DOOR, SOCKETS_DOOR].into_iter());
}

fn rule_4(tree: &[Source]) -> Vec<String> {
    let mut findings: Vec<_> = DOORS.iter().flat_map(|(library, door)| rules::one_door(tree, library, door)).collect();
    let of_the_queues = rules::one_door(tree, LOG_DOOR.0, LOG_DOOR.1);
    findings.extend(of_the_queues.into_iter().filter(|finding| finding.starts_with("queues/src/")));
    findings
}

#[test]
fn rule_4_each_library_has_one_door() {
    holds(rule_4(the_tree()));
    all_exist(DOORS.iter().chain([&LOG_DOOR]).map(|(_, door)| *door));
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
fn rule_7_comments_keep_to_their_columns() {
    holds(rules::comments_are_narrow(the_tree(), COLUMNS));
}

#[test]
fn rule_7_retired_words_do_not_come_back() {
    holds(rules::no_retired_words(the_tree(), RETIRED, |path| path.starts_with("tests/tidy")));
}

#[test]
fn rule_8_nothing_is_unfinished_and_no_test_hopes() {
    holds(rules::nothing_unfinished(the_tree()));
}

#[test]
fn rule_8_comments_name_what_exists() {
    holds(rules::comments_name_what_exists(the_tree(), |path| root().join(path).exists()));
}
