//! Sockets and signals for queues: one poller per worker, each of them that worker's parker.
//!
//! [`Io`] is the set of pollers. Hand [`Io::parkers`] to [`RuntimeBuilder::parkers`](singletrack_queues::RuntimeBuilder::parkers)
//! and register sockets with [`Io::register`]: what becomes ready runs as a block on the thread that saw it.
//! Not for: protocols. Nothing here knows what the bytes mean.

pub mod poller;
pub mod signal;
pub mod socket;

pub use poller::{Attach, Interest, Poller, Registered};

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use singletrack_queues::{Parker, Runtime};

/// Data, a connection or the end of the stream may be read.
pub const READABLE: u64 = 1;
/// There is room to send again.
pub const WRITABLE: u64 = 2;
/// The peer will send no more, or the connection failed: read until the end, even after a short read.
pub const HANGUP: u64 = 4;
/// The first bit that is free for a program's own use of its sources.
pub const FIRST_FREE_BIT: u64 = 1 << 8;

/// The pollers of one runtime.
#[derive(Clone, Debug)]
pub struct Io {
    pollers: Arc<[Arc<Poller>]>,
    next: Arc<AtomicUsize>,
}

impl Io {
    /// Makes a poller for each of `workers` workers.
    ///
    /// # Errors
    /// When the system gives no descriptors for them: each takes four.
    pub fn new(workers: usize) -> io::Result<Io> {
        let pollers = (0..workers.max(1)).map(|_| Poller::new().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Io { pollers, next: Arc::default() })
    }

    /// What [`RuntimeBuilder::parkers`](singletrack_queues::RuntimeBuilder::parkers) asks for: the parker of each worker.
    pub fn parkers(&self) -> impl Fn(usize) -> io::Result<Arc<dyn Parker>> + Send + Sync + 'static {
        let pollers = self.pollers.clone();
        move |index| match pollers.get(index) {
            Some(poller) => Ok(poller.clone() as Arc<dyn Parker>),
            None => {
                let why = format!("worker {index} has no poller: this Io was made for {} workers", pollers.len());
                Err(io::Error::new(io::ErrorKind::InvalidInput, why))
            }
        }
    }

    /// Watches `socket` with the poller of the worker that runs the caller, or with any where there is none.
    ///
    /// # Errors
    /// See [`Poller::register`].
    pub fn register<S: AsFd + AsRawFd>(&self, socket: S, interest: Interest) -> io::Result<(Registered<S>, Attach)> {
        match Runtime::current_parker().and_then(|index| self.pollers.get(index)) {
            Some(poller) => poller.register(socket, interest),
            None => self.register_spread(socket, interest),
        }
    }

    /// Watches `socket` with the next poller in turn: for a thread that makes many, such as one that accepts connections.
    ///
    /// # Errors
    /// See [`Poller::register`].
    pub fn register_spread<S: AsFd + AsRawFd>(
        &self,
        socket: S,
        interest: Interest,
    ) -> io::Result<(Registered<S>, Attach)> {
        // Relaxed: only the share of each poller depends on it.
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.pollers[turn % self.pollers.len()].register(socket, interest)
    }

    /// Sockets watched at the moment, by all pollers together.
    pub fn watched(&self) -> usize {
        self.pollers.iter().map(|poller| poller.watched()).sum()
    }
}
