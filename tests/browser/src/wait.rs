//! Waiting for a condition, with a deadline.
//!
//! For: what happens in another process and sends us no event. Not for: passing the time. Rules: a condition that holds
//! is seen within one look; one that never holds is an error that says what was awaited and what was seen last.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Long enough for a loaded two-core machine; reached only when something is broken.
pub const DEADLINE: Duration = Duration::from_secs(30);

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds what it wants.
///
/// # Errors
/// After `deadline`: `awaited`, and what `look` saw instead the last time.
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
