//! A work item runs once or is cancelled; its waiters are notified in both cases, and its captures
//! are gone by then.

use crate::{LONG, Latch, runtime};
use singletrack_queues::{ConcurrentQueue, MainQueue, Qos, WorkEnd, WorkItem, Workloop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

#[test]
fn many_may_wait_before_and_after_it_ran() {
    let runtime = runtime(2);
    let (latch, queue) = (Latch::default(), runtime.queue("items"));
    let gate = latch.clone();
    let item = WorkItem::new(move || gate.wait()).submit(&queue);
    assert_eq!(item.wait_timeout(Duration::from_millis(1)), None, "a wait that timed out is not consumed");
    assert!(!item.is_done());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(item.wait_timeout(LONG), Some(WorkEnd::Ran)));
        }
        latch.open();
    });
    assert_eq!(item.wait(), WorkEnd::Ran);
    assert!(item.is_done() && !item.is_cancelled());
}

#[test]
fn cancel_frees_the_captures_at_once_and_the_body_never_runs() {
    let runtime = runtime(1);
    let (latch, queue) = (Latch::default(), runtime.queue("items"));
    let gate = latch.clone();
    queue.submit(move || gate.wait());
    let capture = Arc::new(());
    let kept = capture.clone();
    let item = WorkItem::new(move || unreachable!("cancelled with {kept:?}")).submit(&queue);
    assert!(item.cancel());
    assert_eq!(Arc::strong_count(&capture), 1, "freed although the queue has not come to it");
    assert!(!item.cancel(), "done already");
    assert!(item.is_cancelled() && item.is_done());
    assert_eq!(item.wait(), WorkEnd::Cancelled);
    latch.open();
    queue.sync(|| ());
}

#[test]
fn cancel_does_not_interrupt_a_running_body_which_can_look() {
    let runtime = runtime(1);
    let started = Latch::default();
    let tell = started.clone();
    let item = WorkItem::with_handle(move |me| {
        tell.open();
        while !me.is_cancelled() {
            std::thread::yield_now();
        }
    })
    .submit(&runtime.queue("looks"));
    started.wait();
    assert!(!item.cancel(), "it runs");
    assert_eq!(item.wait(), WorkEnd::Ran);
}

#[test]
fn every_notify_is_submitted_once_also_when_cancelled_and_when_late() {
    let runtime = runtime(2);
    let queue = runtime.queue("items");
    let told = Arc::new(AtomicUsize::new(0));
    for cancel in [false, true] {
        queue.suspend();
        let item = WorkItem::new(|| ()).submit(&queue);
        let other = runtime.queue("told");
        for _ in 0..3 {
            let told = told.clone();
            item.notify(&other, move || _ = told.fetch_add(1, Relaxed));
        }
        assert!(!cancel || item.cancel());
        queue.resume().expect("suspended above");
        item.wait();
        let late = told.clone();
        item.notify(&other, move || _ = late.fetch_add(1, Relaxed));
        // The end submits after it let the waiters go: by then the queue of the item has passed it.
        queue.sync(|| ());
        other.sync(|| ());
        assert_eq!(told.swap(0, Relaxed), 4);
    }
}

#[test]
fn a_panic_ends_it_and_is_counted_as_any_block_s() {
    let runtime = runtime(1);
    let queue = runtime.queue("sour");
    let item = WorkItem::new(|| panic!("sour")).submit(&queue);
    assert_eq!(item.wait(), WorkEnd::Panicked);
    queue.sync(|| ());
    assert_eq!(runtime.stats().panics, 1);
}

#[test]
fn a_barrier_runs_alone_on_a_concurrent_queue() {
    let runtime = runtime(4);
    let queue = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let inside = Arc::new(AtomicUsize::new(0));
    let items: Vec<_> = (0..200)
        .map(|i| {
            let inside = inside.clone();
            if i % 10 == 0 {
                WorkItem::new(move || {
                    assert_eq!(inside.fetch_add(1000, Relaxed), 0);
                    assert_eq!(inside.fetch_sub(1000, Relaxed), 1000);
                })
                .barrier()
                .submit(&queue)
            } else {
                WorkItem::new(move || {
                    assert!(inside.fetch_add(1, Relaxed) < 1000);
                    inside.fetch_sub(1, Relaxed);
                })
                .submit(&queue)
            }
        })
        .collect();
    assert!(items.iter().all(|item| item.wait() == WorkEnd::Ran));
}

#[test]
fn a_shutdown_drops_it_and_tells() {
    let runtime = runtime(1);
    let queue = runtime.queue("held");
    queue.suspend();
    let before = WorkItem::new(|| unreachable!("dropped")).submit(&queue);
    runtime.shutdown(LONG);
    assert_eq!(before.wait(), WorkEnd::Dropped);
    assert_eq!(WorkItem::new(|| unreachable!("refused")).submit(&queue).wait(), WorkEnd::Dropped);
}

#[test]
fn waiting_for_what_waits_for_this_thread_is_a_panic_that_names_the_queue() {
    let runtime = runtime(2);
    let queue = runtime.queue("knot");
    let inner = queue.clone();
    let outcome = queue.call(move || {
        let item = WorkItem::new(|| ()).submit(&inner);
        catch_unwind(AssertUnwindSafe(|| item.wait())).map_err(|payload| *payload.downcast::<String>().expect("text"))
    });
    let sentence = outcome.wait().expect("caught inside").expect_err("it would hang");
    assert!(sentence.contains("\"knot\"") && sentence.contains("work_item.rs"), "{sentence}");

    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let own = WorkItem::with_handle(|me| _ = me.wait()).submit(&table);
    assert_eq!(own.wait(), WorkEnd::Panicked, "an item that waits for itself");
}

#[test]
fn it_runs_wherever_it_is_submitted_in_its_class() {
    let runtime = runtime(2);
    let main = MainQueue::new("main");
    let item = || WorkItem::new(|| assert_eq!(Qos::current(), Qos::UserInitiated)).qos(Qos::UserInitiated);
    let ends = [
        item().submit(&runtime.queue("serial")),
        item().submit(&ConcurrentQueue::builder("table").runtime(&runtime).build()),
        item().submit(&Workloop::builder("editor").runtime(&runtime).build()),
        item().submit(&runtime),
    ];
    let (there, kept) = (item().submit(&main.handle()), item().submit(&main.handle()));
    let caught = catch_unwind(AssertUnwindSafe(|| there.wait())).expect_err("only this thread could run it");
    assert!(caught.downcast::<String>().expect("text").contains("\"main\""));
    let handle = main.handle();
    kept.notify(&main.handle(), move || handle.stop());
    main.run();
    assert_eq!((there.wait(), kept.wait()), (WorkEnd::Ran, WorkEnd::Ran));
    ends.iter().for_each(|item| assert_eq!(item.wait(), WorkEnd::Ran));
}

#[test]
fn one_for_a_main_queue_that_is_gone_is_dropped() {
    let main = MainQueue::new("main");
    let handle = main.handle();
    let before = WorkItem::new(|| unreachable!("dropped")).submit(&handle);
    drop(main);
    let after = WorkItem::new(|| unreachable!("refused")).submit(&handle);
    assert_eq!((before.wait(), after.wait()), (WorkEnd::Dropped, WorkEnd::Dropped));
}
