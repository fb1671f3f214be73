//! Threads that are no workers and run blocks of a queue, because they wait for one of the blocks:
//! the pool's record of them.
//!
//! A queue that is drained this way counts as [outside](Pool::waits_outside) the pool. Its blocks
//! are reported when they are stuck, as those of workers are. Not for: which thread may do so, and
//! how far it goes (`queue/help`).

use std::cell::Cell;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::Pool;
use super::slot::Stuck;
use crate::base::catch;
use crate::base::sync::atomic::{
    AtomicPtr, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use crate::base::sync::{Mutex, lock};

/// The helpers of a pool.
#[derive(Default)]
pub(super) struct Helpers {
    now: Mutex<Vec<Entry>>,
    /// The number of blocks that helpers ran.
    ran: AtomicU64,
}

/// A [`Helper`] that does not move until its entry is removed.
struct Entry(NonNull<Helper>);

// SAFETY: the helper is read only under the lock, and changed by one atomic.
unsafe impl Send for Entry {}

/// A thread that drains a queue of that label. On its stack.
pub(crate) struct Helper {
    label: *const str,
    site: AtomicPtr<Location<'static>>,
}

impl Helper {
    /// A block begins.
    pub(crate) fn block(&self, site: &'static Location<'static>) {
        // Release: partner is the Acquire in `stuck`.
        self.site.store(ptr::from_ref(site).cast_mut(), Release);
    }
}

impl Helpers {
    pub(super) fn ran(&self) -> u64 {
        self.ran.load(Relaxed)
    }

    pub(super) fn stuck(&self) -> Vec<Stuck> {
        let of = |entry: &Entry| {
            // SAFETY: under the lock, the helper exists, and so does the queue that has the label.
            // Only locations that live for ever are stored.
            unsafe {
                let helper = entry.0.as_ref();
                let site = helper.site.load(Acquire).as_ref();
                site.map(|site| Stuck { label: (*helper.label).to_owned(), site: Some(site) })
            }
        };
        lock(&self.now).iter().filter_map(of).collect()
    }
}

thread_local! {
    /// The pool whose blocks this thread runs as a helper.
    static HELPED: Cell<*const Arc<Pool>> = const { Cell::new(ptr::null()) };
}

/// The pool whose blocks this thread runs as a helper.
pub(super) fn helped() -> Option<&'static Arc<Pool>> {
    // SAFETY: `helps` keeps it, and takes it out before it returns. The `'static` never leaves code
    // that runs meanwhile.
    unsafe { HELPED.get().as_ref() }
}

impl Pool {
    /// Runs `drain` on this thread, which the pool knows as a helper meanwhile. `drain` returns the
    /// number of blocks that it ran.
    pub(crate) fn helps(self: &Arc<Self>, label: &str, drain: impl FnOnce(&Helper) -> u64) {
        let helper = Helper { label, site: AtomicPtr::new(ptr::null_mut()) };
        self.waits_outside();
        lock(&self.helpers.now).push(Entry(NonNull::from(&helper)));
        let before = HELPED.replace(self);
        let ran = catch::never_unwinds(|| drain(&helper));
        HELPED.set(before);
        lock(&self.helpers.now).retain(|entry| entry.0 != NonNull::from(&helper));
        // This comes before the queue stops counting as outside: a shutdown that finds the pool
        // quiet has counted all blocks that ran.
        self.helpers.ran.fetch_add(ran, Relaxed);
        self.waited_outside();
    }
}
