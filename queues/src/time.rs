//! Deadlines by either clock.

pub(crate) mod timer;

pub(crate) mod when;
pub use when::When;
