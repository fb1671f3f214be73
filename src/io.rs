//! Sockets and signals for queues: one poller per worker, each of them that worker's parker.
//!
//! [`Io`] is the set of pollers. Hand [`Io::parkers`] to [`RuntimeBuilder::parkers`](singletrack_queues::RuntimeBuilder::parkers)
//! and register sockets with [`Io::register`]: what becomes ready runs as a block on the thread that saw it.
//! A runtime whose workers wait elsewhere, such as the default one, is served by one poller with a thread of its own, made
//! when first needed: [`Io::of`] says which pollers serve a queue.
//! Not for: protocols. Nothing here knows what the bytes mean.

pub mod poller;
pub mod signal;
pub mod socket;

pub use poller::{Attach, Interest, Poller, Registered};

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::{Parker, Queue, Runtime};

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

    /// The one for runtimes whose workers do not wait in pollers: made when first used, with one poller and one thread, which
    /// sleeps until something happens, and lives as long as the process.
    ///
    /// # Errors
    /// When the system gives no descriptors or no thread. The next call tries again.
    pub fn global() -> io::Result<Io> {
        static GLOBAL: Mutex<Option<Io>> = Mutex::new(None);
        // Nothing that panics runs under the lock.
        let mut global = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(io) = &*global {
            return Ok(io.clone());
        }
        let io = Io::new(1)?;
        let poller = io.pollers[0].clone();
        std::thread::Builder::new().name("singletrack-io".into()).spawn(move || {
            loop {
                poller.park(None, &mut || {});
            }
        })?;
        Ok(global.insert(io).clone())
    }

    /// The pollers that serve `queue`: those in which the workers of its runtime wait, so that what becomes ready runs on the
    /// thread that saw it; or else [`global`](Self::global).
    ///
    /// # Errors
    /// As for `global`.
    pub fn of(queue: &Queue) -> io::Result<Io> {
        let runtime = queue.runtime();
        let poller = |index| {
            let parker: Arc<dyn Any + Send + Sync> = runtime.parker(index)?;
            parker.downcast::<Poller>().ok()
        };
        match (0..runtime.workers()).map(poller).collect::<Option<Arc<[_]>>>() {
            Some(pollers) => {
                // Relaxed: as in `register_spread`. Each caller begins with another poller.
                static TURN: AtomicUsize = AtomicUsize::new(0);
                let turn = TURN.fetch_add(1, Ordering::Relaxed);
                Ok(Io { pollers, next: Arc::new(AtomicUsize::new(turn)) })
            }
            None => Io::global(),
        }
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

    /// Has `socket` watched by the poller with this number, counted round and round: for sockets that belong together.
    ///
    /// # Errors
    /// See [`Registered::move_to`].
    pub fn gather<S: AsFd + AsRawFd>(
        &self,
        socket: &mut Registered<S>,
        number: usize,
        interest: Interest,
    ) -> io::Result<()> {
        socket.move_to(&self.pollers[number % self.pollers.len()], interest)
    }

    /// Sockets watched at the moment, by all pollers together.
    pub fn watched(&self) -> usize {
        self.pollers.iter().map(|poller| poller.watched()).sum()
    }
}

/// Makes room for one more: an eighth more at a time where a vector would double, because of tables that have an entry for
/// each connection half would often be empty.
pub(crate) fn make_room<T>(slab: &mut slab::Slab<T>) {
    if slab.len() == slab.capacity() {
        slab.reserve_exact(slab.len() / 8 + 8);
    }
}
