//! Target hierarchies: queues with a common target exclude one another and keep their own order.

use crate::runtime;
use singletrack_queues::{Group, Isolated, Queue, TrySyncError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[test]
fn queues_with_a_common_target_exclude_one_another_and_keep_their_order() {
    let runtime = runtime(4);
    let root = runtime.queue("root");
    let inside = Arc::new(AtomicBool::new(false));
    let leaves: Vec<_> = (0..8)
        .map(|i| {
            let middle = Queue::builder(format!("middle.{}", i % 2)).target(&root).build();
            Isolated::new(&Queue::builder(format!("leaf.{i}")).target(&middle).build(), Vec::new())
        })
        .collect();
    let group = Group::new();
    for i in 0..2_000 {
        for leaf in &leaves {
            let inside = inside.clone();
            group.enter();
            let group = group.clone();
            leaf.submit(move |log| {
                assert!(!inside.swap(true, Relaxed), "two blocks under one target at once");
                log.push(i);
                inside.store(false, Relaxed);
                group.leave().expect("entered above");
            });
        }
    }
    group.wait();
    for leaf in &leaves {
        assert!(leaf.sync(|log| log.iter().copied().eq(0..2_000)));
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn sync_takes_the_whole_chain() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let leaves: Vec<_> = (0..2).map(|i| Queue::builder(format!("leaf.{i}")).target(&root).build()).collect();
    let counter = Isolated::new(&root, 0usize);
    let inside = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for leaf in &leaves {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    leaf.sync(|| {
                        assert!(!inside.swap(true, Relaxed), "two at once");
                        inside.store(false, Relaxed);
                    });
                    counter.submit(|counter| *counter += 1);
                }
            });
        }
    });
    assert_eq!(counter.sync(|counter| *counter), 20_000);
}

#[test]
fn sync_to_a_target_or_a_sibling_of_the_current_queue_is_reported() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let (leaf, sibling) =
        (Queue::builder("leaf").target(&root).build(), Queue::builder("sibling").target(&root).build());
    let (up, beside) = (root.clone(), sibling.clone());
    let reported = leaf.call(move || {
        let up = matches!(up.try_sync(|| ()), Err(TrySyncError::Deadlock(..)));
        let beside = matches!(beside.try_sync(|| ()), Err(TrySyncError::Deadlock(..)));
        (up, beside)
    });
    assert_eq!(reported.wait().ok(), Some((true, true)));
    assert_eq!(sibling.sync(|| 1), 1, "the refused sync left nothing behind");
}

/// A queue in the middle of a chain is the stub of its own mailbox and a node in its target's: the
/// link of one use must not be followed in the other.
#[test]
fn every_level_of_a_cascade_keeps_its_order() {
    let runtime = runtime(2);
    let mut levels = vec![runtime.queue("level.0")];
    for i in 1..6 {
        levels.push(Queue::builder(format!("level.{i}")).target(&levels[i - 1]).build());
    }
    let logs: Vec<_> = levels.iter().map(|level| Isolated::new(level, vec![0; 3])).collect();
    std::thread::scope(|scope| {
        for who in 0..3 {
            let logs = &logs;
            scope.spawn(move || {
                for i in 0..3_000 {
                    for log in logs {
                        let step = move |log: &mut Vec<i32>| {
                            assert_eq!(log[who], i, "submitter {who} is out of order");
                            log[who] += 1;
                        };
                        if (i + who as i32) % 16 == 0 { log.sync(step) } else { log.submit(step) }
                    }
                }
            });
        }
    });
    for log in &logs {
        assert_eq!(log.sync(|log| log.clone()), [3_000; 3]);
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_queue_knows_whether_this_thread_is_in_it() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let leaf = Queue::builder("leaf").target(&root).build();
    let other = runtime.queue("other");
    assert!(!leaf.is_current());
    let (l, r, o) = (leaf.clone(), root.clone(), other);
    let inside = leaf.call(move || (l.is_current(), r.is_current(), o.is_current()));
    assert_eq!(inside.wait().ok(), Some((true, true, false)));
    assert!(leaf.sync(|| leaf.is_current() && root.is_current()));
    assert!(!root.sync(|| leaf.is_current()));
}

#[test]
fn a_suspended_target_holds_its_leaves() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let leaf = Isolated::new(&Queue::builder("leaf").target(&root).build(), 0);
    root.suspend();
    leaf.submit(|n| *n += 1);
    assert!(leaf.queue().try_sync(|| ()).is_err());
    root.resume().expect("suspended above");
    assert_eq!(leaf.sync(|n| *n), 1);
}

#[test]
fn a_busy_leaf_does_not_starve_its_sibling() {
    let runtime = runtime(1);
    let root = runtime.queue("root");
    let leaf = Queue::builder("busy").target(&root).build();
    let stop = Arc::new(AtomicBool::new(false));
    fn again(queue: Queue, stop: Arc<AtomicBool>) {
        if !stop.load(Relaxed) {
            let next = queue.clone();
            queue.submit(move || again(next, stop));
        }
    }
    again(leaf, stop.clone());
    let sibling = Queue::builder("sibling").target(&root).build();
    for _ in 0..20 {
        assert!(sibling.call(|| ()).wait().is_ok());
    }
    stop.store(true, Relaxed);
}

#[test]
#[should_panic(expected = "on another runtime")]
fn a_target_on_another_runtime_is_refused() {
    let (one, two) = (runtime(1), runtime(1));
    drop(Queue::builder("lost").target(&one.queue("there")).runtime(&two).build());
}
