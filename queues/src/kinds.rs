//! Queues other than the serial one, and state that lives on a queue.

pub(crate) mod submit;
pub use submit::Submit;

pub(crate) mod exclusive;

mod concurrent_isolated;
pub use concurrent_isolated::{ConcurrentIsolated, WeakConcurrentIsolated};

pub(crate) mod concurrent;
pub use concurrent::{ConcurrentQueue, ConcurrentQueueBuilder, WeakConcurrentQueue};

pub(crate) mod main_queue;
pub use main_queue::{Budget, Local, MainHandle, MainQueue, MainStats};

pub(crate) mod workloop;
pub use workloop::{Workloop, WorkloopBuilder};

pub(crate) mod isolated;
pub use isolated::{Isolated, WeakIsolated};
