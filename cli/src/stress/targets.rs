//! Queues with a common target exclude one another and keep their own order, however the hierarchy
//! is shaped.
//!
//! A star (all target the root), a cascade (each targets the one before) or a random tree. Blocks
//! go to all of its queues, from threads and from blocks, and some are `sync`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use singletrack::queues::{Queue, Runtime};

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "targets",
    checks: &[Check { name: "targets", counts: "blocks alone in their hierarchy and in the order of their queue" }],
    place: Place::Beside,
    round,
};

/// The part of one another that the blocks of one hierarchy see. Relaxed: the hierarchy must order
/// them.
struct Tree {
    /// One more than the queue that has a block running, or 0.
    inside: AtomicUsize,
    /// By queue and submitter: one more than the number of the last block.
    last: Vec<Vec<AtomicUsize>>,
    score: Arc<Score>,
}

impl Tree {
    fn block(&self, queue: usize, submitter: usize, number: usize, dwell: Dwell) {
        let before = self.inside.swap(queue + 1, Relaxed);
        self.score.expect(before == 0, || {
            format!(
                "a block of queue {queue} began while one of queue {} was running in the same hierarchy",
                before - 1
            )
        });
        let last = self.last[queue][submitter].swap(number + 1, Relaxed);
        self.score.expect(last == number, || {
            format!("queue {queue} ran block {number} of submitter {submitter} when its block {last} was due")
        });
        dwell.pass();
        self.inside.store(0, Relaxed);
    }
}

fn plant(runtime: &Runtime, verbs: &mut Verbs, choice: &mut Choice) -> (&'static str, Vec<Queue>) {
    let mut queues = vec![runtime.queue("targets.root")];
    let (shape, name) = match choice.between(0..=2) {
        0 => (0, "star"),
        1 => (1, "cascade"),
        _ => (2, "tree"),
    };
    // A cascade costs a hand-over per level.
    for i in 1..=if shape == 1 { choice.between(2..=6) } else { choice.between(2..=24) } {
        let target = match shape {
            0 => 0,
            1 => i - 1,
            _ => choice.between(0..=i - 1),
        };
        queues.push(verbs.with_target(format!("targets.{i}"), &queues[target]));
    }
    (name, queues)
}

fn submit_all(queues: &[Queue], tree: &Arc<Tree>, submitter: usize, times: usize, choice: &mut Choice) {
    let mut numbers = vec![0; queues.len()];
    for _ in 0..times {
        let (queue, dwell, sync) = (choice.between(0..=queues.len() - 1), choice.dwell(), choice.one_in(16));
        let number = numbers[queue];
        numbers[queue] += 1;
        if sync {
            queues[queue].sync(|| tree.block(queue, submitter, number, dwell));
        } else {
            let tree = tree.clone();
            queues[queue].submit(move || tree.block(queue, submitter, number, dwell));
        }
    }
    // Everything that this submitter sent is in front of these.
    queues.iter().for_each(|queue| queue.sync(|| ()));
}

fn round(round: &Round, mut choice: Choice) {
    let runtime = &round.ground.runtime;
    let (shape, queues) = plant(runtime, &mut Verbs::new(round.ground.fault), &mut choice);
    let (submitters, times) = (choice.between(2..=4), choice.between(100..=600));
    let tree = Arc::new(Tree {
        inside: AtomicUsize::new(0),
        last: queues.iter().map(|_| (0..submitters).map(|_| AtomicUsize::new(0)).collect()).collect(),
        score: round.score(0).clone(),
    });
    round.stage(format_args!("{submitters} submitters of {times} blocks to a {shape} of {} queues", queues.len()));
    let outside = runtime.queue("targets.submitter");
    let task = {
        let (queues, tree, mut choice) = (queues.clone(), tree.clone(), choice.fork());
        outside.call(move || submit_all(&queues, &tree, 0, times, &mut choice))
    };
    std::thread::scope(|scope| {
        for submitter in 1..submitters {
            let (queues, tree, mut choice) = (&queues, &tree, choice.fork());
            scope.spawn(move || submit_all(queues, tree, submitter, times, &mut choice));
        }
    });
    if let Err(error) = task.wait() {
        round.score(0).broken(|| format!("a block that submits to a {shape} did not come to its end: {error}"));
    }
    let ran: usize = tree.last.iter().flatten().map(|last| last.load(Relaxed)).sum();
    round.score(0).expect(ran == submitters * times, || {
        format!("{} blocks were submitted to a {shape} of queues, {ran} ran", submitters * times)
    });
    round.score(0).verified(ran);
}
