//! Making a source: where it runs, how it merges, and the handlers for its beginning and its end.
//!
//! Not for: when the handlers run; that is `handle`.

use std::fmt;
use std::panic::Location;

use super::body::{Body, Once};
use super::handle::Source;
use super::pending::Merge;
use crate::kinds::Isolated;
use crate::kinds::exclusive::Exclusive;
use crate::kinds::submit::Submit;
use crate::pool::Gone;
use crate::pool::runtime::Runtime;

impl Source {
    /// Makes a source whose `handler` runs on `on` with the bits that were merged since its last
    /// run.
    ///
    /// `on` is a queue of any kind. On a concurrent queue, too, the handler never runs twice at
    /// once. On a workloop it runs in the default class.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Source};
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// let quit = Source::new(&main.handle(), move |_| handle.stop());
    /// std::thread::spawn(move || quit.merge(1));
    /// main.run();
    /// ```
    #[doc(alias = "dispatch_source_create")]
    #[doc(alias = "DISPATCH_SOURCE_TYPE_DATA_OR")]
    #[track_caller]
    pub fn new<D: Submit, F: FnMut(u64) + Send + 'static>(on: &D, handler: F) -> Self {
        Self::builder(on).build(handler)
    }

    /// Makes a source whose `handler` runs on the queue of `state` and borrows the value, as a
    /// block of it does.
    ///
    /// The source keeps the value until it has ended. A value that holds such a source keeps itself
    /// alive for ever, unless it [cancels](Self::cancel) the source.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue, Source};
    ///
    /// let seen = Isolated::new(&Queue::new("bits"), 0);
    /// let source = Source::on(&seen, |seen, bits| *seen |= bits);
    /// source.merge(1);
    /// source.merge(4);
    /// assert_eq!(seen.sync(|seen| *seen), 5);
    /// ```
    #[track_caller]
    pub fn on<T, F>(state: &Isolated<T>, handler: F) -> Self
    where
        T: Send + 'static,
        F: FnMut(&mut T, u64) + Send + 'static,
    {
        // SAFETY: the runs of a source are blocks of its queue.
        Self::new(state.queue(), unsafe { state.handler(handler) })
    }

    /// A builder for a source: how it merges, and handlers for its beginning and its end.
    ///
    /// ```
    /// use singletrack_queues::{Merge, Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let keys = Source::builder(&Queue::new("keys"))
    ///     .merging(Merge::Add)
    ///     .build(move |pressed| tell.send(pressed).unwrap());
    /// keys.merge(3);
    /// assert_eq!(told.recv(), Ok(3));
    /// ```
    #[track_caller]
    pub fn builder<D: Submit>(on: &D) -> SourceBuilder {
        SourceBuilder::new(on.exclusive())
    }
}

/// A builder for a [`Source`]; made by [`Source::builder`].
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
    on: Exclusive,
    merge: Merge,
    registered: Option<Once>,
    cancelled: Option<Once>,
    shared: S,
}

impl SourceBuilder {
    fn new(on: Exclusive) -> Self {
        Self { on, merge: Merge::Or, registered: None, cancelled: None, shared: () }
    }
}

impl<S: Send + Sync + 'static> SourceBuilder<S> {
    /// Stores `shared` in the source; all handles reach it by [`Source::shared`]. It is dropped
    /// with the last handle.
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
        let Self { on, merge, registered, cancelled, .. } = self;
        SourceBuilder { on, merge, registered, cancelled, shared }
    }

    /// Sets how signals between two runs of the handler are merged. The default is by "or".
    ///
    /// ```
    /// use singletrack_queues::{Merge, Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::new("progress");
    /// let progress = Source::builder(&queue)
    ///     .merging(Merge::Replace)
    ///     .build(move |percent| tell.send(percent).unwrap());
    /// queue.sync(|| {
    ///     progress.merge(10);
    ///     progress.merge(20); // the last value wins
    /// });
    /// assert_eq!(told.recv(), Ok(20));
    /// ```
    #[doc(alias = "DISPATCH_SOURCE_TYPE_DATA_ADD")]
    #[doc(alias = "DISPATCH_SOURCE_TYPE_DATA_REPLACE")]
    pub fn merging(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Sets a closure that runs once on the queue, before the first run of the handler. It does not
    /// run if the source is cancelled before.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let begin = tell.clone();
    /// let source = Source::builder(&Queue::new("device"))
    ///     .on_registered(move || begin.send(0).unwrap())
    ///     .build(move |bits| tell.send(bits).unwrap());
    /// source.merge(1);
    /// assert_eq!([told.recv(), told.recv()], [Ok(0), Ok(1)]);
    /// ```
    #[doc(alias = "dispatch_source_set_registration_handler")]
    #[doc(alias = "dispatch_source_set_registration_handler_f")]
    pub fn on_registered<F: FnOnce() + Send + 'static>(mut self, f: F) -> Self {
        self.registered = Some(Box::new(f));
        self
    }

    /// Sets a closure that runs once on the queue when the source has ended, after the last run of
    /// the handler and after the handler was dropped. It is the place to close a descriptor.
    ///
    /// A source ends by [`cancel`](Source::cancel), or when its last handle is dropped and no
    /// signal is pending. After the runtime was shut down the closure is dropped unrun, with its
    /// captures, like any block.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let source = Source::builder(&Queue::new("device"))
    ///     .on_cancel(move || tell.send("closed").unwrap())
    ///     .build(|_| ());
    /// source.cancel();
    /// assert_eq!(told.recv(), Ok("closed"));
    /// ```
    #[doc(alias = "dispatch_source_set_cancel_handler")]
    #[doc(alias = "dispatch_source_set_cancel_handler_f")]
    #[doc(alias = "dispatch_source_set_mandatory_cancel_handler")]
    #[doc(alias = "dispatch_source_set_mandatory_cancel_handler_f")]
    pub fn on_cancel<F: FnOnce() + Send + 'static>(mut self, f: F) -> Self {
        self.cancelled = Some(Box::new(f));
        self
    }

    /// The name of the queue that the handlers will run on.
    ///
    /// ```
    /// # use singletrack_queues::{ConcurrentQueue, Source};
    /// assert_eq!(Source::builder(&ConcurrentQueue::new("table")).label(), "table");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.on.label()
    }

    /// The runtime of the queue. For a main queue it is the one that keeps its time.
    ///
    /// ```
    /// # use singletrack_queues::{Runtime, Source};
    /// let disk = Runtime::builder().workers(1).name("disk").build().unwrap();
    /// assert_eq!(Source::builder(&disk.queue("files")).runtime().name(), "disk");
    /// ```
    ///
    /// # Panics
    /// If the default runtime is needed and cannot be started, see [`Runtime::global`].
    #[must_use]
    pub fn runtime(&self) -> Runtime {
        self.on.runtime()
    }

    /// The reason why no handler would run, if there is one.
    ///
    /// ```
    /// # use singletrack_queues::{Gone, MainQueue, Source};
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// assert_eq!(Source::builder(&handle).gone(), None);
    /// drop(main);
    /// assert_eq!(Source::builder(&handle).gone(), Some(Gone::MainQueueDropped));
    /// ```
    #[must_use]
    pub fn gone(&self) -> Option<Gone> {
        self.on.gone()
    }

    /// For sources that signal themselves by flags.
    pub(crate) fn made_by_flags<F>(self, handler: F, site: &'static Location<'static>) -> Source<S>
    where
        F: FnMut(u64) + Send + 'static,
    {
        let mut handler = handler;
        self.merging(Merge::Or).made(move |_, value| handler(value), site)
    }

    /// Makes the source. Its `handler` runs on the queue with the signals merged since its last
    /// run.
    ///
    /// ```
    /// use singletrack_queues::{Merge, Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::new("bytes");
    /// let bytes = Source::builder(&queue).merging(Merge::Add).build(move |sum| tell.send(sum).unwrap());
    /// queue.sync(|| (1..=4).for_each(|size| bytes.merge(size)));
    /// assert_eq!(told.recv(), Ok(10), "one run for four signals");
    /// ```
    #[doc(alias = "dispatch_source_set_event_handler")]
    #[doc(alias = "dispatch_source_set_event_handler_f")]
    #[doc(alias = "dispatch_source_get_data")]
    #[doc(alias = "dispatch_source_get_extended_data")]
    #[track_caller]
    pub fn build<F: FnMut(u64) + Send + 'static>(self, mut handler: F) -> Source<S> {
        self.made(move |_, value| handler(value), Location::caller())
    }

    /// Like [`build`](Self::build), for a handler that needs its own source. The handler borrows a
    /// handle in each run, because a captured handle would keep the source for ever.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// // A handler that runs once.
    /// let once = Source::builder(&Queue::new("once")).build_with_self(move |own, bits| {
    ///     own.cancel();
    ///     tell.send(bits).unwrap();
    /// });
    /// once.merge(1);
    /// assert_eq!(told.recv(), Ok(1));
    /// assert!(once.is_cancelled());
    /// ```
    #[track_caller]
    pub fn build_with_self<F: FnMut(&Source<S>, u64) + Send + 'static>(self, handler: F) -> Source<S> {
        self.made(handler, Location::caller())
    }

    fn made<F: FnMut(&Source<S>, u64) + Send + 'static>(self, event: F, site: &'static Location<'static>) -> Source<S> {
        let Self { on, merge, registered, cancelled, shared } = self;
        let source = match cancelled {
            Some(cancelled) => Body::source(on, merge, shared, event, cancelled, site),
            None => Body::source(on, merge, shared, event, (), site),
        };
        if let Some(registered) = registered {
            // The queue keeps order, so this runs before all later merges.
            let own = source.plain();
            let first = move || {
                if own.is_cancelled() {
                    return drop(registered);
                }
                registered();
            };
            source.head().on.submit_at(first, site);
        }
        source
    }
}

/// Conversion to a builder: from a queue of any kind alone, or from a builder with handlers for the
/// beginning and the end.
impl<D: Submit> From<&D> for SourceBuilder {
    #[track_caller]
    fn from(on: &D) -> Self {
        Self::new(on.exclusive())
    }
}

impl<S> fmt::Debug for SourceBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceBuilder")
            .field("queue", &self.on.label())
            .field("merge", &self.merge)
            .finish_non_exhaustive()
    }
}
