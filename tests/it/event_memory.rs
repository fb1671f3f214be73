//! The source on memory pressure, against the real system: it is armed, or says why not, and does not tell what is not so.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use singletrack::event::Pressure;
use singletrack::{EventSource, Queue};

use crate::event_descriptors::settle;

/// For how long anybody has waited for memory since the start of the system; the system tells of nothing else.
fn waited() -> Option<String> {
    std::fs::read_to_string("/proc/pressure/memory").ok()
}

#[test]
fn the_system_is_asked_for_both_kinds_or_says_why_it_does_not_tell() {
    let queue = Queue::new("cache");
    for pressure in [Pressure::Some, Pressure::Full].repeat(100) {
        let (calls, before) = (Arc::new(AtomicUsize::new(0)), waited());
        let count = calls.clone();
        let called = move || {
            count.fetch_add(1, SeqCst);
        };
        match EventSource::memory_pressure(&queue, pressure, called) {
            Ok(source) => {
                settle(&queue);
                // This test makes no pressure; others on this machine might.
                assert!(calls.load(SeqCst) == 0 || waited() != before, "told at once, without a reason");
                source.cancel();
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("cache") && said.contains("/proc/pressure/memory: "), "{said}");
                println!("refused here: {said}");
            }
        }
    }
}
