//! Describes a concurrent queue before it is made.

use std::borrow::Cow;
use std::panic::Location;

use super::ConcurrentQueue;
use crate::base::qos::Qos;
use crate::pool::runtime::Runtime;
use crate::queue::concurrent::Body;
use crate::queue::concurrent::gate::UNLIMITED;
use crate::queue::{Plan, TargetQueue};

/// The description of a concurrent queue before it is made. A target must exist before what targets
/// it, so no cycle can be built.
///
/// ```
/// use singletrack_queues::{ConcurrentQueue, Qos};
///
/// let scan = ConcurrentQueue::builder("scan").width(2).qos(Qos::Background).build();
/// assert_eq!((scan.width(), scan.qos()), (Some(2), Qos::Background));
/// ```
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct ConcurrentQueueBuilder {
    plan: Plan,
    width: Option<usize>,
}

impl ConcurrentQueueBuilder {
    pub(super) fn new(label: Cow<'static, str>) -> Self {
        Self { plan: Plan::new(label), width: None }
    }

    /// Its blocks run on the workers of `runtime` instead of the default one.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Runtime};
    ///
    /// let disk = Runtime::builder().workers(2).build().unwrap();
    /// let files = ConcurrentQueue::builder("files").runtime(&disk).build();
    /// assert_eq!(files.runtime(), disk);
    /// ```
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.plan.runtime = Some(runtime.clone());
        self
    }

    /// Its blocks run as part of `target`, a [`Queue`](crate::Queue) or a [`ConcurrentQueue`],
    /// given as a reference. The queue then uses the target's runtime.
    ///
    /// As part of a serial queue they run one at a time, in its order. As part of a concurrent one
    /// they take part in its width and wait for its barriers; a barrier of this queue is alone in
    /// this queue, and an ordinary block of the target.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(8).build();
    /// let thumbnails = ConcurrentQueue::builder("thumbnails").target(&disk).width(2).build();
    /// assert_eq!(thumbnails.sync(|| 2 + 2), 4);
    /// ```
    #[doc(alias = "dispatch_set_target_queue")]
    #[doc(alias = "dispatch_queue_create_with_target")]
    pub fn target(mut self, target: impl Into<TargetQueue>) -> Self {
        self.plan.target = Some(target.into().0);
        self
    }

    /// At most this many of its blocks run at once, a `sync` included. The default is the number of
    /// workers. From 1 to [`MAX_WIDTH`](ConcurrentQueue::MAX_WIDTH).
    ///
    /// A block that ends lets the next one in, so no thread waits for that. A block that waits for
    /// something keeps its place meanwhile.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(4).build();
    /// let read = disk.call(|| std::fs::read("Cargo.toml").map(|text| text.len()));
    /// assert!(read.wait().unwrap().is_ok());
    /// ```
    #[doc(alias = "dispatch_queue_set_width")]
    pub fn width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// It holds submitted blocks until [`ConcurrentQueue::activate`]. `sync` waits until then, too.
    /// Dropping the last handle activates it, with a warning if it holds any blocks; they still
    /// run.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let table = ConcurrentQueue::builder("table").inactive().build();
    /// table.submit(|| println!("after the table is filled"));
    /// assert!(table.try_sync(|| ()).is_err(), "nothing runs yet");
    /// table.activate();
    /// ```
    #[doc(alias = "dispatch_queue_attr_make_initially_inactive")]
    #[doc(alias = "DISPATCH_QUEUE_CONCURRENT_INACTIVE")]
    pub fn inactive(mut self) -> Self {
        self.plan.inactive = true;
        self
    }

    /// How urgent its blocks are; [`Qos::Default`] if not set. See
    /// [`QueueBuilder::qos`](crate::QueueBuilder::qos).
    ///
    /// A waiting thread of a higher class boosts the blocks that the queue lets in from then on.
    /// Blocks that it let in before already wait in a line of the workers and are not boosted: they
    /// get their turn by ageing. On a concurrent target the higher of both classes counts; on a
    /// serial one, the target's.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Qos};
    ///
    /// let thumbnails = ConcurrentQueue::builder("thumbnails").qos(Qos::Utility).build();
    /// assert_eq!(thumbnails.call(Qos::current).wait().unwrap(), Qos::Utility);
    /// ```
    #[doc(alias = "dispatch_queue_attr_make_with_qos_class")]
    pub fn qos(mut self, qos: Qos) -> Self {
        self.plan.qos = qos;
        self
    }

    /// Makes the queue.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(4).build();
    /// let cache = ConcurrentQueue::builder("cache").target(&disk).build();
    /// assert!(cache.sync(|| disk.is_current()));
    /// ```
    ///
    /// # Panics
    /// If the width is 0 or above [`MAX_WIDTH`](ConcurrentQueue::MAX_WIDTH). If the queue needs the
    /// default runtime, and that cannot be started. If both a target and another runtime were
    /// given, or the target is [too far](crate::Queue::MAX_LEVELS) from the workers.
    #[track_caller]
    pub fn build(self) -> ConcurrentQueue {
        let width = self.width.map_or(UNLIMITED, |width| {
            let fits = (1..=ConcurrentQueue::MAX_WIDTH).contains(&width);
            assert!(
                fits,
                "concurrent queue {:?} cannot have the width {width}: give one from 1 to {}, or none for as many blocks at \
                 once as there are workers",
                self.plan.label,
                ConcurrentQueue::MAX_WIDTH
            );
            width as u32
        });
        let (label, target, state, qos) = self.plan.choose();
        ConcurrentQueue { body: Body::new(label, target, width, state, qos, Location::caller()) }
    }
}
