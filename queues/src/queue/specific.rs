//! Values that belong to a queue, found by a typed key: on the queue itself, or else on its target, and so on.
//!
//! A queue without values pays one pointer for them; the first value makes the list that it points to. Values are counted:
//! who found one may keep it, and what was replaced or removed comes back, so that it is dropped outside the lock.
//!
//! Not for: state that blocks change (`isolated`).

use std::any::Any;
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use once_cell::race::OnceBox;

use super::target::Level;
use super::{Queue, current};
use crate::catch;
use crate::sync::{Mutex, lock};

/// Names a value of type `T` that queues may have, see [`Queue::set_specific`]. Make it a `static`: its place is its
/// identity.
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
/// A `const` has no place, so it does not compile as a key:
///
/// ```compile_fail,E0716
/// # use singletrack_queues::{Queue, SpecificKey};
/// const TENANT: SpecificKey<u32> = SpecificKey::new();
/// Queue::new("tenant").set_specific(&TENANT, 7);
/// ```
pub struct SpecificKey<T> {
    /// Never used: gives the key a size, so that no two share a place, and keeps the compiler from copying constants.
    /// std's own, because it is in a `const fn`.
    _place: std::sync::atomic::AtomicU8,
    _value: PhantomData<fn() -> T>,
}

impl<T: Send + Sync + 'static> SpecificKey<T> {
    /// A key like no other.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a key is a static, which a Default cannot make")]
    pub const fn new() -> Self {
        Self { _place: std::sync::atomic::AtomicU8::new(0), _value: PhantomData }
    }

    /// The value of the queue whose block this thread runs, or of the first up its target chain that has one. `None` too
    /// outside of queues.
    ///
    /// Queues further out, in whose blocks this one is a `sync`, are not asked.
    #[must_use]
    pub fn current(&'static self) -> Option<Arc<T>> {
        current::with_current(|level| self.find(level)).flatten()
    }

    /// The value of `level`, or of the first up its target chain that has one.
    pub(crate) fn find(&'static self, level: Level<'_>) -> Option<Arc<T>> {
        level.chain().find_map(|queue| queue.specifics().get(self.id())).and_then(|value| value.downcast().ok())
    }

    /// Gives `level` itself a value, or takes it away; the one before comes back.
    pub(crate) fn put(&'static self, level: Level<'_>, value: Option<T>) -> Option<Arc<T>> {
        let value = value.map(|value| Arc::new(value) as Value);
        level.specifics().set(self.id(), value).and_then(|before| before.downcast().ok())
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
    /// Gives the queue a value for `key`; the one before comes back. It is dropped with the queue.
    ///
    /// A value that holds a handle of its own queue keeps that queue for ever.
    pub fn set_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>, value: T) -> Option<Arc<T>> {
        key.put(self.core().level(), Some(value))
    }

    /// Takes the queue's own value for `key` away.
    pub fn remove_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.put(self.core().level(), None)
    }

    /// The value of this queue for `key`, or of the first up its target chain that has one; see
    /// [`SpecificKey::current`] for the queue that runs the calling block.
    #[must_use]
    pub fn get_specific<T: Send + Sync + 'static>(&self, key: &'static SpecificKey<T>) -> Option<Arc<T>> {
        key.find(self.core().level())
    }
}

type Value = Arc<dyn Any + Send + Sync>;

/// A queue's values, by the address of their key; few, so a list.
#[derive(Default)]
pub(crate) struct Specifics(OnceBox<Mutex<Vec<(usize, Value)>>>);

impl Specifics {
    fn get(&self, key: usize) -> Option<Value> {
        lock(self.0.get()?).iter().find(|(other, _)| *other == key).map(|(_, value)| value.clone())
    }

    /// Puts `new` in the place of the value that comes back.
    fn set(&self, key: usize, new: Option<Value>) -> Option<Value> {
        let mut values = lock(self.0.get_or_init(|| Box::new(Mutex::new(Vec::new()))));
        let before = values.iter().position(|(other, _)| *other == key).map(|at| values.swap_remove(at).1);
        values.extend(new.map(|value| (key, value)));
        before
    }
}

impl Drop for Specifics {
    fn drop(&mut self) {
        if let Some(values) = self.0.get() {
            // Users' values, dropped by a drain: one at a time, so that a panic costs none of the others.
            let values = std::mem::take(&mut *lock(values));
            values.into_iter().for_each(catch::drop_quietly);
        }
    }
}
