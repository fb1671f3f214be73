//! Locks that a process holds while it forks, so that the child finds what they guard intact.
//!
//! The system calls one function before a fork and one after it, in the parent and in the child.
//! The guards of the locks are [kept](Kept) from the one to the other. Not for: what a child does
//! with what it inherits (`memory`, `pool/fork`).

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::base::report;

/// The guards of locks that the function before a fork leaves for the one after it.
pub(crate) struct Kept<T>(UnsafeCell<Option<T>>);

// SAFETY: only the thread that forks touches it, or its copy in the child; see `put`.
unsafe impl<T> Sync for Kept<T> {}

impl<T> Kept<T> {
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(None))
    }

    /// # Safety
    /// Called before a fork. `guards` hold locks that every caller takes first, so no other thread
    /// is between this and [`take`](Self::take).
    pub(crate) unsafe fn put(&self, guards: T) {
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() = Some(guards) };
    }

    /// # Safety
    /// Called after a fork, by the thread that called [`put`](Self::put), or by its copy.
    pub(crate) unsafe fn take(&self) -> Option<T> {
        // SAFETY: the caller's promise.
        unsafe { (*self.0.get()).take() }
    }
}

/// From now on, forks call these; `hooked` knows whether they do already. `risk` is reported if the
/// system refuses.
#[inline]
pub(crate) fn hook(
    hooked: &AtomicBool,
    before: unsafe extern "C" fn(),
    after: unsafe extern "C" fn(),
    in_the_child: unsafe extern "C" fn(),
    risk: &str,
) {
    if cfg!(not(unix)) || hooked.load(Relaxed) || hooked.swap(true, Relaxed) {
        return;
    }
    #[cfg(unix)]
    // SAFETY: the functions live as long as the process. They do nothing that a fork forbids: they
    // take locks and let go of them, and store.
    let error = unsafe { libc::pthread_atfork(Some(before), Some(after), Some(in_the_child)) };
    #[cfg(not(unix))]
    let (error, _) = (0, (before, after, in_the_child));
    if error != 0 {
        report::warn(format_args!("{risk}: {}", std::io::Error::from_raw_os_error(error)));
    }
}
