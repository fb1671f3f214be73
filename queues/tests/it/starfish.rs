//! Many queues at once: a hub and its spokes, a cascade, one queue for a million blocks.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{Isolated, Queue, Runtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};

/// A hub sends a message to each spoke, and continues when all have answered.
struct Starfish {
    hub: Isolated<usize>,
    spokes: Vec<Isolated<u32>>,
    laps: u32,
    end: Sender<Vec<u32>>,
}

impl Starfish {
    fn lap(self: &Arc<Self>, lap: u32) {
        for spoke in &self.spokes {
            let star = self.clone();
            spoke.submit(move |laps| {
                assert_eq!(*laps, lap, "a message of another lap");
                *laps += 1;
                star.clone().hub.submit(move |answers| star.answer(answers, lap));
            });
        }
    }

    fn answer(self: &Arc<Self>, answers: &mut usize, lap: u32) {
        *answers += 1;
        if *answers < self.spokes.len() {
            return;
        }
        *answers = 0;
        if lap + 1 < self.laps {
            return self.lap(lap + 1);
        }
        let laps = self.spokes.iter().map(|spoke| spoke.sync(|laps| *laps)).collect();
        self.end.send(laps).expect("the test listens");
    }
}

fn swim(runtime: &Runtime, laps: u32) {
    let (end, ended) = mpsc::channel();
    let spokes = (0..1_000).map(|i| Isolated::new(&runtime.queue(format!("spoke.{i}")), 0)).collect();
    let star = Arc::new(Starfish { hub: Isolated::new(&runtime.queue("hub"), 0), spokes, laps, end });
    star.lap(0);
    let all = ended.recv_timeout(LONG).expect("the last lap ends");
    assert!(all.len() == 1_000 && all.iter().all(|&spoke| spoke == laps));
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_starfish_of_a_thousand_queues_swims_its_laps() {
    swim(&runtime(2), 30);
    swim(&runtime(1), 5);
}

/// Queue n targets queue n - 1, so all eighty exclude one another.
fn cascade(runtime: &Runtime) -> Vec<Queue> {
    let mut queues = vec![runtime.queue("cascade.0")];
    for level in 1..80 {
        queues.push(Queue::builder(format!("cascade.{level}")).target(&queues[level - 1]).build());
    }
    queues
}

#[test]
fn a_cascade_of_eighty_queues_keeps_order_and_excludes_over_all_levels() {
    let runtime = runtime(4);
    let queues = cascade(&runtime);
    let inside = Arc::new(AtomicU32::new(0));
    let logs: Vec<_> = queues.iter().map(|queue| Isolated::new(queue, 0)).collect();
    for round in 0..100 {
        for log in &logs {
            let inside = inside.clone();
            log.submit(move |next| {
                assert_eq!(inside.fetch_add(1, Relaxed), 0, "two levels at once");
                assert_eq!(*next, round, "out of order");
                *next += 1;
                inside.fetch_sub(1, Relaxed);
            });
        }
    }
    for log in logs.iter().rev() {
        assert_eq!(log.sync(|next| *next), 100);
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_block_walks_down_a_cascade_and_up_again() {
    fn step(queues: Arc<Vec<Queue>>, at: usize, hops: usize, end: Sender<usize>) {
        let to = queues[at % queues.len()].clone();
        to.submit(
            move || {
                if at < hops { step(queues, at + 1, hops, end) } else { end.send(at).expect("the test listens") }
            },
        );
    }
    let runtime = runtime(2);
    let (end, ended) = mpsc::channel();
    step(Arc::new(cascade(&runtime)), 0, 80 * 50, end);
    assert_eq!(ended.recv_timeout(LONG), Ok(80 * 50));
}

#[test]
fn a_million_blocks_go_through_one_queue() {
    let runtime = runtime(2);
    let queue = runtime.queue("million");
    let sum = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for burst in 0..25 {
                    for i in 0..10_000 {
                        let sum = sum.clone();
                        // In two steps: the queue makes them atomic.
                        queue.submit(move || sum.store(sum.load(Relaxed) + i, Relaxed));
                    }
                    if burst % 2 == 0 {
                        queue.sync(|| ());
                    }
                }
            });
        }
    });
    queue.sync(|| ());
    assert_eq!(sum.load(Relaxed), 100 * (0..10_000).sum::<u64>());
}

#[test]
fn blocks_that_submit_the_next_one_go_as_deep_as_they_like() {
    fn next(queue: Queue, left: u32, count: Arc<AtomicU32>) {
        count.fetch_add(1, Relaxed);
        if left > 0 {
            queue.clone().submit(move || next(queue, left - 1, count));
        }
    }
    let runtime = runtime(2);
    let count = Arc::new(AtomicU32::new(0));
    next(runtime.queue("deep"), 100_000, count.clone());
    wait_until("the deepest one", || count.load(Relaxed) == 100_001);
}
