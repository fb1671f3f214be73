//! The state that the tasks of a scope share with the thread that waits for them, on that thread's
//! stack.
//!
//! Not for: where tasks wait (`pool/forked`), what they do (`scope`).

use std::panic::{Location, resume_unwind};

use crate::base::block::Node;
use crate::base::catch::{self, Payload};
use crate::base::handoff::{Ended, Waiter};
use crate::base::qos::Qos;
use crate::base::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use crate::base::sync::{Mutex, lock};
use crate::pool::{self, Forked, Mark};
use crate::queue::Whereabouts;

/// The shared state of the tasks of a scope, on the stack of the thread that waits for them.
pub(super) struct ScopeState {
    /// `None`: the thread is no worker, and there are no tasks.
    pub(super) tasks: Option<Forked>,
    pub(super) stolen: Stolen,
    pub(super) place: Whereabouts,
    pub(super) qos: Qos,
    panic: Mutex<Option<Payload>>,
}

impl ScopeState {
    #[inline]
    pub(super) fn new(tasks: Option<Forked>) -> Self {
        let (place, qos) = (Whereabouts::here(), Qos::current());
        Self { tasks, stolen: Stolen::new(), place, qos, panic: Mutex::new(None) }
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

    /// Runs a task, on the thread that left it or on one that took it.
    ///
    /// # Safety
    /// The task was left and not run yet. The thread of its scope waits for it.
    #[inline]
    pub(super) unsafe fn run(this: *const Self, site: &'static Location<'static>, body: impl FnOnce()) {
        // SAFETY: the scope waits until the task was counted.
        let state = unsafe { &*this };
        if state.tasks.is_some_and(Forked::are_here) {
            return state.keep(catch::catch(body));
        }
        Mark::block_here(site);
        // SAFETY: the thread whose whereabouts they are waits for this task.
        let inside = unsafe { state.place.enter() };
        state.keep(state.qos.run(|| catch::catch(body)));
        drop(inside);
        // SAFETY: the caller's promise; this is the last touch.
        unsafe { Stolen::one_ended(&raw const (*this).stolen) };
    }
}

/// Counts the tasks that other workers took: down as they end, and up once, by the thread that
/// waits for them. The count is zero when all have ended and the thread waits. The step that makes
/// it zero is the last one.
pub(crate) struct Stolen {
    /// Wraps around below zero until the thread waits.
    running: AtomicUsize,
    waiter: Waiter,
}

impl Stolen {
    pub(crate) fn new() -> Self {
        Self { running: AtomicUsize::new(0), waiter: Waiter::new() }
    }

    /// A task that was taken has ended.
    ///
    /// # Safety
    /// Called once for each task that was taken. The memory may be freed when this returns.
    pub(crate) unsafe fn one_ended(this: *const Self) {
        // SAFETY: the waiting thread stays until this task was counted, and then, if the task was
        // the last, until the waiter ended.
        unsafe {
            // AcqRel: the waiting thread sees what the task did, through the other tasks too;
            // partner: `wait_for`, and the last one here.
            let before = (*this).running.fetch_sub(1, AcqRel);
            if before == 1 {
                Waiter::end(&raw const (*this).waiter, Ended::Ran);
            }
        }
    }

    /// Waits until `taken` tasks have ended. Called once.
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

/// The head of a task.
#[repr(C)]
pub(super) struct ForkedTask {
    pub(super) node: Node,
    pub(super) state: *const ScopeState,
}
