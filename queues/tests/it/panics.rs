//! A panic in a block ends that block alone.

use crate::{runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Isolated, Source};

#[test]
fn a_panicking_block_is_counted_and_the_queue_goes_on() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("sour"), Vec::new());
    for i in 0..100 {
        log.submit(move |log| {
            assert!(i % 10 != 3, "every tenth block panics: this is the subject of a test");
            log.push(i);
        });
    }
    assert_eq!(log.sync(|log| log.len()), 90);
    assert_eq!(runtime.stats().panics, 10);
}

#[test]
fn spawned_blocks_sources_and_concurrent_blocks_are_guarded_too() {
    let runtime = runtime(2);
    runtime.spawn(|| panic!("spawned: this is the subject of a test"));
    let concurrent = ConcurrentQueue::builder("sour").runtime(&runtime).build();
    concurrent.submit(|| panic!("reader: this is the subject of a test"));
    concurrent.barrier(|| panic!("barrier: this is the subject of a test"));
    let source = Source::new(&runtime.queue("sour"), |_| panic!("source: this is the subject of a test"));
    source.merge(1);
    wait_until("four panics", || runtime.stats().panics == 4);
    assert_eq!(concurrent.barrier_sync(|| 1), 1);
    source.merge(1);
    wait_until("one more", || runtime.stats().panics == 5);
}

#[test]
fn a_value_that_panics_when_dropped_does_no_harm() {
    struct Sour;
    impl Drop for Sour {
        fn drop(&mut self) {
            panic!("dropped: this is the subject of a test");
        }
    }
    let runtime = runtime(1);
    let queue = runtime.queue("sour");
    let sour = Sour;
    queue.submit(move || {
        let _sour = &sour;
    });
    assert_eq!(queue.call(|| 1).wait().ok(), Some(1));
}
