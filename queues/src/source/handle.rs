//! Merges signals and runs one handler for them on its queue. The readiness of sockets is built on
//! it.
//!
//! The handler waits in its queue at most once, however often the source is signalled. The signals
//! since its last run are merged into one word (`pending`): by "or", by adding, or the last one
//! wins. Signalling allocates nothing: the source itself is the node in the queue. The end of a
//! source is a block of its queue, submitted once, so it comes after the last run of the handler.
//!
//! A source is one allocation: the head that all sources have (`head`), then the value that its
//! handles share, then the handlers (`body`). A handle is a pointer to the head, so that a
//! signaller need not know the types behind it.
//! Not for: the origins of signals (descriptors, timers); they hold a source and merge.

use std::fmt;
use std::marker::PhantomData;
use std::panic::Location;
use std::ptr::NonNull;

use crate::base::block::Node;
use crate::base::catch;
use crate::base::state::Resumed;
use crate::queue::{NotSuspended, Queue, Timer};
use crate::time::when::When;

use super::head::{self, Head};
use super::pending;

/// A handler on a queue, and signals that wait for it, merged into one number.
///
/// This is a handle; cloning it does not clone the handler. The handler never runs twice at once,
/// and no run begins after [`cancel`](Self::cancel) was called. When the last handle is dropped,
/// pending signals are still handled, then the source ends as if cancelled.
///
/// [`new`](Self::new) merges bits by "or"; [`builder`](Self::builder) offers sums and last values,
/// and a handler for the end.
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
/// For a value that all handles must reach, use
/// [`SourceBuilder::sharing`](crate::SourceBuilder::sharing): a `Source<S>` has a
/// [`shared`](Self::shared) value of type `S`, in the same allocation.
#[doc(alias = "dispatch_source_t")]
pub struct Source<S: ?Sized = ()> {
    pub(super) head: NonNull<Head>,
    pub(super) shared: PhantomData<S>,
}

// SAFETY: a handle is a count. It gives access to what is shared by design, and to an `S` that all
// threads may use. The handlers are `Send`, as the builder demands, and only the queue's blocks
// touch them.
unsafe impl<S: ?Sized + Send + Sync> Send for Source<S> {}
// SAFETY: as above.
unsafe impl<S: ?Sized + Send + Sync> Sync for Source<S> {}

impl Source {
    /// The largest value that a source carries, 2^63 - 2; a sum ([`Merge::Add`](crate::Merge::Add))
    /// stays there.
    pub const MAX: u64 = pending::MAX;
}

impl<S> Source<S> {
    /// The value given to [`SourceBuilder::sharing`](crate::SourceBuilder::sharing).
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    ///
    /// let device = Source::builder(&Queue::new("device")).sharing("/dev/ttyS0").build(|_| ());
    /// assert_eq!(*device.shared(), "/dev/ttyS0");
    /// ```
    #[inline]
    #[must_use]
    pub fn shared(&self) -> &S {
        // SAFETY: this handle keeps the body, which was made for an `S`, or its type was erased and
        // `S` is `()`.
        unsafe { head::shared(self.head).as_ref() }
    }

    /// A type-erased handle for signalling: it has the same type for all sources.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    ///
    /// let queue = Queue::new("devices");
    /// let (disk, lamp) = (
    ///     Source::builder(&queue).sharing("a path").build(|_| ()),
    ///     Source::builder(&queue).sharing(60_u8).build(|_| ()),
    /// );
    /// let all: Vec<Source> = vec![disk.plain(), lamp.plain()];
    /// all.iter().for_each(|device| device.merge(1));
    /// ```
    #[must_use]
    pub fn plain(&self) -> Source {
        self.head().counts.add_handle();
        Source { head: self.head, shared: PhantomData }
    }

    #[inline]
    pub(super) fn head(&self) -> &Head {
        // SAFETY: this handle keeps it.
        unsafe { self.head.as_ref() }
    }

    /// The name of the queue that the handler runs on.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Source};
    ///
    /// let main = MainQueue::new("main");
    /// assert_eq!(Source::new(&main.handle(), |_| ()).label(), "main");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.head().on.label()
    }

    /// The serial queue that the handler runs on; `None` on a workloop and on a main queue. A
    /// source on a concurrent queue, or on the workers of a runtime, has a serial queue of its own,
    /// which targets them.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source, Workloop};
    ///
    /// let queue = Queue::new("bits");
    /// assert_eq!(Source::new(&queue, |_| ()).queue(), Some(&queue));
    /// assert_eq!(Source::new(&Workloop::new("editor"), |_| ()).queue(), None);
    /// ```
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        self.head().on.queue()
    }

    /// Merges `value` into what the next run of the handler gets, in the way of this source.
    ///
    /// It may be called from any thread. The handler sees what happened before the merge. By "or",
    /// the value is a set of bits (the lower 63; zero does nothing); see [`Merge`](crate::Merge)
    /// for the other ways.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::{sync::mpsc, thread};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let source = Source::new(&Queue::new("bits"), move |bits| tell.send(bits).unwrap());
    /// let other = source.clone();
    /// thread::spawn(move || other.merge(0b10)).join().unwrap();
    /// source.merge(0b01);
    /// let mut seen = 0; // in one run of the handler, or in two
    /// while seen != 0b11 {
    ///     seen |= told.recv().unwrap();
    /// }
    /// ```
    ///
    /// # Panics
    /// When the source [replaces](crate::Merge::Replace) and `value` is above [`MAX`](Self::MAX).
    #[doc(alias = "dispatch_source_merge_data")]
    #[inline]
    #[track_caller]
    pub fn merge(&self, value: u64) {
        if let Some(node) = self.turn_on(value) {
            // SAFETY: see `turn_on`.
            unsafe { self.head().on.push_lane(node) };
        }
    }

    /// Like [`merge`](Self::merge), but a queue that was idle does not run before this worker has
    /// nothing else to do, so that other merges can join: output is written once, after all input
    /// of a turn. See [`Queue::submit_deferred`].
    ///
    /// ```
    /// use singletrack_queues::{Merge, Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let output = Source::builder(&Queue::new("output"))
    ///     .merging(Merge::Add)
    ///     .build(move |lines| tell.send(lines).unwrap());
    /// let input = Queue::new("input");
    /// for _line in 0..3 {
    ///     let output = output.clone();
    ///     input.submit(move || output.merge_deferred(1));
    /// }
    /// drop(output);
    /// assert_eq!(told.iter().sum::<u64>(), 3);
    /// ```
    ///
    /// # Panics
    /// As in `merge`.
    #[inline]
    #[track_caller]
    pub fn merge_deferred(&self, value: u64) {
        if let Some(node) = self.turn_on(value) {
            // SAFETY: see `turn_on`.
            unsafe { self.head().on.push_lane_deferred(node) };
        }
    }

    /// Like [`merge`](Self::merge), after a delay or at a point in time; see
    /// [`Queue::submit_after`]. The timer does not keep the source.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let retry = Source::new(&Queue::new("retries"), move |bits| tell.send(bits).unwrap());
    /// retry.merge_after(Duration::from_millis(1), 1);
    /// assert_eq!(told.recv(), Ok(1));
    /// ```
    ///
    /// # Panics
    /// As in `merge`. If the source is on a main queue, which needs the default runtime to keep its
    /// time, and that cannot be started.
    pub fn merge_after(&self, delay: impl Into<When>, value: u64) -> Timer {
        let (runtime, own) = (self.head().on.runtime(), self.downgrade());
        if self.head().on.gone().is_some() {
            return Timer::refused(runtime);
        }
        Timer::start(runtime, delay.into(), move || {
            if let Some(own) = own.upgrade() {
                own.merge(value);
                // The program may have dropped its last handle meanwhile.
                catch::drop_quietly(own);
            }
        })
    }

    /// Merges. If that turned the source on, returns its node, with its own count; the caller must
    /// push it.
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
        // The queue owns the count, then the run does. The node is in no list: it was detached
        // before the run that emptied `pending`, or before the run that met a suspension.
        self.head().counts.add_handle();
        self.head.cast()
    }

    /// Suspends the handler: a run that has begun ends, the next one waits for
    /// [`resume`](Self::resume), and signals that come meanwhile are merged for it. Suspensions are
    /// counted. The queue goes on with its other blocks.
    ///
    /// A source whose last handle is dropped while it is suspended ends without handling pending
    /// signals.
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
    #[doc(alias = "dispatch_suspend")]
    pub fn suspend(&self) {
        let label = self.label();
        assert!(
            self.head().pending.suspend(),
            "a source on queue {label:?} is suspended too often: somebody forgets to resume"
        );
    }

    /// Takes one [`suspend`](Self::suspend) back.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let source = Source::new(&Queue::new("device"), move |bits| tell.send(bits).unwrap());
    /// source.suspend();
    /// source.merge(1);
    /// source.merge(4);
    /// source.resume().unwrap();
    /// assert_eq!(told.recv(), Ok(5));
    /// assert!(source.resume().is_err(), "nothing to take back");
    /// ```
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    #[doc(alias = "dispatch_resume")]
    pub fn resume(&self) -> Result<(), NotSuspended> {
        match self.head().pending.resume() {
            Resumed::NotSuspended => return Err(NotSuspended::source(self.label())),
            Resumed::Nothing => {}
            // SAFETY: a run met the suspension: what was merged is still there, so no merge gets
            // the node, and it is in no list.
            Resumed::Schedule => unsafe { self.head().on.push_lane(self.counted_node()) },
        }
        Ok(())
    }

    /// Ends the source: no run of the handler begins any more. A run that has begun ends. Then a
    /// block of the queue drops the handler and runs the
    /// [cancel handler](crate::SourceBuilder::on_cancel). That happens once, however often this is
    /// called, and whether or not the source is suspended.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let source = Source::new(&Queue::new("device"), move |bits| tell.send(bits).unwrap());
    /// source.cancel();
    /// source.merge(1);
    /// // The handler is dropped, and the sender with it: it never ran.
    /// assert!(told.recv().is_err());
    /// ```
    #[doc(alias = "dispatch_source_cancel")]
    #[doc(alias = "dispatch_source_cancel_and_wait")]
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
        self.head().on.submit_at(end, Location::caller());
    }

    /// Whether it was cancelled.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    ///
    /// let source = Source::new(&Queue::new("device"), |_| ());
    /// assert!(!source.is_cancelled());
    /// source.cancel();
    /// assert!(source.is_cancelled());
    /// ```
    #[doc(alias = "dispatch_source_testcancel")]
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
        f.debug_struct("Source").field("queue", &self.label()).field("cancelled", &self.is_cancelled()).finish()
    }
}

/// A weak reference to a [`Source`]: for code that signals it and must not keep it.
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

// SAFETY: it gives only handles of type `Source`, which all threads may use.
unsafe impl Send for WeakSource {}
// SAFETY: as above.
unsafe impl Sync for WeakSource {}

impl<S> Source<S> {
    /// A weak reference to the source, which does not keep it from ending.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    ///
    /// let source = Source::new(&Queue::new("device"), |_| ());
    /// let weak = source.downgrade();
    /// let signal = move || weak.upgrade().map(|source| source.merge(1)).is_some();
    /// assert!(signal());
    /// source.cancel(); // the closure does not keep it
    /// drop(source);
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakSource {
        self.head().counts.add_weak();
        WeakSource(self.head)
    }
}

impl WeakSource {
    /// The source; `None` when its last handle was dropped and no signal is pending. The result is
    /// a handle like any other: dropping it may end the source, and drop the captures of its
    /// handlers.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Source};
    ///
    /// let source = Source::new(&Queue::new("device"), |_| ());
    /// let weak = source.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(source);
    /// assert!(weak.upgrade().is_none());
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<Source> {
        // SAFETY: a weak reference keeps the memory, and so the counts.
        let becomes = unsafe { self.0.as_ref() }.counts.become_handle();
        // The handle is made only then: dropping an uncounted one would take away another handle's
        // count.
        becomes.then(|| Source { head: self.0, shared: PhantomData })
    }
}

impl Clone for WeakSource {
    fn clone(&self) -> Self {
        // SAFETY: as in `upgrade`.
        unsafe { self.0.as_ref() }.counts.add_weak();
        Self(self.0)
    }
}

impl Drop for WeakSource {
    fn drop(&mut self) {
        // SAFETY: this one was counted once and is not used again.
        unsafe { Head::drop_weak(self.0) };
    }
}

impl fmt::Debug for WeakSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeakSource").finish_non_exhaustive()
    }
}
