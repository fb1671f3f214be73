//! Describes a queue before it is made: where it runs, how urgent it is, when it begins.

use std::borrow::Cow;
use std::panic::Location;

use super::Queue;
use super::core::QueueCore;
use super::target::{Target, TargetQueue};
use crate::qos::Qos;
use crate::runtime::Runtime;
use crate::state::State;

/// Describes a queue before it is made. A target must exist before what targets it, so no cycle can be built.
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct QueueBuilder {
    label: Cow<'static, str>,
    runtime: Option<Runtime>,
    target: Option<Target>,
    inactive: bool,
    qos: Qos,
}

impl QueueBuilder {
    pub(super) fn new(label: Cow<'static, str>) -> Self {
        Self { label, runtime: None, target: None, inactive: false, qos: Qos::Default }
    }

    /// Its blocks run as part of `target`, a [`Queue`] or a [`ConcurrentQueue`](crate::ConcurrentQueue): given as a
    /// reference. The runtime is the target's then.
    ///
    /// Queues with a common serial target exclude one another and keep their own order. Those with a common concurrent target
    /// run beside one another, within its width; its barriers run when none of them is in a block.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Queue};
    ///
    /// let disk = ConcurrentQueue::builder("disk").width(2).build();
    /// let files: Vec<_> = (0..10).map(|i| Queue::builder(format!("file.{i}")).target(&disk).build()).collect();
    /// // Each in its own order, two of them at a time.
    /// files.iter().for_each(|file| file.submit(|| ()));
    /// ```
    pub fn target(mut self, target: impl Into<TargetQueue>) -> Self {
        self.target = Some(target.into().0);
        self
    }

    /// Its blocks run on the workers of `runtime` instead of the default one.
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// It holds what is submitted until [`Queue::activate`]: to fill it, or to hand it out, before anything runs.
    ///
    /// `sync` waits meanwhile, too. Dropping the last handle activates it, with a warning if it holds anything: what was
    /// submitted runs.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    ///
    /// let startup = Queue::builder("startup").inactive().build();
    /// startup.submit(|| println!("not before the settings were read"));
    /// startup.activate();
    /// startup.sync(|| ());
    /// ```
    pub fn inactive(mut self) -> Self {
        self.inactive = true;
        self
    }

    /// How urgent its blocks are; [`Qos::Default`] unless said otherwise.
    ///
    /// When the workers have more to do than they can, they take a higher class first. A lower one still progresses: of
    /// sixteen turns one goes to the others, and a turn ends after 256 blocks or two milliseconds. A thread of a higher class
    /// that waits in [`sync`](Queue::sync) lifts the queue, and with it what it targets, to its own class until its closure
    /// ran. On a target the higher of both classes counts.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue};
    ///
    /// let index = Queue::builder("index").qos(Qos::Background).build();
    /// index.submit(|| assert_eq!(Qos::current(), Qos::Background));
    /// let frame = Queue::builder("frame").qos(Qos::UserInteractive).build();
    /// frame.submit(move || index.sync(|| println!("ahead of all other work in the background")));
    /// ```
    pub fn qos(mut self, qos: Qos) -> Self {
        self.qos = qos;
        self
    }

    /// Makes the queue.
    ///
    /// # Panics
    /// When it would be on the default runtime, and that cannot be started; see [`Runtime::global`]. When both a target
    /// and another runtime were given.
    #[track_caller]
    pub fn build(self) -> Queue {
        let target = Target::choose(&self.label, self.target, self.runtime);
        let state = if self.inactive { State::inactive() } else { State::new() };
        let queue = Queue { core: QueueCore::new(self.label, target, state, self.qos, Location::caller()) };
        if self.qos != Qos::Default {
            queue.core().pool().grade();
        }
        queue
    }
}
