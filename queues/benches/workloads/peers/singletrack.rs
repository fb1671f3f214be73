//! Ourselves: a state is an `Isolated`, a queue's memory is that of a plain `Queue`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use singletrack_queues::{ConcurrentQueue, Group, Isolated, Runtime, blocking};

use super::super::actors::{self, Actor, Queues};
use super::super::blocks::{self, Guarded, Nap, ReadWrite, Step, Steps, Twins, square, zero};
use super::super::idle;
use super::super::measure::{Clock, Sample};
use super::super::savina;
use super::super::tree::{self, NestedQueues};
use super::super::verify::{self, Latch};
use super::super::workloads::{Load, power_of_ten, sum_below};
use super::{Peer, actor_workloads};

/// The peer.
pub(crate) struct Singletrack;

fn start(load: &Load) -> Runtime {
    Tracks::start(load.workers).0
}

fn stop(runtime: Runtime) {
    Tracks(runtime).stop();
}

struct Tracks(Runtime);

impl Queues for Tracks {
    type Queue<A: Actor> = Isolated<A>;

    fn start(workers: usize) -> Tracks {
        let runtime = Runtime::builder().workers(workers).name("bench").build();
        Tracks(runtime.expect("our runtime could not be started"))
    }

    fn queue<A: Actor>(&self, actor: A) -> Isolated<A> {
        Isolated::new(&self.0.queue("bench"), actor)
    }

    fn send<A: Actor>(queue: &Isolated<A>, message: A::Message) {
        queue.submit(move |actor| actor.receive(message));
    }

    fn visit<A: Actor>(queue: &Isolated<A>, visit: impl FnOnce(&mut A) + Send + 'static) {
        queue.submit(visit);
    }

    fn stop(self) {
        let report = self.0.shutdown(Duration::from_secs(10));
        if report.deadline_passed || report.dropped > 0 {
            verify::fail(&format!("shutdown after the workload: {report}"));
        }
    }
}

impl NestedQueues for Tracks {
    fn queue_beside<A: Actor, B: Actor>(other: &Isolated<A>, actor: B) -> Isolated<B> {
        Isolated::new(&other.queue().runtime().queue("node"), actor)
    }
}

impl Guarded for Isolated<u64> {
    fn add(&self, times: u64) {
        for _ in 0..times {
            self.sync(|count| *count += 1);
        }
    }

    fn total(&self) -> u64 {
        self.sync(|count| *count)
    }
}

fn with_counter(load: &Load, body: fn(&Load, &Isolated<u64>) -> Sample) -> Option<Sample> {
    let runtime = start(load);
    let counter = Isolated::new(&runtime.queue("counter"), 0);
    let sample = body(load, &counter);
    drop(counter);
    stop(runtime);
    Some(sample)
}

struct Shared {
    queue: ConcurrentQueue,
    twins: Twins,
}

impl ReadWrite for Shared {
    fn run(&self, steps: Steps) -> u64 {
        let mut torn = 0;
        for step in steps {
            match step {
                Step::Read => torn += u64::from(!self.queue.sync(|| self.twins.equal())),
                Step::Write => self.queue.barrier_sync(|| self.twins.write()),
            }
        }
        torn
    }

    fn twins(&self) -> &Twins {
        &self.twins
    }
}

/// A node of the tree that waits for its children without a thread: the last child to finish passes the sum on.
struct Node {
    sum: AtomicU64,
    waiting: AtomicU32,
    up: Up,
}

enum Up {
    Node(Arc<Node>),
    Root(Arc<Latch>, Arc<AtomicU64>),
}

impl Node {
    fn new(up: Up) -> Arc<Node> {
        Arc::new(Node { sum: AtomicU64::new(0), waiting: AtomicU32::new(10), up })
    }

    /// A child's sum. The child that counts to zero sees all sums: each is added before its count (AcqRel).
    fn add(&self, sum: u64) {
        self.sum.fetch_add(sum, Ordering::Relaxed);
        if self.waiting.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let sum = self.sum.load(Ordering::Relaxed);
        match &self.up {
            Up::Node(parent) => parent.add(sum),
            Up::Root(latch, total) => {
                total.store(sum, Ordering::Relaxed);
                latch.down();
            }
        }
    }
}

/// Spawns ten children, each a block of its own.
fn grow(runtime: &Runtime, node: Arc<Node>, first: u64, leaves: u64) {
    let leaves = leaves / 10;
    for child in 0..10 {
        let (node, first) = (Arc::clone(&node), first + child * leaves);
        if leaves == 1 {
            runtime.spawn(move || node.add(first));
        } else {
            let inner = runtime.clone();
            runtime.spawn(move || {
                grow(&inner, Node::new(Up::Node(node)), first, leaves);
            });
        }
    }
}

impl Peer for Singletrack {
    fn name(&self) -> &'static str {
        "singletrack"
    }

    actor_workloads!(Tracks);

    fn q2(&self, load: &Load) -> Option<Sample> {
        with_counter(load, blocks::q2)
    }

    fn q2c(&self, load: &Load) -> Option<Sample> {
        with_counter(load, blocks::q2c)
    }

    fn q7(&self, load: &Load) -> Option<Sample> {
        let runtime = start(load);
        let sample = blocks::q7(load, |count, marks| {
            let group = Group::new();
            for block in 0..count {
                let (marks, member) = (Arc::clone(marks), group.clone());
                group.enter();
                runtime.spawn(move || {
                    marks.mark(block);
                    member.leave().expect("entered before");
                });
            }
            if !group.wait_timeout(verify::PATIENCE) {
                verify::fail("the group never became empty");
            }
        });
        stop(runtime);
        Some(sample)
    }

    fn q8(&self, load: &Load) -> Option<Sample> {
        let leaves = power_of_ten(load.of(1_000_000).max(10));
        let runtime = start(load);
        let (latch, total) = (Latch::new(1), Arc::new(AtomicU64::new(0)));
        let root = Node::new(Up::Root(Arc::clone(&latch), Arc::clone(&total)));
        let clock = Clock::start();
        grow(&runtime, root, 0, leaves);
        latch.wait("the root of the tree");
        let took = clock.stop();
        let sum = total.load(Ordering::Relaxed);
        verify::equal("sum of the leaves", sum, sum_below(leaves));
        stop(runtime);
        Some(Sample::new(took, [took.ms()]))
    }

    fn q8q(&self, load: &Load) -> Option<Sample> {
        Some(tree::q8q::<Tracks>(load))
    }

    fn q10(&self, load: &Load, pinned: bool) -> Option<Sample> {
        let runtime = start(load);
        let shared =
            Shared { queue: ConcurrentQueue::builder("shared").runtime(&runtime).build(), twins: Twins::default() };
        let sample = blocks::q10(load, pinned, &shared);
        drop(shared);
        stop(runtime);
        sample
    }

    fn q11(&self, load: &Load) -> Option<Sample> {
        let runtime = start(load);
        let sample = idle::idle_memory(load, |latch| {
            let (queue, latch) = (runtime.queue("idle"), Arc::clone(latch));
            queue.submit(move || latch.down());
            queue
        });
        stop(runtime);
        sample
    }

    fn q13(&self, load: &Load) -> Option<Sample> {
        /// Iterations that a step of the loop does: a shared sum for each x would measure the sum.
        const STRIDE: u64 = 1 << 16;
        let runtime = start(load);
        let sample = blocks::q13(load, |count| {
            let (total, zero) = (AtomicU64::new(0), zero());
            runtime.apply(count.div_ceil(STRIDE) as usize, |step| {
                let first = step as u64 * STRIDE;
                let sum = (first..count.min(first + STRIDE)).map(|x| square(x, zero)).fold(0, u64::wrapping_add);
                total.fetch_add(sum, Ordering::Relaxed);
            });
            total.into_inner()
        });
        stop(runtime);
        Some(sample)
    }

    fn q14(&self, load: &Load) -> Option<Sample> {
        Some(idle::q14(load, |_: &Tracks, queue, delay, due| {
            queue.submit_after(delay, move |alarm| alarm.receive(due));
        }))
    }

    fn q15(&self, load: &Load) -> Option<Sample> {
        let submit = |runtime: &Runtime, nap: Nap| runtime.spawn(|| blocking(|| nap.take()));
        blocks::q15(load, || start(load), submit, stop)
    }

    fn q15u(&self, load: &Load) -> Option<Sample> {
        let submit = |runtime: &Runtime, nap: Nap| runtime.spawn(|| nap.take());
        blocks::q15(load, || start(load), submit, stop)
    }
}
