//! Keeps a foreign panic, tells what it said, and ends the process for a panic of our own.
//!
//! A panic of a user's closure is carried to whoever waits for it, or logged with the queue's label and the place that
//! submitted it; it never unwinds through the runtime. A panic in the middle of the runtime, be it a bug of ours or of a parker
//! or a logger, would leave a queue owned by nobody, or free a stack that others use: [`never_unwinds`] makes it an abort.

use std::any::Any;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Runs `f` and keeps its panic.
///
/// Unwind safety is the caller's business in the way of `std::thread`: state that a panic left half-changed is seen by
/// later blocks of the same queue.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Drops a user's value; a panic of its `Drop` is logged and goes no further.
pub(crate) fn drop_quietly<T>(value: T) {
    if let Err(payload) = catch(move || drop(value)) {
        log::error!("a value panicked while it was dropped: {}", message(&*payload));
        // Its own drop might panic once more.
        std::mem::forget(payload);
    }
}

/// The text of a panic, where it is text.
pub(crate) fn message(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "(a panic whose payload is not text)"
    }
}

/// Logs the panic of a block that nobody waits for.
#[cold]
pub(crate) fn report(label: &str, site: &'static Location<'static>, payload: Payload) {
    log::error!("a block on \"{label}\" submitted at {site} panicked: {}; the queue goes on", message(&*payload));
    drop_quietly(payload);
}

/// Runs `f`, and aborts the process if that panics: for stretches which the runtime must not leave half-way. May be called
/// while the thread unwinds already.
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
            // A model tells what it found by a panic.
            return;
        }
        log::error!(
            "singletrack: a panic in the middle of the runtime (a parker's, a logger's, or its own): it cannot go on"
        );
        std::process::abort();
    }
}
