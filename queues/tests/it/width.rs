//! A concurrent queue with a width runs at most that many blocks at once, and as many where there
//! is work.

use crate::{Latch, by_a_worker, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Runtime};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn queue(runtime: &Runtime, width: usize) -> ConcurrentQueue {
    ConcurrentQueue::builder("narrow").runtime(runtime).width(width).build()
}

/// How many blocks are in now, and the most that were.
#[derive(Clone, Default)]
struct Crowd(Arc<(AtomicUsize, AtomicUsize)>);

impl Crowd {
    fn pass(&self) {
        self.0.1.fetch_max(self.0.0.fetch_add(1, SeqCst) + 1, SeqCst);
        std::thread::yield_now();
        self.0.0.fetch_sub(1, SeqCst);
    }

    fn most(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

#[test]
fn never_more_than_the_width_at_once() {
    let runtime = runtime(4);
    for width in 1..=3 {
        let (queue, crowd, ran) = (queue(&runtime, width), Crowd::default(), Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for who in 0..3 {
                let (queue, crowd, ran) = (&queue, &crowd, &ran);
                scope.spawn(move || {
                    for i in 0..2_000 {
                        if (i + who) % 8 == 0 {
                            queue.sync(|| crowd.pass());
                            ran.fetch_add(1, SeqCst);
                        } else {
                            let (crowd, ran) = (crowd.clone(), ran.clone());
                            queue.submit(move || {
                                crowd.pass();
                                ran.fetch_add(1, SeqCst);
                            });
                        }
                        if (i + who) % 50 == 0 {
                            queue.barrier(|| ());
                        }
                    }
                });
            }
        });
        queue.barrier_sync(|| ());
        assert_eq!(ran.load(SeqCst), 6_000, "nothing was lost");
        assert!(crowd.most() <= width, "{} blocks at once in a queue of width {width}", crowd.most());
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn as_many_as_the_width_run_together_and_one_more_waits() {
    let runtime = runtime(4);
    let queue = queue(&runtime, 2);
    let (crowd, together, leave) = (Arc::new(AtomicUsize::new(0)), Latch::default(), Latch::default());
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let (crowd, together, leave) = (crowd.clone(), together.clone(), leave.clone());
            queue.call(move || {
                let before = crowd.fetch_add(1, SeqCst);
                assert!(before < 2, "a third one came in");
                if before == 1 {
                    together.open();
                }
                leave.wait();
                crowd.fetch_sub(1, SeqCst);
            })
        })
        .collect();
    together.wait();
    // The remaining workers have nothing better to do than to let the third block in.
    let others = runtime.queue("other");
    for _ in 0..100 {
        by_a_worker(others.call(|| ()));
    }
    leave.open();
    assert!(tasks.into_iter().all(|task| task.wait().is_ok()));
}

#[test]
fn a_sync_counts_and_the_block_behind_it_comes_when_it_ends() {
    let runtime = runtime(2);
    let queue = queue(&runtime, 1);
    let ran = Arc::new(AtomicUsize::new(0));
    queue.sync(|| {
        let add = ran.clone();
        queue.submit(move || {
            add.fetch_add(1, SeqCst);
        });
        let others = runtime.queue("other");
        for _ in 0..100 {
            by_a_worker(others.call(|| ()));
        }
        assert_eq!(ran.load(SeqCst), 0);
        assert_eq!(queue.sync(|| 7), 7, "a sync inside a sync takes no second place");
    });
    wait_until("the block behind the sync", || ran.load(SeqCst) == 1);
}

#[test]
fn a_width_that_makes_no_sense_is_refused_with_the_queue_and_the_remedy() {
    let runtime = runtime(1);
    for width in [0, ConcurrentQueue::MAX_WIDTH + 1] {
        let caught = catch_unwind(AssertUnwindSafe(|| queue(&runtime, width)));
        let said = *caught.expect_err("it must panic").downcast::<String>().expect("text");
        assert!(said.contains("\"narrow\"") && said.contains(&width.to_string()) && said.contains("from 1"), "{said}");
    }
    assert_eq!(queue(&runtime, 3).width(), Some(3));
    assert_eq!(ConcurrentQueue::builder("wide").runtime(&runtime).build().width(), None);
}
