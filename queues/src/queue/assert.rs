//! "This code runs on that queue": checked, with a panic that says what to do.
//!
//! Not for: deciding what to do ([`Queue::is_current`] answers without a panic).

use std::panic::Location;

use super::{Queue, current};

impl Queue {
    /// Checks that the calling thread is in a block of this queue, or of a queue that targets it; a block further out, in
    /// which this one is a `sync`, counts as well.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("model");
    /// let own = queue.clone();
    /// queue.sync(move || own.assert_on());
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is not.
    #[track_caller]
    pub fn assert_on(&self) {
        if !self.is_current() {
            self.not_on(Location::caller());
        }
    }

    /// Checks that the calling thread is not in a block of this queue, or of a queue that targets it: for code that would
    /// wait for it.
    ///
    /// ```
    /// let queue = singletrack_queues::Queue::new("model");
    /// queue.assert_not_on();
    /// ```
    ///
    /// # Panics
    /// With a sentence that names the queue and the place, if it is.
    #[track_caller]
    pub fn assert_not_on(&self) {
        if self.is_current() {
            self.on(Location::caller());
        }
    }

    #[cold]
    fn not_on(&self, site: &'static Location<'static>) -> ! {
        let inside = match current::with_current(|core| format!("in a block of \"{}\"", core.label())) {
            Some(inside) => inside,
            None if current::is_anywhere() => "in a block of a concurrent queue".to_owned(),
            None => "in no queue's block".to_owned(),
        };
        panic!(
            "assert_on at {site}: this thread is not in a block of \"{label}\" but {inside}; submit this to \"{label}\", or \
             run it in a sync",
            label = self.label()
        )
    }

    #[cold]
    fn on(&self, site: &'static Location<'static>) -> ! {
        panic!(
            "assert_not_on at {site}: this thread is in a block of \"{}\", or of a queue that targets it; submit this to \
             another queue",
            self.label()
        )
    }
}
