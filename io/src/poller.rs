//! A parker that also watches sockets: the idle worker is the poller.
//!
//! A registration ties a descriptor to a [`Source`]. The system's reports about the descriptor are
//! merged into the source, which runs its handler on its queue. Registrations are edge-triggered
//! and made once; nothing is re-armed per event. Not for: reading, writing, or interpreting the
//! bytes.
//!
//! Rules:
//! - A key is an index and a generation. The index of a closed registration is used again, its
//!   generation is not. So an event that was taken before the close never reaches the next owner of
//!   the same index or of the same descriptor number.
//! - A registration owns its socket, so that the descriptor is taken out of the poller before it is
//!   closed.
//! - No source is dropped while the table is locked: a source may own a connection, which owns a
//!   registration.
//! - The table holds a source weakly where the program holds the source and the source owns its
//!   registration ([`Attach::to_weak`]), so that the program's last handle ends it. It holds a
//!   source strongly where nothing else does ([`Attach::to`]).

mod table;
mod wait;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use singletrack_queues::{Parker, Source};
use table::{Entry, Key, Table};
use wait::{Events, Waiter};

/// Data, a connection or the end of the stream may be read.
pub const READABLE: u64 = 1;
/// There is room to send again.
pub const WRITABLE: u64 = 2;
/// The peer will send no more, or the connection failed: read until the end, even after a short
/// read.
pub const HANGUP: u64 = 4;
/// The first bit that is free for a program's own use of its sources.
pub const FIRST_FREE_BIT: u64 = 1 << 8;

/// Watches sockets; one worker waits in it.
///
/// ```
/// use singletrack_io::{Interest, Poller, READABLE};
/// use singletrack_queues::{Parker, Runtime, Source};
/// use std::{io::Write, os::unix::net::UnixStream, sync::{Arc, mpsc}};
///
/// let poller = Arc::new(Poller::new()?);
/// let parker: Arc<dyn Parker> = poller.clone();
/// let runtime = Runtime::builder().workers(1).parkers(move |_| Ok(parker.clone())).build()?;
///
/// let (near, mut far) = UnixStream::pair()?;
/// let (tell, told) = mpsc::channel();
/// let source = Source::new(&runtime.queue("input"), move |events| tell.send(events).unwrap_or_default());
/// let (_watched, attach) = poller.register(near, Interest::Readable)?;
/// attach.to(source);
/// far.write_all(b"hello")?;
/// assert_ne!(told.recv()? & READABLE, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Poller {
    waiter: Waiter,
    table: Mutex<Table>,
    /// The process that made it. A fork child shares it with its parent: whatever the child
    /// changes in it, the parent has changed.
    process: u32,
}

/// The events that a registration asks for. The end and the errors of a stream are always reported.
///
/// ```
/// use singletrack_io::{Interest, Io, WRITABLE};
/// use singletrack_queues::{Queue, Source};
/// use std::{os::unix::net::UnixStream, sync::mpsc};
///
/// let (near, _far) = UnixStream::pair()?;
/// let (tell, told) = mpsc::channel();
/// let source = Source::new(&Queue::new("output"), move |events| tell.send(events).unwrap_or_default());
/// let (_watched, attach) = Io::global()?.register(near, Interest::Both)?;
/// attach.to(source);
/// assert_ne!(told.recv()? & WRITABLE, 0, "there is room to send");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interest {
    /// Data or connections have arrived.
    Readable,
    /// There is room to send again.
    Writable,
    /// Data has arrived, or there is room to send again.
    Both,
    /// There is an exceptional condition, such as a trigger of the system that fired; reported as
    /// [`READABLE`].
    Urgent,
}

impl Poller {
    /// Makes a poller that watches nothing yet.
    ///
    /// ```
    /// use singletrack_io::Poller;
    ///
    /// let poller = Poller::new()?;
    /// assert_eq!(poller.watched(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system gives no descriptors for it, or has no edge-triggered events.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { waiter: Waiter::new()?, table: Mutex::default(), process: std::process::id() })
    }

    /// Watches `socket` for the events in `interest`, and merges them into a [`Source`] by
    /// [`Source::merge`] whenever it becomes ready.
    ///
    /// Registering has two parts, because the source's handler usually owns the socket: make the
    /// source, then attach it. Events in between, and a socket that is ready already, are reported
    /// then. Events are edges, and each is reported once. So the handler must read until there is
    /// nothing more, or remember that there is. Dropping the [`Registered`] ends the registration
    /// and closes the socket.
    ///
    /// ```
    /// use singletrack_io::{Interest, Poller};
    /// use std::{os::unix::net::UnixStream, sync::Arc};
    ///
    /// let poller = Arc::new(Poller::new()?);
    /// let (near, _far) = UnixStream::pair()?;
    /// let (watched, _attach) = poller.register(near, Interest::Readable)?;
    /// assert_eq!(poller.watched(), 1);
    /// drop(watched);
    /// assert_eq!(poller.watched(), 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system cannot watch this descriptor, or has no memory for it, or this process is a
    /// fork child and the poller is its parent's. The socket is closed then.
    pub fn register<S: AsFd + AsRawFd>(
        self: &Arc<Self>,
        socket: S,
        interest: Interest,
    ) -> io::Result<(Registered<S>, Attach)> {
        let key = self.watch(&socket, interest)?;
        Ok((Registered { socket, poller: self.clone(), key }, Attach { poller: self.clone(), key }))
    }

    /// Begins to watch. The caller must call `unwatch` before the socket is closed.
    fn watch<S: AsFd + AsRawFd>(&self, socket: &S, interest: Interest) -> io::Result<Key> {
        if !self.is_of_this_process() {
            let why =
                "this poller was made by the parent process, which alone gets its events: make an Io in the child";
            return Err(io::Error::other(why));
        }
        let key = self.table().insert()?;
        let watched = self.waiter.watch(socket, key.0, interest);
        if watched.is_err() {
            drop(self.unwatch(socket, key));
        }
        watched.map(|()| key)
    }

    /// Returns the entry. It is not dropped here: it may own the owner of a registration.
    fn unwatch(&self, socket: &impl AsFd, key: Key) -> Option<Entry> {
        // A fork child leaves the parent's watch alone.
        if !self.is_of_this_process() {
            return None;
        }
        // It fails only if it was never added, which happens when registering itself failed.
        if let Err(error) = self.waiter.poller().delete(socket) {
            log::debug!("a socket could not be taken out of its poller: {error}");
        }
        self.table().remove(key)
    }

    /// Did this process make it, and not a parent that forked?
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// Returns the number of sockets watched at the moment: in a fork child, 0 for a poller of the
    /// parent.
    ///
    /// ```
    /// use singletrack_io::{Interest, Poller};
    /// use std::{os::unix::net::UnixStream, sync::Arc};
    ///
    /// let poller = Arc::new(Poller::new()?);
    /// let (near, far) = UnixStream::pair()?;
    /// let _both = (poller.register(near, Interest::Readable)?, poller.register(far, Interest::Readable)?);
    /// assert_eq!(poller.watched(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn watched(&self) -> usize {
        self.own_table().map_or(0, |table| table.len())
    }

    fn attach(&self, key: Key, source: &Source, entry: Entry) {
        if let Some(mut table) = self.own_table() {
            table.attach(key, source, entry);
        }
    }

    fn deliver(&self, ready: Events<'_>) {
        // Bound to a name, so that it is dropped after the lock is released. The program may have
        // dropped its last handles meanwhile.
        let passed = self.table().deliver(ready);
        drop(passed);
    }

    /// The table, unless this is a fork child and the poller its parent's: a thread that only the
    /// parent has may have held the lock at the fork.
    fn own_table(&self) -> Option<MutexGuard<'_, Table>> {
        self.is_of_this_process().then(|| self.table())
    }

    /// Not in a fork child.
    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements that change it, so a panic elsewhere does
        // not spoil it.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parker for Poller {
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
        self.waiter.wait(timeout, awake, &mut |ready| self.deliver(ready));
    }

    fn poll(&self) {
        self.waiter.poll(&mut |ready| self.deliver(ready));
    }

    fn unpark(&self) {
        self.waiter.unpark();
    }

    fn watches(&self) -> bool {
        true
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("watched", &self.watched()).finish_non_exhaustive()
    }
}

/// The second part of a registration: it attaches the source.
///
/// ```
/// use singletrack_io::{Attach, Interest, Io, Registered};
/// use singletrack_queues::{Queue, Source};
/// use std::os::unix::net::UnixStream;
///
/// let (near, _far) = UnixStream::pair()?;
/// let (watched, attach): (Registered<UnixStream>, Attach) = Io::global()?.register(near, Interest::Readable)?;
/// // The handler owns the socket, so it is made between the two parts.
/// let source = Source::new(&Queue::new("input"), move |events| println!("{events:b} on {watched:?}"));
/// attach.to(source);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "without a source no event is reported"]
pub struct Attach {
    poller: Arc<Poller>,
    key: Key,
}

impl Attach {
    /// Reports events to `source` from now on, including those since the registration.
    ///
    /// ```
    /// use singletrack_io::{Interest, Io, READABLE};
    /// use singletrack_queues::{Queue, Source};
    /// use std::{io::Write, os::unix::net::UnixStream, sync::mpsc};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let (_watched, attach) = Io::global()?.register(near, Interest::Readable)?;
    /// far.write_all(b"early")?;
    /// let (tell, told) = mpsc::channel();
    /// attach.to(Source::new(&Queue::new("input"), move |events| tell.send(events).unwrap_or_default()));
    /// assert_ne!(told.recv()? & READABLE, 0, "what came before is reported");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to(self, source: Source) {
        let entry = Entry::Source(self.key.generation(), source.clone());
        self.poller.attach(self.key, &source, entry);
    }

    /// As [`to`](Self::to), but the registration does not keep the source. The source ends when the
    /// program's last handle is dropped. The registration ends with it, if the source's handler
    /// owns that.
    ///
    /// ```
    /// use singletrack_io::{Interest, Poller};
    /// use singletrack_queues::{Queue, Source};
    /// use std::{os::unix::net::UnixStream, sync::{Arc, mpsc}};
    ///
    /// let poller = Arc::new(Poller::new()?);
    /// let (near, _far) = UnixStream::pair()?;
    /// let (watched, attach) = poller.register(near, Interest::Readable)?;
    /// let (tell, told) = mpsc::channel::<u64>();
    /// let source = Source::new(&Queue::new("input"), move |events| {
    ///     let _socket = &watched; // it ends with the handler
    ///     tell.send(events).unwrap();
    /// });
    /// attach.to_weak(&source);
    /// drop(source);
    /// assert!(told.recv().is_err(), "the source has ended");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_weak(self, source: &Source) {
        let entry = Entry::Weak(self.key.generation(), source.downgrade());
        self.poller.attach(self.key, source, entry);
    }
}

/// A socket that is being watched. Dropping it first ends the watching, then closes the socket.
///
/// ```
/// use singletrack_io::{Interest, Io, Registered};
/// use std::{io::Read, os::unix::net::UnixStream};
///
/// let (near, far) = UnixStream::pair()?;
/// let (watched, _attach): (Registered<UnixStream>, _) = Io::global()?.register(near, Interest::Readable)?;
/// drop(watched);
/// // Dropping it closed the socket.
/// assert_eq!((&far).read(&mut [0; 1])?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Registered<S: AsFd> {
    socket: S,
    poller: Arc<Poller>,
    key: Key,
}

impl<S: AsFd + AsRawFd> Registered<S> {
    /// Moves the socket to `poller`, which reports to the same source from now on. This is for a
    /// socket that is mostly used together with others of that poller. Nothing is missed: if the
    /// socket is ready now, that is reported again. A registration without a source stays where it
    /// is.
    ///
    /// ```
    /// use singletrack_io::{Interest, Poller};
    /// use singletrack_queues::{Queue, Source};
    /// use std::{os::unix::net::UnixStream, sync::Arc};
    ///
    /// let (here, there) = (Arc::new(Poller::new()?), Arc::new(Poller::new()?));
    /// let (near, _far) = UnixStream::pair()?;
    /// let (mut watched, attach) = here.register(near, Interest::Readable)?;
    /// attach.to(Source::new(&Queue::new("input"), |_| ()));
    /// watched.move_to(&there, Interest::Readable)?;
    /// assert_eq!((here.watched(), there.watched()), (0, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the system cannot watch it there: then it stays where it is.
    pub fn move_to(&mut self, poller: &Arc<Poller>, interest: Interest) -> io::Result<()> {
        let entry_is = |mut table: MutexGuard<'_, Table>| !matches!(table.get(self.key), None | Some(Entry::Later(..)));
        let is_attached = self.poller.own_table().is_some_and(entry_is);
        if Arc::ptr_eq(&self.poller, poller) || !is_attached {
            return Ok(());
        }
        // Watched there before it is taken out here; the reports of both are merged.
        let key = poller.watch(&self.socket, interest)?;
        let told = self.poller.unwatch(&self.socket, self.key);
        (self.poller, self.key) = (poller.clone(), key);
        let attach = Attach { poller: poller.clone(), key };
        match told {
            Some(Entry::Source(_, source)) => attach.to(source),
            Some(Entry::Weak(_, source)) => {
                if let Some(source) = source.upgrade() {
                    attach.to_weak(&source);
                }
            }
            Some(Entry::Later(..)) | None => {}
        }
        Ok(())
    }
}

impl<S: AsFd> Deref for Registered<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

impl<S: AsFd> Drop for Registered<S> {
    fn drop(&mut self) {
        // Bound to a name, so that the source is dropped after the lock is released.
        let source = self.poller.unwatch(&self.socket, self.key);
        drop(source);
    }
}

impl<S: AsFd + fmt::Debug> fmt::Debug for Registered<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registered").field("socket", &self.socket).field("key", &self.key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::wait::Ready;
    use super::*;
    use crate::poller::READABLE;
    use singletrack_queues::Queue;
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    use std::sync::mpsc::{Receiver, channel};

    fn told(queue: &Queue) -> (Source, Receiver<u64>) {
        let (tell, told) = channel();
        (Source::new(queue, move |bits| tell.send(bits).unwrap_or_default()), told)
    }

    fn register<S: AsFd + AsRawFd>(poller: &Arc<Poller>, socket: S, source: Source) -> Registered<S> {
        let (registered, attach) = poller.register(socket, Interest::Readable).unwrap();
        attach.to(source);
        registered
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn what_arrives_is_told_on_the_queue() {
        let (poller, queue) = (Arc::new(Poller::new().unwrap()), Queue::new("test"));
        let (near, mut far) = UnixStream::pair().unwrap();
        let (source, told) = told(&queue);
        let _registered = register(&poller, near, source);
        far.write_all(b"x").unwrap();
        poller.park(Some(SOON), &mut || {});
        assert_eq!(told.recv_timeout(SOON).unwrap() & READABLE, READABLE);
        assert_eq!(poller.watched(), 1);
    }

    #[test]
    fn a_descriptor_that_is_ready_from_the_start_is_reported_once() {
        let poller = Arc::new(Poller::new().unwrap());
        let (near, _far) = UnixStream::pair().unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let reports = std::thread::scope(|scope| {
            let reporter = scope.spawn(|| {
                let mut reports = Vec::new();
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    poller.waiter.poll(&mut |ready| reports.extend(ready.map(|event| event.key)));
                }
                reports
            });
            for _ in 0..20_000 {
                let _registered = poller.register(near.try_clone().unwrap(), Interest::Writable).unwrap();
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            reporter.join().unwrap()
        });
        let keys: std::collections::HashSet<_> = reports.iter().collect();
        assert_eq!(keys.len(), reports.len(), "some were reported twice");
    }

    #[test]
    fn a_stale_event_never_reaches_the_next_owner_of_the_descriptor() {
        let (poller, queue) = (Arc::new(Poller::new().unwrap()), Queue::new("test"));
        let (first, mut far) = UnixStream::pair().unwrap();
        let (source, told_first) = told(&queue);
        let first = register(&poller, first, source);
        far.write_all(b"for the first owner").unwrap();

        // A worker has taken the event from the system and has not delivered it yet ...
        let mut taken = Vec::new();
        poller.waiter.poll(&mut |ready| taken.extend(ready));
        assert_eq!(taken.len(), 1);
        let (number, index) = (first.as_raw_fd(), first.key.index());
        // ... when the connection is closed and both its index and its descriptor number get a new
        // owner.
        let (next, _far) = UnixStream::pair().unwrap();
        drop(first);
        let second = reuse(&next, number);
        let (source, told_second) = told(&queue);
        let second = register(&poller, second, source);
        assert_eq!((second.as_raw_fd(), second.key.index()), (number, index), "the test must reuse both");

        poller.deliver(&mut taken.into_iter());
        queue.sync(|| {});
        assert!(told_first.try_recv().is_err() && told_second.try_recv().is_err());
        // The second owner hears of its own events.
        poller.deliver(&mut [Ready { key: second.key.0, bits: READABLE }].into_iter());
        assert_eq!(told_second.recv_timeout(SOON).unwrap(), READABLE);
    }

    #[test]
    fn what_goes_to_another_poller_is_told_by_that_one_and_misses_nothing() {
        let queue = Queue::new("test");
        let [here, there] = [(); 2].map(|()| Arc::new(Poller::new().unwrap()));
        let (near, mut far) = UnixStream::pair().unwrap();
        let (source, told) = told(&queue);
        let mut registered = register(&here, near, source);
        far.write_all(b"taken by nobody yet").unwrap();
        registered.move_to(&there, Interest::Readable).unwrap();
        assert_eq!((here.watched(), there.watched()), (0, 1));
        here.poll();
        assert!(told.recv_timeout(Duration::from_millis(1)).is_err(), "reported by the former poller");
        for _ in 0..2 {
            there.park(Some(SOON), &mut || {});
            assert_eq!(told.recv_timeout(SOON).unwrap() & READABLE, READABLE);
            far.write_all(b"more").unwrap();
        }
        drop(registered);
        assert_eq!(there.watched(), 0);

        let (alone, _far) = UnixStream::pair().unwrap();
        let (mut alone, attach) = here.register(alone, Interest::Readable).unwrap();
        alone.move_to(&there, Interest::Readable).unwrap();
        assert_eq!((here.watched(), there.watched()), (1, 0), "its source would never get an event");
        drop((alone, attach));
    }

    /// A descriptor for `socket` that has `number`, which other tests of this process may have
    /// taken for a moment.
    fn reuse(socket: &UnixStream, number: i32) -> std::os::fd::OwnedFd {
        let began = std::time::Instant::now();
        loop {
            let second = rustix::io::fcntl_dupfd_cloexec(socket, number).unwrap();
            if second.as_raw_fd() == number {
                return second;
            }
            assert!(began.elapsed() < SOON, "descriptor {number} did not come back");
        }
    }

    #[test]
    fn a_source_that_owns_its_own_registration_can_end_it() {
        let (poller, queue) = (Arc::new(Poller::new().unwrap()), Queue::new("test"));
        let (near, mut far) = UnixStream::pair().unwrap();
        let own = Arc::new(Mutex::new(None));
        let (source, done) = {
            let (own, (tell, done)) = (own.clone(), channel());
            let source = Source::new(&queue, move |_| {
                let registered: Option<Registered<UnixStream>> = own.lock().unwrap().take();
                drop(registered);
                tell.send(()).unwrap();
            });
            (source, done)
        };
        let registered = register(&poller, near, source);
        *own.lock().unwrap() = Some(registered);
        far.write_all(b"x").unwrap();
        poller.park(Some(SOON), &mut || {});
        done.recv_timeout(SOON).unwrap();
        assert_eq!(poller.watched(), 0);
    }
}
