//! The server as its peers see it, and channels: real sockets, servers and files, one module per behaviour.
//!
//! Rules: a test waits for a condition with a deadline, never for a time; nothing here asserts how fast something is, except
//! in comparison with itself in the same run.

mod channel;
mod client;
mod event_descriptors;
mod event_ends;
mod event_files;
mod event_idle;
mod event_memory;
mod event_processes;
mod event_signals;
mod event_terminals;
mod files;
mod handlers;
mod http;
mod idle;
mod load;
mod refusals;
mod rooms;
mod slow;
mod stop;
mod stuck;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use singletrack::{Limits, RunningServer, Server, ServerBuilder};

/// After this long a condition counts as never coming true.
const DEADLINE: Duration = Duration::from_secs(20);

/// A server on a port of its own.
fn serve(change: impl FnOnce(ServerBuilder) -> ServerBuilder) -> RunningServer {
    let builder = Server::builder().listen("127.0.0.1:0").workers(2);
    change(builder).build().expect("build").start().expect("start")
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// Waits until something holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "still not so after {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2)); // between two looks: the condition has a deadline
    }
}

/// One figure of `/metrics`.
fn metric(address: SocketAddr, name: &str) -> u64 {
    let page = client::get(address, "/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("singletrack_{name} ")));
    line.map_or(0, |value| value.parse().expect("a number"))
}

/// An empty folder that no other test uses.
fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("singletrack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a place for temporary files");
    folder
}
