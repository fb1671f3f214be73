//! Describes a concurrent queue before it is made.

use std::borrow::Cow;
use std::panic::Location;

use super::ConcurrentQueue;
use crate::qos::Qos;
use crate::queue::concurrent::Handle;
use crate::queue::concurrent::gate::UNLIMITED;
use crate::queue::{Target, TargetQueue};
use crate::runtime::Runtime;
use crate::state::State;

/// Describes a concurrent queue before it is made. A target must exist before what targets it, so no cycle can be built.
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct ConcurrentQueueBuilder {
    label: Cow<'static, str>,
    runtime: Option<Runtime>,
    target: Option<Target>,
    width: Option<usize>,
    inactive: bool,
    qos: Qos,
}

impl ConcurrentQueueBuilder {
    pub(super) fn new(label: Cow<'static, str>) -> Self {
        Self { label, runtime: None, target: None, width: None, inactive: false, qos: Qos::Default }
    }

    /// Its blocks run on the workers of `runtime` instead of the default one.
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Its blocks run as part of `target`, a [`Queue`](crate::Queue) or a [`ConcurrentQueue`]: given as a reference. The
    /// runtime is the target's then.
    ///
    /// As part of a serial queue they run one at a time, in its order. As part of a concurrent one they take part in its
    /// width and wait for its barriers; a barrier of this queue is alone in this queue, and an ordinary block of the target.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(8).build();
    /// let thumbnails = ConcurrentQueue::builder("thumbnails").target(&disk).width(2).build();
    /// assert_eq!(thumbnails.sync(|| 2 + 2), 4);
    /// ```
    pub fn target(mut self, target: impl Into<TargetQueue>) -> Self {
        self.target = Some(target.into().0);
        self
    }

    /// At most so many of its blocks at once, a `sync` included; default: as many as there are workers. From 1 to
    /// [`MAX_WIDTH`](ConcurrentQueue::MAX_WIDTH).
    ///
    /// A block that ends lets the next one in: no thread waits for it. A block that waits keeps its place meanwhile.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(4).build();
    /// let read = disk.call(|| std::fs::read("Cargo.toml").map(|text| text.len()));
    /// assert!(read.wait().unwrap().is_ok());
    /// ```
    pub fn width(mut self, width: usize) -> Self {
        self.width = Some(width);
        self
    }

    /// It holds what is submitted until [`ConcurrentQueue::activate`]. `sync` waits meanwhile, too. Dropping the last handle
    /// activates it, with a warning if it holds anything: what was submitted runs.
    pub fn inactive(mut self) -> Self {
        self.inactive = true;
        self
    }

    /// How urgent its blocks are; [`Qos::Default`] unless said otherwise. See [`QueueBuilder::qos`](crate::QueueBuilder::qos).
    ///
    /// A thread of a higher class that waits for it lifts what it lets in from then on. What it let in before waits in a line
    /// of the workers already and is not lifted: that comes by ageing. On a concurrent target the higher of both classes
    /// counts, on a serial one the target's.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Qos};
    ///
    /// let thumbnails = ConcurrentQueue::builder("thumbnails").qos(Qos::Utility).build();
    /// assert_eq!(thumbnails.call(Qos::current).wait().unwrap(), Qos::Utility);
    /// ```
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Makes the queue.
    ///
    /// # Panics
    /// When the width is 0 or above [`MAX_WIDTH`](ConcurrentQueue::MAX_WIDTH). When it would be on the default runtime, and
    /// that cannot be started. When both a target and another runtime were given.
    #[track_caller]
    pub fn build(self) -> ConcurrentQueue {
        let width = self.width.map_or(UNLIMITED, |width| {
            let fits = (1..=ConcurrentQueue::MAX_WIDTH).contains(&width);
            assert!(
                fits,
                "concurrent queue \"{}\" cannot have the width {width}: give one from 1 to {}, or none for as many blocks at \
                 once as there are workers",
                self.label,
                ConcurrentQueue::MAX_WIDTH
            );
            width as u32
        });
        let target = Target::choose(&self.label, self.target, self.runtime);
        let state = if self.inactive { State::inactive() } else { State::new() };
        ConcurrentQueue { body: Handle::new(self.label, target, width, state, self.qos, Location::caller()) }
    }
}
