//! Event sources whose handlers borrow the value of their queue.
//!
//! Each function is the one of [`EventSource`] with the same name, on the queue of the value. Not
//! for: what the events mean, and when a handler is called; that is in the file of each kind.

use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use singletrack_queues::Isolated;

use super::{Changes, EventError, EventSource, More};
#[cfg(target_os = "linux")]
use super::{Pressure, ProcessEnd};

/// Makes event sources whose handlers borrow a value; made by [`EventSource::on`].
///
/// ```
/// use singletrack_io::{EventSource, event::signals::{SIGHUP, SIGUSR2}};
/// use singletrack_queues::{Isolated, Queue};
///
/// let reloads = Isolated::new(&Queue::new("settings"), 0);
/// let on = EventSource::on(&reloads);
/// let by_terminal = on.signal(SIGHUP, |reloads, _times| *reloads += 1)?;
/// let by_program = on.signal(SIGUSR2, |reloads, _times| *reloads += 1)?;
/// # drop((by_terminal, by_program));
/// # Ok::<(), singletrack_io::EventError>(())
/// ```
#[must_use = "nothing is made before a kind of event is named"]
pub struct Lent<'a, T> {
    state: &'a Isolated<T>,
}

impl EventSource {
    /// Makes event sources whose handlers run on the queue of `state` and borrow the value, as a
    /// block of it does. The kind of event follows: there is a function for each, with the
    /// arguments that it has here and a handler that gets the value first.
    ///
    /// A source keeps the value until it has ended. A value that holds such a source keeps itself
    /// alive for ever, unless it [cancels](Self::cancel) the source.
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let input = Isolated::new(&Queue::new("input"), (near.try_clone()?, String::new()));
    /// let source = EventSource::on(&input).readable(&near, |(socket, text), bytes| {
    ///     let mut buffer = vec![0; bytes as usize];
    ///     socket.read_exact(&mut buffer).unwrap();
    ///     text.push_str(&String::from_utf8_lossy(&buffer));
    /// })?;
    /// far.write_all(b"hello")?;
    /// while input.sync(|(_, text)| text.len()) < 5 {
    ///     std::thread::yield_now();
    /// }
    /// source.cancel();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// At most one `&mut T` exists at a time. A handler that asks for the value again, by
    /// [`Isolated::sync`], panics in that call, with a sentence that names the queue and the place.
    pub fn on<T: Send + 'static>(state: &Isolated<T>) -> Lent<'_, T> {
        Lent { state }
    }
}

impl<T: Send + 'static> Lent<'_, T> {
    /// Like [`EventSource::readable`].
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::os::unix::net::UnixStream;
    ///
    /// let (near, _far) = UnixStream::pair()?;
    /// let most = Isolated::new(&Queue::new("input"), 0);
    /// let source = EventSource::on(&most).readable(&near, |most, bytes| *most = bytes.max(*most))?;
    /// # drop(source);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`EventSource::readable`].
    #[track_caller]
    pub fn readable<D, F>(&self, descriptor: D, handler: F) -> Result<EventSource, EventError>
    where
        D: AsFd,
        F: FnMut(&mut T, u64) + Send + 'static,
    {
        EventSource::readable(self.state.queue(), descriptor, self.lent(handler))
    }

    /// Like [`EventSource::writable`].
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::More};
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::{io::{Read, Write}, os::unix::net::UnixStream};
    ///
    /// let (near, mut far) = UnixStream::pair()?;
    /// let lines = Isolated::new(&Queue::new("output"), vec!["three", "two ", "one "]);
    /// let mut output = near.try_clone()?;
    /// let source = EventSource::on(&lines).writable(&near, move |lines, _room| match lines.pop() {
    ///     Some(line) => {
    ///         output.write_all(line.as_bytes()).unwrap();
    ///         More::Again
    ///     }
    ///     None => More::Wait,
    /// })?;
    /// let mut text = [0; 13];
    /// far.read_exact(&mut text)?;
    /// assert_eq!(&text, b"one two three");
    /// # drop(source);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`EventSource::writable`].
    #[track_caller]
    pub fn writable<D, F>(&self, descriptor: D, handler: F) -> Result<EventSource, EventError>
    where
        D: AsFd,
        F: FnMut(&mut T, u64) -> More + Send + 'static,
    {
        EventSource::writable(self.state.queue(), descriptor, self.lent(handler))
    }

    /// Like [`EventSource::signal`].
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::signals::SIGHUP};
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let reloads = Isolated::new(&Queue::new("settings"), 0);
    /// let source = EventSource::on(&reloads).signal(SIGHUP, |reloads, times| *reloads += times)?;
    /// # drop(source);
    /// # Ok::<(), singletrack_io::EventError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`EventSource::signal`].
    #[track_caller]
    pub fn signal<F>(&self, signal: i32, handler: F) -> Result<EventSource, EventError>
    where
        F: FnMut(&mut T, u64) + Send + 'static,
    {
        EventSource::signal(self.state.queue(), signal, self.lent(handler))
    }

    /// Like [`EventSource::process_exit`].
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::ProcessEnd};
    /// use singletrack_queues::{Isolated, Queue};
    /// use std::process::Command;
    ///
    /// let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// let ends = Isolated::new(&Queue::new("children"), Vec::new());
    /// let source = EventSource::on(&ends).process_exit(child.id(), |ends, end| ends.push(end))?;
    /// while ends.sync(|ends| ends.is_empty()) {
    ///     std::thread::yield_now();
    /// }
    /// assert_eq!(ends.sync(|ends| ends[0]), ProcessEnd::Exited(3));
    /// child.wait()?;
    /// # drop(source);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`EventSource::process_exit`].
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn process_exit<F>(&self, pid: u32, handler: F) -> Result<EventSource, EventError>
    where
        F: FnOnce(&mut T, ProcessEnd) + Send + 'static,
    {
        let mut handler = Some(handler);
        let once = move |value: &mut T, end| {
            if let Some(handler) = handler.take() {
                handler(value, end);
            }
        };
        EventSource::process_exit(self.state.queue(), pid, self.lent(once))
    }

    /// Like [`EventSource::file_changes`].
    ///
    /// ```
    /// use singletrack_io::EventSource;
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let changed = Isolated::new(&Queue::new("settings"), Vec::new());
    /// let source = EventSource::on(&changed)
    ///     .file_changes("Cargo.toml", |changed, changes| changed.extend(changes.paths.into_keys()))?;
    /// # drop(source);
    /// # Ok::<(), singletrack_io::EventError>(())
    /// ```
    ///
    /// # Errors
    /// As for [`EventSource::file_changes`].
    #[track_caller]
    pub fn file_changes<F>(&self, path: impl AsRef<Path>, handler: F) -> Result<EventSource, EventError>
    where
        F: FnMut(&mut T, Changes) + Send + 'static,
    {
        EventSource::file_changes(self.state.queue(), path, self.lent(handler))
    }

    /// Like [`EventSource::memory_pressure`].
    ///
    /// ```
    /// use singletrack_io::{EventSource, event::Pressure};
    /// use singletrack_queues::{Isolated, Queue};
    ///
    /// let cache = Isolated::new(&Queue::new("cache"), vec!["a picture"]);
    /// match EventSource::on(&cache).memory_pressure(Pressure::Full, |cache| cache.clear()) {
    ///     Ok(source) => source.cancel(),
    ///     Err(error) => println!("{error}"), // this system does not count pressure
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`EventSource::memory_pressure`].
    #[cfg(target_os = "linux")]
    #[track_caller]
    pub fn memory_pressure<F>(&self, pressure: Pressure, mut handler: F) -> Result<EventSource, EventError>
    where
        F: FnMut(&mut T) + Send + 'static,
    {
        let mut lent = self.lent(move |value, ()| handler(value));
        EventSource::memory_pressure(self.state.queue(), pressure, move || lent(()))
    }

    /// Wraps `handler` for a source on the queue of the value.
    #[allow(unsafe_code)]
    fn lent<A, R, F>(&self, handler: F) -> impl FnMut(A) -> R + Send + 'static + use<T, A, R, F>
    where
        A: 'static,
        R: 'static,
        F: FnMut(&mut T, A) -> R + Send + 'static,
    {
        // SAFETY: every caller in this file hands the result to an event source on the queue of the
        // value. Its handler is called in the runs of its `Source` only, each of which is a block
        // of that queue that uses the value in no other way, and never in the middle of itself.
        unsafe { self.state.handler(handler) }
    }
}

impl<T> fmt::Debug for Lent<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("state", &self.state).finish()
    }
}
