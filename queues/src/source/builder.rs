//! Describes a source before it is made: how it merges, and the handlers for its beginning and its end.
//!
//! Not for: what these do when; that is `source`.

use std::fmt;
use std::panic::Location;

use super::body::Body;
use super::{Merge, Source};
use crate::queue::Queue;

pub(super) type Once = Box<dyn FnOnce() + Send>;

/// Describes a [`Source`]; made by [`Source::builder`].
///
/// ```
/// use singletrack_queues::{Merge, Queue, Source};
/// use std::sync::mpsc;
///
/// let (tell, told) = mpsc::channel();
/// let (begin, end) = (tell.clone(), tell.clone());
/// let queue = Queue::new("bytes");
/// let received = Source::builder(&queue)
///     .merging(Merge::Add)
///     .on_registered(move || begin.send("ready".to_owned()).unwrap())
///     .on_cancel(move || end.send("closed".to_owned()).unwrap())
///     .build(move |bytes| tell.send(format!("{bytes} bytes")).unwrap());
/// queue.sync(|| {
///     received.merge(100);
///     received.merge(20);
/// });
/// queue.sync(|| ());
/// received.cancel();
/// assert_eq!(told.iter().collect::<Vec<_>>(), ["ready", "120 bytes", "closed"]);
/// ```
#[must_use = "nothing is made before `build`"]
pub struct SourceBuilder<S = ()> {
    queue: Queue,
    merge: Merge,
    registered: Option<Once>,
    cancelled: Option<Once>,
    shared: S,
}

impl SourceBuilder {
    pub(super) fn new(queue: &Queue) -> Self {
        Self { queue: queue.clone(), merge: Merge::Or, registered: None, cancelled: None, shared: () }
    }
}

impl<S: Send + Sync + 'static> SourceBuilder<S> {
    /// Puts `shared` where all handles reach it, by [`Source::shared`]. It is dropped with the last of them.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    ///
    /// let queue = Queue::new("counts");
    /// let source = Source::builder(&queue).sharing(AtomicU64::new(0)).build_with_self(|own, bits| {
    ///     own.shared().fetch_add(bits, Relaxed);
    /// });
    /// source.merge(4);
    /// queue.sync(|| ());
    /// assert_eq!(source.shared().load(Relaxed), 4);
    /// ```
    pub fn sharing<T: Send + Sync + 'static>(self, shared: T) -> SourceBuilder<T> {
        let Self { queue, merge, registered, cancelled, .. } = self;
        SourceBuilder { queue, merge, registered, cancelled, shared }
    }

    /// How signals are put together that come between two runs of the handler: by "or", unless said otherwise.
    pub fn merging(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Runs once on the queue, before the first run of the handler. Not if the source is cancelled before.
    pub fn on_registered<F: FnOnce() + Send + 'static>(mut self, f: F) -> Self {
        self.registered = Some(Box::new(f));
        self
    }

    /// Runs once on the queue when the source has ended, after the last run of the handler and after that was dropped: the
    /// place to close a descriptor.
    ///
    /// A source ends by [`cancel`](Source::cancel), or when its last handle is dropped and nothing waits to be handled. After
    /// the runtime was shut down the closure is dropped unrun, with what it captured, as any block is.
    pub fn on_cancel<F: FnOnce() + Send + 'static>(mut self, f: F) -> Self {
        self.cancelled = Some(Box::new(f));
        self
    }

    /// The queue that the handlers are to run on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// For sources that signal themselves, by flags.
    pub(crate) fn made_by_flags<F>(self, handler: F, site: &'static Location<'static>) -> Source<S>
    where
        F: FnMut(u64) + Send + 'static,
    {
        let mut handler = handler;
        self.merging(Merge::Or).made(move |_, value| handler(value), site)
    }

    /// Makes the source; its `handler` runs on the queue with what was merged since its last run.
    #[track_caller]
    pub fn build<F: FnMut(u64) + Send + 'static>(self, mut handler: F) -> Source<S> {
        self.made(move |_, value| handler(value), Location::caller())
    }

    /// As [`build`](Self::build), for a handler that needs its own source: it is lent a handle for each run, because one of its
    /// own would keep the source for ever.
    #[track_caller]
    pub fn build_with_self<F: FnMut(&Source<S>, u64) + Send + 'static>(self, handler: F) -> Source<S> {
        self.made(handler, Location::caller())
    }

    fn made<F: FnMut(&Source<S>, u64) + Send + 'static>(self, event: F, site: &'static Location<'static>) -> Source<S> {
        let Self { queue, merge, registered, cancelled, shared } = self;
        let source = match cancelled {
            Some(cancelled) => Body::source(queue, merge, shared, event, cancelled, site),
            None => Body::source(queue, merge, shared, event, (), site),
        };
        if let Some(registered) = registered {
            // The queue keeps order, so this is ahead of whatever is merged later.
            let own = source.plain();
            let first = move || {
                if own.is_cancelled() {
                    return drop(registered);
                }
                registered();
            };
            source.queue().submit_at(first, site);
        }
        source
    }
}

/// What takes either: a queue alone, or a description with handlers for the beginning and the end.
impl From<&Queue> for SourceBuilder {
    fn from(queue: &Queue) -> Self {
        Self::new(queue)
    }
}

impl<S> fmt::Debug for SourceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder").field("queue", &self.queue).field("merge", &self.merge).finish_non_exhaustive()
    }
}
