//! Odd and hostile programs: each of these tests failed before the code that it guards existed, and
//! ends by itself without that code.

mod apply;
mod depth;
mod forked;
mod last_handle;
mod locks;
mod logging;
mod messages;
mod shutdown;
mod timers;
mod waits;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// Long after everything here has ended: only a hang reaches it.
const HANG: Duration = Duration::from_secs(20);

/// Runs `f` on a thread of its own; `None` if it hangs.
fn within_time<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> Option<R> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(f()));
    told.recv_timeout(HANG).ok()
}

/// The value of `f`, or the message of its panic.
fn told<R>(f: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| text(&*payload))
}

fn text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
