//! Waiting without a queue.

pub(crate) mod semaphore;
pub use semaphore::{Acquire, Permit, Semaphore};

pub(crate) mod once;
pub use once::Once;
