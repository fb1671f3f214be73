//! The description of a workloop before it is made.

use std::panic::Location;

use super::Workloop;
use crate::base::qos::Qos;
use crate::pool::runtime::Runtime;
use crate::queue::{Queue, QueueBuilder};

/// Describes a [`Workloop`]; made by [`Workloop::builder`]. A target must exist before what targets
/// it, so no cycle can be built.
///
/// ```
/// use singletrack_queues::{Qos, Workloop};
///
/// let editor = Workloop::builder("editor").qos(Qos::UserInitiated).inactive().build();
/// editor.submit(Qos::Default, || println!("when it is active"));
/// editor.activate();
/// ```
#[derive(Debug)]
#[must_use = "nothing is made before `build`"]
pub struct WorkloopBuilder {
    pub(super) queue: QueueBuilder,
}

impl WorkloopBuilder {
    /// Its blocks run as part of `target`, see [`QueueBuilder::target`]. The order by class is that
    /// of the workloop's own blocks; the target's other blocks take turns with them, one for one.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue, Workloop};
    ///
    /// let document = Queue::new("document");
    /// let editor = Workloop::builder("editor").target(&document).build();
    /// // Blocks of the editor and of the document exclude one another.
    /// assert!(editor.sync(Qos::Default, || document.try_sync(|| ()).is_err()));
    /// ```
    pub fn target(mut self, target: &Queue) -> Self {
        self.queue = self.queue.target(target);
        self
    }

    /// Its blocks run on the workers of `runtime` instead of the default one.
    ///
    /// ```
    /// use singletrack_queues::{Runtime, Workloop};
    ///
    /// let runtime = Runtime::builder().workers(1).build().unwrap();
    /// let editor = Workloop::builder("editor").runtime(&runtime).build();
    /// assert_eq!(editor.runtime(), runtime);
    /// ```
    pub fn runtime(mut self, runtime: &Runtime) -> Self {
        self.queue = self.queue.runtime(runtime);
        self
    }

    /// It holds submitted blocks until [`Workloop::activate`]; see [`QueueBuilder::inactive`].
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::builder("editor").inactive().build();
    /// let task = editor.call(Qos::Default, || 7);
    /// assert!(!task.is_done(), "it waits for activate");
    /// editor.activate();
    /// assert_eq!(task.wait().unwrap(), 7);
    /// ```
    #[doc(alias = "dispatch_workloop_create_inactive")]
    pub fn inactive(mut self) -> Self {
        self.queue = self.queue.inactive();
        self
    }

    /// The lowest class at which the workers schedule it, see [`QueueBuilder::qos`]. A waiting
    /// block boosts it to its own class.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let drawing = Workloop::builder("drawing").qos(Qos::UserInteractive).build();
    /// assert_eq!(drawing.qos(), Qos::UserInteractive);
    /// ```
    #[doc(alias = "dispatch_workloop_set_qos_class")]
    #[doc(alias = "dispatch_workloop_set_qos_class_floor")]
    pub fn qos(mut self, floor: Qos) -> Self {
        self.queue = self.queue.qos(floor);
        self
    }

    /// Makes the workloop.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Workloop};
    ///
    /// let editor = Workloop::builder("editor").build();
    /// assert_eq!(editor.sync(Qos::Default, || "ready"), "ready");
    /// ```
    ///
    /// # Panics
    /// As [`QueueBuilder::build`].
    #[track_caller]
    pub fn build(self) -> Workloop {
        Workloop::on(self.queue.build(), Location::caller())
    }
}
