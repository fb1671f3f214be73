//! Merges what is signalled and runs one handler on its queue: what readiness of sockets plugs into.
//!
//! However often it is signalled, the handler waits in its queue at most once: the signals that came since its last run
//! are merged into one word (`pending`), by "or", by adding, or the last one wins. Signalling allocates nothing: the source
//! itself is the node that is queued. The end of a source is a block of its queue, submitted once, so it comes after the
//! last run of the handler.
//!
//! A source is one allocation (`body`): what all sources have in front, then what its handles share, then the handlers. A
//! handle is a pointer to the front, so that who signals need not know what stands behind it.
//! Not for: what signals (descriptors, timers); they hold a source and merge.

mod body;
mod builder;
pub(crate) mod counts;
pub(crate) mod pending;

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::NonNull;

use crate::block::Node;
use crate::queue::{NotSuspended, Queue};
use crate::state::Resumed;

use body::Head;
pub use builder::SourceBuilder;
pub use pending::Merge;

/// A handler on a queue, and signals that wait for it, merged into one number.
///
/// A handle; cloning it does not clone the handler. The handler never runs twice at once, and does not begin to run after
/// [`cancel`](Self::cancel) was called. When the last handle is dropped, what waits is still handled, then the source ends
/// as if cancelled.
///
/// [`new`](Self::new) merges bits by "or"; [`builder`](Self::builder) knows sums and last values, and a handler for the end.
///
/// ```
/// use singletrack_queues::{Queue, Source};
/// use std::sync::mpsc;
///
/// let (tell, told) = mpsc::channel();
/// let queue = Queue::new("bits");
/// let source = Source::new(&queue, move |bits| tell.send(bits).unwrap());
/// queue.sync(|| {
///     source.merge(1);
///     source.merge(4);
/// });
/// assert_eq!(told.recv().unwrap(), 1 | 4);
/// ```
///
/// What all handles shall reach, the program gives to [`SourceBuilder::sharing`]: a `Source<S>` has a [`shared`](Self::shared)
/// value of type `S`, in the same allocation.
pub struct Source<S: ?Sized = ()> {
    head: NonNull<Head>,
    shared: PhantomData<S>,
}

// SAFETY: a handle is a count and gives access to what is shared by design, and to an `S` that all threads may use; the
// handlers are `Send`, as the builder demands, and touched by the queue's blocks alone.
unsafe impl<S: ?Sized + Send + Sync> Send for Source<S> {}
// SAFETY: as above.
unsafe impl<S: ?Sized + Send + Sync> Sync for Source<S> {}

impl Source {
    /// The largest value that a source carries, 2^63 - 2; a sum ([`Merge::Add`]) stays there.
    pub const MAX: u64 = pending::MAX;

    /// Makes a source whose `handler` runs on `queue` with the bits that were merged since its last run.
    #[track_caller]
    pub fn new<F: FnMut(u64) + Send + 'static>(queue: &Queue, handler: F) -> Self {
        Self::builder(queue).build(handler)
    }

    /// Starts to describe a source: how it merges, and handlers for its beginning and its end.
    pub fn builder(queue: &Queue) -> SourceBuilder {
        SourceBuilder::new(queue)
    }
}

impl<S> Source<S> {
    /// What was given to [`SourceBuilder::sharing`].
    #[inline]
    #[must_use]
    pub fn shared(&self) -> &S {
        // SAFETY: this handle keeps the body, which was made for an `S`, or its type was forgotten and `S` is `()`.
        unsafe { body::shared(self.head).as_ref() }
    }

    /// Another handle, for who only signals: it is of the same type for all sources.
    #[must_use]
    pub fn plain(&self) -> Source {
        self.head().counts.add_handle();
        Source { head: self.head, shared: PhantomData }
    }

    #[inline]
    fn head(&self) -> &Head {
        // SAFETY: this handle keeps it.
        unsafe { self.head.as_ref() }
    }

    /// The queue that the handler runs on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.head().queue
    }

    /// Adds `value` to what the next run of the handler gets, in the way that the source merges.
    ///
    /// From any thread. The handler sees what happened before the merge. By "or", these are bits (the lower 63; none is
    /// nothing); see [`Merge`] for the other ways.
    ///
    /// # Panics
    /// When the source [replaces](Merge::Replace) and `value` is above [`MAX`](Self::MAX).
    #[inline]
    #[track_caller]
    pub fn merge(&self, value: u64) {
        if let Some(node) = self.turn_on(value) {
            // SAFETY: see `turn_on`.
            unsafe { self.head().queue.push_node(node) };
        }
    }

    /// As [`merge`](Self::merge), but a queue that was idle does not have its turn before this worker has nothing else to do,
    /// so that others may add to it: output is written once, after all input of a turn. See [`Queue::submit_later`].
    ///
    /// # Panics
    /// As `merge`.
    #[inline]
    #[track_caller]
    pub fn merge_later(&self, value: u64) {
        if let Some(node) = self.turn_on(value) {
            // SAFETY: see `turn_on`.
            unsafe { self.head().queue.push_node_later(node) };
        }
    }

    /// Merges; if that turned the source on, its node, with a count of its own, to be pushed.
    #[inline]
    #[track_caller]
    fn turn_on(&self, value: u64) -> Option<NonNull<Node>> {
        // Only the merge that found nothing pending gets the node.
        if !self.head().pending.add(value) {
            return None;
        }
        Some(self.counted_node())
    }

    #[inline]
    fn counted_node(&self) -> NonNull<Node> {
        // The count is the queue's, and the run's after it. The node is in no list: it was detached before the run that
        // emptied `pending`, or that was held.
        self.head().counts.add_handle();
        self.head.cast()
    }

    /// Holds the handler: a run that has begun ends, the next one waits for [`resume`](Self::resume), and what is signalled
    /// meanwhile is merged for it. Counts. The queue goes on with its other blocks.
    ///
    /// A source whose last handle is dropped while it is suspended ends without handling what waits.
    ///
    /// ```
    /// # use singletrack_queues::{Merge, Queue, Source};
    /// # use std::sync::mpsc;
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::new("sums");
    /// let sum = Source::builder(&queue).merging(Merge::Add).build(move |sum| tell.send(sum).unwrap());
    /// sum.suspend();
    /// for i in 1..=100 {
    ///     sum.merge(i);
    /// }
    /// sum.resume().expect("suspended above");
    /// assert_eq!(told.recv().unwrap(), 5050);
    /// assert!(sum.resume().is_err());
    /// ```
    ///
    /// # Panics
    /// When it is suspended 2^31 - 1 times already.
    pub fn suspend(&self) {
        let label = self.queue().label();
        assert!(
            self.head().pending.suspend(),
            "a source on queue \"{label}\" is suspended too often: somebody forgets to resume"
        );
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        match self.head().pending.resume() {
            Resumed::NotSuspended => return Err(NotSuspended::source(self.queue().label())),
            Resumed::Nothing => {}
            // SAFETY: a run was held: what was merged is still there, so no merge gets the node, and it is in no list.
            Resumed::Schedule => unsafe { self.head().queue.push_node(self.counted_node()) },
        }
        Ok(())
    }

    /// Ends the source: the handler does not begin to run any more. A run that has begun ends; then a block of the queue
    /// drops the handler and runs the [cancel handler](SourceBuilder::on_cancel), once however often this is called, and
    /// whether or not the source is suspended.
    #[track_caller]
    pub fn cancel(&self) {
        if !self.head().pending.cancel() {
            return;
        }
        let own = self.plain();
        let end = move || {
            // SAFETY: in a block of the queue.
            unsafe { (own.head().table.end)(own.head) };
        };
        self.head().queue.submit_at(end, Location::caller());
    }

    /// Was it cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.head().pending.is_cancelled()
    }
}

impl<S: ?Sized> Clone for Source<S> {
    fn clone(&self) -> Self {
        // SAFETY: this handle keeps it.
        unsafe { self.head.as_ref() }.counts.add_handle();
        Self { head: self.head, shared: PhantomData }
    }
}

impl<S: ?Sized> Drop for Source<S> {
    fn drop(&mut self) {
        // SAFETY: this handle was counted once and is not used again.
        unsafe { Head::drop_handle(self.head) };
    }
}

impl<S> fmt::Debug for Source<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("queue", &self.head().queue).field("cancelled", &self.is_cancelled()).finish()
    }
}

/// A [`Source`] that may be gone: for what signals it and must not keep it.
///
/// ```
/// use singletrack_queues::{Queue, Source};
///
/// let source = Source::new(&Queue::new("bits"), |_| ());
/// let weak = source.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(source);
/// assert!(weak.upgrade().is_none());
/// ```
pub struct WeakSource(NonNull<Head>);

// SAFETY: it gives nothing but handles of type `Source`, which may be used by all threads.
unsafe impl Send for WeakSource {}
// SAFETY: as above.
unsafe impl Sync for WeakSource {}

impl<S> Source<S> {
    /// What knows of the source and does not keep it from ending.
    #[must_use]
    pub fn downgrade(&self) -> WeakSource {
        self.head().counts.add_knowing();
        WeakSource(self.head)
    }
}

impl WeakSource {
    /// The source, unless its last handle was dropped. What comes back is a handle like any other: dropping it may end the
    /// source, and drop what its handlers captured.
    #[must_use]
    pub fn upgrade(&self) -> Option<Source> {
        // SAFETY: who knows keeps the memory, and so the counts.
        let becomes = unsafe { self.0.as_ref() }.counts.become_handle();
        // Made only then: dropping one that was not counted would take away what is somebody else's.
        becomes.then(|| Source { head: self.0, shared: PhantomData })
    }
}

impl Clone for WeakSource {
    fn clone(&self) -> Self {
        // SAFETY: as in `upgrade`.
        unsafe { self.0.as_ref() }.counts.add_knowing();
        Self(self.0)
    }
}

impl Drop for WeakSource {
    fn drop(&mut self) {
        // SAFETY: this one was counted once and is not used again.
        unsafe { Head::drop_knowing(self.0) };
    }
}

impl fmt::Debug for WeakSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSource").finish_non_exhaustive()
    }
}
