//! The pollers of a runtime: one per worker, each of them that worker's parker.
//!
//! [`Io`] is the set of pollers. Pass [`Io::parkers`] to
//! [`RuntimeBuilder::parkers`](singletrack_queues::RuntimeBuilder::parkers) and register sockets
//! with [`Io::register`]. The block of a ready socket then runs on the thread that saw the event.
//! The workers of other runtimes, such as the default one, wait elsewhere; one poller with a thread
//! of its own serves those, and is made when first needed. [`Io::of`] says which pollers serve a
//! runtime.
//! Not for: protocols. Nothing here interprets the bytes.

use std::any::Any;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use singletrack_queues::{Parker, Runtime};

use crate::poller::{Attach, Interest, Poller, Registered};

/// The pollers of one runtime.
///
/// ```
/// use singletrack_io::Io;
/// use singletrack_queues::Runtime;
///
/// let io = Io::new(2)?;
/// let runtime = Runtime::builder().workers(2).parkers(io.parkers()).build()?;
/// assert_eq!(runtime.queue("served").sync(|| 6 * 7), 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Io {
    pollers: Arc<[Arc<Poller>]>,
    next: Arc<AtomicUsize>,
}

impl Io {
    /// Makes a poller for each of `workers` workers.
    ///
    /// ```
    /// use singletrack_io::Io;
    ///
    /// let io = Io::new(4)?; // for a runtime of four workers
    /// assert_eq!(io.watched(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system gives no descriptors for them: each takes four.
    pub fn new(workers: usize) -> io::Result<Io> {
        let pollers = (0..workers.max(1)).map(|_| Poller::new().map(Arc::new)).collect::<io::Result<_>>()?;
        Ok(Io { pollers, next: Arc::default() })
    }

    /// Returns the pollers for runtimes whose workers do not wait in pollers. They are made when
    /// first used: one poller and one thread, which sleeps until an event arrives and lives as long
    /// as the process. A fork child has a poller and a thread of its own.
    ///
    /// ```
    /// use singletrack_io::{Interest, Io};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let (watched, _attach) = Io::global()?.register(near, Interest::Readable)?;
    /// assert!(watched.peer_addr().is_ok(), "it is still a socket");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system gives no descriptors or no thread. The next call tries again.
    pub fn global() -> io::Result<Io> {
        static GLOBAL: Mutex<Option<Io>> = Mutex::new(None);
        // No code that panics runs under the lock.
        let mut global = GLOBAL.lock().unwrap_or_else(PoisonError::into_inner);
        match global.take() {
            Some(io) if io.pollers[0].is_of_this_process() => return Ok(global.insert(io).clone()),
            // Never dropped: dropping it would change what the parent's poller watches.
            Some(io) => std::mem::forget(io),
            None => {}
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

    /// Returns the pollers that serve the queues of `runtime`: those in which its workers wait, so
    /// that the block of an event runs on the thread that saw it; or else [`global`](Self::global).
    ///
    /// ```
    /// use singletrack_io::{Interest, Io};
    /// use singletrack_queues::{Queue, Source};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (queue, (near, _far)) = (Queue::new("input"), UnixStream::pair()?);
    /// let (_watched, attach) = Io::of(&queue.runtime())?.register(near, Interest::Readable)?;
    /// attach.to(Source::new(&queue, |events| println!("{events:b}")));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for `global`.
    pub fn of(runtime: &Runtime) -> io::Result<Io> {
        Io::of_runtime(runtime).map_or_else(Io::global, Ok)
    }

    /// The pollers in which the workers of `runtime` wait; `None` if they wait in something else.
    ///
    /// ```
    /// use singletrack_io::Io;
    /// use singletrack_queues::Runtime;
    ///
    /// let io = Io::new(2)?;
    /// let runtime = Runtime::builder().workers(2).parkers(io.parkers()).build()?;
    /// assert!(Io::of_runtime(&runtime).is_some());
    /// assert!(Io::of_runtime(&Runtime::global()).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_runtime(runtime: &Runtime) -> Option<Io> {
        let poller = |index| {
            let parker: Arc<dyn Any + Send + Sync> = runtime.parker(index)?;
            parker.downcast::<Poller>().ok()
        };
        let pollers = (0..runtime.workers()).map(poller).collect::<Option<Arc<[_]>>>()?;
        // Relaxed: as in `register_spread`. Each caller begins with another poller.
        static TURN: AtomicUsize = AtomicUsize::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        Some(Io { pollers, next: Arc::new(AtomicUsize::new(turn)) })
    }

    /// Returns the argument of
    /// [`RuntimeBuilder::parkers`](singletrack_queues::RuntimeBuilder::parkers): the parker of each
    /// worker.
    ///
    /// ```
    /// use singletrack_io::Io;
    /// use singletrack_queues::Runtime;
    ///
    /// let io = Io::new(1)?;
    /// let runtime = Runtime::builder().workers(1).parkers(io.parkers()).build()?;
    /// assert!(runtime.parker(0).unwrap().watches(), "its worker waits in a poller");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Watches `socket` with the poller of the worker that runs the caller, or with any poller
    /// outside a worker.
    ///
    /// ```
    /// use singletrack_io::{Interest, Io};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (io, (near, _far)) = (Io::new(2)?, UnixStream::pair()?);
    /// let (_watched, _attach) = io.register(near, Interest::Readable)?;
    /// assert_eq!(io.watched(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Poller::register`].
    pub fn register<S: AsFd + AsRawFd>(&self, socket: S, interest: Interest) -> io::Result<(Registered<S>, Attach)> {
        match Runtime::current_parker().and_then(|index| self.pollers.get(index)) {
            Some(poller) => poller.register(socket, interest),
            None => self.register_spread(socket, interest),
        }
    }

    /// Watches `socket` with the next poller in turn: for a thread that registers many sockets,
    /// such as one that accepts connections.
    ///
    /// ```
    /// use singletrack_io::{Interest, Io};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let io = Io::new(4)?;
    /// let mut clients = Vec::new();
    /// for _client in 0..8 {
    ///     let (near, _far) = UnixStream::pair()?;
    ///     clients.push(io.register_spread(near, Interest::Readable)?); // two with each poller
    /// }
    /// assert_eq!(io.watched(), 8);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Moves `socket` to the poller with this number, modulo the number of pollers: for sockets
    /// that belong together.
    ///
    /// ```
    /// use singletrack_io::{Interest, Io};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (io, (ada, bob)) = (Io::new(2)?, UnixStream::pair()?);
    /// let (mut ada, _attach_ada) = io.register_spread(ada, Interest::Readable)?;
    /// let (mut bob, _attach_bob) = io.register_spread(bob, Interest::Readable)?;
    /// // Both are in room 7, so one worker serves them.
    /// io.gather(&mut ada, 7, Interest::Readable)?;
    /// io.gather(&mut bob, 7, Interest::Readable)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
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

    /// Returns the number of sockets watched at the moment, by all pollers together.
    ///
    /// ```
    /// use singletrack_io::{Interest, Io};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (io, (near, _far)) = (Io::new(1)?, UnixStream::pair()?);
    /// let (watched, _attach) = io.register(near, Interest::Writable)?;
    /// assert_eq!(io.watched(), 1);
    /// drop(watched);
    /// assert_eq!(io.watched(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn watched(&self) -> usize {
        self.pollers.iter().map(|poller| poller.watched()).sum()
    }
}
