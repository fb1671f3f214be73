//! A fork child has a copy of the memory and none of the threads: what it submits would never run, without a word.
//!
//! The system calls back in the child. Each pool that came from the parent is marked there, in the word that every submit
//! looks at anyway, so that nothing costs more; from then on it refuses, and who would wait is told. A runtime that the
//! child makes itself is like any other.
//!
//! Between the call before the fork and those after it the list is locked, so that the child finds it whole. Not a mutex of
//! std's: its guard cannot be kept from one callback to the next.

use std::cell::UnsafeCell;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Weak};

use super::{FORKED, PULSE_HALTED, Pool};

/// The pools of this process; std's atomics, because a `static` is made by a `const fn`.
struct Pools {
    locked: AtomicBool,
    hooked: AtomicBool,
    all: UnsafeCell<Vec<Weak<Pool>>>,
}

// SAFETY: `all` is touched by whoever holds `locked`.
unsafe impl Sync for Pools {}

static POOLS: Pools =
    Pools { locked: AtomicBool::new(false), hooked: AtomicBool::new(false), all: UnsafeCell::new(Vec::new()) };

impl Pools {
    fn lock(&self) {
        // Acquire: the list as the last holder left it; partner: the Release in `unlock`.
        while self.locked.swap(true, Acquire) {
            std::thread::yield_now();
        }
    }

    fn unlock(&self) {
        self.locked.store(false, Release);
    }
}

/// A fork child is to mark `pool`.
pub(super) fn watch(pool: &Arc<Pool>) {
    POOLS.lock();
    // SAFETY: locked.
    let all = unsafe { &mut *POOLS.all.get() };
    all.retain(|pool| pool.strong_count() > 0);
    all.push(Arc::downgrade(pool));
    let hooked = POOLS.hooked.swap(true, Relaxed);
    POOLS.unlock();
    #[cfg(unix)]
    if !hooked {
        // SAFETY: the three functions live as long as the process and do nothing that a fork forbids: they take and let go
        // of a flag, and store.
        let error = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(in_the_child)) };
        if error != 0 {
            log::warn!("a fork child will not be noticed: {}", std::io::Error::from_raw_os_error(error));
        }
    }
    #[cfg(not(unix))]
    let _ = hooked;
}

#[cfg(unix)]
extern "C" fn before() {
    POOLS.lock();
}

#[cfg(unix)]
extern "C" fn after() {
    POOLS.unlock();
}

#[cfg(unix)]
extern "C" fn in_the_child() {
    // SAFETY: locked by `before`, and this is the only thread.
    for pool in unsafe { &*POOLS.all.get() } {
        if let Some(pool) = pool.upgrade() {
            pool.phase.store(FORKED, Relaxed);
            pool.pulse.store(PULSE_HALTED, Relaxed);
            // Never freed here: locks in it may be held by threads that this process does not have.
            std::mem::forget(pool);
        }
    }
    POOLS.unlock();
}

impl Pool {
    /// Did this process come from a fork, and the pool with it?
    pub(crate) fn is_forked(&self) -> bool {
        self.phase.load(Relaxed) == FORKED
    }

    /// Why nothing is taken any more, to end a sentence.
    pub(crate) fn why_refused(&self) -> &'static str {
        if self.is_forked() {
            "this process is a fork child, which has none of the runtime's threads; make a Runtime in the child, or exec"
        } else {
            "its runtime was shut down"
        }
    }
}
