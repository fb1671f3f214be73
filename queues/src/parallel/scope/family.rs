//! The state that the pieces of a scope share with the thread that waits for them, on that thread's
//! stack.
//!
//! Not for: where pieces wait (`pool/forked`), what they do (`scope`).

use std::panic::{Location, resume_unwind};

use crate::base::block::Node;
use crate::base::catch::{self, Payload};
use crate::base::handoff::{Ended, Waiter};
use crate::base::qos::Qos;
use crate::base::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use crate::base::sync::{Mutex, lock};
use crate::pool::{self, Forked, Mark};
use crate::queue::Whereabouts;

/// The shared state of the pieces of a scope, on the stack of the thread that waits for them.
pub(super) struct Family {
    /// `None`: the thread is no worker, and there are no pieces.
    pub(super) pieces: Option<Forked>,
    pub(super) elsewhere: Elsewhere,
    pub(super) place: Whereabouts,
    pub(super) qos: Qos,
    panic: Mutex<Option<Payload>>,
}

impl Family {
    #[inline]
    pub(super) fn new(pieces: Option<Forked>) -> Self {
        let (place, qos) = (Whereabouts::here(), Qos::current());
        Self { pieces, elsewhere: Elsewhere::new(), place, qos, panic: Mutex::new(None) }
    }

    /// Keeps a panic, if it is the first one.
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

    /// The end of the scope: resumes the panic, if there was one.
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

    /// Runs a piece, on the thread that left it or on one that took it.
    ///
    /// # Safety
    /// The piece was left and not run yet. Its family waits for it.
    #[inline]
    pub(super) unsafe fn run(this: *const Self, site: &'static Location<'static>, body: impl FnOnce()) {
        // SAFETY: the family waits, until the piece was counted.
        let family = unsafe { &*this };
        if family.pieces.is_some_and(Forked::are_here) {
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

/// Counts the pieces that other workers took: down as they end, and up once, by the thread that
/// waits for them. The count is zero when all have ended and the thread waits. The step that makes
/// it zero is the last one.
pub(crate) struct Elsewhere {
    /// Wraps around below zero until the thread waits.
    running: AtomicUsize,
    waiter: Waiter,
}

impl Elsewhere {
    pub(crate) fn new() -> Self {
        Self { running: AtomicUsize::new(0), waiter: Waiter::new() }
    }

    /// A piece that was taken has ended.
    ///
    /// # Safety
    /// Called once for each piece that was taken. The memory may be freed when this returns.
    pub(crate) unsafe fn one_ended(this: *const Self) {
        // SAFETY: the waiting thread stays until this piece was counted, and then, if the piece was
        // the last, until the waiter ended.
        unsafe {
            // AcqRel: the waiting thread sees what the piece did, through the other pieces too;
            // partner: `wait_for`, and the last one here.
            let before = (*this).running.fetch_sub(1, AcqRel);
            if before == 1 {
                Waiter::end(&raw const (*this).waiter, Ended::Ran);
            }
        }
    }

    /// Waits until `taken` pieces have ended. Called once.
    pub(crate) fn wait_for(&self, taken: usize) {
        // AcqRel: see `one_ended`. Release is not needed, but comes with the same word.
        let before = self.running.fetch_add(taken, AcqRel);
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
