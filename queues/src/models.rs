//! Loom models of every protocol between threads: they run the code that ships, in every order that its threads can take.
//!
//! A model is two or three threads and a few steps; what they would be scheduled on (the pool) is a few lines of the
//! model. Each has a twin, `..._bites`, that runs it with a bug planted in the code (see [`planted`](crate::sync::planted))
//! and expects it to fail: a model that finds nothing proves nothing.
//!
//! `RUSTFLAGS="--cfg queues_loom" cargo test -p singletrack-queues --release --lib models`
//!
//! Not for: crossbeam-deque and threads of the system, which loom cannot see into: where they take part, the model says
//! what stands for them.

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
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::plant;

/// Runs `model` in every order of steps with at most `preemptions` switches that no wait forced.
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

/// Called by the first thread of a model once the others are there. Loom compares each step with the last one on the same
/// word alone, so that it leaves some orders out (a load that hides an earlier one of another thread); exploring from a
/// second beginning brings them back.
fn begin() {
    if OTHERS_FIRST.get() {
        loom::thread::yield_now();
    }
}

/// As [`check`], with `bug` planted: some order must fail.
fn bites(bug: &'static str, preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let (outcome, met) = plant::with(bug, || catch_unwind(AssertUnwindSafe(|| check(preemptions, model))));
    assert!(met, "nothing in the code asks for \"{bug}\"");
    assert!(outcome.is_err(), "the model does not see the bug: {bug}");
}
