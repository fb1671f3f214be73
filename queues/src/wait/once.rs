//! A value that is made once, by the first caller that needs it.
//!
//! The value itself is std's `OnceLock`: a caller that finds it pays one load. This module adds the
//! failure cases. The maker and its place are recorded under a lock, so that an initializer that
//! asks for its own value is reported instead of waiting for itself. A worker that waits counts as
//! blocked, so that others go on. A panic leaves no value behind.
//!
//! | value | maker | the next caller |
//! |---|---|---|
//! | none | none | makes it |
//! | none | a thread | waits; that thread itself: a panic |
//! | some | none | takes it |
//!
//! Not for: work that must run once on a queue (`work_item`).

use std::convert::Infallible;
use std::fmt;
use std::panic::Location;
use std::sync::OnceLock;

use crate::base::sync::{Condvar, Mutex, lock, wait};
use crate::pool;
use crate::queue::{Frame, is_part_of};

/// A value that is made by the first caller that needs it: once in the process when it is a
/// `static`.
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
/// Every thread that gets the value sees all that its initializer did.
#[doc(alias = "dispatch_once_t")]
pub struct Once<T> {
    value: OnceLock<T>,
    /// The place of the call that makes the value now.
    maker: Mutex<Option<&'static Location<'static>>>,
    ended: Condvar,
}

impl<T> Once<T> {
    /// Without a value.
    ///
    /// ```
    /// use singletrack_queues::Once;
    ///
    /// static CONFIG: Once<String> = Once::new();
    ///
    /// assert!(CONFIG.get().is_none());
    /// assert_eq!(CONFIG.get_or_init(|| "port = 80".to_owned()), "port = 80");
    /// ```
    #[cfg(not(queues_loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { value: OnceLock::new(), maker: Mutex::new(None), ended: Condvar::new() }
    }

    /// Without a value; a `const fn` cannot make loom's locks.
    #[cfg(queues_loom)]
    pub fn new() -> Self {
        Self { value: OnceLock::new(), maker: Mutex::new(None), ended: Condvar::new() }
    }

    /// The value, if it was made.
    ///
    /// ```
    /// use singletrack_queues::Once;
    ///
    /// let answer = Once::new();
    /// assert_eq!(answer.get(), None);
    /// answer.get_or_init(|| 42);
    /// assert_eq!(answer.get(), Some(&42));
    /// ```
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value; makes it with `f` if there is none. Other callers wait meanwhile; on a worker a
    /// replacement thread takes over.
    ///
    /// ```
    /// use singletrack_queues::{Once, apply};
    /// use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    ///
    /// let (table, made) = (Once::new(), AtomicU32::new(0));
    /// apply(100, |_| {
    ///     table.get_or_init(|| made.fetch_add(1, Relaxed));
    /// });
    /// assert_eq!(made.into_inner(), 1);
    /// ```
    ///
    /// # Panics
    /// With the panic of `f`: there is no value then, and the next caller, or one that waits
    /// already, makes it. When `f` asks for the value that it makes: the panic names both places,
    /// instead of waiting for ever.
    #[doc(alias = "dispatch_once")]
    #[doc(alias = "dispatch_once_f")]
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

    /// Like [`get_or_init`](Self::get_or_init), with an `f` that may fail.
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

    /// The slow path.
    #[cold]
    pub(crate) fn make<E>(&self, f: impl FnOnce() -> Result<T, E>, site: &'static Location<'static>) -> Result<&T, E> {
        let mut maker = lock(&self.maker);
        if let Some(first) = *maker {
            drop(maker);
            if is_part_of(self) {
                panic!(
                    "deadlock: the initializer of a Once that was called at {first} comes back to it at {site}, and would \
                     wait for itself for ever; make what it needs there before, or in another Once"
                );
            }
            // No lock is held: it may drop user blocks, which may need this value.
            maker = pool::blocking(|| {
                let mut maker = lock(&self.maker);
                while maker.is_some() {
                    maker = wait(&self.ended, maker);
                }
                maker
            });
        }
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        *maker = Some(site);
        drop(maker);
        let mut making = Making { once: self, value: None };
        {
            let frame = Frame::part_of(self);
            let _inside = frame.enter();
            making.value = Some(f()?);
        }
        drop(making);
        match self.value.get() {
            Some(value) => Ok(value),
            None => unreachable!("it was made, and set when `making` ended"),
        }
    }
}

/// Ends the making, also when the initializer fails or panics. It sets the value, if there is one,
/// and releases the waiters.
struct Making<'a, T> {
    once: &'a Once<T>,
    value: Option<T>,
}

impl<T> Drop for Making<'_, T> {
    fn drop(&mut self) {
        let mut maker = lock(&self.once.maker);
        if let Some(value) = self.value.take() {
            self.once.value.get_or_init(|| value);
        }
        *maker = None;
        drop(maker);
        self.once.ended.notify_all();
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
