//! A workloop, perhaps a broken one: blocks that forget their class, change places within it, or
//! wait for ever.

use std::time::Duration;

use singletrack::queues::{Qos, Workloop};

use super::Now;
use crate::stress::fault::Fault;

/// The delay of a block that is held back. It comes when everything else is over.
const LATE: Duration = Duration::from_millis(300);

/// One source of blocks for a workloop.
pub(crate) struct Urgent {
    now: Now,
    held: Option<(Qos, Box<dyn FnOnce() + Send>)>,
}

impl Urgent {
    /// The blocks of a thread.
    pub(crate) fn new(fault: Option<Fault>) -> Urgent {
        Urgent { now: Now { fault, calls: 0 }, held: None }
    }

    /// As [`Workloop::submit`].
    pub(crate) fn submit<F: FnOnce() + Send + 'static>(&mut self, workloop: &Workloop, qos: Qos, f: F) {
        if self.now.fault == Some(Fault::LowForgotten) && qos == Qos::Background {
            workloop.submit_after(qos, LATE, f);
        } else if self.now.is_due(Fault::UrgencyIgnored) {
            workloop.submit(Qos::Background, f);
        } else if self.held.is_none() && self.now.is_due(Fault::ClassSwapped) {
            self.held = Some((qos, Box::new(f)));
        } else {
            workloop.submit(qos, f);
            if self.held.as_ref().is_some_and(|(of, _)| *of == qos) {
                self.let_go(workloop);
            }
        }
    }

    /// Submits what is held back.
    pub(crate) fn let_go(&mut self, workloop: &Workloop) {
        if let Some((qos, f)) = self.held.take() {
            workloop.submit(qos, f);
        }
    }
}
