//! Submitting a work item to any destination for closures.
//!
//! Not for: the work item itself and how it ends.

use std::panic::Location;

use super::{BarrierItem, WorkHandle, WorkItem};
use crate::base::sync::lock;
use crate::kinds::concurrent::ConcurrentQueue;
use crate::kinds::submit::Submit;

impl WorkItem {
    /// Submits it to a queue of any kind, or to the workers of a [`Runtime`](crate::Runtime). It
    /// runs beside other blocks on a concurrent queue, and in its own class on a workloop.
    ///
    /// After a shutdown, or after its main queue was dropped, it is dropped, logged and counted,
    /// and ends as [`WorkEnd::Dropped`](super::WorkEnd::Dropped).
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Qos, Queue, WorkEnd, WorkItem, Workloop};
    ///
    /// let item = WorkItem::new(|| println!("in turn")).submit(&Queue::new("log"));
    /// assert_eq!(item.wait(), WorkEnd::Ran);
    /// let item = WorkItem::new(|| println!("beside others")).submit(&ConcurrentQueue::new("table"));
    /// assert_eq!(item.wait(), WorkEnd::Ran);
    /// let soon = WorkItem::new(|| println!("soon")).qos(Qos::UserInitiated);
    /// assert_eq!(soon.submit(&Workloop::new("editor")).wait(), WorkEnd::Ran);
    /// ```
    #[track_caller]
    pub fn submit<S: Submit>(self, to: &S) -> WorkHandle {
        let (site, qos) = (Location::caller(), self.qos);
        let (ticket, handle) = self.split(to.standing().0);
        if let Some(boost) = qos.and_then(|qos| to.boost(qos)) {
            lock(&handle.shared.inner).boost = Some(boost.0);
        }
        to.submit_in(move || ticket.run(), qos, site);
        handle
    }
}

impl BarrierItem {
    /// Submits it to a concurrent queue. For a shutdown see [`WorkItem::submit`].
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, WorkEnd, WorkItem};
    ///
    /// let alone = WorkItem::new(|| println!("alone")).barrier();
    /// assert_eq!(alone.submit(&ConcurrentQueue::new("table")).wait(), WorkEnd::Ran);
    /// ```
    #[track_caller]
    pub fn submit(self, queue: &ConcurrentQueue) -> WorkHandle {
        let site = Location::caller();
        let (ticket, handle) = self.item.split(queue.origin(true));
        queue.barrier_at(move || ticket.run(), site);
        handle
    }
}
