//! How a workload fails: at once, with a sentence that names the workload and the peer, and exit
//! status 1.
//!
//! A broken runtime may hang when it is torn down, so a failure ends the process at once, without
//! unwinding. Also here: the latch with which every workload waits (it fails with a message when
//! blocks were lost) and the random numbers, seeded so that every peer gets the same work.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a workload may go without finishing before its work counts as lost.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

static RUNNING: Mutex<String> = Mutex::new(String::new());

/// Names the running workload for the sentence of a failure.
pub(crate) fn now_running(w: &str, peer: &str) {
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = format!("{w} on {peer}");
}

/// Ends the process with status 1 and a sentence.
pub(crate) fn fail(sentence: &str) -> ! {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    eprintln!("workloads: {running}: wrong result: {sentence}.");
    std::process::exit(1)
}

/// From now on the process may take this long; then it ends with status 1 and a sentence. This is
/// for waits that have no time limit of their own.
pub(crate) fn end_after(limit: Duration) {
    thread::spawn(move || {
        thread::sleep(limit);
        fail(&format!("it did not finish within {} s", limit.as_secs()));
    });
}

/// Fails unless both are equal.
pub(crate) fn equal<T: PartialEq + Debug>(what: &str, got: T, expected: T) {
    if got != expected {
        fail(&format!("{what}: {got:?} instead of {expected:?}"));
    }
}

/// Counts down to zero from any thread; the thread that made it waits for that.
pub(crate) struct Latch {
    left: AtomicU64,
    waiter: Thread,
}

impl Latch {
    pub(crate) fn new(count: u64) -> Arc<Latch> {
        Arc::new(Latch { left: AtomicU64::new(count), waiter: thread::current() })
    }

    pub(crate) fn down(&self) {
        // AcqRel: the work before each count is visible to the waiter, whose load of zero acquires
        // it.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiter.unpark();
        }
    }

    /// Waits for zero; fails when it does not come.
    pub(crate) fn wait(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.left.load(Ordering::Acquire);
            if left == 0 {
                return;
            }
            let now = Instant::now();
            if now >= deadline {
                let waited = PATIENCE.as_secs();
                fail(&format!("{what}: {} still missing after {waited} s", left as i64));
            }
            thread::park_timeout(deadline - now);
        }
    }
}

/// A small random generator (xorshift64*): the same seed gives the same work.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        (high * bound) >> 32
    }
}
