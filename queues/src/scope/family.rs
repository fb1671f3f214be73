//! What the pieces of a scope share with the thread that waits for them, on that thread's stack.
//!
//! Not for: where pieces wait (`pool/pieces`), what they do (`scope`).

use std::panic::{Location, resume_unwind};

use crate::block::Node;
use crate::catch::{self, Payload};
use crate::handoff::{Ended, Waiter};
use crate::pool::{self, Mark, Pieces};
use crate::qos::Qos;
use crate::queue::Whereabouts;
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
};
use crate::sync::{Mutex, lock, order_unless, planted};

/// What the pieces of a scope share; on the stack of the thread that waits for them.
pub(super) struct Family {
    /// `None`: the thread is no worker, and there are no pieces.
    pub(super) pieces: Option<Pieces>,
    pub(super) elsewhere: Elsewhere,
    pub(super) place: Whereabouts,
    pub(super) qos: Qos,
    panic: Mutex<Option<Payload>>,
}

impl Family {
    #[inline]
    pub(super) fn new(pieces: Option<Pieces>) -> Self {
        let (place, qos) = (Whereabouts::here(), Qos::current());
        Self { pieces, elsewhere: Elsewhere::new(), place, qos, panic: Mutex::new(None) }
    }

    /// Keeps a panic, if it is the first.
    #[inline]
    pub(super) fn keep(&self, result: Result<(), Payload>) {
        if let Err(payload) = result {
            self.keep_panic(payload);
        }
    }

    #[cold]
    fn keep_panic(&self, payload: Payload) {
        let mut first = lock(&self.panic);
        if first.is_none() {
            *first = Some(payload);
        } else {
            drop(first);
            catch::drop_quietly(payload);
        }
    }

    /// The end: goes on with a panic, if there was one.
    #[inline]
    pub(super) fn unwind_or<R>(self, result: Result<R, Payload>) -> R {
        let panic = match self.panic.into_inner() {
            Ok(panic) => panic,
            Err(poisoned) => poisoned.into_inner(),
        };
        match (result, panic) {
            (Ok(value), None) => value,
            (Err(own), panic) => {
                catch::drop_quietly(panic);
                resume_unwind(own)
            }
            (Ok(value), Some(panic)) => {
                catch::drop_quietly(value);
                resume_unwind(panic)
            }
        }
    }

    /// Runs a piece: on the thread that left it, or as one that was taken.
    ///
    /// # Safety
    /// The piece was left and not yet run; its family waits for it.
    #[inline]
    pub(super) unsafe fn run(this: *const Self, site: &'static Location<'static>, body: impl FnOnce()) {
        // SAFETY: the family waits, until the piece was counted.
        let family = unsafe { &*this };
        if family.pieces.is_some_and(Pieces::are_here) {
            return family.keep(catch::catch(body));
        }
        Mark::block_here(site);
        // SAFETY: the thread whose whereabouts they are waits for this piece.
        let inside = unsafe { family.place.enter() };
        family.keep(family.qos.run(|| catch::catch(body)));
        drop(inside);
        // SAFETY: the caller's promise; this is the last touch.
        unsafe { Elsewhere::one_ended(&raw const (*this).elsewhere) };
    }
}

/// Counts the pieces that others took: down as they end, up by whoever waits for them, once. So it is zero when all have ended
/// and somebody waits, and whoever makes it zero is the last.
pub(crate) struct Elsewhere {
    /// Wraps around below zero until somebody waits.
    running: AtomicUsize,
    waiter: Waiter,
}

impl Elsewhere {
    pub(crate) fn new() -> Self {
        Self { running: AtomicUsize::new(0), waiter: Waiter::new() }
    }

    /// One that was taken has ended.
    ///
    /// # Safety
    /// Once for each piece that was taken. The memory may be gone when this returns.
    pub(crate) unsafe fn one_ended(this: *const Self) {
        // SAFETY: who waits stays until this piece was counted, and then, if it was the last, until the waiter ended.
        unsafe {
            // AcqRel: who waits sees what the piece did, through the others too; partner: `wait_for`, and the last one here.
            let order = order_unless("scope: a piece does not release", AcqRel);
            let before = if planted("scope: a piece counts in two steps") {
                let before = (*this).running.load(Acquire);
                (*this).running.fetch_sub(1, AcqRel);
                before
            } else {
                (*this).running.fetch_sub(1, order)
            };
            if before == 1 {
                Waiter::end(&raw const (*this).waiter, Ended::Ran);
            }
        }
    }

    /// Waits until so many have ended. Once.
    pub(crate) fn wait_for(&self, taken: usize) {
        // AcqRel: see `one_ended`; Release is not needed, but the word is one.
        let before = self.running.fetch_add(taken, order_unless("scope: who waits does not acquire", AcqRel));
        if before.wrapping_add(taken) != 0 {
            pool::wait_for(&self.waiter);
        }
    }

    /// See [`Waiter::take_back`].
    #[cfg(all(test, queues_loom))]
    pub(crate) fn take_back(&mut self) {
        self.running.with_mut(|_| ());
        self.waiter.take_back();
    }
}

/// The head of a piece.
#[repr(C)]
pub(super) struct Piece {
    pub(super) node: Node,
    pub(super) family: *const Family,
}
