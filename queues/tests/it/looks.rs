//! A busy worker polls its parker every few blocks if they are long, and less often if they are
//! short.

use crate::{LONG, wait_until};
use singletrack_queues::{Group, Parker, Queue, Runtime};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

fn compute_for(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Sleeps as the default parker does, and counts the polls.
#[derive(Default)]
struct Counting {
    token: Mutex<bool>,
    arrived: Condvar,
    polls: Arc<AtomicUsize>,
}

impl Parker for Counting {
    fn park(&self, timeout: Option<Duration>, awake: &mut dyn FnMut()) {
        let token = self.token.lock().expect("no panic under it");
        let wait = timeout.unwrap_or(LONG);
        let (mut token, _) = self.arrived.wait_timeout_while(token, wait, |token| !*token).expect("no panic under it");
        *token = false;
        drop(token);
        awake();
    }

    fn poll(&self) {
        self.polls.fetch_add(1, Relaxed);
    }

    fn unpark(&self) {
        *self.token.lock().expect("no panic under it") = true;
        self.arrived.notify_one();
    }
}

fn counting_polls() -> (Runtime, Arc<AtomicUsize>) {
    let polls = Arc::<AtomicUsize>::default();
    let count = polls.clone();
    let parkers = move |_| Ok(Arc::new(Counting { polls: count.clone(), ..Counting::default() }) as Arc<dyn Parker>);
    (Runtime::builder().workers(1).parkers(parkers).build().expect("a thread"), polls)
}

/// The polls while so many blocks of a tenth of a millisecond run, on as many queues.
fn polls_while(blocks: usize, queues: usize) -> usize {
    let (runtime, polls) = counting_polls();
    let queues: Vec<Queue> = (0..queues).map(|i| runtime.queue(format!("busy.{i}"))).collect();
    let group = Group::new();
    for i in 0..blocks {
        group.submit(&queues[i % queues.len()], || compute_for(Duration::from_micros(100)));
    }
    group.wait();
    polls.load(Relaxed)
}

#[test]
fn a_busy_worker_polls_every_few_blocks_if_they_are_long() {
    for queues in [300, 30, 1] {
        let polls = polls_while(300, queues);
        assert!(polls >= 60, "{polls} polls in 300 blocks of 100 us on {queues} queues");
    }
}

#[test]
fn a_busy_worker_polls_now_and_then_if_blocks_are_short() {
    let (runtime, polls) = counting_polls();
    let over = Arc::<AtomicBool>::default();
    fn again(ping: Queue, pong: Queue, over: Arc<AtomicBool>) {
        if !over.load(Relaxed) {
            let next = ping.clone();
            ping.submit(move || again(pong, next, over));
        }
    }
    again(runtime.queue("ping"), runtime.queue("pong"), over.clone());
    wait_until("it polled a thousand times", || polls.load(Relaxed) > 1_000);
    over.store(true, Relaxed);
}
