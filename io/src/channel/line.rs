//! The line of a descriptor: operations and barriers in the order in which they were submitted.
//!
//! A barrier ends a generation. A generation has a lane for reads and one for writes, so that
//! either can proceed while the other waits. Only the first generation is served; when its lanes
//! are empty, its barrier is due. Not for: deciding what may begin (`core`).

use std::collections::VecDeque;
use std::sync::Arc;

use singletrack_queues::{Submitter, Timer};

use super::barrier::Barrier;
use super::error::ChannelError;
use super::operation::Operation;
use super::sink::Handler;
use crate::data::Data;

pub(super) type Whole = Box<dyn FnOnce(Option<ChannelError>, Data) + Send>;

/// The receiver of an operation's outcome.
pub(super) enum Sink {
    /// A handler on its queue; the inner `None` means that it is running.
    Handler(Submitter, Option<Handler>),
    /// A receiver of the complete outcome only.
    Whole(Option<Whole>),
    /// No receiver any more: the handler panicked.
    Nobody,
}

/// An operation, its receiver, and its state.
pub(super) struct Entry {
    pub(super) channel: u64,
    pub(super) operation: Operation,
    pub(super) sink: Sink,
    pub(super) id: u64,
    /// A disk thread is in a system call for it.
    pub(super) busy: bool,
    /// It has moved enough for one block; another block continues it.
    pub(super) again: bool,
    /// The reason why it must end when that call returns.
    pub(super) stopped: Option<ChannelError>,
    /// Bytes in a delivery from which its handler has not returned yet.
    pub(super) held: usize,
    pub(super) timer: Option<Timer>,
}

impl Entry {
    pub(super) fn new(channel: u64, operation: Operation, sink: Sink) -> Entry {
        Entry { channel, operation, sink, id: 0, busy: false, again: false, stopped: None, held: 0, timer: None }
    }

    /// Ends it early: now, or when the system call returns.
    pub(super) fn stop(&mut self, name: &Arc<str>) {
        let error = ChannelError::Stopped { channel: name.clone(), operation: verb(&self.operation) };
        if self.busy {
            self.stopped.get_or_insert(error);
        } else {
            self.operation.end(Some(error));
        }
    }

    pub(super) fn is_moving(&self) -> bool {
        self.busy || !self.operation.has_ended()
    }
}

/// The lane of an operation: 0 for reads, 1 for writes.
pub(super) fn lane(operation: &Operation) -> usize {
    usize::from(!operation.is_read())
}

/// The verb of the operation, for messages.
pub(super) fn verb(operation: &Operation) -> &'static str {
    if operation.is_read() { "read" } else { "write" }
}

/// The operations between two barriers, and the barrier at their end.
#[derive(Default)]
struct Generation {
    lanes: [VecDeque<Entry>; 2],
    barrier: Option<Barrier>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Line {
    /// The generations that a barrier has ended.
    ended: VecDeque<Generation>,
    last: Generation,
}

impl Line {
    pub(super) fn push(&mut self, entry: Entry) {
        self.last.lanes[lane(&entry.operation)].push_back(entry);
    }

    pub(super) fn push_barrier(&mut self, barrier: Barrier) {
        let mut ended = std::mem::take(&mut self.last);
        ended.barrier = Some(barrier);
        self.ended.push_back(ended);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ended.is_empty() && self.last.is_empty()
    }

    fn first(&mut self) -> &mut Generation {
        self.ended.front_mut().unwrap_or(&mut self.last)
    }

    /// Takes the first operation that is free to begin, of both lanes. With `in_turn`, takes it
    /// only if it is the first of all.
    pub(super) fn take_first(&mut self, in_turn: bool, is_free: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let [reads, writes] = &mut self.first().lanes;
        let (read, write) = (reads.front(), writes.front());
        let read_is_first = read.is_some_and(|read| write.is_none_or(|write| read.id < write.id));
        let may_read = (read_is_first || !in_turn) && read.is_some_and(&is_free);
        let may_write = (!read_is_first || !in_turn) && write.is_some_and(&is_free);
        if may_read && (read_is_first || !may_write) {
            reads.pop_front()
        } else if may_write {
            writes.pop_front()
        } else {
            None
        }
    }

    /// Takes the first barrier if no operation is left before it.
    pub(super) fn take_barrier(&mut self) -> Option<Barrier> {
        if self.ended.front()?.is_empty() { self.ended.pop_front()?.barrier } else { None }
    }

    /// Takes the operations of `channel`, in their order.
    pub(super) fn take_out(&mut self, channel: u64) -> Vec<Entry> {
        let mut out = Vec::new();
        for generation in self.ended.iter_mut().chain([&mut self.last]) {
            for lane in &mut generation.lanes {
                let all = std::mem::take(lane).into_iter();
                let (own, others): (VecDeque<_>, _) = all.partition(|entry| entry.channel == channel);
                *lane = others;
                out.extend(own);
            }
        }
        out.sort_by_key(|entry: &Entry| entry.id);
        out
    }
}

impl Generation {
    /// Returns `true` if no operation is left, whether or not there is a barrier.
    fn is_empty(&self) -> bool {
        self.lanes.iter().all(VecDeque::is_empty)
    }
}
