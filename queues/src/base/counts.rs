//! Counts the handles and the weak references of a queue, a source or an isolated value. std's
//! `Arc` in half the space.
//!
//! | handles | weak | what is there |
//! |---|---|---|
//! | some | one more than there are | the content |
//! | none | one more | the last handle went, and the thread that dropped it ends the content |
//! | none | some | the memory alone: nobody becomes a handle any more |
//! | none | none | nothing: the thread that took the last count frees the memory |
//!
//! All handles together are one weak reference. Not for: what ends, and how it is freed
//! (`queue/life`, `source`, `kinds/isolated`).

use crate::base::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

/// Nobody has so many: they are forgotten ones, and the count must not wrap.
const TOO_MANY: u32 = u32::MAX / 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Counts {
    handles: AtomicU32,
    weak: AtomicU32,
}

impl Counts {
    /// Of one handle.
    pub(crate) fn new() -> Self {
        Self { handles: AtomicU32::new(1), weak: AtomicU32::new(1) }
    }

    /// One handle more, made from one that there is.
    #[inline]
    pub(crate) fn add_handle(&self) {
        Self::add(&self.handles);
    }

    /// One more weak reference, made from a handle or from another one.
    pub(crate) fn add_weak(&self) {
        Self::add(&self.weak);
    }

    #[inline]
    fn add(count: &AtomicU32) {
        // Relaxed: made from one that exists, which keeps everything in place.
        if count.fetch_add(1, Relaxed) > TOO_MANY {
            std::process::abort();
        }
    }

    /// One handle less. `true`: it was the last, and the caller ends the content, then removes
    /// one weak reference.
    #[inline]
    #[must_use]
    pub(crate) fn remove_handle(&self) -> bool {
        Self::remove(&self.handles)
    }

    /// One weak reference less. `true`: it was the last, and the caller frees the memory.
    #[must_use]
    pub(crate) fn remove_weak(&self) -> bool {
        Self::remove(&self.weak)
    }

    #[inline]
    fn remove(count: &AtomicU32) -> bool {
        // Release: what was done by this one happens before the end; partner: the fence of the
        // last.
        if count.fetch_sub(1, Release) != 1 {
            return false;
        }
        fence(Acquire);
        true
    }

    /// One more weak reference, unless the last one is gone. `false`: it is.
    pub(crate) fn add_weak_if_any(&self) -> bool {
        Self::add_if_any(&self.weak)
    }

    /// A weak reference becomes a handle, unless the last one is gone.
    pub(crate) fn become_handle(&self) -> bool {
        Self::add_if_any(&self.handles)
    }

    fn add_if_any(count: &AtomicU32) -> bool {
        let step = |count: u32| match count {
            0 => None,
            TOO_MANY.. => std::process::abort(),
            _ => Some(count + 1),
        };
        // Relaxed: this thread learnt of the content after it was made.
        count.fetch_update(Relaxed, Relaxed, step).is_ok()
    }
}
