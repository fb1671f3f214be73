//! A destination of any kind for closures: for code that leaves the choice to the program, such as
//! groups.
//!
//! Each kind implements it next to its own verbs. Not for: what only one kind can do, such as
//! barriers.

use std::panic::Location;

use crate::base::qos::Qos;
use crate::kinds::concurrent::ConcurrentQueue;
use crate::kinds::exclusive::Exclusive;
use crate::kinds::main_queue::MainHandle;
use crate::kinds::workloop::Workloop;
use crate::pool::runtime::Runtime;
use crate::queue::origin::Origin;
use crate::queue::{OwnedBoost, Queue};

pub(crate) type Site = &'static Location<'static>;

/// A destination for closures: a serial queue ([`Queue`]), a concurrent one ([`ConcurrentQueue`]),
/// a workloop (in its default class), the main queue ([`MainHandle`]), or the workers of a
/// [`Runtime`].
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
/// The trait is sealed: there are no other kinds.
pub trait Submit: Destination + Clone {}

impl<D: Destination + Clone> Submit for D {}

/// The methods behind [`Submit`]; private, because this module is.
pub trait Destination: Send + 'static {
    /// Submits `f` in the name of the caller at `site`.
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site);

    /// Like [`submit_from`](Self::submit_from), optionally with its own class.
    fn submit_in<F: FnOnce() + Send + 'static>(&self, f: F, qos: Option<Qos>, site: Site);

    /// Boosts everything that must run before a block of that class, until the result is dropped.
    fn boost(&self, _: Qos) -> Option<Boost> {
        None
    }

    /// The destination for blocks that run one at a time, in order.
    fn exclusive(&self) -> Exclusive;

    /// The outlook of a block that is submitted next.
    fn standing(&self) -> Standing;

    /// The same, if that block must wait for the block that the calling thread is in.
    fn behind_this_thread(&self) -> Option<Standing>;
}

/// The position of a block that others wait for. It does not keep the queue, so that it never
/// outlives the last handle of a suspended queue.
pub struct Standing(pub(crate) Origin);

/// A boost, see [`Destination::boost`].
pub struct Boost(pub(crate) OwnedBoost);

impl Destination for Queue {
    #[inline]
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn submit_in<F: FnOnce() + Send + 'static>(&self, f: F, qos: Option<Qos>, site: Site) {
        self.submit_at(f, site);
        if let Some(qos) = qos {
            self.send_token(qos);
        }
    }

    fn boost(&self, qos: Qos) -> Option<Boost> {
        OwnedBoost::new(self, qos).map(Boost)
    }

    fn exclusive(&self) -> Exclusive {
        self.clone().into()
    }

    fn standing(&self) -> Standing {
        Standing(Origin::of(self))
    }

    #[inline]
    fn behind_this_thread(&self) -> Option<Standing> {
        self.is_held_up().then(|| Standing(Origin::of(self)))
    }
}

impl Destination for ConcurrentQueue {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn submit_in<F: FnOnce() + Send + 'static>(&self, f: F, qos: Option<Qos>, site: Site) {
        self.submit_as(f, qos.unwrap_or(Qos::Background), site);
    }

    #[track_caller]
    fn exclusive(&self) -> Exclusive {
        let label = self.label().to_owned();
        Queue::builder(label).target(self).qos(self.qos()).build().into()
    }

    fn standing(&self) -> Standing {
        Standing(self.origin(false))
    }

    fn behind_this_thread(&self) -> Option<Standing> {
        self.origin_if_held_up().map(Standing)
    }
}

impl Destination for Workloop {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(Qos::Default, f, site);
    }

    fn submit_in<F: FnOnce() + Send + 'static>(&self, f: F, qos: Option<Qos>, site: Site) {
        self.submit_at(qos.unwrap_or_default(), f, site);
    }

    fn exclusive(&self) -> Exclusive {
        self.clone().into()
    }

    fn standing(&self) -> Standing {
        Standing(Origin::of(self.inner()))
    }

    fn behind_this_thread(&self) -> Option<Standing> {
        self.inner().behind_this_thread()
    }
}

impl Destination for MainHandle {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.submit_at(f, site);
    }

    fn submit_in<F: FnOnce() + Send + 'static>(&self, f: F, _: Option<Qos>, site: Site) {
        self.submit_at(f, site);
    }

    fn exclusive(&self) -> Exclusive {
        self.clone().into()
    }

    fn standing(&self) -> Standing {
        Standing(self.origin())
    }

    fn behind_this_thread(&self) -> Option<Standing> {
        self.is_main_thread().then(|| Standing(self.origin()))
    }
}

impl Destination for Runtime {
    fn submit_from<F: FnOnce() + Send + 'static>(&self, f: F, site: Site) {
        self.spawn_at(Qos::Default, f, site);
    }

    fn submit_in<F: FnOnce() + Send + 'static>(&self, f: F, qos: Option<Qos>, site: Site) {
        self.spawn_at(qos.unwrap_or_default(), f, site);
    }

    #[track_caller]
    fn exclusive(&self) -> Exclusive {
        self.queue(self.name().to_owned()).into()
    }

    fn standing(&self) -> Standing {
        Standing(Origin::workers())
    }

    fn behind_this_thread(&self) -> Option<Standing> {
        None
    }
}
