//! Who keeps a source: handles, and those that only know of it. std's `Arc` in half the space.
//!
//! | handles | knowing | what is there |
//! |---|---|---|
//! | some | one more than there are | the content |
//! | none | one more | the last handle went, and whoever dropped it ends the content |
//! | none | some | the memory alone: nobody becomes a handle any more |
//! | none | none | nothing: whoever took the last count frees the memory |
//!
//! All handles together are one of those who know. Not for: what ends, and how it is freed (`source`).

use crate::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};
use crate::sync::{order_unless, planted};

/// Nobody has so many: they are forgotten ones, and the count must not wrap.
const TOO_MANY: u32 = u32::MAX / 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Counts {
    handles: AtomicU32,
    knowing: AtomicU32,
}

impl Counts {
    /// Of one handle.
    pub(crate) fn new() -> Self {
        Self { handles: AtomicU32::new(1), knowing: AtomicU32::new(1) }
    }

    /// One handle more, made from one that there is.
    #[inline]
    pub(crate) fn add_handle(&self) {
        Self::add(&self.handles);
    }

    /// One more who knows, told by a handle or by another who knows.
    pub(crate) fn add_knowing(&self) {
        Self::add(&self.knowing);
    }

    #[inline]
    fn add(count: &AtomicU32) {
        // Relaxed: made from one that exists, which keeps everything in place.
        if count.fetch_add(1, Relaxed) > TOO_MANY {
            std::process::abort();
        }
    }

    /// One handle less. `true`: it was the last, and the caller ends the content, then takes away one who knows.
    #[inline]
    #[must_use]
    pub(crate) fn remove_handle(&self) -> bool {
        Self::remove(&self.handles, "counts: a handle does not release", "counts: the last handle does not acquire")
    }

    /// One less who knows. `true`: nobody is left, and the caller frees the memory.
    #[must_use]
    pub(crate) fn remove_knowing(&self) -> bool {
        Self::remove(&self.knowing, "counts: who knew does not release", "counts: the last who knew does not acquire")
    }

    #[inline]
    fn remove(count: &AtomicU32, releases: &str, acquires: &str) -> bool {
        // Release: what was done by this one happens before the end; partner: the fence of the last.
        if count.fetch_sub(1, order_unless(releases, Release)) != 1 {
            return false;
        }
        if !planted(acquires) {
            fence(Acquire);
        }
        true
    }

    /// Who knows becomes a handle, unless the last one is gone.
    pub(crate) fn become_handle(&self) -> bool {
        let step = |handles: u32| match handles {
            0 if !planted("counts: an ended source has a handle again") => None,
            TOO_MANY.. => std::process::abort(),
            _ => Some(handles + 1),
        };
        // Relaxed: whoever told this one of the source did so after it was made.
        self.handles.fetch_update(Relaxed, Relaxed, step).is_ok()
    }
}
