//! Grand Central Dispatch for Rust: named serial queues over all cores, without locks and without
//! `async`.
//!
//! State that many threads need lives on a [`Queue`]. A program *submits closures* to the queue.
//! The queue runs them one at a time, in order, on a work-stealing pool with one worker per core.
//! [`Isolated`] lets the compiler check that nothing else touches the state.
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
//! Where to go next:
//!
//! - [`Queue`]: submit a block, or run one with [`sync`](Queue::sync) and take its value.
//!   [`Queue::call`] returns a [`Task`] to wait for or to await.
//! - [`Isolated`]: state that only the blocks of its queue can reach. [`ConcurrentIsolated`] is the
//!   same for many readers and one writer.
//! - [`ConcurrentQueue`]: blocks that run beside one another, and barriers that run alone.
//! - [`Group`], [`WorkItem`], [`Once`] and [`Semaphore`]: wait for several blocks, cancel one, do
//!   something once, and bound how many run.
//! - [`Source`] and [`Ticker`]: merge events into one handler, and call a handler at intervals.
//!   [`When`] is a deadline by either clock.
//! - [`scope()`], [`join()`] and [`apply()`]: split the work of one block over the cores.
//! - [`Workloop`] and [`Qos`]: run urgent work first. [`MainQueue`] runs blocks on a thread of
//!   yours.
//! - [`Runtime`]: the pool itself, its settings, its [`Stats`] and its shutdown.
// Contributors: the modules stand in reading order. Each imports only from those below it.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod parallel;
#[cfg(feature = "rayon")]
pub use parallel::parallel;
pub use parallel::{Scope, apply, apply_chunks, apply_reduce, join, scope};

#[allow(unsafe_code)]
mod work;
pub use work::{BarrierItem, Empty, Group, Member, Submitter, UnbalancedLeave, WorkEnd, WorkHandle, WorkItem};

#[allow(unsafe_code)]
mod source;
pub use source::{Merge, Schedule, Source, SourceBuilder, Ticker, WeakSource};

#[allow(unsafe_code)]
mod kinds;
pub use kinds::{
    Budget, ConcurrentIsolated, ConcurrentQueue, ConcurrentQueueBuilder, Isolated, Local, MainHandle, MainQueue,
    MainStats, Submit, WeakConcurrentIsolated, WeakConcurrentQueue, WeakIsolated, Workloop, WorkloopBuilder,
};

mod wait;
pub use wait::{Acquire, Once, Permit, Semaphore};

#[allow(unsafe_code)]
mod queue;
pub use queue::{
    DeadlockError, NotSuspended, PanicPayload, Promise, Queue, QueueBuilder, Rejected, SpecificKey, SyncError,
    TargetQueue, Task, TaskError, Timer, TrySyncError, WeakQueue,
};

#[allow(unsafe_code)]
mod pool;
pub use pool::{BuildError, Gone, Report, Runtime, RuntimeBuilder, Stats, Stuck, blocking};

mod time;
pub use time::When;

#[allow(unsafe_code)]
mod base;
pub use base::park::Parker;
pub use base::qos::Qos;
pub use base::sync::now;

#[cfg(all(test, queues_loom))]
#[allow(unsafe_code)]
mod models;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
