//! Grand Central Dispatch for Rust: named serial queues over every core, without locks and without colouring functions
//! `async`.
//!
//! State that many threads want lives on a [`Queue`]: programs *submit closures* to it, and it runs them one at a time, in
//! order, on a work-stealing pool with one worker per core. [`Isolated`] lets the compiler check that nothing else touches
//! the state.
//!
//! ```
//! use singletrack_queues::{Group, Isolated, Queue};
//!
//! let accounts = Isolated::new(&Queue::new("accounts"), vec![100, 0]);
//! let group = Group::new();
//! for _ in 0..10 {
//!     let accounts = accounts.clone();
//!     group.submit(&Queue::new("teller"), move || {
//!         accounts.submit(|all| {
//!             all[0] -= 10;
//!             all[1] += 10;
//!         });
//!     });
//! }
//! group.wait();
//! assert_eq!(accounts.sync(|all| all.clone()), [0, 100]);
//! ```
//!
//! The modules stand in reading order; each imports only from those below it. Those that need `unsafe` say so here.
#![deny(unsafe_code)]

mod ticker;
pub use ticker::{Schedule, Ticker};

#[allow(unsafe_code)]
mod source;
pub use source::{Merge, Source, SourceBuilder, WeakSource};

#[allow(unsafe_code)]
mod scope;
pub use scope::{Scope, join, scope};

#[allow(unsafe_code)]
mod apply;
pub use apply::{apply, apply_chunks};

#[cfg(feature = "rayon")]
mod parallel;
#[cfg(feature = "rayon")]
pub use parallel::parallel;

mod work_item;
pub use work_item::{BarrierItem, WorkEnd, WorkHandle, WorkItem};

#[allow(unsafe_code)]
mod group;
pub use group::{Group, UnbalancedLeave};

mod submit;
pub use submit::Submit;

mod concurrent;
pub use concurrent::{ConcurrentQueue, ConcurrentQueueBuilder};

#[allow(unsafe_code)]
mod main_queue;
pub use main_queue::{Budget, Local, MainHandle, MainQueue, MainStats};

#[allow(unsafe_code)]
mod workloop;
pub use workloop::{Workloop, WorkloopBuilder};

#[allow(unsafe_code)]
mod isolated;
pub use isolated::Isolated;

mod semaphore;
pub use semaphore::Semaphore;

mod once;
pub use once::Once;

mod task;
pub use task::{PanicPayload, Promise, Task, TaskError};

#[allow(unsafe_code)]
mod queue;
pub use queue::{
    DeadlockError, NotSuspended, Queue, QueueBuilder, Rejected, SpecificKey, SyncError, TargetQueue, Timer,
    TrySyncError,
};

mod runtime;
pub use runtime::{BuildError, Report, Runtime, RuntimeBuilder, Stats, Stuck};

#[allow(unsafe_code)]
mod pool;
pub use pool::blocking;

mod qos;
pub use qos::Qos;

mod timer;

mod time;
pub use time::When;

mod park;
pub use park::Parker;

#[allow(unsafe_code)]
mod handoff;

#[allow(unsafe_code)]
mod mailbox;

mod state;

#[allow(unsafe_code)]
mod block;

mod catch;

#[allow(unsafe_code)]
mod sync;

#[cfg(all(test, queues_loom))]
#[allow(unsafe_code)]
mod models;
