//! Hierarchies of serial and concurrent queues: every level keeps its width, its barriers and its
//! order.
//!
//! A tree of random shape, in which each queue is serial, or concurrent with or without a width.
//! Each block inspects every level of its chain: the number of blocks inside, and whether a barrier
//! of that level runs. Some blocks wait for a serial queue that targets the queue that they are in,
//! while barriers of it wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use singletrack::queues::{ConcurrentQueue, Queue, Runtime, TargetQueue};

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::{Chains, Either};

pub(super) const FAMILY: Family = Family {
    name: "hierarchy",
    checks: &[
        Check { name: "widths", counts: "blocks within the width of every level of their chain" },
        Check { name: "chains", counts: "blocks in order and apart from the barriers of every level of their chain" },
    ],
    place: Place::Beside,
    round,
};

/// A queue of the tree, and the blocks in it or in a queue that targets it.
struct Node {
    queue: Either,
    label: String,
    /// The most blocks at once.
    width: usize,
    inside: AtomicUsize,
    /// A barrier of this very queue runs.
    barrier: AtomicBool,
    /// Of a serial queue, by submitter: one more than the number of the last block.
    last: Vec<AtomicUsize>,
    up: Option<Arc<Node>>,
    /// A serial queue that targets this one, for blocks that may wait: nothing in the chain is
    /// serial or has a width.
    log: Option<Queue>,
}

impl Node {
    fn plant(
        runtime: &Runtime,
        index: usize,
        up: Option<&Arc<Node>>,
        submitters: usize,
        choice: &mut Choice,
    ) -> Arc<Node> {
        let label = format!("hierarchy.{index}");
        let target = up.map(|up| match &up.queue {
            Either::Serial(queue) => TargetQueue::from(queue),
            Either::Concurrent(queue) => TargetQueue::from(queue),
        });
        let (queue, width) = match choice.between(0..=3) {
            0 => {
                let builder = Queue::builder(label.clone());
                let builder = match target {
                    Some(target) => builder.target(target),
                    None => builder.runtime(runtime),
                };
                (Either::Serial(builder.build()), 1)
            }
            kind => {
                let builder = ConcurrentQueue::builder(label.clone());
                let builder = match target {
                    Some(target) => builder.target(target),
                    None => builder.runtime(runtime),
                };
                match kind {
                    1 => (Either::Concurrent(builder.build()), usize::MAX),
                    _ => {
                        let width = choice.between(1..=3);
                        (Either::Concurrent(builder.width(width).build()), width)
                    }
                }
            }
        };
        let is_free = width == usize::MAX && up.is_none_or(|up| up.chain().all(|node| node.width == usize::MAX));
        let log = match &queue {
            Either::Concurrent(queue) if is_free => Some(Queue::builder(format!("{label}.log")).target(queue).build()),
            _ => None,
        };
        let last = (0..submitters).map(|_| AtomicUsize::new(0)).collect();
        let (inside, barrier, up) = (AtomicUsize::new(0), AtomicBool::new(false), up.cloned());
        Arc::new(Node { queue, label, width, inside, barrier, last, up, log })
    }

    fn chain(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(Some(self), |node| node.up.as_deref())
    }

    fn is_full(&self) -> bool {
        self.chain().any(|node| node.inside.load(SeqCst) >= node.width)
    }

    fn has_barrier(&self) -> bool {
        self.chain().any(|node| node.barrier.load(SeqCst))
    }
}

/// One block on its way, and the receivers of its verdicts.
#[derive(Clone)]
struct Block {
    node: Arc<Node>,
    dwell: Dwell,
    is_barrier: bool,
    waits: bool,
    /// Its submitter, and its number among that submitter's blocks to this queue.
    number: (usize, usize),
    widths: Arc<Score>,
    chains: Arc<Score>,
    ran: Arc<AtomicUsize>,
}

impl Block {
    fn run(self) {
        let node = &*self.node;
        for level in node.chain() {
            let before = level.inside.fetch_add(1, SeqCst);
            self.widths.expect(before < level.width, || {
                format!("{} blocks at once in {}, whose width is {}", before + 1, level.label, level.width)
            });
            self.chains.expect(!level.barrier.load(SeqCst), || {
                format!("a block of {} began while a barrier of {} was running", node.label, level.label)
            });
        }
        if matches!(node.queue, Either::Serial(_)) {
            let (submitter, number) = self.number;
            let last = node.last[submitter].swap(number + 1, SeqCst);
            self.chains.expect(last == number, || {
                format!("{} ran block {number} of submitter {submitter} when its block {last} was due", node.label)
            });
        }
        if self.is_barrier {
            self.alone();
        } else {
            self.dwell.pass();
            if let Some(log) = node.log.as_ref().filter(|_| self.waits) {
                log.submit(|| ());
                log.sync(|| ());
            }
        }
        node.chain().for_each(|level| {
            level.inside.fetch_sub(1, SeqCst);
        });
        self.ran.fetch_add(1, SeqCst);
    }

    fn alone(&self) {
        let node = &*self.node;
        node.barrier.store(true, SeqCst);
        for _ in 0..2 {
            let inside = node.inside.load(SeqCst);
            self.chains.expect(inside == 1, || format!("a barrier of {} ran beside {} others", node.label, inside - 1));
            self.dwell.pass();
        }
        node.barrier.store(false, SeqCst);
    }
}

fn submit_all(round: &Round, nodes: &[Arc<Node>], model: &Block, times: usize, choice: &mut Choice) {
    let mut to = Chains::new(&round.ground.runtime, round.ground.fault);
    let mut numbers = vec![0; nodes.len()];
    for _ in 0..times {
        let index = choice.between(0..=nodes.len() - 1);
        let node = nodes[index].clone();
        let is_barrier = choice.one_in(12) && matches!(node.queue, Either::Concurrent(_));
        let block = Block {
            node: node.clone(),
            dwell: choice.dwell(),
            is_barrier,
            waits: choice.one_in(8),
            number: (model.number.0, numbers[index]),
            ..model.clone()
        };
        numbers[index] += 1;
        let (full, beside) = (node.clone(), node.clone());
        match (is_barrier, choice.one_in(16)) {
            (false, false) => {
                to.submit(&node.queue, move || full.is_full(), move || beside.has_barrier(), move || block.run());
            }
            (false, true) => node.queue.sync(|| block.run()),
            (true, false) => node.queue.barrier(move || block.run()),
            (true, true) => node.queue.barrier_sync(|| block.run()),
        }
    }
    // Everything that this submitter sent is in front of these.
    nodes.iter().for_each(|node| node.queue.barrier_sync(|| ()));
    to.settle();
}

fn round(round: &Round, mut choice: Choice) {
    let runtime = &round.ground.runtime;
    let (submitters, times) = (choice.between(2..=3), choice.between(100..=500));
    let mut nodes = vec![Node::plant(runtime, 0, None, submitters, &mut choice)];
    for index in 1..=choice.between(2..=7) {
        let up = nodes[choice.between(0..=index - 1)].clone();
        nodes.push(Node::plant(runtime, index, Some(&up), submitters, &mut choice));
    }
    let ran = Arc::new(AtomicUsize::new(0));
    round.stage(format_args!("{submitters} submitters of {times} blocks to a hierarchy of {} queues", nodes.len()));
    std::thread::scope(|scope| {
        for submitter in 0..submitters {
            let model = Block {
                node: nodes[0].clone(),
                dwell: Dwell::Yield,
                is_barrier: false,
                waits: false,
                number: (submitter, 0),
                widths: round.score(0).clone(),
                chains: round.score(1).clone(),
                ran: ran.clone(),
            };
            let (nodes, mut choice) = (&nodes, choice.fork());
            scope.spawn(move || submit_all(round, nodes, &model, times, &mut choice));
        }
    });
    let ran = ran.load(SeqCst);
    round.score(1).expect(ran == submitters * times, || {
        format!("{} blocks were submitted to a hierarchy, {ran} ran", submitters * times)
    });
    round.score(0).verified(ran);
    round.score(1).verified(ran);
}
