//! Keeps a foreign panic, reports its message, and ends the process for a panic of our own.
//!
//! A panic of a user's closure is carried to the thread that waits for it, or logged with the
//! queue's label and the place that submitted it. It never unwinds through the runtime. A panic in
//! the middle of the runtime, from a bug of ours or from a parker, would leave a queue without an
//! owner, or free a stack that other threads use. [`never_unwinds`] makes such a panic an abort.

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use super::report;
pub(crate) use super::report::message;

/// The payload of a panic.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `f` and keeps its panic.
///
/// Unwind safety is the caller's business, as for `std::thread`: later blocks of the same queue see
/// the state that a panic left half-changed.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Drops a user's value. A panic of its `Drop` is logged and goes no further.
pub(crate) fn drop_quietly<T>(value: T) {
    // Not by `call_quietly`: values own values, and each frame counts as often as they are nested.
    if let Err(payload) = catch(move || drop(value)) {
        report_failure("the drop of a value", payload);
    }
}

/// Calls foreign code that no thread waits for. Its panic is logged with its name `what`, and goes
/// no further.
pub(crate) fn call_quietly(what: &str, f: impl FnOnce()) {
    if let Err(payload) = catch(f) {
        report_failure(what, payload);
    }
}

#[cold]
#[inline(never)]
fn report_failure(what: &str, payload: Payload) {
    report::error(format_args!("{what} panicked: {}", message(&*payload)));
    // Its own drop might panic once more.
    std::mem::forget(payload);
}

/// Logs the panic of a block that no thread waits for.
#[cold]
pub(crate) fn report_panic(label: &str, site: &'static Location<'static>, payload: Payload) {
    report::error(format_args!(
        "a block on {label:?} submitted at {site} panicked: {}; the queue goes on",
        message(&*payload)
    ));
    drop_quietly(payload);
}

/// Runs `f`, and aborts the process if `f` panics: for stretches of code that the runtime must not
/// leave half-way. It may be called while the thread unwinds already.
#[inline]
pub(crate) fn never_unwinds<R>(f: impl FnOnce() -> R) -> R {
    let bug = AbortOnDrop;
    let result = f();
    std::mem::forget(bug);
    result
}

struct AbortOnDrop;

impl Drop for AbortOnDrop {
    #[cold]
    fn drop(&mut self) {
        if cfg!(queues_loom) {
            // A model reports its findings by a panic.
            return;
        }
        report::last_words("a panic in the middle of the runtime (a parker's, or its own): the process cannot go on");
        std::process::abort();
    }
}
