//! Chains of serial and concurrent queues: order, barriers, `sync` at every level, deadlocks that
//! are reported, and the end.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Group, Isolated, Queue, SyncError, TrySyncError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn serial_queues_on_a_concurrent_one_keep_their_order_and_its_barriers_are_alone() {
    let runtime = runtime(4);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).build();
    let leaves: Vec<_> = (0..6).map(|i| Queue::builder(format!("leaf.{i}")).target(&root).build()).collect();
    let inside = Arc::new(AtomicUsize::new(0));
    let logs: Vec<_> = leaves.iter().map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
    for i in 0..500 {
        for (leaf, log) in leaves.iter().zip(&logs) {
            let (inside, log) = (inside.clone(), log.clone());
            leaf.submit(move || {
                inside.fetch_add(1, SeqCst);
                log.try_lock().expect("one at a time in a leaf").push(i);
                inside.fetch_sub(1, SeqCst);
            });
        }
        if i % 10 == 0 {
            let inside = inside.clone();
            root.barrier(move || {
                assert_eq!(inside.load(SeqCst), 0, "a barrier beside a block of what targets its queue")
            });
        }
    }
    leaves.iter().for_each(|leaf| leaf.sync(|| ()));
    root.barrier_sync(|| ());
    for log in logs {
        assert!(log.lock().expect("no panic under it").iter().copied().eq(0..500));
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_barrier_is_alone_in_its_own_queue_and_an_ordinary_block_of_the_target() {
    let runtime = runtime(2);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).build();
    let child = ConcurrentQueue::builder("child").target(&root).build();
    let sibling = ConcurrentQueue::builder("sibling").target(&root).build();
    let (one, two) = (Latch::default(), Latch::default());
    let (open_one, wait_two) = (one.clone(), two.clone());
    let barrier = child.barrier_call(move || {
        open_one.open();
        wait_two.wait();
    });
    let beside = sibling.call(move || {
        two.open();
        one.wait();
    });
    assert!(barrier.wait().is_ok() && beside.wait().is_ok(), "each waited for the other to have begun");
}

/// Two hundred times: readers that must all have ended, then a barrier; in every shape of a
/// concurrent queue.
#[test]
fn barriers_hold_for_two_hundred_generations_whatever_the_target() {
    let runtime = runtime(4);
    let serial = runtime.queue("serial");
    let wide = ConcurrentQueue::builder("wide").runtime(&runtime).build();
    let narrow = ConcurrentQueue::builder("narrow").target(&wide).width(2).build();
    let queues = [
        ConcurrentQueue::builder("on the pool").runtime(&runtime).build(),
        ConcurrentQueue::builder("with a width").runtime(&runtime).width(2).build(),
        ConcurrentQueue::builder("on a serial queue").target(&serial).build(),
        ConcurrentQueue::builder("on a concurrent queue").target(&wide).build(),
        ConcurrentQueue::builder("on a narrow queue").target(&narrow).width(3).build(),
    ];
    for queue in &queues {
        let (readers, generation) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for now in 0..200 {
            for _ in 0..5 {
                let (readers, generation) = (readers.clone(), generation.clone());
                queue.submit(move || {
                    readers.fetch_add(1, SeqCst);
                    assert_eq!(generation.load(SeqCst), now, "a block overtook a barrier, or was overtaken");
                    readers.fetch_sub(1, SeqCst);
                });
            }
            let (readers, generation) = (readers.clone(), generation.clone());
            let write = move || {
                assert_eq!(readers.load(SeqCst), 0, "a barrier beside readers");
                assert_eq!(generation.fetch_add(1, SeqCst), now);
            };
            if now % 4 == 0 { queue.barrier_sync(write) } else { queue.barrier(write) }
        }
        queue.barrier_sync(|| ());
        assert_eq!(generation.load(SeqCst), 200, "{queue:?}");
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn what_can_never_be_had_is_reported_with_both_queues() {
    fn sentence(f: impl FnOnce()) -> String {
        *catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic").downcast::<String>().expect("text")
    }
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let table = ConcurrentQueue::builder("table").target(&root).build();
    let other = ConcurrentQueue::builder("other").target(&root).build();
    let view = ConcurrentQueue::builder("view").target(&table).build();
    let log = Queue::builder("log").target(&table).build();
    // A barrier of the queue that this thread is in, directly or through a target.
    for said in [
        table.sync(|| sentence(|| table.barrier_sync(|| ()))),
        view.sync(|| sentence(|| table.barrier_sync(|| ()))),
        log.sync(|| sentence(|| table.barrier_sync(|| ()))),
    ] {
        assert!(said.contains("deadlock") && said.contains("\"table\""), "{said}");
    }
    // In a barrier of the target, or on a serial queue that both need.
    let said = table.barrier_sync(|| sentence(|| view.sync(|| ())));
    assert!(said.contains("\"view\"") && said.contains("\"table\""), "{said}");
    let said = table.sync(|| sentence(|| other.sync(|| ())));
    assert!(said.contains("\"other\"") && said.contains("\"table\""), "{said}");
    let said = root.sync(|| sentence(|| view.sync(|| ())));
    assert!(said.contains("\"view\"") && said.contains("\"root\""), "{said}");
    assert!(table.sync(|| matches!(table.try_barrier_sync(|| ()), Err(TrySyncError::Deadlock(..)))));
    let timed = table.sync(|| table.barrier_sync_timeout(LONG, || ()));
    assert!(matches!(timed, Err(SyncError::Deadlock(_))));
    // All of them continue to work.
    assert_eq!(view.barrier_sync(|| 1) + log.sync(|| 2) + other.sync(|| 4), 7);
}

#[test]
fn a_block_of_a_concurrent_queue_may_sync_on_what_targets_it_even_while_a_barrier_waits() {
    let runtime = runtime(2);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).width(1).build();
    let view = ConcurrentQueue::builder("view").target(&root).build();
    let log = Queue::builder("log").target(&root).build();
    let written = root.sync(|| {
        let written = root.barrier_call(|| ());
        assert_eq!(view.sync(|| 1) + log.sync(|| 2) + view.barrier_sync(|| 4), 7);
        written
    });
    assert!(written.wait().is_ok());
}

/// The log is busy and stands behind a barrier, or has no room, because of the very thread that
/// waits for it.
#[test]
fn a_block_that_waits_for_a_busy_queue_of_its_own_target_is_not_waited_for_by_it() {
    let runtime = runtime(2);
    for width in [1, 2] {
        let root = ConcurrentQueue::builder("root").runtime(&runtime).width(width).build();
        let middle = Queue::builder("middle").target(&root).build();
        let log = Isolated::new(&Queue::builder("log").target(&middle).build(), Vec::new());
        let written = root.sync(|| {
            let written = root.barrier_call(|| ());
            log.submit(|log| log.push(1));
            log.sync(|log| log.push(2));
            assert_eq!(log.queue().sync_timeout(LONG, || 3), Ok(3));
            log.submit(|log| log.push(4));
            written
        });
        assert!(written.wait().is_ok());
        assert_eq!(log.sync(|log| log.clone()), [1, 2, 4]);
    }
}

#[test]
fn storms_of_blocks_that_wait_for_queues_of_their_own_target_neither_hang_nor_break_anything() {
    let runtime = runtime(2);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).width(2).build();
    let logs: Vec<_> = (0..2)
        .map(|i| Isolated::new(&Queue::builder(format!("log.{i}")).target(&root).build(), (0, AtomicBool::new(false))))
        .collect();
    let (inside, group) = (Arc::new(AtomicUsize::new(0)), Group::new());
    for i in 0..2_000 {
        let (logs, within, member) = (logs.clone(), inside.clone(), group.clone());
        group.enter();
        root.submit(move || {
            within.fetch_add(1, SeqCst);
            let log = &logs[i % 2];
            let alone = |log: &mut (usize, AtomicBool)| {
                assert!(!log.1.swap(true, SeqCst), "two at once");
                log.0 += 1;
                log.1.store(false, SeqCst);
            };
            log.submit(alone);
            log.sync(alone);
            within.fetch_sub(1, SeqCst);
            member.leave().expect("entered above");
        });
        if i % 8 == 0 {
            let inside = inside.clone();
            root.barrier(move || assert_eq!(inside.load(SeqCst), 0, "a barrier beside a block"));
        }
    }
    group.wait();
    root.barrier_sync(|| ());
    for log in &logs {
        assert_eq!(log.sync(|log| log.0), 2_000);
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn try_sync_and_sync_timeout_go_through_the_chain() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let table = ConcurrentQueue::builder("table").target(&root).build();
    let leaf = Queue::builder("leaf").target(&table).build();
    assert_eq!(leaf.try_sync(|| 1).ok(), Some(1));
    assert_eq!(table.try_sync(|| 2).ok(), Some(2));
    let (busy, go) = (Latch::default(), Latch::default());
    let (begun, wait) = (busy.clone(), go.clone());
    let blocking = root.call(move || {
        begun.open();
        wait.wait();
    });
    busy.wait();
    assert!(matches!(leaf.try_sync(|| ()), Err(TrySyncError::Busy(_))));
    assert!(matches!(table.try_sync(|| ()), Err(TrySyncError::Busy(_))));
    for timed in [
        leaf.sync_timeout(Duration::from_millis(1), || ()),
        table.sync_timeout(Duration::from_millis(1), || ()),
        table.barrier_sync_timeout(Duration::from_millis(1), || ()),
    ] {
        assert!(matches!(timed, Err(SyncError::Timeout { .. })), "{timed:?}");
    }
    go.open();
    assert_eq!(leaf.sync_timeout(LONG, || 1), Ok(1));
    assert_eq!(table.sync_timeout(LONG, || 2), Ok(2));
    assert_eq!(table.barrier_sync_timeout(LONG, || 3), Ok(3));
    assert!(blocking.wait().is_ok());
    let caught = catch_unwind(AssertUnwindSafe(|| table.sync_timeout(LONG, || panic!("carried"))));
    assert!(caught.is_err());
    assert_eq!(table.barrier_sync(|| 4), 4, "the queue goes on");
}

#[test]
#[should_panic(expected = "on another runtime")]
fn a_target_on_another_runtime_is_refused() {
    let (one, two) = (runtime(1), runtime(1));
    let there = ConcurrentQueue::builder("there").runtime(&one).build();
    drop(ConcurrentQueue::builder("lost").target(&there).runtime(&two).build());
}

#[test]
fn handles_dropped_in_any_order_lose_nothing() {
    let runtime = runtime(2);
    let ran = Arc::new(AtomicUsize::new(0));
    let add = |ran: &Arc<AtomicUsize>| {
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, SeqCst);
        }
    };
    for _ in 0..300 {
        let root = ConcurrentQueue::builder("root").runtime(&runtime).width(1).build();
        let middle = ConcurrentQueue::builder("middle").target(&root).build();
        let leaf = Queue::builder("leaf").target(&middle).build();
        for i in 0..4 {
            leaf.submit(add(&ran));
            middle.submit(add(&ran));
            if i == 2 {
                middle.barrier(add(&ran));
                root.barrier(add(&ran));
            }
        }
        drop(root);
        leaf.submit(add(&ran));
    }
    wait_until("all blocks", || ran.load(SeqCst) == 300 * 11);
}
