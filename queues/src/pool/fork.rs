//! A fork child has a copy of the memory and none of the threads: what it submits would never run,
//! without a word.
//!
//! The system calls back in the child. Each pool that came from the parent is marked there, in the
//! word that every submit looks at anyway, so that nothing costs more; from then on it refuses, and
//! a wait ends with an error. A runtime that the child makes itself is like any other.
//!
//! The list of pools is locked from before the fork until it was looked at, so that the child finds
//! it whole.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{FORKED, Pool, TICK_HALTED};
use crate::base::fork::{self, Kept};

/// The pools of this process. Std's lock, because a `static` is made by a `const fn`.
static POOLS: Mutex<Vec<Weak<Pool>>> = Mutex::new(Vec::new());
static KEPT: Kept<MutexGuard<'static, Vec<Weak<Pool>>>> = Kept::new();
static HOOKED: AtomicBool = AtomicBool::new(false);
/// A pool was made by this process itself.
static MADE: AtomicBool = AtomicBool::new(false);
/// The number of forks between the first process that had a pool and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Tells a process from its parent: work of the parent never ends in a child.
pub(crate) fn forks() -> u32 {
    // Relaxed: changed in a child's only thread.
    FORKS.load(Relaxed)
}

/// Was a runtime made in this process, since it was forked?
pub(super) fn made_a_runtime() -> bool {
    // Relaxed: said to people.
    MADE.load(Relaxed)
}

fn pools() -> MutexGuard<'static, Vec<Weak<Pool>>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fork child is to mark `pool`.
pub(super) fn watch(pool: &Arc<Pool>) {
    MADE.store(true, Relaxed);
    let mut all = pools();
    all.retain(|pool| pool.strong_count() > 0);
    all.push(Arc::downgrade(pool));
    drop(all);
    fork::hook(&HOOKED, before, after, in_the_child, "a fork child will not be noticed");
}

extern "C" fn before() {
    // SAFETY: before a fork, with the lock.
    unsafe { KEPT.put(pools()) };
}

extern "C" fn after() {
    // SAFETY: after the fork of `before`.
    drop(unsafe { KEPT.take() });
}

extern "C" fn in_the_child() {
    MADE.store(false, Relaxed);
    FORKS.fetch_add(1, Relaxed);
    // SAFETY: after the fork of `before`, in the only thread.
    let all = unsafe { KEPT.take() };
    for pool in all.iter().flat_map(|all| all.iter()) {
        if let Some(pool) = pool.upgrade() {
            pool.phase.store(FORKED, Relaxed);
            pool.tick.store(TICK_HALTED, Relaxed);
            // Never freed here: locks in it may be held by threads that this process does not have.
            std::mem::forget(pool);
        }
    }
}
