//! `assert_on` and `assert_not_on` hold, or say which queue, where, and what the remedy is.

use crate::runtime;
use singletrack_queues::{ConcurrentQueue, MainQueue, Queue};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn sentence(f: impl FnOnce()) -> String {
    *catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic").downcast::<String>().expect("text")
}

#[test]
fn they_hold_in_blocks_of_the_queue_and_of_those_that_target_it() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let leaf = Queue::builder("leaf").target(&root).build();
    let (own, target, other) = (leaf.clone(), root.clone(), runtime.queue("other"));
    let checked = leaf.call(move || {
        own.assert_on();
        target.assert_on();
        other.assert_not_on();
        other.sync(|| own.assert_on());
    });
    assert!(checked.wait().is_ok());
    root.assert_not_on();
    root.sync(|| leaf.assert_not_on());
}

#[test]
fn they_name_the_queue_the_place_and_the_remedy() {
    let runtime = runtime(1);
    let (queue, other) = (runtime.queue("wanted"), runtime.queue("elsewhere"));
    let said = sentence(|| queue.assert_on());
    assert!(said.contains("\"wanted\"") && said.contains("assert.rs:") && said.contains("submit"), "{said}");
    let said = other.sync(|| sentence(|| queue.assert_on()));
    assert!(said.contains("\"elsewhere\""), "{said}");
    let said = queue.sync(|| sentence(|| queue.assert_not_on()));
    assert!(said.contains("\"wanted\"") && said.contains("assert.rs:") && said.contains("another queue"), "{said}");
}

#[test]
fn the_asserts_of_a_concurrent_queue_hold_or_name_queue_place_and_remedy() {
    let runtime = runtime(2);
    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let leaf = Queue::builder("leaf").target(&table).build();
    table.assert_not_on();
    table.sync(|| table.assert_on());
    leaf.sync(|| table.assert_on());
    table.barrier_sync(|| (table.assert_on(), table.assert_barrier()));
    let own = table.clone();
    assert!(table.barrier_call(move || own.assert_barrier()).wait().is_ok());
    leaf.sync(|| leaf.assert_barrier());
    type Check<'a> = (&'a (dyn Fn() + Sync), &'a str);
    let checks: [Check; 4] = [
        (&|| table.assert_on(), "assert_on"),
        (&|| table.assert_barrier(), "assert_barrier"),
        (&|| table.sync(|| table.assert_barrier()), "in a block of \"table\""),
        (&|| table.sync(|| table.assert_not_on()), "assert_not_on"),
    ];
    for (check, part) in checks {
        let caught = catch_unwind(AssertUnwindSafe(check)).expect_err("it must panic");
        let said = *caught.downcast::<String>().expect("text");
        assert!(said.contains(part) && said.contains("\"table\"") && said.contains("assert.rs:"), "{said}");
    }
}

#[test]
fn the_asserts_of_a_main_queue_ask_for_its_thread_and_name_queue_place_and_remedy() {
    let runtime = runtime(1);
    let main = MainQueue::new("window");
    let handle = main.handle();
    handle.assert_on();
    let said = sentence(|| handle.assert_not_on());
    assert!(said.contains("\"window\"") && said.contains("assert.rs:") && said.contains("another queue"), "{said}");
    let theirs = handle.clone();
    let elsewhere = runtime.queue("elsewhere").call(move || {
        theirs.assert_not_on();
        sentence(|| theirs.assert_on())
    });
    let said = elsewhere.wait().expect("caught inside");
    assert!(said.contains("\"window\"") && said.contains("assert.rs:") && said.contains("submit this to"), "{said}");
}
