//! More verbs of a thread: groups, parallel loops, scopes, targets, values made once, points in
//! time.

use std::time::{Duration, Instant};

use singletrack::queues::{Group, Once, Queue, Runtime, Scope, Timer, When};

use super::Verbs;
use crate::stress::fault::Fault;

impl Verbs {
    /// As [`Group::submit`].
    pub(crate) fn submit_in<F: FnOnce() + Send + 'static>(&mut self, group: &Group, queue: &Queue, f: F) {
        if self.now.is_due(Fault::MemberForgotten) { queue.submit(f) } else { group.submit(queue, f) }
    }

    /// As [`Runtime::apply`].
    pub(crate) fn apply<F: Fn(usize) + Sync>(&self, runtime: &Runtime, n: usize, f: F) {
        let skipped = (self.now.fault == Some(Fault::NumberSkipped)).then_some(n / 2);
        runtime.apply(n, |number| {
            if Some(number) != skipped {
                f(number);
            }
        });
    }

    /// As [`Scope::spawn`], for piece `number` of a number of pieces.
    pub(crate) fn spawn_in<'env, F>(&self, scope: &Scope<'env>, (number, n): (usize, usize), f: F)
    where
        F: FnOnce() + Send + 'env,
    {
        if self.now.fault != Some(Fault::PieceSkipped) || number != n / 2 {
            scope.spawn(f);
        }
    }

    /// As [`Queue::submit`], by a block that is going to wait for its pieces.
    pub(crate) fn submit_beside_a_wait<F: FnOnce() + Send + 'static>(&mut self, queue: &Queue, f: F) {
        if self.now.is_due(Fault::BlockNested) { f() } else { queue.submit(f) }
    }

    /// A queue with a target.
    pub(crate) fn with_target(&mut self, label: String, target: &Queue) -> Queue {
        let builder = Queue::builder(label);
        if self.now.is_due(Fault::TargetIgnored) {
            builder.runtime(&target.runtime()).build()
        } else {
            builder.target(target).build()
        }
    }

    /// As [`Once::get_or_init`].
    pub(crate) fn once<'a, T>(&mut self, once: &'a Once<T>, make: impl Fn() -> T) -> &'a T {
        if self.now.is_due(Fault::OnceTwice) {
            drop(make());
        }
        once.get_or_init(make)
    }

    /// As [`Queue::submit_after`], with a point in time.
    pub(crate) fn submit_by<F: FnOnce() + Send + 'static>(&mut self, queue: &Queue, when: When, f: F) -> Timer {
        let early = self.now.is_due(Fault::DeadlineEarly);
        queue.submit_after(if early { When::from(Instant::now() + Duration::from_millis(1)) } else { when }, f)
    }
}
