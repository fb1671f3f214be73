//! Channels and event sources on real descriptors, files, signals and processes, one module per
//! behaviour.
//!
//! Rules: a test waits for a condition with a deadline, never for a time; nothing here asserts how
//! fast something is, except in comparison with itself in the same run.

mod channel;
#[path = "../../../tests/process/child.rs"]
mod child;
mod edges;
mod event_descriptors;
mod event_ends;
mod event_files;
mod event_idle;
mod event_lent;
mod event_memory;
mod event_processes;
mod event_signals;
mod event_terminals;

use std::time::{Duration, Instant};

/// A condition that is not true after this long counts as a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until a condition holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "still not so after {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2)); // between two looks: the condition has a deadline
    }
}

/// Makes an empty folder that no other test uses.
fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("singletrack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a place for temporary files");
    folder
}
