//! Waiting for a condition, with a deadline.
//!
//! For: changes in another process that sends no event. Not for: passing the time. Rules: a
//! condition that holds is seen at the next check; one that never holds is an error with the
//! awaited and the last observed state.

use std::{
    thread,
    time::{Duration, Instant},
};

/// This is long enough for a loaded two-core machine, and is reached only when something is broken.
pub const DEADLINE: Duration = Duration::from_secs(30);

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Calls `look` repeatedly until it succeeds.
///
/// # Errors
/// After `deadline`: `awaited`, and the last error of `look`.
pub fn until<T>(awaited: &str, deadline: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let end = Instant::now() + deadline;
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(seen) if Instant::now() >= end => {
                return Err(format!("waited {} s for {awaited}; saw instead: {seen}", deadline.as_secs()));
            }
            Err(_) => thread::sleep(BETWEEN_LOOKS), // between two looks: the other process sends no event for this
        }
    }
}
