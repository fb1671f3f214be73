//! Loom models of every protocol between threads: they run the shipped code in every order that its
//! threads can take.
//!
//! A model is two or three threads and a few steps; what they would be scheduled on (the pool) is a
//! few lines of the model. A model that finds nothing proves nothing: `tests/planted` holds bugs
//! that each must find.
//!
//! `RUSTFLAGS="--cfg queues_loom" cargo test -p singletrack-queues --release --lib models`
//!
//! Not for: crossbeam-deque and threads of the system, which loom cannot see into. Where they take
//! part, the model says what replaces them.

mod apply;
mod chunk;
mod concurrent;
mod counts;
mod gate;
mod group;
mod handoff;
mod isolated;
mod mailbox;
mod main_queue;
mod memory;
mod monitor;
mod once;
mod scope;
mod semaphore;
mod sleep;
mod slot;
mod source;
mod source_end;
mod state;
mod ticket;
mod timed;
mod timer;
mod work_item;
mod workloop;

use std::cell::Cell;

/// Runs `model` in every order of steps with at most `preemptions` switches that no wait forces.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let model = std::sync::Arc::new(model);
    for others_first in [false, true] {
        OTHERS_FIRST.set(others_first);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        let model = model.clone();
        builder.check(move || model());
    }
}

thread_local! {
    static OTHERS_FIRST: Cell<bool> = const { Cell::new(false) };
}

/// The first thread of a model calls this once the other threads exist. Loom compares each step
/// only with the last step on the same word, so it leaves out some orders (a load that hides an
/// earlier load of another thread). Exploring from a second starting point brings them back.
fn begin() {
    if OTHERS_FIRST.get() {
        loom::thread::yield_now();
    }
}
