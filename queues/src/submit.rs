//! What takes closures, whatever kind it is: for those who leave the choice to the program, such as groups.
//!
//! Each kind says what it does beside its own verbs. Not for: what a kind can besides, such as barriers.

use std::panic::Location;
use std::thread::{self, ThreadId};

use crate::concurrent::ConcurrentQueue;
use crate::main_queue::MainHandle;
use crate::qos::Qos;
use crate::queue::{Needs, Queue};
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
pub trait Destination: Send + 'static {
    /// Submits `f` in the name of who stands at `site`.
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site);

    /// What a block that is submitted now waits for, if it must wait for the one that the calling thread is in.
    fn behind_this_thread(&self) -> Option<Behind>;
}

/// What a block waits for. It keeps no queue: who holds a handle keeps a suspended queue from being let go.
pub struct Behind {
    label: String,
    place: Place,
}

enum Place {
    In(Needs),
    Thread(ThreadId),
}

impl Behind {
    fn new(label: &str, place: Place) -> Self {
        Self { label: label.to_owned(), place }
    }

    /// Must the block that the calling thread is in end first?
    pub(crate) fn waits_for_this_thread(&self) -> bool {
        match &self.place {
            Place::In(needs) => needs.wait_for_this_thread(),
            Place::Thread(thread) => thread::current().id() == *thread,
        }
    }

    /// The name of what it was submitted to.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }
}

impl Destination for Queue {
    #[inline]
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    #[inline]
    fn behind_this_thread(&self) -> Option<Behind> {
        self.needs_this_thread().map(|needs| Behind::new(self.label(), Place::In(needs)))
    }
}

impl Destination for ConcurrentQueue {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn behind_this_thread(&self) -> Option<Behind> {
        self.needs_this_thread().map(|needs| Behind::new(self.label(), Place::In(needs)))
    }
}

impl Destination for Workloop {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(Qos::Default, f, site);
    }

    fn behind_this_thread(&self) -> Option<Behind> {
        self.inner().behind_this_thread()
    }
}

impl Destination for MainHandle {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn behind_this_thread(&self) -> Option<Behind> {
        self.is_main_thread().then(|| Behind::new(self.label(), Place::Thread(thread::current().id())))
    }
}

impl Destination for Runtime {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.spawn_at(Qos::Default, f, site);
    }

    fn behind_this_thread(&self) -> Option<Behind> {
        None
    }
}
