//! The library's calls, continued: groups, loops, semaphores, sources, and the position of a
//! thread.
//!
//! Rules: as in `api`.

use std::time::Duration;

use singletrack_queues::{Group, Merge, Schedule, Semaphore, Source, Ticker};

use super::super::program::About;
use super::{Api, Handle, NUMBER, Plant};

impl Api {
    pub(crate) fn group(&self) -> Group {
        Group::new()
    }

    pub(crate) fn submit_member(&self, group: &Group, to: &Handle, about: About, f: impl Fn() + Send + 'static) {
        if self.is_due(Plant::MemberForgotten) {
            return self.really_submit(to, about, f);
        }
        match to {
            Handle::Concurrent(queue) => group.submit(queue, f),
            Handle::Workloop(queue) => group.submit(queue, f),
            Handle::Main(queue) => group.submit(queue, f),
            Handle::Serial(_) | Handle::Isolated(_) => group.submit(to.serial(), f),
        }
    }

    pub(crate) fn notify(&self, group: &Group, to: &Handle, f: impl Fn() + Send + 'static) {
        match to {
            Handle::Concurrent(queue) => group.notify(queue, f),
            Handle::Workloop(queue) => group.notify(queue, f),
            Handle::Main(queue) => group.notify(queue, f),
            Handle::Serial(_) | Handle::Isolated(_) => group.notify(to.serial(), f),
        }
    }

    pub(crate) fn wait_group(&self, group: &Group) {
        group.wait();
    }

    pub(crate) fn enter(&self, group: &Group) {
        group.enter();
    }

    /// `false`: nobody had entered.
    pub(crate) fn leave(&self, group: &Group) -> bool {
        group.leave().is_ok()
    }

    /// Of a concurrent queue, or of the runtime.
    pub(crate) fn apply(&self, on: Option<&Handle>, n: usize, f: impl Fn(usize) + Sync) {
        let skipped = self.is_due(Plant::NumberSkipped).then_some(n / 2);
        let f = |number| {
            if Some(number) != skipped {
                f(number);
            }
        };
        match on {
            Some(Handle::Concurrent(queue)) => queue.apply(n, f),
            _ => self.runtime.apply(n, f),
        }
    }

    pub(crate) fn semaphore(&self, permits: usize) -> Semaphore {
        Semaphore::new(permits)
    }

    /// Runs `f` with a permit.
    pub(crate) fn with_permit(&self, semaphore: &Semaphore, f: impl FnOnce()) {
        semaphore.wait();
        if self.is_due(Plant::PermitTwice) {
            semaphore.signal();
        }
        f();
        semaphore.signal();
    }

    pub(crate) fn suspend(&self, queue: &Handle) {
        match queue {
            Handle::Concurrent(queue) => queue.suspend(),
            Handle::Workloop(queue) => queue.suspend(),
            Handle::Main(_) => unreachable!("no program suspends a main queue"),
            Handle::Serial(_) | Handle::Isolated(_) => queue.serial().suspend(),
        }
    }

    /// `false`: it was not suspended.
    pub(crate) fn resume(&self, queue: &Handle) -> bool {
        if self.is_due(Plant::ResumeLost) {
            return true;
        }
        match queue {
            Handle::Concurrent(queue) => queue.resume().is_ok(),
            Handle::Workloop(queue) => queue.resume().is_ok(),
            Handle::Main(_) => unreachable!("no program suspends a main queue"),
            Handle::Serial(_) | Handle::Isolated(_) => queue.serial().resume().is_ok(),
        }
    }

    /// A source that adds.
    pub(crate) fn source(
        &self,
        on: &Handle,
        handler: impl FnMut(u64) + Send + 'static,
        end: impl Fn() + Send + 'static,
    ) -> Source {
        let twice = self.is_due(Plant::EndTwice);
        let builder = Source::builder(on.serial()).merging(Merge::Add);
        let builder = builder.on_cancel(move || (0..1 + usize::from(twice)).for_each(|_| end()));
        builder.build(handler)
    }

    pub(crate) fn merge(&self, source: &Source, value: u64) {
        if self.is_due(Plant::AdditionTwice) {
            source.merge(value);
        }
        source.merge(value);
    }

    pub(crate) fn cancel_source(&self, source: &Source) {
        source.cancel();
    }

    pub(crate) fn ticker(
        &self,
        on: &Handle,
        interval: Duration,
        handler: impl FnMut(u64) + Send + 'static,
        end: impl Fn() + Send + 'static,
    ) -> Ticker {
        let twice = self.is_due(Plant::EndTwice);
        let builder = Source::builder(on.serial()).on_cancel(move || (0..1 + usize::from(twice)).for_each(|_| end()));
        builder.ticking(Schedule::every(interval), handler)
    }

    pub(crate) fn cancel_ticker(&self, ticker: &Ticker) {
        ticker.cancel();
    }

    /// Checks, by all calls that report it, that this thread is in a block of the queue, or of one
    /// that targets it.
    pub(crate) fn expect_inside(&self, queue: &Handle) -> Result<(), String> {
        let is_current = match queue {
            Handle::Concurrent(queue) => {
                queue.assert_on();
                queue.is_current()
            }
            Handle::Workloop(queue) => {
                queue.assert_on();
                queue.is_current()
            }
            Handle::Main(queue) => {
                queue.assert_on();
                queue.is_main_thread()
            }
            Handle::Serial(_) | Handle::Isolated(_) => {
                queue.serial().assert_on();
                queue.serial().is_current()
            }
        };
        if is_current { Ok(()) } else { Err("is_current says no".into()) }
    }

    pub(crate) fn expect_outside(&self, queue: &Handle) -> Result<(), String> {
        let is_current = match queue {
            Handle::Concurrent(queue) => {
                queue.assert_not_on();
                queue.is_current()
            }
            Handle::Workloop(queue) => {
                queue.assert_not_on();
                queue.is_current()
            }
            Handle::Main(queue) => {
                queue.assert_not_on();
                queue.is_main_thread()
            }
            Handle::Serial(_) | Handle::Isolated(_) => {
                queue.serial().assert_not_on();
                queue.serial().is_current()
            }
        };
        if is_current { Err("is_current says yes".into()) } else { Ok(()) }
    }

    /// The number of the first queue up the chain of this thread's block that can have a value.
    pub(crate) fn current_number(&self) -> Option<usize> {
        NUMBER.current().map(|number| *number)
    }
}
