//! Describes a workloop before it is made.

use std::panic::Location;

use super::Workloop;
use crate::qos::Qos;
use crate::queue::{Queue, QueueBuilder};
use crate::runtime::Runtime;

/// Describes a [`Workloop`]; made by [`Workloop::builder`]. A target must exist before what targets it, so no cycle can be
/// built.
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct WorkloopBuilder {
    pub(super) queue: QueueBuilder,
}

impl WorkloopBuilder {
    /// Its blocks run as part of `target`, see [`QueueBuilder::target`]. The order by class is that of the workloop's own
    /// blocks; the target's other blocks take turns with them, one for one.
    pub fn target(mut self, target: &Queue) -> Self {
        self.queue = self.queue.target(target);
        self
    }

    /// Its blocks run on the workers of `runtime` instead of the default one.
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.queue = self.queue.runtime(runtime);
        self
    }

    /// It holds what is submitted until [`Workloop::activate`]; see [`QueueBuilder::inactive`].
    pub fn inactive(mut self) -> Self {
        self.queue = self.queue.inactive();
        self
    }

    /// The lowest class that the workers take it for, see [`QueueBuilder::qos`]: a block that waits lifts it to its own.
    pub fn qos(mut self, floor: Qos) -> Self {
        self.queue = self.queue.qos(floor);
        self
    }

    /// Makes the workloop.
    ///
    /// # Panics
    /// As [`QueueBuilder::build`].
    #[track_caller]
    pub fn build(self) -> Workloop {
        Workloop::on(self.queue.build(), Location::caller())
    }
}
