//! Random programs: a forest of queues of every kind, and threads that perform every allowed
//! operation on it.
//!
//! A program (`program`) is drawn from a seed (`draw`), runs on a runtime of its own (`run`), and
//! leaves a record of every block, which is compared with the promises (`verify`). A program waits
//! only in an order over its trees of queues, so none of them can deadlock: one that does not end
//! is a broken promise. `api` is the only file that calls the library. Not for: deciding how many
//! programs run; the stress test and the tests of the queues do.

mod api;
mod draw;
mod program;
mod run;
pub(crate) mod verify;

pub(crate) use api::Plant;
pub(crate) use program::Program;
pub(crate) use run::run;
