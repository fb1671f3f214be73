//! Our own peer: a state is an `Isolated`, and a queue's memory is that of a plain `Queue`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use singletrack_queues::{ConcurrentQueue, Group, Isolated, Runtime, blocking, join, scope};

use super::super::actors::{self, Actor, Queues};
use super::super::blocks::{self, Guarded, Nap, ReadWrite, Step, Steps, Twins, square, zero};
use super::super::idle;
use super::super::measure::{Clock, Sample};
use super::super::round_trip::{self, Asked};
use super::super::savina;
use super::super::tree::{self, NestedQueues};
use super::super::verify;
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

/// A counter that is asked with `call(..).wait()`.
struct Called(Isolated<u64>);

impl Asked for Called {
    fn add(&self) {
        self.0.submit(|count| *count += 1);
    }

    fn add_and_get(&self) -> u64 {
        let task = self.0.call(|count| {
            *count += 1;
            *count
        });
        task.wait().unwrap_or_else(|error| verify::fail(&format!("a call did not end well: {error}")))
    }
}

/// A counter that is asked with `sync`.
struct Synced(Isolated<u64>);

impl Asked for Synced {
    fn add(&self) {
        self.0.submit(|count| *count += 1);
    }

    fn add_and_get(&self) -> u64 {
        self.0.sync(|count| {
            *count += 1;
            *count
        })
    }
}

fn asked<A: Asked>(load: &Load, wrap: fn(Isolated<u64>) -> A, body: fn(&Load, &A) -> Sample) -> Option<Sample> {
    let runtime = start(load);
    let counter = wrap(Isolated::new(&runtime.queue("counter"), 0));
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

/// Every node of the tree is a forked task of its parent's scope.
fn by_scope(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let mut sums = [0; 10];
    scope(|scope| {
        for (child, sum) in sums.iter_mut().enumerate() {
            let leaves = leaves / 10;
            scope.spawn(move || *sum = by_scope(first + child as u64 * leaves, leaves));
        }
    });
    sums.iter().sum()
}

/// Halves until there is one leaf left.
fn by_join(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let half = leaves / 2;
    let (left, right) = join(|| by_join(first, half), || by_join(first + half, leaves - half));
    left + right
}

fn sum_of_tree(load: &Load, sum: fn(u64, u64) -> u64) -> Option<Sample> {
    let leaves = power_of_ten(load.of(1_000_000).max(10));
    let runtime = start(load);
    let clock = Clock::start();
    // On a worker, where the scopes of the nodes are.
    let got = runtime.scope(|_| sum(0, leaves));
    let took = clock.stop();
    verify::equal("sum of the leaves", got, sum_below(leaves));
    stop(runtime);
    Some(Sample::new(took, [took.ms()]))
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

    fn q2b(&self, load: &Load) -> Option<Sample> {
        asked(load, Synced, round_trip::q2b)
    }

    fn q7(&self, load: &Load) -> Option<Sample> {
        let runtime = start(load);
        let sample = blocks::q7(load, |count, marks| {
            runtime.scope(|scope| {
                for block in 0..count {
                    scope.spawn(move || marks.mark(block));
                }
            });
        });
        stop(runtime);
        Some(sample)
    }

    fn q7o(&self, load: &Load) -> Option<Sample> {
        let runtime = start(load);
        let sample = blocks::q7(load, |count, marks| {
            let group = Group::new();
            for block in 0..count {
                let marks = Arc::clone(marks);
                group.spawn(&runtime, move || marks.mark(block));
            }
            if !group.wait_timeout(verify::PATIENCE) {
                verify::fail("the group never became empty");
            }
        });
        stop(runtime);
        Some(sample)
    }

    fn q8(&self, load: &Load) -> Option<Sample> {
        sum_of_tree(load, by_scope)
    }

    fn q8j(&self, load: &Load) -> Option<Sample> {
        sum_of_tree(load, by_join)
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
        /// Iterations of one step of the loop: a shared sum for each x would measure the sum.
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
    fn q20(&self, load: &Load) -> Option<Sample> {
        asked(load, Called, round_trip::q20)
    }

    fn q20g(&self, load: &Load) -> Option<Sample> {
        asked(load, Called, round_trip::q20g)
    }
}
