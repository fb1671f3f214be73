//! A logger is user code: it may wait for queues, submit to them, panic, or hang.

use crate::child::in_a_process;
use singletrack_queues::{Group, Parker, Queue, Runtime};
use std::io::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

struct Calls(fn(&str));

impl log::Log for Calls {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        (self.0)(&record.args().to_string());
    }

    fn flush(&self) {}
}

/// Makes `log` the logger of this process, which is a child.
pub(super) fn log_by(log: fn(&str)) {
    log::set_logger(Box::leak(Box::new(Calls(log)))).expect("the first in this process");
    log::set_max_level(log::LevelFilter::Warn);
}

/// Makes standard error the log of this process, which is a child.
pub(super) fn log_to_stderr() {
    log_by(|line| writeln!(std::io::stderr(), "logged: {line}").expect("stderr"));
}

static LOG_QUEUE: OnceLock<Queue> = OnceLock::new();

fn log_queue() -> &'static Queue {
    LOG_QUEUE.get().expect("made before anything is logged")
}

fn runtime() -> Runtime {
    Runtime::builder().workers(2).build().expect("a few threads")
}

#[test]
fn a_logger_that_syncs_survives_a_panic_on_its_own_queue() {
    let name = "edges::logging::a_logger_that_syncs_survives_a_panic_on_its_own_queue";
    let (ended, text) = in_a_process(name, || {
        let runtime = runtime();
        LOG_QUEUE.set(runtime.queue("log")).expect("once");
        log_by(|line| log_queue().sync(|| writeln!(std::io::stderr(), "logged: {line}").expect("stderr")));
        let other = runtime.queue("other");
        other.submit(|| panic!("sour apple"));
        log_queue().submit(|| panic!("sour grape"));
        other.sync(|| log_queue().sync(|| ()));
    })
    .expect("no hang");
    assert!(ended, "{text}");
    let line = |word: &str| text.lines().find(|line| line.contains("block on") && line.contains(word));
    assert!(line("sour apple").is_some_and(|line| line.starts_with("logged: ")), "{text}");
    // The logger cannot take the message, so it goes to standard error, with the reason.
    assert!(line("sour grape").is_some_and(|line| line.contains("deadlock")), "{text}");
}

#[test]
fn a_logger_that_submits_to_a_dead_queue_is_not_called_for_what_that_says() {
    let name = "edges::logging::a_logger_that_submits_to_a_dead_queue_is_not_called_for_what_that_says";
    let (ended, text) = in_a_process(name, || {
        let runtime = runtime();
        LOG_QUEUE.set(runtime.queue("log")).expect("once");
        log_by(|_| log_queue().submit(|| ()));
        runtime.shutdown(Duration::from_secs(5));
        runtime.queue("late").submit(|| ());
        runtime.queue("later").submit(|| ());
    })
    .expect("no hang");
    assert!(ended, "{text}");
    let refused = text.lines().filter(|line| line.contains("\"log\"") && line.contains("dropped"));
    assert_eq!(refused.count(), 2, "each time it is said once, without the logger: {text}");
}

#[test]
fn the_last_words_need_no_logger() {
    struct Sour;
    impl Parker for Sour {
        fn park(&self, _: Option<Duration>, awake: &mut dyn FnMut()) {
            std::thread::yield_now();
            awake();
        }

        fn poll(&self) {}

        fn unpark(&self) {
            panic!("a parker panics");
        }
    }
    let name = "edges::logging::the_last_words_need_no_logger";
    let (ended, text) = in_a_process(name, || {
        log_by(|_| {
            loop {
                std::thread::park();
            }
        });
        let runtime = Runtime::builder().workers(1).parkers(|_| Ok(Arc::new(Sour))).build().expect("a few threads");
        runtime.shutdown(Duration::ZERO);
    })
    .expect("a logger that hangs does not keep the process from its abort");
    assert!(!ended && text.contains("a parker panics"), "{text}");
    assert!(text.contains("panic in the middle of the runtime"), "{text}");
}

#[test]
fn a_label_forges_no_line_of_the_log() {
    let name = "edges::logging::a_label_forges_no_line_of_the_log";
    let (ended, text) = in_a_process(name, || {
        log_to_stderr();
        let runtime = runtime();
        let queue = runtime.queue("forged\nERROR \u{1b}[31mall is lost");
        queue.submit(|| panic!("sour"));
        queue.sync(|| ());
        runtime.shutdown(Duration::from_secs(5));
        queue.submit(|| ());
    })
    .expect("no hang");
    assert!(ended, "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("logged: ")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines.iter().all(|line| line.contains(r"forged\nERROR \u{1b}[31mall is lost")), "{text}");
}

#[test]
fn only_what_a_group_was_left_with_is_reported() {
    let name = "edges::logging::only_what_a_group_was_left_with_is_reported";
    let (ended, text) = in_a_process(name, || {
        log_to_stderr();
        let groups = [Group::new(), Group::new()];
        groups.iter().for_each(Group::enter);
        groups[0].leave().expect("entered above");
    })
    .expect("no hang");
    assert!(ended, "{text}");
    assert_eq!(text.lines().filter(|line| line.contains("1 had entered and not left")).count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("logged: ")).count(), 1, "{text}");
}
