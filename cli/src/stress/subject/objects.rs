//! More verbs that can be broken: of work items, semaphores, inactive queues, values of queues,
//! tickers and sources.
//!
//! The rules are those of `subject`: ordinary calls in the wrong number or order, one verb a fault,
//! none without a fault.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use singletrack::queues::{
    Queue, QueueBuilder, Schedule, Semaphore, Source, SourceBuilder, SpecificKey, Ticker, WorkHandle, WorkItem,
};

use super::super::fault::Fault;
use super::{Now, Verbs};

impl Verbs {
    /// As [`WorkItem::new`].
    pub(crate) fn item<F: FnOnce() + Send + 'static>(&mut self, body: F) -> WorkItem {
        if !self.now.is_due(Fault::CapturesKept) {
            return WorkItem::new(body);
        }
        let body = Arc::new(Mutex::new(Some(body)));
        // Another owner holds it, and for ever.
        std::mem::forget(body.clone());
        WorkItem::new(move || {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(body) = body {
                body();
            }
        })
    }

    /// As [`WorkHandle::cancel`].
    pub(crate) fn cancel(&mut self, item: &WorkHandle) -> bool {
        self.now.is_due(Fault::CancelIgnored) || item.cancel()
    }

    /// As [`WorkHandle::notify`].
    pub(crate) fn notify<F: Fn() + Send + Clone + 'static>(&mut self, item: &WorkHandle, queue: &Queue, told: F) {
        if self.now.is_due(Fault::NotifyTwice) {
            item.notify(queue, told.clone());
        }
        item.notify(queue, told);
    }

    /// As [`Semaphore::signal`].
    pub(crate) fn signal(&mut self, semaphore: &Semaphore) {
        if self.now.is_due(Fault::PermitLost) {
            return;
        }
        if self.now.is_due(Fault::PermitTwice) {
            semaphore.signal();
        }
        semaphore.signal();
    }

    /// As [`QueueBuilder::inactive`], and `build`.
    pub(crate) fn inactive(&mut self, builder: QueueBuilder) -> Queue {
        let queue = builder.inactive().build();
        if self.now.is_due(Fault::ActivatedEarly) {
            queue.activate();
        }
        queue
    }

    /// As [`Queue::set_specific`].
    pub(crate) fn set_specific<T: Send + Sync + 'static>(
        &mut self,
        queue: &Queue,
        key: &'static SpecificKey<T>,
        value: T,
    ) -> Option<Arc<T>> {
        if self.now.is_due(Fault::ValueMissing) { None } else { queue.set_specific(key, value) }
    }

    /// As [`Ticker::new`], for ticks at regular intervals.
    pub(crate) fn ticker<F>(&mut self, queue: &Queue, interval: Duration, mut handler: F) -> Ticker
    where
        F: FnMut(u64) + Send + 'static,
    {
        let hurries = self.now.is_due(Fault::TickEarly);
        let mut calls = Now { fault: self.now.fault, calls: 0 };
        Ticker::new(queue, Schedule::every(if hurries { interval / 2 } else { interval }), move |ticks| {
            if !calls.is_due(Fault::TickLost) {
                handler(ticks);
            }
        })
    }

    /// As [`Source::merge`] of a source that adds.
    pub(crate) fn add(&mut self, source: &Source, value: u64) {
        if self.now.is_due(Fault::AdditionTwice) {
            source.merge(value);
        }
        source.merge(value);
    }

    /// As [`Source::merge`] of a source that replaces.
    pub(crate) fn replace(&mut self, source: &Source, value: u64) {
        if !self.now.is_due(Fault::ReplacementLost) {
            source.merge(value);
        }
    }

    /// As [`SourceBuilder::on_cancel`].
    pub(crate) fn on_cancel<F: Fn() + Send + 'static>(&mut self, builder: SourceBuilder, ended: F) -> SourceBuilder {
        let twice = self.now.is_due(Fault::EndTwice);
        builder.on_cancel(move || {
            if twice {
                ended();
            }
            ended();
        })
    }
}
