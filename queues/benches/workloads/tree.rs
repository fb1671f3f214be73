//! Q8q: a tree of a million leaves in which every node is a serial queue of its own, made by its
//! parent's block.
//!
//! Q8, the same tree of tasks, and Q8j, fork and join, differ in kind from peer to peer, so they
//! are in the peers' files.

use std::sync::mpsc;

use super::actors::{Actor, Queues};
use super::measure::{Clock, Sample};
use super::verify::{self, PATIENCE};
use super::workloads::{Load, power_of_ten, sum_below};

/// Peers whose blocks can make and drop queues.
pub(crate) trait NestedQueues: Queues {
    /// Makes a queue on the runtime of another queue; a block of that queue calls it.
    fn queue_beside<A: Actor, B: Actor>(other: &Self::Queue<A>, actor: B) -> Self::Queue<B>;
}

/// Where a node of the tree sends its sum.
enum Up<R: NestedQueues> {
    Node(R::Queue<TreeNode<R>>),
    Root(mpsc::SyncSender<u64>),
}

struct TreeNode<R: NestedQueues> {
    up: Option<Up<R>>,
    waiting: u32,
    sum: u64,
}

enum TreeMessage<R: NestedQueues> {
    Grow { me: R::Queue<TreeNode<R>>, first: u64, leaves: u64 },
    Sum(u64),
}

impl<R: NestedQueues> TreeNode<R> {
    fn new(up: Up<R>) -> TreeNode<R> {
        TreeNode { up: Some(up), waiting: 0, sum: 0 }
    }

    fn finish(&mut self, sum: u64) {
        match self.up.take() {
            Some(Up::Node(parent)) => R::send(&parent, TreeMessage::Sum(sum)),
            Some(Up::Root(answer)) => drop(answer.send(sum)),
            None => verify::fail("a node of the tree finished twice"),
        }
    }
}

impl<R: NestedQueues> Actor for TreeNode<R> {
    type Message = TreeMessage<R>;

    fn receive(&mut self, message: TreeMessage<R>) {
        match message {
            TreeMessage::Grow { first, leaves: 1, .. } => self.finish(first),
            TreeMessage::Grow { me, first, leaves } => {
                self.waiting = 10;
                let leaves = leaves / 10;
                for child in 0..10 {
                    let queue = R::queue_beside(&me, TreeNode::<R>::new(Up::Node(me.clone())));
                    let grow = TreeMessage::Grow { me: queue.clone(), first: first + child * leaves, leaves };
                    R::send(&queue, grow);
                }
            }
            TreeMessage::Sum(sum) => {
                self.sum += sum;
                self.waiting -= 1;
                if self.waiting == 0 {
                    self.finish(self.sum);
                }
            }
        }
    }
}

/// Q8q: a tree in which every node is a queue of its own.
pub(crate) fn q8q<R: NestedQueues>(load: &Load) -> Sample {
    let leaves = power_of_ten(load.of(1_000_000));
    let runtime = R::start(load.workers);
    let (answer, answered) = mpsc::sync_channel(1);
    let clock = Clock::start();
    let root = runtime.queue(TreeNode::<R>::new(Up::Root(answer)));
    let grow = TreeMessage::Grow { me: root.clone(), first: 0, leaves };
    R::send(&root, grow);
    let Ok(sum) = answered.recv_timeout(PATIENCE) else {
        verify::fail("the tree never finished");
    };
    let took = clock.stop();
    verify::equal("sum of the leaves", sum, sum_below(leaves));
    drop(root);
    runtime.stop();
    Sample::new(took, [took.ms()])
}
