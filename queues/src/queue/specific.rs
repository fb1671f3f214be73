//! Values that belong to a queue, found by a typed key: on the queue itself, or else on its target,
//! and so on.
//!
//! Values are counted, so the caller may keep a value that it found. A value that was replaced or
//! removed is returned, so that it is dropped outside the lock. Not for: where a queue keeps them
//! (`values`), state that blocks change (`isolated`).

use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use super::level::{Head, Level};
use super::values::Value;
use super::{Queue, current};

/// Names a value of type `T` that queues may have, see [`Queue::set_specific`]. Make it a `static`:
/// its address is its identity.
///
/// ```
/// use singletrack_queues::{Queue, SpecificKey};
///
/// static TENANT: SpecificKey<&str> = SpecificKey::new();
///
/// let tenant = Queue::new("tenant");
/// tenant.set_specific(&TENANT, "acme");
/// let orders = Queue::builder("orders").target(&tenant).build();
/// assert_eq!(orders.sync(|| TENANT.current().as_deref().copied()), Some("acme"));
/// assert!(TENANT.current().is_none(), "on no queue");
/// ```
///
/// A `const` has no address, so it does not compile as a key:
///
/// ```compile_fail,E0716
/// # use singletrack_queues::{Queue, SpecificKey};
/// const TENANT: SpecificKey<u32> = SpecificKey::new();
/// Queue::new("tenant").set_specific(&TENANT, 7);
/// ```
pub struct SpecificKey<T> {
    /// Never used. It gives the key a size, so that no two keys share an address, and keeps the
    /// compiler from copying constants. It is std's own, because it is in a `const fn`.
    _place: std::sync::atomic::AtomicU8,
    _value: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> SpecificKey<T> {
    /// A new key, different from all others.
    ///
    /// ```
    /// use singletrack_queues::{Queue, SpecificKey};
    ///
    /// static USER: SpecificKey<String> = SpecificKey::new();
    /// static TRACE: SpecificKey<u64> = SpecificKey::new();
    ///
    /// let session = Queue::new("session");
    /// session.set_specific(&USER, "ada".to_owned());
    /// assert!(session.get_specific(&TRACE).is_none(), "another key");
    /// ```
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a key is a static, which a Default cannot make")]
    pub const fn new() -> Self {
        Self { _place: std::sync::atomic::AtomicU8::new(0), _value: PhantomData }
    }

    /// The value of the queue whose block this thread runs, or of the first queue up its target
    /// chain that has one. `None` outside of queues.
    ///
    /// Queues further out, in whose blocks this one is a `sync`, are not asked.
    ///
    /// ```
    /// use singletrack_queues::{Queue, SpecificKey};
    ///
    /// static TRACE: SpecificKey<u64> = SpecificKey::new();
    ///
    /// fn log(line: &str) -> String {
    ///     format!("[{}] {line}", TRACE.current().map_or(0, |trace| *trace))
    /// }
    /// let request = Queue::new("request");
    /// request.set_specific(&TRACE, 42);
    /// assert_eq!(request.sync(|| log("began")), "[42] began");
    /// assert_eq!(log("on no queue"), "[0] on no queue");
    /// ```
    #[doc(alias = "dispatch_get_specific")]
    #[must_use]
    pub fn current(&'static self) -> Option<Arc<T>> {
        current::with_current(|level| self.find(level)).flatten()
    }

    /// The value of `level`, or of the first level up its target chain that has one.
    pub(crate) fn find(&'static self, level: &dyn Level) -> Option<Arc<T>> {
        level.chain().find_map(|queue| queue.head().values.get(self.id())).and_then(|value| value.downcast().ok())
    }

    /// Gives `queue` itself a value, or takes it away. Returns the value before.
    pub(crate) fn put(&'static self, queue: &Head, value: Option<T>) -> Option<Arc<T>> {
        let value = value.map(|value| Arc::new(value) as Value);
        queue.values.set(self.id(), value).and_then(|before| before.downcast().ok())
    }

    /// The value of `queue` itself.
    pub(crate) fn own(&'static self, queue: &Head) -> Option<Arc<T>> {
        queue.values.get(self.id()).and_then(|value| value.downcast().ok())
    }

    /// The value of `queue` itself, which is made and put there if there is none.
    pub(crate) fn get_or_put(&'static self, queue: &Head, make: impl FnOnce() -> T) -> Arc<T> {
        match queue.values.get_or_put(self.id(), || Arc::new(make())).downcast() {
            Ok(value) => value,
            Err(_) => unreachable!("a key has values of its own type"),
        }
    }

    fn id(&'static self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<T> std::fmt::Debug for SpecificKey<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SpecificKey(..)")
    }
}

impl Queue {
    /// Gives the queue a value for `key`, and returns the value before. The new value is dropped
    /// with the queue.
    ///
    /// A value that holds a handle of its own queue keeps that queue for ever.
    ///
    /// ```
    /// use singletrack_queues::{Queue, SpecificKey};
    ///
    /// static ROLE: SpecificKey<&str> = SpecificKey::new();
    ///
    /// let session = Queue::new("session");
    /// assert!(session.set_specific(&ROLE, "guest").is_none());
    /// assert_eq!(session.set_specific(&ROLE, "admin").as_deref(), Some(&"guest"));
    /// ```
    #[doc(alias = "dispatch_queue_set_specific")]
    pub fn set_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>, value: T) -> Option<Arc<T>> {
        key.put(self.core(), Some(value))
    }

    /// Removes the queue's own value for `key`.
    ///
    /// ```
    /// use singletrack_queues::{Queue, SpecificKey};
    ///
    /// static ROLE: SpecificKey<&str> = SpecificKey::new();
    ///
    /// let session = Queue::new("session");
    /// session.set_specific(&ROLE, "admin");
    /// assert_eq!(session.remove_specific(&ROLE).as_deref(), Some(&"admin"));
    /// assert!(session.get_specific(&ROLE).is_none());
    /// ```
    pub fn remove_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.put(self.core(), None)
    }

    /// The value of this queue for `key`, or of the first up its target chain that has one; see
    /// [`SpecificKey::current`] for the queue that runs the calling block.
    ///
    /// ```
    /// use singletrack_queues::{Queue, SpecificKey};
    ///
    /// static TENANT: SpecificKey<&str> = SpecificKey::new();
    ///
    /// let tenant = Queue::new("tenant");
    /// tenant.set_specific(&TENANT, "acme");
    /// let orders = Queue::builder("orders").target(&tenant).build();
    /// assert_eq!(orders.get_specific(&TENANT).as_deref(), Some(&"acme"), "that of the target");
    /// ```
    #[doc(alias = "dispatch_queue_get_specific")]
    #[must_use]
    pub fn get_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.find(self.level())
    }
}
