//! Many threads use the same object at the same time.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Group, Isolated, Merge, Semaphore, Source, WorkEnd, WorkHandle, WorkItem};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

#[test]
fn a_group_may_be_let_go_of_while_it_notifies_two_hundred_thousand_times() {
    let runtime = runtime(2);
    let queue = runtime.queue("told");
    let told = Arc::new(AtomicUsize::new(0));
    for _ in 0..200 {
        let groups: Vec<Group> = (0..1_000).map(|_| Group::new()).collect();
        groups.iter().for_each(Group::enter);
        let leaving = groups.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for group in leaving {
                    group.leave().expect("entered above");
                }
            });
            for group in groups {
                let told = told.clone();
                group.notify(&queue, move || _ = told.fetch_add(1, Relaxed));
            }
        });
    }
    wait_until("every notify, once", || queue.sync(|| told.load(Relaxed)) == 200_000);
}

#[test]
fn a_group_that_many_enter_and_leave_forgets_no_waiter_and_no_notify() {
    let runtime = runtime(2);
    let queue = runtime.queue("told");
    let (group, told) = (Group::new(), Arc::new(AtomicUsize::new(0)));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..5_000 {
                    group.enter();
                    if i % 8 == 0 {
                        group.submit(&queue, || ());
                    }
                    group.leave().expect("entered above");
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let told = told.clone();
                    group.notify(&queue, move || _ = told.fetch_add(1, Relaxed));
                    assert!(group.wait_timeout(LONG), "a wait was forgotten");
                }
            });
        }
    });
    group.wait();
    // The last one to leave submits its notifies after it let the waiters go.
    wait_until("every notify, once", || queue.sync(|| told.load(Relaxed)) == 2_000);
    assert!(group.leave().is_err());
}

#[test]
fn a_semaphore_is_a_mutex_for_many_threads() {
    let runtime = runtime(2);
    let (mutex, group) = (Semaphore::new(1), Group::new());
    let count = Arc::new(AtomicUsize::new(0));
    // In two steps: the semaphore makes them atomic.
    let add = |mutex: &Semaphore, count: &AtomicUsize| {
        mutex.wait();
        count.store(count.load(Relaxed) + 1, Relaxed);
        mutex.signal();
    };
    for i in 0..8 {
        let (mutex, count) = (mutex.clone(), count.clone());
        group.submit(&runtime.queue(format!("q{i}")), move || (0..1_000).for_each(|_| add(&mutex, &count)));
    }
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..1_000).for_each(|_| add(&mutex, &count)));
        }
    });
    group.wait();
    assert_eq!(count.load(Relaxed), 16_000);
    assert!(mutex.try_wait() && !mutex.try_wait());
}

#[test]
fn readers_never_see_a_writer_in_the_middle() {
    let runtime = runtime(4);
    let table = ConcurrentQueue::builder("table").runtime(&runtime).build();
    let pair = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let group = Group::new();
    let look = |pair: &[AtomicU64; 2]| assert_eq!(pair[0].load(Relaxed), pair[1].load(Relaxed));
    let write = |pair: &[AtomicU64; 2]| {
        pair[0].store(pair[0].load(Relaxed) + 1, Relaxed);
        std::thread::yield_now();
        pair[1].store(pair[1].load(Relaxed) + 1, Relaxed);
    };
    std::thread::scope(|scope| {
        for who in 0..4 {
            let (table, pair, group) = (&table, &pair, &group);
            scope.spawn(move || {
                for i in 0..1_000 {
                    let shared = pair.clone();
                    match (i + who) % 10 {
                        0 => table.barrier(move || write(&shared)),
                        1 => table.barrier_sync(|| write(&shared)),
                        2..6 => table.sync(|| look(&shared)),
                        _ => {
                            group.enter();
                            let group = group.clone();
                            table.submit(move || {
                                look(&shared);
                                group.leave().expect("entered above");
                            });
                        }
                    }
                }
            });
        }
    });
    assert!(group.wait_timeout(LONG), "a reader was lost, or panicked");
    assert_eq!(table.barrier_sync(|| pair[1].load(Relaxed)), 4 * 200);
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn blocks_that_wait_for_one_another_get_that_many_threads() {
    let runtime = runtime(2);
    let all_here = Arc::new(std::sync::Barrier::new(40));
    let group = Group::new();
    for i in 0..40 {
        let all_here = all_here.clone();
        group.submit(&runtime.queue(format!("q{i}")), move || _ = all_here.wait());
    }
    assert!(group.wait_timeout(LONG), "forty blocks that need each other");
    wait_until("the replacement threads to go away", || runtime.stats().threads == 2);
}

#[test]
fn sync_comes_behind_what_its_thread_submitted_before() {
    let runtime = runtime(2);
    let log = Isolated::new(&runtime.queue("log"), vec![0; 4]);
    std::thread::scope(|scope| {
        for who in 0..4 {
            let log = &log;
            scope.spawn(move || {
                for i in 0..3_000 {
                    log.submit(move |log| log[who] = 2 * i + 1);
                    let before = log.sync(|log| std::mem::replace(&mut log[who], 2 * i + 2));
                    assert_eq!(before, 2 * i + 1, "sync went around a submit");
                    let task = log.call(move |log| log[who]);
                    if i % 16 == 0 {
                        assert_eq!(task.wait().ok(), Some(2 * i + 2));
                    }
                }
            });
        }
    });
}

#[test]
fn a_hundred_sources_hand_over_exact_sums_unions_and_last_values() {
    let runtime = runtime(2);
    let queues: Vec<_> = (0..10).map(|i| runtime.queue(format!("ready.{i}"))).collect();
    let handed: Arc<Vec<AtomicU64>> = Arc::new((0..100).map(|_| AtomicU64::new(0)).collect());
    let ways = [Merge::Add, Merge::Or, Merge::Replace];
    let sources: Vec<Source> = (0..100)
        .map(|i| {
            let (handed, way) = (handed.clone(), ways[i % 3]);
            Source::builder(&queues[i % 10]).merging(way).build(move |value| match way {
                Merge::Add => _ = handed[i].fetch_add(value, Relaxed),
                Merge::Or => _ = handed[i].fetch_or(value, Relaxed),
                _ => handed[i].store(value, Relaxed),
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for who in 0..4u64 {
            let sources = &sources;
            scope.spawn(move || {
                for round in 0..500 {
                    for (i, source) in sources.iter().enumerate() {
                        match ways[i % 3] {
                            Merge::Add => source.merge(round),
                            Merge::Or => source.merge(1 << (round % 16 + 16 * (who % 2))),
                            // Only one thread, so that its last value is the last.
                            _ if who == 0 => source.merge_deferred(round),
                            _ => {}
                        }
                    }
                }
            });
        }
    });
    queues.iter().for_each(|queue| queue.sync(|| ()));
    for (i, handed) in handed.iter().enumerate() {
        let expected = [4 * (0..500).sum::<u64>(), (1 << 32) - 1, 499][i % 3];
        assert_eq!(handed.load(Relaxed), expected, "source {i}");
    }
}

#[test]
fn waits_cancels_and_notifies_of_work_items_race_and_agree() {
    let runtime = runtime(2);
    let (queue, told_on) = (runtime.queue("items"), runtime.queue("told"));
    for _ in 0..20 {
        let (ran, told) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let items: Vec<WorkHandle> = (0..200)
            .map(|_| {
                let ran = ran.clone();
                WorkItem::new(move || _ = ran.fetch_add(1, Relaxed)).submit(&queue)
            })
            .collect();
        let cancelled = AtomicUsize::new(0);
        let ends = std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for item in items.iter().rev() {
                        cancelled.fetch_add(usize::from(item.cancel()), Relaxed);
                    }
                });
            }
            scope.spawn(|| {
                for item in &items {
                    let told = told.clone();
                    item.notify(&told_on, move || _ = told.fetch_add(1, Relaxed));
                }
            });
            items.iter().map(WorkHandle::wait).filter(|&end| end == WorkEnd::Ran).count()
        });
        queue.sync(|| ());
        assert_eq!((ends, ends + cancelled.load(Relaxed)), (ran.load(Relaxed), 200));
        assert_eq!(told_on.sync(|| told.load(Relaxed)), 200);
    }
}

#[test]
fn a_storm_of_everything_leaves_a_queue_that_works() {
    let runtime = runtime(2);
    let queue = runtime.queue("storm");
    let (stop, latch) = (AtomicBool::new(false), Latch::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                queue.suspend();
                std::thread::yield_now();
                queue.resume().expect("suspended above");
            }
        });
        scope.spawn(|| {
            for _ in 0..500 {
                let own = queue.clone();
                queue.submit(move || own.submit(|| ()));
                WorkItem::new(|| ()).submit(&queue).cancel();
                let timer = queue.submit_after(std::time::Duration::from_micros(10), || ());
                timer.cancel();
                let _ = queue.try_sync(|| ());
                let _ = queue.sync_timeout(std::time::Duration::from_micros(50), || ());
                queue.sync(|| ());
            }
            stop.store(true, Relaxed);
        });
    });
    let open = latch.clone();
    queue.submit(move || open.open());
    latch.wait();
    assert!(queue.resume().is_err());
}
