//! A list of frames. Writing takes a part of it from the front each time.
//!
//! It is in one piece, as a gathered write needs it, and a ring is not. The rest is not moved each
//! time, as it would be in a plain list, where writing many frames would take quadratic time. Not
//! for: the meaning of the frames, and how far the first is written.

use bytes::Bytes;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The taken frames come first, as empty ones; there are never more of them than of the others.
    list: Vec<Bytes>,
    taken: usize,
}

impl Frames {
    pub(super) fn with_capacity(frames: usize) -> Frames {
        Frames { list: Vec::with_capacity(frames), taken: 0 }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.list.len() - self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn capacity(&self) -> usize {
        self.list.capacity()
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[Bytes] {
        &self.list[self.taken..]
    }

    pub(super) fn at(&mut self, place: usize) -> &mut Bytes {
        &mut self.list[self.taken + place]
    }

    /// Appends `frame`. A full list gets room for `room` more frames.
    #[inline]
    pub(super) fn push(&mut self, frame: Bytes, room: usize) {
        if self.list.len() == self.list.capacity() {
            self.list.reserve(room);
        }
        self.list.push(frame);
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.is_empty() { None } else { self.list.pop() }
    }

    /// Appends the frames of `others`.
    #[inline]
    pub(super) fn append(&mut self, others: &mut Frames) {
        others.settle();
        self.list.append(&mut others.list);
    }

    /// Drops `count` frames from the front.
    pub(super) fn take(&mut self, count: usize) {
        self.list[self.taken..self.taken + count].fill(Bytes::new());
        self.taken += count;
        // Each move is paid for by one taken frame: a frame is moved about once overall.
        if self.taken > self.len() {
            self.settle();
        }
    }

    /// Drops all frames behind the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        self.list.truncate(self.taken + count);
        self.settle();
    }

    #[inline]
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.taken = 0;
    }

    pub(super) fn shrink_to(&mut self, frames: usize) {
        self.settle();
        self.list.shrink_to(frames);
    }

    fn settle(&mut self) {
        if self.taken > 0 {
            self.list.drain(..self.taken);
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn frame(number: u32) -> Bytes {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }

    #[test]
    fn it_is_a_queue_that_is_taken_from_in_parts_and_holds_little_that_was_taken() {
        let (mut frames, mut model) = (Frames::default(), VecDeque::new());
        let mut next = 0;
        for round in 0..2_000_u32 {
            let chance = round.wrapping_mul(0x9e37_79b9) >> 16;
            match chance % 8 {
                0..=2 => {
                    for _ in 0..chance % 50 {
                        frames.push(frame(next), 16);
                        model.push_back(frame(next));
                        next += 1;
                    }
                }
                3..=5 => {
                    let count = chance as usize / 8 % (model.len() + 1);
                    frames.take(count);
                    model.drain(..count);
                }
                6 if chance % 3 == 0 => {
                    let kept = chance as usize / 8 % (model.len() + 1);
                    frames.truncate(kept);
                    model.truncate(kept);
                }
                6 => assert_eq!(frames.pop(), model.pop_back()),
                _ => {
                    let mut former = std::mem::take(&mut frames);
                    frames.push(frame(next), 1);
                    model.push_back(frame(next));
                    next += 1;
                    former.append(&mut frames);
                    frames = former;
                }
            }
            assert_eq!(frames.as_slice(), model.make_contiguous());
            assert_eq!((frames.len(), frames.is_empty()), (model.len(), model.is_empty()));
            assert!(frames.list.len() <= 2 * model.len() + 1, "{} for {}", frames.list.len(), model.len());
        }
        frames.clear();
        assert_eq!(frames.pop(), None);
    }
}
