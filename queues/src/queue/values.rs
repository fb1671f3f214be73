//! The values of a queue, by the address of their key. There are few, so this is a list.
//!
//! A queue without values pays one pointer for them. The first value makes the list that it points
//! to. Not for: keys and their types (`specific`).

use std::any::Any;
use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::base::catch;
use crate::base::sync::{Mutex, lock};

pub(super) type Value = Arc<dyn Any + Send + Sync>;

/// See the module.
#[derive(Default)]
pub(super) struct Values(OnceBox<Mutex<Vec<(usize, Value)>>>);

impl Values {
    pub(super) fn get(&self, key: usize) -> Option<Value> {
        lock(self.0.get()?).iter().find(|(other, _)| *other == key).map(|(_, value)| value.clone())
    }

    pub(super) fn get_or_put(&self, key: usize, make: impl FnOnce() -> Value) -> Value {
        let mut values = lock(self.0.get_or_init(|| Box::new(Mutex::new(Vec::new()))));
        if let Some((_, value)) = values.iter().find(|(other, _)| *other == key) {
            return value.clone();
        }
        let value = make();
        values.push((key, value.clone()));
        value
    }

    /// Puts `new` in the place of the value that comes back.
    pub(super) fn set(&self, key: usize, new: Option<Value>) -> Option<Value> {
        let mut values = lock(self.0.get_or_init(|| Box::new(Mutex::new(Vec::new()))));
        let before = values.iter().position(|(other, _)| *other == key).map(|at| values.swap_remove(at).1);
        values.extend(new.map(|value| (key, value)));
        before
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        if let Some(values) = self.0.get() {
            // These are values of users, dropped by a drain: one at a time, so that a panic of one
            // costs none of the others.
            let values = std::mem::take(&mut *lock(values));
            values.into_iter().for_each(catch::drop_quietly);
        }
    }
}
