//! Where a work item can be submitted: a serial queue, a concurrent one, a workloop.
//!
//! Not for: what it is and how it ends.

use std::panic::Location;

use super::{BarrierItem, Place, WorkHandle, WorkItem};
use crate::concurrent::ConcurrentQueue;
use crate::qos::Qos;
use crate::queue::{OwnedLift, Queue};
use crate::sync::lock;
use crate::workloop::Workloop;

impl WorkItem {
    /// Submits it to a serial queue. After a shutdown it is dropped, logged and counted, and ends as
    /// [`WorkEnd::Dropped`](super::WorkEnd::Dropped).
    #[track_caller]
    pub fn submit(self, queue: &Queue) -> WorkHandle {
        let site = Location::caller();
        let qos = self.qos;
        let (ticket, handle) = self.split(Some(Place::Serial(queue.clone())));
        let lift = qos.and_then(|qos| OwnedLift::new(queue, qos));
        lock(&handle.shared.inner).lift = lift;
        queue.submit_at(move || ticket.run(), site);
        if let Some(qos) = qos {
            queue.hurry(qos);
        }
        handle
    }

    /// Submits it to a concurrent queue, where it runs beside others. After a shutdown as for [`submit`](Self::submit).
    #[track_caller]
    pub fn submit_concurrent(self, queue: &ConcurrentQueue) -> WorkHandle {
        let (site, qos) = (Location::caller(), self.qos.unwrap_or(Qos::Background));
        let (ticket, handle) = self.split(Some(Place::Concurrent(queue.clone(), false)));
        queue.submit_as(move || ticket.run(), qos, site);
        handle
    }

    /// Submits it to a workloop, in its own class. After a shutdown as for [`submit`](Self::submit).
    ///
    /// ```
    /// use singletrack_queues::{Qos, WorkEnd, WorkItem, Workloop};
    ///
    /// let item = WorkItem::new(|| println!("soon")).qos(Qos::UserInitiated).submit_workloop(&Workloop::new("editor"));
    /// assert_eq!(item.wait(), WorkEnd::Ran);
    /// ```
    #[track_caller]
    pub fn submit_workloop(self, workloop: &Workloop) -> WorkHandle {
        let (site, qos) = (Location::caller(), self.qos.unwrap_or_default());
        let (ticket, handle) = self.split(Some(Place::Serial(workloop.inner().clone())));
        workloop.submit_at(qos, move || ticket.run(), site);
        handle
    }
}

impl BarrierItem {
    /// Submits it to a concurrent queue. After a shutdown as for [`WorkItem::submit`].
    #[track_caller]
    pub fn submit(self, queue: &ConcurrentQueue) -> WorkHandle {
        let site = Location::caller();
        let (ticket, handle) = self.item.split(Some(Place::Concurrent(queue.clone(), true)));
        queue.barrier_at(move || ticket.run(), site);
        handle
    }
}
