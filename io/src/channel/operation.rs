//! The progress of a read or a write, and when its handler is due: plain data.
//!
//! A read gathers the bytes that arrive; a write keeps those that are left. Both say how many bytes
//! the next system call may move, and when there is enough for a delivery. Not for: moving bytes,
//! calling handlers. Rules, which are the promises of the water marks:
//! - A read never gathers more than the high water, so a handler that does not return stops it
//!   there.
//! - A delivery has at least the low water, unless it is the last one or a strict interval asks for
//!   it.
//! - With an interval nothing is due before its tick, except at the high water and at the end.

use std::time::Duration;

use super::error::ChannelError;
use crate::data::Data;

/// The marks that say when deliveries are made. See the methods of [`Channel`](super::Channel) that
/// set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) interval: Option<Interval>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) every: Duration,
    pub(super) strict: bool,
}

impl Marks {
    /// Delivers the bytes that have arrived, at most this many at a time.
    pub(super) const DEFAULT: Marks = Marks { low: 1, high: 256 * 1024, interval: None };
    /// Makes one delivery, at the end.
    pub(super) const WHOLE: Marks = Marks { low: usize::MAX, high: usize::MAX, interval: None };
}

/// The content of a delivery that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) done: bool,
    pub(super) data: Data,
}

/// One operation under way.
#[derive(Debug)]
pub(super) struct Operation {
    work: Work,
    marks: Marks,
    /// The interval has passed since the last delivery.
    tick: bool,
    ended: bool,
    pub(super) error: Option<ChannelError>,
}

#[derive(Debug)]
enum Work {
    Read { offset: Option<u64>, left: u64, gathered: Data },
    Write { offset: Option<u64>, rest: Data, since: usize },
}

impl Operation {
    /// Makes a read of `length` bytes, from `offset` or from the current position of the
    /// descriptor.
    pub(super) fn read(offset: Option<u64>, length: u64, marks: Marks) -> Operation {
        // The system counts offsets with 63 bits and refuses a read that could go further. No bytes
        // are there to be read.
        let most = offset.map_or(u64::MAX, |offset| i64::MAX.cast_unsigned().saturating_sub(offset));
        let left = length.min(most);
        Operation::new(Work::Read { offset, left, gathered: Data::new() }, marks, left == 0)
    }

    /// Makes a write of `data`.
    pub(super) fn write(offset: Option<u64>, data: Data, marks: Marks) -> Operation {
        let ended = data.is_empty();
        Operation::new(Work::Write { offset, rest: data, since: 0 }, marks, ended)
    }

    fn new(work: Work, marks: Marks, ended: bool) -> Operation {
        let high = marks.high.max(1);
        let marks = Marks { low: marks.low.clamp(1, high), high, ..marks };
        Operation { work, marks, tick: false, ended, error: None }
    }

    pub(super) fn is_read(&self) -> bool {
        matches!(self.work, Work::Read { .. })
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The offset at which the next system call begins.
    pub(super) fn offset(&self) -> Option<u64> {
        match self.work {
            Work::Read { offset, .. } | Work::Write { offset, .. } => offset,
        }
    }

    /// The most bytes that the next system call may move: none while the handler has to catch up,
    /// or after the end.
    pub(super) fn want(&self) -> usize {
        match &self.work {
            _ if self.ended => 0,
            Work::Read { left, gathered, .. } => {
                usize::try_from(*left).unwrap_or(usize::MAX).min(self.marks.high.saturating_sub(gathered.len()))
            }
            Work::Write { rest, .. } => rest.len().min(self.marks.high),
        }
    }

    /// Returns the next `most` bytes of a write.
    pub(super) fn rest(&self, most: usize) -> Data {
        match &self.work {
            Work::Read { .. } => Data::new(),
            Work::Write { rest, .. } => rest.slice(..most.min(rest.len())).unwrap_or_default(),
        }
    }

    /// Takes bytes that were read.
    pub(super) fn arrived(&mut self, bytes: impl Into<Data>) {
        if let Work::Read { offset, left, gathered } = &mut self.work {
            let before = gathered.len();
            gathered.append(bytes);
            let count = (gathered.len() - before) as u64;
            *left = left.saturating_sub(count);
            *offset = offset.map(|offset| offset + count);
            self.ended |= *left == 0;
        }
    }

    /// Takes the number of bytes that were written.
    pub(super) fn went(&mut self, count: usize) {
        if let Work::Write { offset, rest, since } = &mut self.work {
            drop(rest.split_to(count));
            *since += count;
            *offset = offset.map(|offset| offset + count as u64);
            self.ended |= rest.is_empty();
        }
    }

    /// Notes that the interval has passed.
    pub(super) fn tick(&mut self) {
        self.tick = true;
    }

    /// Ends the operation, at the end of the data or with an error. The first reason counts.
    pub(super) fn end(&mut self, error: Option<ChannelError>) {
        if !self.ended {
            self.ended = true;
            self.error = error;
        }
    }

    /// Ends an operation that cannot be done before it begins, even if it has no bytes to move.
    pub(super) fn fail(&mut self, error: ChannelError) {
        self.ended = true;
        self.error = Some(error);
    }

    /// Takes the delivery that is due now. After the end one more is due.
    pub(super) fn due(&mut self) -> Option<Due> {
        let count = match &self.work {
            Work::Read { gathered, .. } => gathered.len(),
            Work::Write { since, .. } => *since,
        };
        let enough = count >= self.marks.low;
        let due = match self.marks.interval {
            _ if self.ended || count >= self.marks.high => true,
            Some(interval) => self.tick && (enough || interval.strict),
            // A write under way reports nothing that its end does not report, unless an interval
            // asks for it.
            None => enough && self.is_read(),
        };
        if !due {
            return None;
        }
        self.tick = false;
        let data = match &mut self.work {
            Work::Read { gathered, .. } => std::mem::take(gathered),
            Work::Write { rest, since, .. } => {
                *since = 0;
                rest.clone()
            }
        };
        Some(Due { done: self.ended, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks { low: 4, high: 10, interval: None };

    fn reading(marks: Marks) -> Operation {
        Operation::read(None, 100, marks)
    }

    fn bytes(operation: &mut Operation) -> Option<usize> {
        operation.due().map(|due| due.data.len())
    }

    #[test]
    fn less_than_the_low_water_waits_for_more_or_for_the_end() {
        let mut read = reading(MARKS);
        read.arrived("abc");
        assert_eq!(read.due(), None);
        read.arrived("d");
        assert_eq!(read.due(), Some(Due { done: false, data: "abcd".into() }));
        read.arrived("e");
        read.end(None);
        assert_eq!(read.due(), Some(Due { done: true, data: "e".into() }));
    }

    #[test]
    fn a_read_stops_at_the_high_water_until_it_was_delivered() {
        let mut read = reading(MARKS);
        assert_eq!(read.want(), 10);
        read.arrived("0123456");
        assert_eq!(read.want(), 3);
        read.arrived("789");
        assert_eq!((read.want(), bytes(&mut read), read.want()), (0, Some(10), 10));
    }

    #[test]
    fn a_read_wants_no_more_than_was_asked_and_ends_there() {
        let mut read = Operation::read(Some(7), 5, MARKS);
        assert_eq!((read.want(), read.offset()), (5, Some(7)));
        read.arrived("abc");
        assert_eq!((read.want(), read.offset(), read.has_ended()), (2, Some(10), false));
        read.arrived("de");
        assert_eq!((read.want(), read.has_ended()), (0, true));
    }

    #[test]
    fn an_interval_paces_deliveries_and_a_strict_one_tells_even_nothing() {
        let interval = |strict| Some(Interval { every: Duration::from_secs(1), strict });
        let mut read = reading(Marks { interval: interval(false), ..MARKS });
        read.arrived("abcdef");
        assert_eq!(bytes(&mut read), None);
        read.tick();
        assert_eq!(bytes(&mut read), Some(6));
        read.tick();
        read.arrived("abc");
        assert_eq!(bytes(&mut read), None, "a tick does not undercut the low water");
        read.arrived("defghij");
        assert_eq!(bytes(&mut read), Some(10), "the high water does not wait for a tick");
        let mut read = reading(Marks { interval: interval(true), ..MARKS });
        assert_eq!(bytes(&mut read), None);
        read.tick();
        assert_eq!(bytes(&mut read), Some(0));
    }

    #[test]
    fn a_write_tells_at_the_high_water_and_at_the_end_what_is_left() {
        let mut write = Operation::write(Some(0), Data::from(vec![0; 25]), MARKS);
        assert_eq!(write.want(), 10);
        write.went(9);
        assert_eq!(write.due(), None);
        write.went(1);
        assert_eq!((write.offset(), bytes(&mut write)), (Some(10), Some(15)));
        write.went(15);
        assert_eq!(write.due(), Some(Due { done: true, data: Data::new() }));
    }

    #[test]
    fn marks_that_contradict_each_other_still_move_bytes() {
        let mut read = reading(Marks { low: 50, high: 0, interval: None });
        assert_eq!(read.want(), 1);
        read.arrived("x");
        assert_eq!(bytes(&mut read), Some(1));
    }

    #[test]
    fn the_first_reason_to_end_counts() {
        let mut read = reading(MARKS);
        read.end(None);
        read.end(Some(ChannelError::NoOffsets { channel: "x".into() }));
        assert!(read.error.is_none());
    }
}
