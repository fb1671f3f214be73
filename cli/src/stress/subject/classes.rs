//! Classes of service, perhaps broken ones: queues that forget their class, low blocks that wait
//! for ever, a `sync` that announces the lowest class.

use std::time::Duration;

use singletrack::queues::{Qos, Queue, Runtime};

use super::Now;
use crate::stress::fault::Fault;

/// The delay of a block that is held back. It comes when everything else is over.
const LATE: Duration = Duration::from_millis(300);

/// Verbs that know classes.
#[derive(Clone, Debug)]
pub(crate) struct Classes {
    now: Now,
}

impl Classes {
    /// The verbs of a thread.
    pub(crate) fn new(fault: Option<Fault>) -> Classes {
        Classes { now: Now { fault, calls: 0 } }
    }

    /// As [`Queue::builder`], with a class.
    pub(crate) fn queue(&mut self, runtime: &Runtime, label: &'static str, qos: Qos) -> Queue {
        let qos = if self.now.is_due(Fault::ClassIgnored) { Qos::Background } else { qos };
        Queue::builder(label).runtime(runtime).qos(qos).build()
    }

    /// As [`Queue::submit`].
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&self, queue: &Queue, f: F) {
        if self.now.fault == Some(Fault::LowStarved) && queue.qos() == Qos::Background {
            queue.submit_after(LATE, f);
        } else {
            queue.submit(f);
        }
    }

    /// As [`Queue::sync`], by a thread of this class. It has a time limit, though a long one: a
    /// thread without one would run the queue itself, and boost nothing.
    pub(crate) fn sync_as<R: Send, F: FnOnce() -> R + Send>(&self, queue: &Queue, qos: Qos, f: F) -> R {
        let qos = if self.now.fault == Some(Fault::BoostLost) { Qos::Background } else { qos };
        let result = qos.run(|| queue.sync_timeout(std::time::Duration::from_secs(86_400), f));
        result.unwrap_or_else(|error| panic!("{error}"))
    }
}
