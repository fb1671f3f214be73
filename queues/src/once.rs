//! A value that is made once, by whoever needs it first.
//!
//! The value itself is std's `OnceLock`: who finds it pays one load. What is added is all that goes wrong with it: who makes
//! it, and where, is known under a lock, so that an initializer that comes back to its own value is reported instead of
//! waiting for itself; who waits on a worker counts as blocked, so that others go on; and a panic leaves nothing behind.
//!
//! | value | maker | who comes |
//! |---|---|---|
//! | none | none | makes it |
//! | none | a thread | waits; that thread itself: a panic |
//! | some | none | takes it |
//!
//! Not for: work that is to be done once on a queue (`work_item`).

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;

use crate::pool;
use crate::sync::{Condvar, Mutex, lock, planted, thread, wait};

/// A value that is made by the first who needs it, once in the process when it is a `static`.
///
/// ```
/// use singletrack_queues::Once;
///
/// static TABLE: Once<Vec<u32>> = Once::new();
///
/// fn table() -> &'static [u32] {
///     TABLE.get_or_init(|| (0..100).map(|n| n * n).collect())
/// }
/// assert_eq!(table()[7], 49);
/// ```
///
/// Everybody who gets the value sees all that its initializer did.
pub struct Once<T> {
    value: OnceLock<T>,
    maker: Mutex<Option<Maker>>,
    ended: Condvar,
}

/// Who makes the value now.
#[derive(Clone, Copy)]
struct Maker {
    thread: thread::ThreadId,
    site: &'static Location<'static>,
}

impl<T> Once<T> {
    /// Without a value.
    #[cfg(not(queues_loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { value: OnceLock::new(), maker: Mutex::new(None), ended: Condvar::new() }
    }

    /// Without a value; loom's locks are not made by a `const fn`.
    #[cfg(queues_loom)]
    pub fn new() -> Self {
        Self { value: OnceLock::new(), maker: Mutex::new(None), ended: Condvar::new() }
    }

    /// The value, if it was made.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value; makes it with `f` if nobody did. Who comes meanwhile waits; on a worker a stand-in takes over.
    ///
    /// # Panics
    /// With the panic of `f`: there is no value then, and the next one who comes, or waits already, makes it. With a
    /// sentence that names both places, instead of waiting for ever, when `f` comes back to the value that it makes.
    #[track_caller]
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => match self.make::<Infallible>(|| Ok(f()), Location::caller()) {
                Ok(value) => value,
                Err(never) => match never {},
            },
        }
    }

    /// As [`get_or_init`](Self::get_or_init), with an `f` that may fail.
    ///
    /// ```
    /// # use singletrack_queues::Once;
    /// let port = Once::new();
    /// assert!(port.get_or_try_init(|| "eighty".parse::<u16>()).is_err());
    /// assert_eq!(port.get_or_try_init(|| "80".parse::<u16>()), Ok(&80));
    /// ```
    ///
    /// # Errors
    /// That of `f`: there is no value then, as after a panic.
    ///
    /// # Panics
    /// As [`get_or_init`](Self::get_or_init).
    #[track_caller]
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        match self.get() {
            Some(value) => Ok(value),
            None => self.make(f, Location::caller()),
        }
    }

    /// All but the fast path.
    #[cold]
    pub(crate) fn make<E>(&self, f: impl FnOnce() -> Result<T, E>, site: &'static Location<'static>) -> Result<&T, E> {
        let thread = thread::current().id();
        let mut maker = lock(&self.maker);
        if let Some(first) = maker.filter(|first| first.thread == thread) {
            drop(maker);
            panic!(
                "deadlock: the initializer of a Once that was called at {} comes back to it at {site}, and would wait for \
                 itself for ever; make what it needs there before, or in another Once",
                first.site
            );
        }
        if maker.is_some() {
            maker = pool::blocking(|| {
                let mut maker = maker;
                while maker.is_some() && !planted("once: who waits does not look again") {
                    maker = wait(&self.ended, maker);
                }
                maker
            });
        }
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        *maker = Some(Maker { thread, site });
        drop(maker);
        let mut making = Making { once: self, value: None };
        making.value = Some(f()?);
        drop(making);
        match self.value.get() {
            Some(value) => Ok(value),
            None => unreachable!("it was made, and set when `making` ended"),
        }
    }
}

/// Ends the making, also when the initializer fails or panics: sets the value, if there is one, and lets go of those who wait.
struct Making<'a, T> {
    once: &'a Once<T>,
    value: Option<T>,
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        let mut maker = lock(&self.once.maker);
        if let Some(value) = self.value.take() {
            self.once.value.get_or_init(|| value);
        } else if planted("once: a failed initializer stays the maker") {
            return;
        }
        *maker = None;
        drop(maker);
        if !planted("once: the end rings no bell") {
            self.once.ended.notify_all();
        }
    }
}

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for Once<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Once").field(&self.get()).finish()
    }
}
