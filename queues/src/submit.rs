//! What takes closures, whatever kind it is: for those who leave the choice to the program, such as groups.
//!
//! Each kind says what it does beside its own verbs. Not for: what a kind can besides, such as barriers.

use std::panic::Location;

use crate::concurrent::ConcurrentQueue;
use crate::main_queue::MainHandle;
use crate::qos::Qos;
use crate::queue::Queue;
use crate::runtime::Runtime;
use crate::workloop::Workloop;

type Site = &'static Location<'static>;

/// What takes closures: a serial queue ([`Queue`]), a concurrent one ([`ConcurrentQueue`]), a workloop (in its default class), the
/// main queue ([`MainHandle`]), or the workers of a [`Runtime`].
///
/// ```
/// use singletrack_queues::{ConcurrentQueue, Group, Runtime, Workloop};
/// use std::sync::mpsc::channel;
///
/// let (group, (tell, told)) = (Group::new(), channel());
/// let (first, second) = (tell.clone(), tell.clone());
/// group.submit(&ConcurrentQueue::new("readers"), move || first.send("read").unwrap());
/// group.submit(&Workloop::new("editor"), move || second.send("edited").unwrap());
/// group.notify(&Runtime::global(), move || tell.send("done").unwrap());
/// assert_eq!(told.iter().last(), Some("done"));
/// ```
///
/// It is sealed: there are no other kinds.
pub trait Submit: Destination + Clone {}

impl<D: Destination + Clone> Submit for D {}

/// What [`Submit`] stands for; private, because this module is.
pub trait Destination: Send + Sync + 'static {
    /// Submits `f` in the name of who stands at `site`.
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site)
    where
        Self: Sized;

    /// Must the block that the calling thread is in end before this can run another?
    fn waits_for_this_thread(&self) -> bool;

    /// The name that it was given.
    fn name(&self) -> &str;
}

impl Destination for Queue {
    #[inline]
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    #[inline]
    fn waits_for_this_thread(&self) -> bool {
        Queue::waits_for_this_thread(self)
    }

    fn name(&self) -> &str {
        self.label()
    }
}

impl Destination for ConcurrentQueue {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn waits_for_this_thread(&self) -> bool {
        ConcurrentQueue::waits_for_this_thread(self, false)
    }

    fn name(&self) -> &str {
        self.label()
    }
}

impl Destination for Workloop {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(Qos::Default, f, site);
    }

    fn waits_for_this_thread(&self) -> bool {
        self.inner().waits_for_this_thread()
    }

    fn name(&self) -> &str {
        self.label()
    }
}

impl Destination for MainHandle {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn waits_for_this_thread(&self) -> bool {
        self.is_main_thread()
    }

    fn name(&self) -> &str {
        self.label()
    }
}

impl Destination for Runtime {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.spawn_at(Qos::Default, f, site);
    }

    fn waits_for_this_thread(&self) -> bool {
        false
    }

    fn name(&self) -> &str {
        "the workers"
    }
}
