//! The source on memory pressure, against the real system: it is armed, or says why not.

use singletrack::event::Pressure;
use singletrack::{EventSource, Queue};

#[test]
fn the_system_is_asked_for_both_kinds_or_says_why_it_does_not_tell() {
    for pressure in [Pressure::Some, Pressure::Full] {
        // This test makes no pressure, but others of this machine might: what is asserted is the answer.
        match EventSource::memory_pressure(&Queue::new("cache"), pressure, || println!("memory is short")) {
            Ok(source) => {
                source.cancel();
                source.queue().sync(|| ());
                assert!(source.is_cancelled());
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("cache") && said.contains("/proc/pressure/memory: "), "{said}");
                println!("refused here: {said}");
            }
        }
    }
}
