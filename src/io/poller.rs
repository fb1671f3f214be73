//! A parker that also watches sockets: the idle worker is the poller.
//!
//! A registration ties a descriptor to a [`Source`]: what the system reports about the descriptor is merged into the source,
//! which runs its handler on its queue. Registrations are edge-triggered and made once; nothing is re-armed per event.
//! Not for: reading or writing, and knowing what the bytes mean.
//!
//! Rules:
//! - A key is an index and a generation. The index of a closed registration is used again, its generation is not: an event
//!   that was taken before the close never reaches the next owner of the same index or of the same descriptor number.
//! - A registration owns its socket, so that the descriptor is taken out before it is closed.
//! - No source is dropped while the table is locked: a source may own a connection, which owns a registration.
//! - The table holds a source that owns its registration weakly where the program holds the source ([`Attach::to_weak`]), so
//!   that the program's last handle ends it; and strongly where nobody else does ([`Attach::to`]).

mod table;
mod wait;

use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use polling::{Event, PollMode};
use singletrack_queues::{Parker, Source};
use table::{Entry, Key, Table};
use wait::{Events, Waiter};

/// Watches sockets and is the place where one worker waits.
pub struct Poller {
    waiter: Waiter,
    table: Mutex<Table>,
}

/// What a registration wants to hear of. End and errors of a stream are always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Data or connections have arrived.
    Readable,
    /// There is room to send again.
    Writable,
    /// Data has arrived, or there is room to send again.
    Both,
    /// Something out of the ordinary, such as a trigger of the system that went off; told as [`READABLE`](super::READABLE).
    Urgent,
}

impl Poller {
    /// Makes a poller that watches nothing yet.
    ///
    /// # Errors
    /// When the system gives no descriptors for it, or has no edge-triggered events.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { waiter: Waiter::new()?, table: Mutex::default() })
    }

    /// Watches `socket` for what `interest` says and has a [`Source`] told, by [`Source::merge`], whenever it becomes ready.
    ///
    /// Comes in two parts, because the source's handler usually owns the socket: make the source, then attach it. What happens
    /// in between, and what is ready already, is told then. Events are edges: each is told once, so the handler must read until
    /// there is nothing more, or remember that there is. Dropping the [`Registered`] ends the registration and closes the socket.
    ///
    /// # Errors
    /// When the system cannot watch this descriptor, or has no memory for it. The socket is closed then.
    pub fn register<S: AsFd + AsRawFd>(
        self: &Arc<Self>,
        socket: S,
        interest: Interest,
    ) -> io::Result<(Registered<S>, Attach)> {
        let key = self.watch(&socket, interest)?;
        Ok((Registered { socket, poller: self.clone(), key }, Attach { poller: self.clone(), key }))
    }

    /// Begins to watch; whoever calls this calls `unwatch` before the socket is closed.
    fn watch<S: AsFd + AsRawFd>(&self, socket: &S, interest: Interest) -> io::Result<Key> {
        let key = self.table().insert()?;
        let event = match interest {
            Interest::Readable => Event::readable(key.0),
            // What is urgent may be readable at any time: nothing is told before `watch_for_end` says what is wanted.
            Interest::Urgent => Event::none(key.0),
            Interest::Writable => Event::writable(key.0),
            Interest::Both => Event::all(key.0),
        };
        let watched = self.add(socket, event).and_then(|()| self.waiter.watch_for_end(socket, key.0, interest));
        if watched.is_err() {
            drop(self.unwatch(socket, key));
        }
        watched.map(|()| key)
    }

    /// Who was told. Not dropped here: it may own what owns a registration.
    fn unwatch(&self, socket: &impl AsFd, key: Key) -> Option<Entry> {
        // Fails only if it was never added, which happens when registering itself failed.
        if let Err(error) = self.waiter.poller().delete(socket) {
            log::debug!("a socket could not be taken out of its poller: {error}");
        }
        self.table().remove(key)
    }

    #[allow(unsafe_code)]
    fn add<S: AsRawFd>(&self, socket: &S, event: Event) -> io::Result<()> {
        // SAFETY: the descriptor must be taken out of the poller before it is closed. `watch` takes it out if it fails; otherwise
        // `Registered` owns it, gives out nothing but shared references to it, and takes it out when it goes to another poller or
        // is dropped, before the socket itself is dropped.
        unsafe { self.waiter.poller().add_with_mode(socket, event, PollMode::Edge) }
    }

    /// Sockets watched at the moment.
    pub fn watched(&self) -> usize {
        self.table().len()
    }

    fn deliver(&self, ready: Events<'_>) {
        // Bound to a name: dropped after the lock is released. The program may have dropped its last handles meanwhile.
        let passed = self.table().deliver(ready);
        drop(passed);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // The table is whole between any two statements that change it, so a panic elsewhere does not spoil it.
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

/// The second part of a registration: who is told.
#[derive(Debug)]
#[must_use = "without a source nobody is told anything"]
pub struct Attach {
    poller: Arc<Poller>,
    key: Key,
}

impl Attach {
    /// From now on `source` is told, of what has happened since the registration, too.
    pub fn to(self, source: Source) {
        let entry = Entry::Source(self.key.generation(), source.clone());
        self.poller.table().attach(self.key, &source, entry);
    }

    /// As [`to`](Self::to), but the registration does not keep the source: it ends when the program's last handle is dropped,
    /// and with it the registration, if its handler owns that.
    pub fn to_weak(self, source: &Source) {
        let entry = Entry::Weak(self.key.generation(), source.downgrade());
        self.poller.table().attach(self.key, source, entry);
    }
}

/// A socket that is being watched. Dropping it ends the watching, then closes the socket.
pub struct Registered<S: AsFd> {
    socket: S,
    poller: Arc<Poller>,
    key: Key,
}

impl<S: AsFd + AsRawFd> Registered<S> {
    /// From now on `poller` watches the socket, and the same source is told: for what is mostly used together with what that
    /// poller watches. Nothing is missed: what is ready now is told again. Before its source is attached it stays where it is.
    ///
    /// # Errors
    /// When the system cannot watch it there: then it stays where it is.
    pub fn move_to(&mut self, poller: &Arc<Poller>, interest: Interest) -> io::Result<()> {
        let is_attached = !matches!(self.poller.table().get(self.key), None | Some(Entry::Later(..)));
        if Arc::ptr_eq(&self.poller, poller) || !is_attached {
            return Ok(());
        }
        // Watched there before it is not here any more; whatever both tell is merged.
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
        // Bound to a name: the source is dropped after the lock is released.
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
    use crate::io::READABLE;
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
        // ... when the connection is closed and both its index and its descriptor number get a new owner.
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
        assert!(told.recv_timeout(Duration::from_millis(1)).is_err(), "told by the former poller");
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
        assert_eq!((here.watched(), there.watched()), (1, 0), "its source would never be told");
        drop((alone, attach));
    }

    /// A descriptor for `socket` that has `number`, which other tests of this process may have taken for a moment.
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
