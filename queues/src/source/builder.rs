//! Describes a source before it is made: how it merges, and the handlers for its beginning and its end.
//!
//! Not for: what these do when; that is `source`.

use std::fmt;
use std::panic::Location;

use super::{Handler, Merge, Source};
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
pub struct SourceBuilder {
    pub(super) queue: Queue,
    pub(super) merge: Merge,
    pub(super) registered: Option<Once>,
    pub(super) cancelled: Option<Once>,
}

impl SourceBuilder {
    pub(super) fn new(queue: &Queue) -> Self {
        Self { queue: queue.clone(), merge: Merge::Or, registered: None, cancelled: None }
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
    pub(crate) fn made_by_flags(self, handler: Handler, site: &'static Location<'static>) -> Source {
        Source::made(self.merging(Merge::Or), handler, site)
    }

    /// Makes the source; its `handler` runs on the queue with what was merged since its last run.
    #[track_caller]
    pub fn build<F: FnMut(u64) + Send + 'static>(self, handler: F) -> Source {
        Source::made(self, Box::new(handler), Location::caller())
    }
}

/// What takes either: a queue alone, or a description with handlers for the beginning and the end.
impl From<&Queue> for SourceBuilder {
    fn from(queue: &Queue) -> Self {
        Self::new(queue)
    }
}

impl fmt::Debug for SourceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder").field("queue", &self.queue).field("merge", &self.merge).finish_non_exhaustive()
    }
}
