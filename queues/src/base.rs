//! The ground floor: blocks, their memory and lists, a queue's one word of state, waiting, panics.
//! `sync` is the only door to atomics, locks, threads and the clock.

pub(crate) mod qos;

pub(crate) mod park;

pub(crate) mod counts;

pub(crate) mod handoff;

pub(crate) mod mailbox;

pub(crate) mod state;

pub(crate) mod block;

pub(crate) mod memory;

pub(crate) mod fork;

pub(crate) mod catch;

pub(crate) mod report;

pub(crate) mod sync;
