//! A waiter on a thread's stack: one thread waits, one other tells it that its turn came.
//!
//! | word | meaning | next |
//! |---|---|---|
//! | `WAITING` | the thread looks, spinning for a moment | `PARKED` by the waiter, or done by the other |
//! | `PARKED` | the thread sleeps; `thread` says whom to wake | done by the other |
//! | `RAN`, `DROPPED` | it is over; the waiter may free the memory at once | none |
//!
//! Two cases prove it. The other side comes first: its exchange from `WAITING` succeeds, the waiter never sleeps. The
//! waiter sleeps first: the other side's exchange fails, so it sees `PARKED`, takes the thread *before* it stores the
//! end, and only then wakes it. Either way the end is the last touch of the waiter's memory.

use crate::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use crate::sync::{OwnerCell, order_unless, planted, spin, thread};

const WAITING: u32 = 0;
const PARKED: u32 = 1;
const RAN: u32 = 2;
const DROPPED: u32 = 3;

/// How long a waiter looks before it sleeps: about a microsecond, the length of a few short blocks.
const SPINS: u32 = if cfg!(queues_loom) { 1 } else { 100 };

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// What was waited for ran.
    Ran,
    /// It never will: the runtime was shut down.
    Dropped,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Waiter {
    word: AtomicU32,
    /// Written by the waiter before `PARKED`, read by the other side after it. A leaked clone, taken by `end`.
    thread: OwnerCell<*mut thread::Thread>,
}

impl Waiter {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU32::new(WAITING), thread: OwnerCell::new(std::ptr::null_mut()) }
    }

    fn ended(&self) -> Option<Ended> {
        // Acquire: the result that the other side wrote; partner: the Release in `end`.
        match self.word.load(order_unless("handoff: the waiter does not acquire", Acquire)) {
            RAN => Some(Ended::Ran),
            DROPPED => Some(Ended::Dropped),
            _ => None,
        }
    }

    /// Looks for a moment, without sleeping.
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
        let handle = Box::into_raw(Box::new(thread::current()));
        // SAFETY: the other side reads it only after it saw `PARKED`, which is stored below.
        unsafe { self.thread.set(handle) };
        // Release: `handle` is visible to the side that sees `PARKED`. Acquire: on failure it has ended, see `ended`.
        let release = order_unless("handoff: parking does not release", Release);
        if self.word.compare_exchange(WAITING, PARKED, release, Acquire).is_err() {
            // SAFETY: `PARKED` was never stored, so nobody saw `handle`.
            drop(unsafe { Box::from_raw(handle) });
        }
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            thread::park();
        }
    }

    /// Tells the waiter that it is over. The waiter's memory is dead afterwards.
    ///
    /// # Safety
    /// `this` points to a waiter whose thread is in, or will come to, `park`; called once.
    pub(crate) unsafe fn end(this: *const Self, how: Ended) {
        let word = match how {
            Ended::Ran => RAN,
            Ended::Dropped => DROPPED,
        };
        // SAFETY: the waiter stays until the end is stored, which is the last thing done to it here.
        unsafe {
            // Release: the result is visible to `ended`. Acquire on failure: `thread`, written before `PARKED`.
            let release = order_unless("handoff: the end does not release", Release);
            let acquire = order_unless("handoff: the end does not acquire", Acquire);
            if (*this).word.compare_exchange(WAITING, word, release, acquire).is_err() {
                if planted("handoff: the end comes before the last touch") {
                    (*this).word.swap(word, AcqRel);
                }
                let thread = Box::from_raw((*this).thread.get());
                // AcqRel: Release as above; the Acquire half keeps the read of `thread` before it.
                (*this).word.swap(word, order_unless("handoff: the last touch orders nothing", AcqRel));
                if planted("handoff: the last touch orders nothing") {
                    // A model must be able to get in between: its `unpark` orders everything.
                    spin(0);
                }
                thread.unpark();
            }
        }
    }

    /// Takes the memory back, as far as a model can see it: nobody else may be in it, then or later.
    #[cfg(all(test, queues_loom))]
    pub(crate) fn take_back(&mut self) {
        self.word.with_mut(|_| ());
        // SAFETY: what loom is to check.
        unsafe { self.thread.set(std::ptr::null_mut()) };
    }

    /// Has it ended? For assertions.
    pub(crate) fn is_over(&self) -> bool {
        self.word.load(Relaxed) >= RAN
    }
}
