//! Every rule of the house, shown to pass on a good sample and to fail on a bad one.
//!
//! For: trusting a green `tests/tidy.rs`. Not for: the repository itself. Rules: a bad sample has
//! one fault, and the test gives the line on which the rule must find it and the remedy that it
//! must name.

use crate::source::{Source, tree};
use crate::{order, rule_2, rule_3, rule_4, rule_4_seams, rule_5, rules};

/// `bad` gives exactly one finding, which stands at `at` and says `remedy`; `good` gives none.
fn check(rule: impl Fn(&[Source]) -> Vec<String>, good: &[(&str, &str)], bad: &[(&str, &str)], at: &str, remedy: &str) {
    assert_eq!(rule(&tree(good.iter().copied())), Vec::<String>::new(), "the good sample");
    let findings = rule(&tree(bad.iter().copied()));
    assert_eq!(findings.len(), 1, "one finding in the bad sample: {findings:?}");
    assert!(
        findings[0].starts_with(&format!("{at}: ")) && findings[0].contains(remedy),
        "{at}, {remedy}: {findings:?}"
    );
}

#[test]
fn rule_1_fails_on_an_import_from_above_and_on_a_lib_out_of_order() {
    let lib = (
        "queues/src/lib.rs",
        "//! x\nmod queue;\npub use queue::Queue;\nmod pool;\nmod state;\npub use state::{State, Bits};\n",
    );
    let good = [
        lib,
        ("queues/src/queue.rs", "use crate::{pool::Pool, state::State};\n"),
        ("queues/src/state.rs", "use super::state::Bits;\n"),
    ];
    let good = [
        &good[..],
        &[
            ("queues/src/pool.rs", "mod find;\n#[cfg(test)]\nmod tests { use crate::queue::Queue; }\n"),
            ("queues/src/pool/find.rs", "use super::Pool;\nuse crate::state;\n"),
        ],
    ]
    .concat();
    let fails = |file, at, remedy| check(order::reading_order, &good, &[lib, file], at, remedy);
    fails(
        ("queues/src/state.rs", "//! x\nuse crate::queue::Queue;\n"),
        "queues/src/state.rs:2",
        "`state` stands below `queue`",
    );
    fails(
        ("queues/src/state.rs", "fn f() {\n    crate::pool::go()\n}\n"),
        "queues/src/state.rs:2",
        "`state` stands below `pool`",
    );
    fails(
        ("queues/src/pool/find.rs", "use super::Pool;\n\nuse super::super::queue::Queue;\n"),
        "queues/src/pool/find.rs:3",
        "cannot import it",
    );
    fails(
        ("queues/src/pool.rs", "use crate::{\n    state::State,\n    Queue,\n};\n"),
        "queues/src/pool.rs:3",
        "`pool` stands below `queue`",
    );
    fails(("queues/src/pool.rs", "use crate::Elsewhere;\n"), "queues/src/pool.rs:1", "the module that defines it");
    fails(("queues/src/stray.rs", "//! x\n"), "queues/src/stray.rs:1", "list `mod stray;`");
    for (lib, line) in
        [("mod a;\nmod b;\npub use a::A;\n", 3), ("pub use a::A;\nmod a;\n", 1), ("mod a;\nfn f() {}\n", 2)]
    {
        let at = format!("src/lib.rs:{line}");
        check(
            order::reading_order,
            &[("src/lib.rs", "mod a;\npub use a::A;\nmod b;\n")],
            &[("src/lib.rs", lib)],
            &at,
            "",
        );
    }
}

#[test]
fn rule_1_fails_on_a_circle_in_a_folder_and_on_a_known_one_that_is_gone() {
    let door = ("io/src/channel.rs", "mod core;\nmod line;\nmod sink;\npub use self::sink::Handler;\n");
    let core = ("io/src/channel/core.rs", "use super::line::Line;\nuse super::Handler;\n");
    let line =
        ("io/src/channel/line.rs", "use super::sink;\n#[cfg(test)]\nmod tests { use crate::channel::core::Core; }\n");
    let sink = ("io/src/channel/sink.rs", "use crate::data::Data;\nuse super::Channel;\n");
    let good = [door, core, line, sink];
    let rule = order::knots;
    let circle = |bad| check(rule, &good, &[door, core, line, bad], "io/src/channel/core.rs:1", "core, line, sink");
    circle(("io/src/channel/sink.rs", "use super::core::{Core, at};\n"));
    circle(("io/src/channel/sink.rs", "fn f() {\n    crate::channel::core::at()\n}\n"));
    circle(("io/src/channel/sink/queue.rs", "use super::super::core::Core;\n"));
    let hidden = ("io/src/channel/sink.rs", "use super::line::Line;\n");
    check(
        rule,
        &good,
        &[door, core, ("io/src/channel/line.rs", "use super::Handler;\n"), hidden],
        "io/src/channel/line.rs:1",
        "line, sink",
    );
}

#[test]
fn rule_2_fails_on_a_file_read_by_the_queues_and_on_a_queue_named_by_the_pool() {
    let good = [
        ("queues/src/pool/find.rs", "//! Not the `Queue`.\nuse std::{io, sync::Arc};\n"),
        ("src/io.rs", "use std::{fs, net};\n"),
    ];
    check(
        rule_2,
        &good,
        &[("queues/src/task.rs", "use std::{io,\n    fs::File};\n")],
        "queues/src/task.rs:2",
        "never names `std::fs`",
    );
    check(
        rule_2,
        &good,
        &[("queues/src/pool.rs", "struct Pool {\n    main: Queue,\n}\n")],
        "queues/src/pool.rs:2",
        "runnables of any origin",
    );
    check(
        rule_2,
        &good,
        &[("queues/src/time/wheel.rs", "use super::super::queue;\n")],
        "queues/src/time/wheel.rs:1",
        "runnables of any origin",
    );
}

#[test]
fn rule_3_fails_on_a_room_that_knows_connections() {
    let good =
        [("src/room.rs", "use singletrack_web::{Outbox, ws};\nuse std::io;\n"), ("src/conn.rs", "use crate::room;\n")];
    for (bad, word) in [
        ("use crate::{metrics,\n    conn::Conn};\n", "crate::conn"),
        ("use std::io;\nuse singletrack_io::socket;\n", "singletrack_io"),
        ("use singletrack_web::{ws,\n    http};\n", "singletrack_web::http"),
        ("use singletrack_web::Outbox;\nfn f() { Outbox::new(); }\n", "Outbox::new"),
        ("use singletrack_queues::Source;\nfn f() { Source::builder(&queue); }\n", "Source::builder"),
    ] {
        check(rule_3, &good, &[("src/room.rs", bad)], "src/room.rs:2", &format!("never names `{word}`"));
    }
}

#[test]
fn rule_4_fails_on_a_second_door() {
    let good = [
        ("io/src/poller.rs", "use polling::Poller;\n"),
        ("src/server.rs", "fn f() { log::warn!(\"x\"); }\n"),
        ("tests/it/client.rs", "use tungstenite::connect;\n"),
    ];
    let log = ("queues/src/queue.rs", "fn f() { log::warn!(\"x\"); }\n");
    check(rule_4, &good, &[log], "queues/src/queue.rs:1", "`queues/src/base/report`");
    check(rule_4, &good, &[("src/server.rs", "//! x\nuse polling::Event;\n")], "src/server.rs:2", "`io/src/poller`");
    check(
        rule_4,
        &good,
        &[("queues/src/pool/worker.rs", "fn f(w: crossbeam_deque::Worker<u8>) {}\n")],
        "queues/src/pool/worker.rs:1",
        "one door",
    );
}

#[test]
fn rule_4_fails_on_a_second_clock_and_on_a_socket_used_beside_the_trait() {
    let good = [
        ("queues/src/base/sync.rs", "pub fn now() -> Instant {\n    Instant::now()\n}\n"),
        ("io/src/socket.rs", "use rustix::net::{RecvFlags, recv};\n"),
        ("io/src/event/look.rs", "use rustix::net::{SocketType, sockopt};\n"),
        ("src/server.rs", "use std::time::Instant;\nfn f(socket: &impl Socket) { socket.read(now()) }\n"),
        ("src/conn.rs", "#[cfg(test)]\nmod tests { fn f() { Instant::now(); TcpStream::connect(); } }\n"),
        ("cli/src/load.rs", "fn f() { Instant::now().elapsed(); TcpStream::connect(); }\n"),
    ];
    let fails = |path, line: &str, word: &str| {
        let bad = format!("//! x\n{line}\n");
        check(rule_4_seams, &good, &[(path, &bad)], &format!("{path}:2"), word);
    };
    for path in ["queues/src/pool/runtime.rs", "io/src/channel.rs", "src/server.rs"] {
        fails(path, "fn f() { std::time::Instant::now(); }", "`now` of `queues/src/base/sync`");
        fails(path, "fn f(begin: Instant) { begin.elapsed(); }", "never names `.elapsed`");
        fails(path, "fn f() { SystemTime::now(); }", "never names `SystemTime::now`");
    }
    for path in ["io/src/channel/descriptor.rs", "src/conn/read.rs"] {
        fails(path, "use std::net::TcpStream;", "`Socket` of `io/src/socket`");
        fails(path, "fn f() { rustix::net::recv(); }", "never names `net::recv`");
        fails(path, "use rustix::net::{SendFlags, sendmsg};", "never names `net::sendmsg`");
    }
}

#[test]
fn rule_5_fails_on_a_clock_a_thread_and_a_log_in_a_pure_file() {
    let good = [
        ("src/route.rs", "use std::time::Instant;\nfn f(now: Instant, elapsed: u8, error: u8) {}\n"),
        ("src/conn.rs", "fn f() { log::info!(\"x\"); }\n"),
    ];
    for (bad, word) in [
        ("fn f() {\n    let now = std::time::Instant::now();\n}\n", "Instant::now"),
        ("fn f(t: Instant) {\n    t.elapsed();\n}\n", ".elapsed"),
        ("use std::{sync::Arc,\n    thread};\n", "std::thread"),
        ("use std::sync::Mutex;\nuse log::info;\n", "log"),
        ("fn f() {\n    warn!(\"x\");\n}\n", "warn!"),
        ("use crate::error::Error;\nstatic LOBBY: Queue = lobby();\n", "Queue"),
    ] {
        check(
            rule_5,
            &good,
            &[("web/src/http/head.rs", bad)],
            "web/src/http/head.rs:2",
            &format!("never names `{word}`"),
        );
    }
}

#[test]
fn rule_6_fails_on_unsafe_unlisted_unargued_or_gone() {
    let rule = |tree: &[Source]| rules::unsafe_is_listed(tree, &["src/io/fd.rs"]);
    let argued = "// SAFETY: the caller owns it.\nunsafe impl Send for Fd {}\nfn f() {\n    // SAFETY: open until\n    // drop.\n    let a =\n        unsafe { g() };\n}\n";
    let listed = ("src/io/fd.rs", argued);
    let good = [
        listed,
        ("src/lib.rs", "#![deny(unsafe_code)]\n"),
        ("src/a.rs", "// unsafe\nconst A: &str = \"unsafe {}\";\n"),
    ];
    check(
        rule,
        &good,
        &[listed, ("src/a.rs", "//! x\n// SAFETY: fine\nunsafe impl Send for A {}\n")],
        "src/a.rs:3",
        "without `unsafe`",
    );
    check(
        rule,
        &good,
        &[("src/io/fd.rs", "// SAFETY: of f\nfn f() {\n    unsafe { g() }\n}\n")],
        "src/io/fd.rs:3",
        "SAFETY",
    );
    check(rule, &good, &[("src/io/fd.rs", "//! safe now\n")], "src/io/fd.rs:1", "take it off the list");
    check(rule, &good, &[("src/io/other.rs", "//! x\n")], "src/io/fd.rs:1", "no such file");
    check(rule, &good, &[listed, ("src/lib.rs", "//! x\n")], "src/lib.rs:1", "deny(unsafe_code)");
    check(rule, &good, &[listed, ("src/a.rs", "#![allow(unsafe_code)]\n")], "src/a.rs:1", "do not allow");
}

#[test]
fn rule_7_fails_on_a_long_a_silent_and_an_empty_named_file() {
    let rule = |tree: &[Source]| rules::one_job(tree, 3, &[("src/table.rs", "one table")]);
    let good = [
        ("src/a.rs", "//! For a.\n\n\n"),
        ("src/table.rs", "//! x\n1\n2\n3\n"),
        ("src/c.rs", "//! For c.\n/// ```\n/// an_example(1);\n/// ```\npub fn f() {}\n"),
    ];
    check(rule, &good, &[("src/b.rs", "//! x\n\n\nfn f() {}\n")], "src/b.rs:3", "4 lines");
    let more = "//! x\n/// ```\n/// 1;\n/// ```\n\n\n\n";
    check(rule, &good, &[("src/b.rs", more)], "src/b.rs:3", "4 lines");
    check(rule, &good, &[("src/table.rs", "//! x\n")], "src/table.rs:1", "no longer long");
    check(rule, &good, &[("src/b.rs", "use std::fs;\n//! x\n")], "src/b.rs:1", "open with `//!`");
    check(rule, &good, &[("src/utils.rs", "//! x\n")], "src/utils.rs:1", "name the file after its job");
}

#[test]
fn rule_7_fails_on_a_wide_comment_and_on_a_retired_word() {
    let rule = |tree: &[Source]| rules::comments_are_narrow(tree, 20);
    let good = [(
        "src/a.rs",
        "//! | a row of a table | may be as wide as it is |\n/// ```\n/// let code = of(an, example);\n/// ```\n",
    )];
    check(rule, &good, &[("src/a.rs", "//! x\n    // more than twenty columns\n")], "src/a.rs:2", "wider than 20");
    let rule = |tree: &[Source]| rules::no_retired_words(tree, &[("hurry", "send")], |path| path == "src/b.rs");
    let good = [("src/a.rs", "//! sends\n"), ("src/b.rs", "//! hurry\n")];
    check(rule, &good, &[("src/a.rs", "//! x\nfn Hurry_up() {}\n")], "src/a.rs:2", "write send");
}

#[test]
fn rule_8_fails_on_what_is_unfinished_switched_off_or_sleeping() {
    let asleep = "f(|| thread::sleep(d)); // the block under test sleeps: a worker must be stood in for\n";
    let good = [
        ("tests/a.rs", asleep),
        ("src/a.rs", "// todo!() later\nfn f() { std::thread::sleep(d) }\n#[ignore = \"needs root\"]\n"),
    ];
    let fails = |file, at, remedy| check(rules::nothing_unfinished, &good, &[file], at, remedy);
    fails(("src/a.rs", "fn f() {\n    todo!()\n}\n"), "src/a.rs:2", "`todo!`");
    fails(("src/a.rs", "fn f() { std::dbg!(1); }\n"), "src/a.rs:1", "`dbg!`");
    fails(("tests/a.rs", "#[test]\n#[ignore]\nfn f() {}\n"), "tests/a.rs:2", "say why");
    fails(("tests/a.rs", "fn f() {\n    std::thread::sleep(d);\n}\n"), "tests/a.rs:2", "with a deadline");
    fails(
        ("src/a.rs", "#[cfg(test)]\nmod tests {\n    fn f() { thread::sleep(d); } // slow\n}\n"),
        "src/a.rs:3",
        "with a deadline",
    );
}

#[test]
fn rule_8_fails_on_a_comment_about_a_file_that_is_gone_and_on_a_path_of_one_machine() {
    let rule = |tree: &[Source]| rules::comments_name_what_exists(tree, |path| path == "src/io");
    let good = [
        ("src/io/poller.rs", "//! See `io/poller.rs`, `src/io`.\nconst A: &str = \"`gone.rs`\";\n"),
        ("a.md", "http://a.b/work/x, /room/work/x\n"),
    ];
    check(
        rule,
        &good,
        &[("src/a.rs", "//! x\n/* as in\n `pool/gone.rs` */\n")],
        "src/a.rs:3",
        "`pool/gone.rs` does not exist",
    );
    check(rule, &good, &[("README.md", "Look into `src/gone`.\n")], "README.md:1", "does not exist");
    let somewhere = format!("Look into ({}/me/x).\n", "/home");
    check(rule, &good, &[("README.md", &somewhere)], "README.md:1", "no path of one machine");
}
