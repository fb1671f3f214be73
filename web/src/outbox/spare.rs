//! The memory of empty outboxes, kept by the thread that emptied them for outboxes that are about
//! to fill.
//!
//! Every connection alternates between having something to write and having written it. Without
//! this, each turn would allocate the memory and free it again. Not for: the content. Rules: a
//! thread keeps a bounded number, each of a bounded size; nothing of the former owner is left in
//! it.

use std::cell::RefCell;

use super::frames::Frames;
use super::{FIRST_FRAMES, KEPT_FRAMES, Waiting};

/// The number that a thread keeps: enough for the members of some rooms that get a message in one
/// moment. Each usually has about 600 bytes, and at most 2 KiB.
const KEPT: usize = 256;

thread_local! {
    // The box itself is kept: an outbox is one word.
    #[allow(clippy::vec_box)]
    static SPARES: RefCell<Vec<Box<Waiting>>> = const { RefCell::new(Vec::new()) };
}

/// Returns memory for an outbox in which nothing waits.
pub(super) fn take() -> Box<Waiting> {
    // Fails on a thread that is ending and has dropped its list.
    let spare = SPARES.try_with(|spares| spares.borrow_mut().pop());
    spare
        .ok()
        .flatten()
        .unwrap_or_else(|| Box::new(Waiting { frames: Frames::with_capacity(FIRST_FRAMES), ..Waiting::default() }))
}

/// Keeps the memory of an outbox in which nothing waits any more.
pub(super) fn keep(waiting: Box<Waiting>) {
    debug_assert!(waiting.is_empty() && !waiting.closing && waiting.bytes + waiting.begun + waiting.pong == 0);
    if !(FIRST_FRAMES..=KEPT_FRAMES).contains(&waiting.frames.capacity()) {
        return;
    }
    let _ = SPARES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < KEPT {
            spares.push(waiting);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Outbox;
    use bytes::Bytes;

    fn kept() -> usize {
        SPARES.with_borrow(Vec::len)
    }

    /// Fills this many outboxes with this many frames each, then empties them.
    fn burst(outboxes: usize, frames: usize) {
        let mut outboxes: Vec<Outbox> = (0..outboxes).map(|_| Outbox::new()).collect();
        outboxes.iter_mut().for_each(|outbox| (0..frames).for_each(|_| _ = outbox.push_own(Bytes::from_static(b"x"))));
        for outbox in &mut outboxes {
            let mut lent = outbox.lend().unwrap();
            lent.advance(frames);
            assert!(!outbox.give_back(lent));
        }
    }

    #[test]
    fn a_thread_keeps_what_the_next_outbox_needs_and_no_more_than_is_stated() {
        // A new thread keeps nothing yet.
        let alone = std::thread::spawn(|| {
            for _ in 0..3 {
                burst(1, 2);
                assert_eq!(kept(), 1);
            }
            burst(KEPT + 9, 1);
            assert_eq!(kept(), KEPT);
            burst(KEPT, KEPT_FRAMES + 1);
            assert_eq!(kept(), 0, "memory of a burst was kept");
        });
        alone.join().unwrap();
    }

    #[test]
    fn nothing_of_the_former_owner_is_left() {
        let mut outbox = Outbox::new();
        outbox.push_own(Bytes::from_static(b"data"));
        outbox.push_pong(b"");
        for written in [2, usize::MAX] {
            let mut lent = outbox.lend().unwrap();
            lent.advance(written);
            outbox.give_back(lent);
        }
        assert_eq!(format!("{:?}", take()), format!("{:?}", Waiting::default()));
    }
}
