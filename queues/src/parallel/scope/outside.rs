//! A scope of a thread that is no worker. A worker opens it, and the thread waits.
//!
//! Not for: what a scope is (`scope`).

use std::panic::Location;

use super::state::{ScopeState, Stolen};
use crate::base::block;
use crate::base::catch;
use crate::pool::{Forked, Pool};

/// Calls `f` with the tasks of this thread if it is a worker of `pool`. Otherwise calls it on a
/// worker of `pool`, and waits. If the pool takes no more work, `f` is called here, without tasks.
pub(super) fn on_a_worker<R: Send>(
    pool: &Pool,
    site: &'static Location<'static>,
    f: impl FnOnce(Option<Forked>) -> R + Send,
) -> R {
    let tasks = Forked::of(pool);
    if tasks.is_some() || !pool.accepts() {
        return f(tasks);
    }
    let (mut body, mut result) = (Some(f), None);
    let state = ScopeState::new(None);
    let mut run = || result = body.take().map(|f| catch::catch(|| f(Forked::here())));
    // SAFETY: this frame waits until the block has run, or was dropped.
    let moved = unsafe { Moved::new(&mut run, &state) };
    pool.spawn_as(block::block(move || moved.run(), site), state.qos);
    state.stolen.wait_for(1);
    match (result, body) {
        (Some(result), _) => state.unwind_or(result),
        (None, Some(f)) => f(None),
        (None, None) => unreachable!("it ran if it was taken"),
    }
}

/// The work of a worker for a thread outside, which waits for it. It counts as a task that was
/// taken, also when it is dropped unrun.
struct Moved {
    run: *mut (dyn FnMut() + Send + 'static),
    state: *const ScopeState,
}

// SAFETY: the closure is `Send`, the state is made to be shared, and both stay until this was
// dropped.
unsafe impl Send for Moved {}

impl Moved {
    /// # Safety
    /// The caller waits for one task of `state` before it leaves `run`.
    unsafe fn new(run: &mut (dyn FnMut() + Send + '_), state: &ScopeState) -> Self {
        // SAFETY: only the lifetime changes; the caller's promise.
        let run =
            unsafe { std::mem::transmute::<*mut (dyn FnMut() + Send + '_), *mut (dyn FnMut() + Send + 'static)>(run) };
        Self { run, state }
    }

    fn run(self) {
        // SAFETY: the thread outside waits, and leaves none of its frames.
        unsafe {
            let _inside = (*self.state).place.enter();
            (*self.run)();
        }
    }
}

impl Drop for Moved {
    fn drop(&mut self) {
        // SAFETY: called once, as the last touch.
        unsafe { Stolen::one_ended(&raw const (*self.state).stolen) };
    }
}
