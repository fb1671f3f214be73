//! Queues of either kind in a hierarchy, and blocks that, when broken on purpose, go around it.

use std::time::{Duration, Instant};

use singletrack::queues::{ConcurrentQueue, Queue, Runtime};

use super::Now;
use crate::stress::fault::Fault;

/// The longest that a block that goes around its hierarchy waits for the moment in which that
/// shows.
const MOMENT: Duration = Duration::from_millis(20);

/// A queue of either kind.
#[derive(Clone, Debug)]
pub(crate) enum Either {
    /// One block at a time.
    Serial(Queue),
    /// Blocks together, barriers alone.
    Concurrent(ConcurrentQueue),
}

impl Either {
    /// Submits a block.
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&self, f: F) {
        match self {
            Either::Serial(queue) => queue.submit(f),
            Either::Concurrent(queue) => queue.submit(f),
        }
    }

    /// Runs a block and waits for it.
    pub(crate) fn sync<F: FnOnce() + Send>(&self, f: F) {
        match self {
            Either::Serial(queue) => queue.sync(f),
            Either::Concurrent(queue) => queue.sync(f),
        }
    }

    /// Submits a block that is alone in this queue.
    pub(crate) fn barrier<F: FnOnce() + Send + 'static>(&self, f: F) {
        match self {
            Either::Serial(queue) => queue.submit(f),
            Either::Concurrent(queue) => queue.barrier(f),
        }
    }

    /// Runs a block that is alone in this queue and waits for it. Everything before it has ended
    /// then.
    pub(crate) fn barrier_sync<F: FnOnce() + Send>(&self, f: F) {
        match self {
            Either::Serial(queue) => queue.sync(f),
            Either::Concurrent(queue) => queue.barrier_sync(f),
        }
    }
}

/// Submits to a hierarchy, for one thread.
#[derive(Clone, Debug)]
pub(crate) struct Chains {
    now: Now,
    /// A queue in no hierarchy.
    stray: ConcurrentQueue,
}

impl Chains {
    /// The verbs of a thread.
    pub(crate) fn new(runtime: &Runtime, fault: Option<Fault>) -> Chains {
        let stray = ConcurrentQueue::builder("stray").runtime(runtime).build();
        Chains { now: Now { fault, calls: 0 }, stray }
    }

    /// As [`Either::submit`]. `is_full` and `has_barrier` report when a block that goes around the
    /// hierarchy is one too many, or beside a barrier.
    pub(crate) fn submit<F, A, B>(&mut self, queue: &Either, is_full: A, has_barrier: B, f: F)
    where
        F: FnOnce() + Send + 'static,
        A: Fn() -> bool + Send + 'static,
        B: Fn() -> bool + Send + 'static,
    {
        if self.now.is_due(Fault::WidthExceeded) {
            self.stray.submit(move || at_the_moment(is_full, f));
        } else if self.now.is_due(Fault::BarrierBypassed) {
            self.stray.submit(move || at_the_moment(has_barrier, f));
        } else {
            queue.submit(f);
        }
    }

    /// Waits until the blocks that went around the hierarchy have run.
    pub(crate) fn settle(&self) {
        self.stray.barrier_sync(|| ());
    }
}

fn at_the_moment(has_come: impl Fn() -> bool, f: impl FnOnce()) {
    let end = Instant::now() + MOMENT;
    while !has_come() && Instant::now() < end {
        std::hint::spin_loop();
    }
    f();
}
