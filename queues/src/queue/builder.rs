//! Describes a queue before it is made: where it runs, how urgent it is, and when it begins.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;

use super::Queue;
use super::core::QueueCore;
use super::level::Target;
use crate::base::qos::Qos;
use crate::base::state::State;
use crate::pool::runtime::Runtime;

/// A possible target of a queue, made from a reference to a [`Queue`] or to a concurrent one, for
/// the `target` of the builders.
///
/// ```
/// use singletrack_queues::{ConcurrentQueue, Queue, TargetQueue};
///
/// fn below(label: &'static str, target: impl Into<TargetQueue>) -> Queue {
///     Queue::builder(label).target(target).build()
/// }
/// let (ledger, disk) = (Queue::new("ledger"), ConcurrentQueue::new("disk"));
/// assert!(below("account", &ledger).sync(|| ledger.is_current()));
/// assert!(below("file", &disk).sync(|| disk.is_current()));
/// ```
#[derive(Debug)]
pub struct TargetQueue(pub(crate) Target);

impl From<&Queue> for TargetQueue {
    fn from(queue: &Queue) -> Self {
        Self(Target::Queue(queue.kept().erased()))
    }
}

/// Describes a queue before it is made. A target must exist before a queue that targets it, so no
/// cycle can be built.
///
/// ```
/// use singletrack_queues::{Qos, Queue, QueueBuilder};
///
/// fn urgent(label: &'static str) -> QueueBuilder {
///     Queue::builder(label).qos(Qos::UserInteractive)
/// }
/// assert_eq!(urgent("drawing").build().qos(), Qos::UserInteractive);
/// ```
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct QueueBuilder {
    plan: Plan,
}

/// The description of a queue of any kind.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) label: Cow<'static, str>,
    pub(crate) runtime: Option<Runtime>,
    pub(crate) target: Option<Target>,
    pub(crate) inactive: bool,
    pub(crate) qos: Qos,
}

impl Plan {
    pub(crate) fn new(label: Cow<'static, str>) -> Self {
        Self { label, runtime: None, target: None, inactive: false, qos: Qos::Default }
    }

    /// The label, the target, the state and the class of the new queue.
    ///
    /// # Panics
    /// As [`QueueBuilder::build`].
    #[track_caller]
    pub(crate) fn choose(self) -> (Cow<'static, str>, Target, State, Qos) {
        let target = choose(&self.label, self.target, self.runtime);
        let state = if self.inactive { State::inactive() } else { State::new() };
        (self.label, target, state, self.qos)
    }
}

/// The target from the settings of a builder, for a queue of that label.
///
/// # Panics
/// When both a target and another runtime were given; when the chain of targets is too long;
/// when the default runtime is needed and cannot be started.
#[track_caller]
fn choose(label: &str, target: Option<Target>, runtime: Option<Runtime>) -> Target {
    let Some(target) = target else {
        return Target::Pool(runtime.unwrap_or_else(Runtime::global).owner);
    };
    let elsewhere = runtime.is_some_and(|runtime| !Arc::ptr_eq(runtime.pool(), target.pool()));
    if let (true, Some(level)) = (elsewhere, target.level()) {
        panic!(
            "queue {label:?} cannot target {:?}: that queue is on another runtime; leave out `runtime`",
            level.label()
        );
    }
    let levels = target.level().map_or(0, |level| level.chain().take(Queue::MAX_LEVELS).count());
    assert!(
        levels < Queue::MAX_LEVELS,
        "queue {label:?}, made at {}, would be more than {} levels above the workers: a block runs on the stacks of all its \
         targets; target a queue that is nearer to them",
        Location::caller(),
        Queue::MAX_LEVELS
    );
    target
}

impl QueueBuilder {
    pub(super) fn new(label: Cow<'static, str>) -> Self {
        Self { plan: Plan::new(label) }
    }

    /// The blocks of the queue run as part of `target`, a reference to a [`Queue`] or a
    /// [`ConcurrentQueue`](crate::ConcurrentQueue). The queue then has the target's runtime.
    ///
    /// Queues with a common serial target exclude one another and keep their own order. Queues with
    /// a common concurrent target run beside one another, within its width. The target's barriers
    /// run when none of these queues is in a block.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Queue};
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(2).build();
    /// let files: Vec<_> = (0..10).map(|i| Queue::builder(format!("file.{i}")).target(&disk).build()).collect();
    /// // Each in its own order, two of them at a time.
    /// files.iter().for_each(|file| file.submit(|| ()));
    /// ```
    #[doc(alias = "dispatch_set_target_queue")]
    #[doc(alias = "dispatch_queue_create_with_target")]
    #[doc(alias = "DISPATCH_TARGET_QUEUE_DEFAULT")]
    pub fn target(mut self, target: impl Into<TargetQueue>) -> Self {
        self.plan.target = Some(target.into().0);
        self
    }

    /// The blocks of the queue run on the workers of `runtime` instead of the default one.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Runtime};
    ///
    /// let disk = Runtime::builder().workers(1).build().unwrap();
    /// let files = Queue::builder("files").runtime(&disk).build();
    /// assert_eq!(files.runtime(), disk);
    /// ```
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.plan.runtime = Some(runtime.clone());
        self
    }

    /// The queue holds submitted blocks until [`Queue::activate`]: fill it, or hand it out, before
    /// anything runs.
    ///
    /// `sync` waits meanwhile, too. Dropping the last handle activates the queue, with a warning if
    /// it holds anything: the submitted blocks run.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let startup = Queue::builder("startup").inactive().build();
    /// startup.submit(|| println!("not before the settings were read"));
    /// startup.activate();
    /// startup.sync(|| ());
    /// ```
    #[doc(alias = "dispatch_queue_attr_make_initially_inactive")]
    #[doc(alias = "DISPATCH_QUEUE_SERIAL_INACTIVE")]
    pub fn inactive(mut self) -> Self {
        self.plan.inactive = true;
        self
    }

    /// The urgency of its blocks. The default is [`Qos::Default`].
    ///
    /// When the workers have more to do than they can, they take a higher class first. A lower
    /// class still progresses: of sixteen turns, one goes to the others, and a turn ends after 256
    /// blocks or two milliseconds. When a thread of a higher class waits in [`sync`](Queue::sync),
    /// it boosts the queue, and with it the targets of the queue, to its own class until its
    /// closure ran. On a target, the higher of both classes counts.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue};
    ///
    /// let index = Queue::builder("index").qos(Qos::Background).build();
    /// index.submit(|| assert_eq!(Qos::current(), Qos::Background));
    /// let frame = Queue::builder("frame").qos(Qos::UserInteractive).build();
    /// frame.submit(move || index.sync(|| println!("ahead of all other work in the background")));
    /// ```
    #[doc(alias = "dispatch_queue_attr_make_with_qos_class")]
    #[doc(alias = "dispatch_set_qos_class")]
    #[doc(alias = "dispatch_set_qos_class_floor")]
    #[doc(alias = "dispatch_set_qos_class_fallback")]
    pub fn qos(mut self, qos: Qos) -> Self {
        self.plan.qos = qos;
        self
    }

    /// Makes the queue.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let ledger = Queue::new("ledger");
    /// let ada = Queue::builder("account.ada").target(&ledger).build();
    /// let bob = Queue::builder("account.bob").target(&ledger).build();
    /// // Both accounts exclude one another.
    /// assert!(ada.sync(|| bob.try_sync(|| ()).is_err()));
    /// ```
    ///
    /// # Panics
    /// When the queue would be on the default runtime, and that cannot be started; see
    /// [`Runtime::global`]. When both a target and another runtime were given, or the target is
    /// [too far](Queue::MAX_LEVELS) from the workers.
    #[track_caller]
    pub fn build(self) -> Queue {
        let (label, target, state, qos) = self.plan.choose();
        Queue { core: QueueCore::new(label, target, state, qos, Location::caller()) }
    }
}
