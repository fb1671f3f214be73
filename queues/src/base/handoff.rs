//! A thread that waits, and another thread that ends its wait: one word in memory of the waiter.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | `OPEN` | no thread has begun | `CLAIMED`, an end, or `LATE` |
//! | `CLAIMED` | the other side has begun: the waiter cannot leave any more | an end |
//! | `RAN`, `TURN`, `DROPPED` | an end, see [`Ended`]: the memory is the waiter's again | none |
//! | `LATE` | the waiter left, because its time was over | none |
//!
//! The bit `PARKED` may be set beside `OPEN` and `CLAIMED`: the waiter sleeps, and `thread` is the
//! thread to wake. The other side needs no claim if the waiter has no time limit.
//!
//! Two cases prove that no wake-up is lost and no memory is touched too late. In the first, the
//! other side comes first. Its exchange finds no `PARKED`, and the waiter never sleeps. In the
//! second, the waiter sleeps first. The exchange fails, so the other side sees `PARKED`, takes the
//! thread *before* it stores the end, and only then wakes it. Either way, the end is the last touch
//! of the waiter's memory.

use crate::base::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::base::sync::{OwnerCell, spin, thread};

const OPEN: u32 = 0;
const CLAIMED: u32 = 1;
const RAN: u32 = 2;
const TURN: u32 = 3;
const DROPPED: u32 = 4;
const LATE: u32 = 5;
/// The waiter sleeps.
const PARKED: u32 = 8;

/// How long a waiter spins before it sleeps: about a microsecond, the length of a few short blocks.
const SPINS: u32 = if cfg!(queues_loom) { 1 } else { 100 };

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The closure ran.
    Ran,
    /// It is the waiter's turn: the waiter has what it waited for, and goes on itself.
    Turn,
    /// The closure will never run: the runtime was shut down.
    Dropped,
    /// The time was over before the closure began.
    Late,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Waiter {
    word: AtomicU32,
    /// Written by the waiter before `PARKED`, read by the other side after it. A leaked clone,
    /// taken by `end`.
    thread: OwnerCell<*mut thread::Thread>,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(OPEN), thread: OwnerCell::new(std::ptr::null_mut()) }
    }

    /// How the wait ended, if it did.
    #[inline]
    pub(crate) fn ended(&self) -> Option<Ended> {
        // Acquire: the result that the other side wrote; partner: the Release in `end`.
        match self.word.load(Acquire) {
            RAN => Some(Ended::Ran),
            TURN => Some(Ended::Turn),
            DROPPED => Some(Ended::Dropped),
            LATE => Some(Ended::Late),
            _ => None,
        }
    }

    /// Spins for a moment, without sleeping.
    pub(crate) fn spin(&self) -> Option<Ended> {
        for _ in 0..SPINS {
            if let Some(ended) = self.ended() {
                return Some(ended);
            }
            spin(0);
        }
        self.ended()
    }

    /// Sleeps until the other side calls [`end`](Self::end).
    pub(crate) fn park(&self) -> Ended {
        self.park_within(|| {
            thread::park();
            false
        })
    }

    /// As [`park`](Self::park), but leaves when `sleep` says that the time is over and the other
    /// side has not begun. `sleep` returns after an `unpark` of this thread at the latest.
    pub(crate) fn park_within(&self, mut sleep: impl FnMut() -> bool) -> Ended {
        let handle = Box::into_raw(Box::new(thread::current()));
        // SAFETY: the other side reads it only after it saw `PARKED`, which is stored below.
        unsafe { self.thread.set(handle) };
        let step = |word: u32| (word <= CLAIMED).then_some(word | PARKED);
        // Release: `handle` is visible to the side that sees `PARKED`. Relaxed on failure: `ended`
        // acquires.
        if self.word.fetch_update(Release, Relaxed, step).is_err() {
            // SAFETY: `PARKED` was never stored, so the other side never saw `handle`.
            drop(unsafe { Box::from_raw(handle) });
        }
        let mut late = false;
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            if late {
                // The other side has begun: its end wakes this thread.
                thread::park();
            } else if sleep() {
                late = true;
                if self.withdraw() {
                    // SAFETY: the other side did not claim it and never will, so the handle is
                    // still ours.
                    drop(unsafe { Box::from_raw(handle) });
                    return Ended::Late;
                }
            }
        }
    }

    /// The waiter leaves. `false`: the other side has begun.
    fn withdraw(&self) -> bool {
        let step = |word: u32| (word & !PARKED == OPEN).then_some(LATE);
        // Relaxed: a later claim finds nothing to touch. On failure, `ended` acquires.
        self.word.fetch_update(Relaxed, Relaxed, step).is_ok()
    }

    /// The other side begins. `false`: the waiter left.
    pub(crate) fn claim(&self) -> bool {
        let step = |word: u32| (word & !PARKED == OPEN).then_some(word | CLAIMED);
        // Acquire: the waiter's closure, and `thread`, written before `PARKED`. Release is not
        // needed, but a later exchange must not undo the waiter's.
        self.word.fetch_update(AcqRel, Relaxed, step).is_ok()
    }

    /// Has the other side begun, but not ended the wait?
    pub(crate) fn is_claimed(&self) -> bool {
        // Relaxed: the side that claimed it asks.
        self.word.load(Relaxed) & !PARKED == CLAIMED
    }

    /// Ends the wait. The waiter's memory is dead afterwards.
    ///
    /// # Safety
    /// `this` points to a waiter whose thread is in, or will come to, `park`. Called once, and
    /// after a [`claim`](Self::claim) if the waiter may leave.
    pub(crate) unsafe fn end(this: *const Self, how: Ended) {
        let word = match how {
            Ended::Ran => RAN,
            Ended::Turn => TURN,
            Ended::Dropped => DROPPED,
            Ended::Late => unreachable!("only the waiter leaves"),
        };
        // SAFETY: the waiter stays until the end is stored, which is the last thing done to it
        // here.
        unsafe {
            // Acquire: `thread`, written before `PARKED`; partner: the Release in `park_within`.
            let before = (*this).word.load(Acquire);
            // Release: the result is visible to `ended`. Acquire on failure: as above.
            if before & PARKED == 0 && (*this).word.compare_exchange(before, word, Release, Acquire).is_ok() {
                return;
            }
            let thread = Box::from_raw((*this).thread.get());
            // AcqRel: Release as above; the Acquire half keeps the read of `thread` before it.
            (*this).word.swap(word, AcqRel);
            thread.unpark();
        }
    }

    /// Takes the memory back, as far as a model can see it: no other thread may use it, then or
    /// later.
    #[cfg(all(test, queues_loom))]
    pub(crate) fn take_back(&mut self) {
        self.word.with_mut(|_| ());
        // SAFETY: loom checks this.
        unsafe { self.thread.set(std::ptr::null_mut()) };
    }
}
