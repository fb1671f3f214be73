//! A chain of targets has a limit, and up to the limit everything works on the stacks that threads
//! have.

use super::HANG;
use crate::child::alone;
use crate::{Latch, runtime};
use singletrack_queues::{ConcurrentQueue, Queue, Runtime, TargetQueue};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A queue of either kind, so that chains can be mixed.
#[derive(Clone)]
enum Either {
    Serial(Queue),
    Concurrent(ConcurrentQueue),
}

impl Either {
    fn on(runtime: &Runtime, serial: bool) -> Self {
        if serial {
            Self::Serial(Queue::builder("deep.base").runtime(runtime).build())
        } else {
            Self::Concurrent(ConcurrentQueue::builder("deep.base").runtime(runtime).build())
        }
    }

    fn above(&self, serial: bool) -> Self {
        let target = match self {
            Self::Serial(queue) => TargetQueue::from(queue),
            Self::Concurrent(queue) => TargetQueue::from(queue),
        };
        if serial {
            Self::Serial(Queue::builder("deep").target(target).build())
        } else {
            Self::Concurrent(ConcurrentQueue::builder("deep").target(target).build())
        }
    }

    fn submit(&self, f: impl FnOnce() + Send + 'static) {
        match self {
            Self::Serial(queue) => queue.submit(f),
            Self::Concurrent(queue) => queue.submit(f),
        }
    }

    fn sync<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        match self {
            Self::Serial(queue) => queue.sync(f),
            Self::Concurrent(queue) => queue.sync(f),
        }
    }

    fn suspend(&self) {
        match self {
            Self::Serial(queue) => queue.suspend(),
            Self::Concurrent(queue) => queue.suspend(),
        }
    }
}

/// A chain of the greatest depth: its base and its last queue.
fn chain(runtime: &Runtime, kind: fn(usize) -> bool) -> (Either, Either) {
    let base = Either::on(runtime, kind(0));
    let mut queue = base.clone();
    for level in 1..Queue::MAX_LEVELS {
        queue = queue.above(kind(level));
    }
    (base, queue)
}

const KINDS: [fn(usize) -> bool; 3] = [|_| true, |_| false, |level| level % 2 == 0];

#[test]
fn a_chain_of_targets_beyond_the_limit_is_refused_with_a_sentence() {
    let runtime = runtime(1);
    for kind in KINDS {
        let (_base, deepest) = chain(&runtime, kind);
        for serial in [true, false] {
            let error = catch_unwind(AssertUnwindSafe(|| deepest.above(serial))).map(drop).expect_err("too deep");
            let text = error.downcast_ref::<String>().expect("a sentence");
            let parts = ["\"deep\"", "levels", &Queue::MAX_LEVELS.to_string(), "depth.rs"];
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}

#[test]
fn at_the_limit_blocks_run_wait_and_are_dropped_on_the_stacks_that_threads_have() {
    let name = "edges::depth::at_the_limit_blocks_run_wait_and_are_dropped_on_the_stacks_that_threads_have";
    // In a process of its own, because a stack overflow ends the process.
    alone(name, || KINDS.into_iter().for_each(at_the_limit));
}

fn at_the_limit(kind: fn(usize) -> bool) {
    let runtime = runtime(1);
    let (base, deepest) = chain(&runtime, kind);
    let (tell, told) = channel();
    deepest.submit(move || tell.send(()).expect("the test waits"));
    told.recv_timeout(HANG).expect("it runs");
    // At once, and behind a busy base.
    assert_eq!(deepest.sync(|| 7), 7);
    let (busy, leave) = (Latch::default(), Latch::default());
    let (began, wait) = (busy.clone(), leave.clone());
    base.submit(move || {
        began.open();
        wait.wait();
    });
    busy.wait();
    let waiting = deepest.clone();
    let waiter = std::thread::spawn(move || waiting.sync(|| 8));
    leave.open();
    assert_eq!(waiter.join().ok(), Some(8));
    drop((base, deepest));
    // Blocks that are dropped unrun.
    let (base, deepest) = chain(&runtime, kind);
    base.suspend();
    deepest.submit(|| ());
    drop(deepest);
    assert_eq!(runtime.shutdown(Duration::from_millis(1)).dropped, 1);
    drop(base);
}
