//! The source on memory pressure, against the real system: it is armed, or gives the reason why
//! not, and makes no false reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use singletrack_io::EventSource;
use singletrack_io::event::Pressure;
use singletrack_queues::Queue;

use crate::event_descriptors::settle;

/// The total time that tasks have waited for memory since the start of the system; the system
/// reports nothing else.
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
                assert!(calls.load(SeqCst) == 0 || waited() != before, "reported at once, without a reason");
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
