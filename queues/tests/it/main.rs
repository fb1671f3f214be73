//! What the queues promise, a module per behaviour.

mod apply;
mod assert;
mod blocked;
mod chains;
mod clocks;
mod concurrent;
mod endings;
mod foreign_loop;
mod fork;
mod group;
mod hierarchy;
mod inactive;
mod isolated;
mod later;
mod lifts;
mod main_queue;
mod main_turns;
mod misuse;
mod nesting;
mod odd_hours;
mod once;
mod order;
mod panics;
mod qos;
mod scope;
mod semaphore;
mod shutdown;
mod source;
mod source_end;
mod specific;
mod starfish;
mod storms;
mod suspend;
mod sync;
mod targets;
mod task;
mod ticker;
mod timers;
mod width;
mod work_item;
mod workloop;

use singletrack_queues::{Queue, Runtime};
use std::time::{Duration, Instant};

/// Far beyond anything that these tests take on a loaded machine: only a hang reaches it.
const LONG: Duration = Duration::from_secs(60);

/// A runtime of its own, so that a test neither disturbs the others nor is disturbed.
fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).name("test").build().expect("the system gives a few threads")
}

/// Waits until `condition` holds; fails with `what` when it does not in a very long time.
#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// A gate that blocks wait at until the test opens it.
#[derive(Clone, Default)]
struct Latch(std::sync::Arc<(std::sync::Mutex<bool>, std::sync::Condvar)>);

impl Latch {
    fn open(&self) {
        *self.0.0.lock().expect("no panic under it") = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().expect("no panic under it");
        let (open, _) = self.0.1.wait_timeout_while(closed, LONG, |open| !*open).expect("no panic under it");
        assert!(*open, "the test forgot to open its latch");
    }
}

/// Keeps `queue` busy until the latch is opened: its block has begun when this returns.
fn occupy(queue: &Queue) -> Latch {
    let (started, latch) = (Latch::default(), Latch::default());
    let (tell, wait) = (started.clone(), latch.clone());
    queue.submit(move || {
        tell.open();
        wait.wait();
    });
    started.wait();
    latch
}
