//! The promises of the queues, a module per behaviour.

mod apply;
mod assert;
mod bench_ratio;
mod blocked;
mod boosts;
mod chains;
#[cfg(unix)]
#[path = "../../../tests/process/child.rs"]
mod child;
mod clocks;
mod concurrent;
mod concurrent_isolated;
mod deferred;
mod edges;
mod endings;
mod for_another;
mod foreign_loop;
mod fork;
mod group;
mod hierarchy;
mod inactive;
mod isolated;
mod looks;
mod main_queue;
mod main_turns;
mod misuse;
mod nesting;
mod once;
mod order;
mod panics;
mod permits;
mod qos;
mod random_programs;
mod reentrancy;
mod runtimes;
mod scope;
mod semaphore;
mod shutdown;
mod source;
mod source_end;
mod source_kinds;
mod specific;
mod starfish;
mod storms;
mod suspend;
mod sync;
mod targets;
mod task;
mod ticker;
mod timers;
mod turns;
mod weak;
mod width;
mod work_item;
mod workloop;

use singletrack_queues::{Queue, Runtime, Task};
use std::time::{Duration, Instant};

/// Far longer than any of these tests takes on a loaded machine: only a hang reaches it.
const LONG: Duration = Duration::from_secs(60);

/// A runtime for one test, so that the tests do not disturb each other.
fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).name("test").build().expect("the system gives a few threads")
}

/// Waits until `condition` holds; fails with `what` when it does not in a very long time.
#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "timed out waiting for: {what}");
        std::thread::yield_now();
    }
}

/// The value of `task`, whose block a worker runs. With a time limit, because a thread that waits
/// without one runs the blocks of the queue itself.
#[track_caller]
fn by_a_worker<T>(mut task: Task<T>) -> T {
    task.wait_timeout(LONG).expect("a worker comes to it").expect("it does not panic")
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
