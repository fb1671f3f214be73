//! Queues that submit to themselves for ever do not keep another queue from running.
//!
//! Measured in blocks, not in time: between two blocks of the queue in the middle, the greedy ones
//! may run their turns and no more. The bound is far above a turn, because the system may stop a
//! worker in the middle of one. A scheduler that starves exceeds any bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use singletrack::queues::{Queue, Runtime};

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::Check;

pub(super) const FAMILY: Family = Family {
    name: "fairness",
    checks: &[Check { name: "fairness", counts: "blocks of a queue between greedy ones" }],
    place: Place::Alone,
    round,
};
/// The most blocks of a greedy queue for each block of the modest one, on average.
const GREED: u64 = 25_000;

struct Field {
    greedy: AtomicU64,
    modest: AtomicU64,
    over: AtomicBool,
}

fn be_greedy(queue: Queue, field: Arc<Field>, limit: u64, dwell: Dwell) {
    let next = queue.clone();
    queue.submit(move || {
        dwell.pass();
        let ran = field.greedy.fetch_add(1, Relaxed);
        if ran < limit && !field.over.load(Relaxed) {
            be_greedy(next, field, limit, dwell);
        } else {
            field.over.store(true, Relaxed);
        }
    });
}

fn be_modest(queue: Queue, field: Arc<Field>, left: u64) {
    let next = queue.clone();
    queue.submit(move || {
        field.modest.fetch_add(1, Relaxed);
        if left > 1 && !field.over.load(Relaxed) {
            be_modest(next, field, left - 1);
        } else {
            field.over.store(true, Relaxed);
        }
    });
}

/// A queue whose every block is submitted from outside, never through a worker's own list: each has
/// to be scheduled anew.
fn come_from_outside(runtime: &Runtime, field: &Field, blocks: u64) {
    let queue = runtime.queue("fairness.outside");
    for _ in 0..blocks {
        if queue.call(|| ()).wait().is_ok() {
            field.modest.fetch_add(1, Relaxed);
        }
        if field.over.load(Relaxed) {
            return;
        }
    }
    field.over.store(true, Relaxed);
}

fn round(round: &Round, mut choice: Choice) {
    let Some(own) = round.own_runtime() else { return };
    let (runtime, score) = (&own.runtime, round.score(0));
    let (greedy, blocks) = (round.workers().max(2), choice.between(20..=100) as u64);
    let limit = blocks * GREED * greedy as u64;
    let field = Arc::new(Field { greedy: AtomicU64::new(0), modest: AtomicU64::new(0), over: AtomicBool::new(false) });
    let queues: Vec<_> = (0..greedy).map(|i| runtime.queue(format!("fairness.greedy.{i}"))).collect();
    for queue in &queues {
        be_greedy(queue.clone(), field.clone(), limit, Dwell::Spin(choice.between(0..=20)));
    }
    round.stage(format_args!("{blocks} blocks of one queue beside {greedy} that submit to themselves for ever"));
    if choice.one_in(2) {
        be_modest(runtime.queue("fairness.modest"), field.clone(), blocks);
    } else {
        come_from_outside(runtime, &field, blocks);
    }
    while !field.over.load(Relaxed) {
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    queues.iter().for_each(|queue| queue.sync(|| ()));
    let (modest, ran) = (field.modest.load(Relaxed), field.greedy.load(Relaxed));
    score.expect(modest == blocks, || {
        format!("{greedy} queues that submit to themselves ran {ran} blocks; one beside them ran {modest} of {blocks}")
    });
    score.verified(usize::try_from(modest).unwrap_or(usize::MAX));
}
