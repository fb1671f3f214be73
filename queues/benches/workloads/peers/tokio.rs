//! tokio: an actor is a task with an unbounded channel of plain messages.
//!
//! Locks are tokio's own (`Mutex`, `RwLock`), awaited. The uncontended and contended threads of Q2,
//! Q2c and Q10 are ours, inside `block_on`, as for the other peers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ::tokio::runtime::{Builder, Runtime};
use ::tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use ::tokio::sync::{Mutex, RwLock, oneshot};
use ::tokio::task::JoinHandle;

use super::super::actors::{self, Actor, Queues};
use super::super::blocks::{self, Guarded, Nap, ReadWrite, Step, Steps, Twins};
use super::super::idle;
use super::super::measure::{Clock, Sample};
use super::super::round_trip::{self, Asked};
use super::super::savina;
use super::super::tree::{self, NestedQueues};
use super::super::verify::{self, Latch};
use super::super::workloads::{Load, power_of_ten, sum_below};
use super::mail::Mail;
use super::{Peer, actor_workloads};

/// The peer.
pub(crate) struct Tokio;

fn runtime(workers: usize) -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .expect("tokio's runtime could not be started")
}

/// The handle of an actor's task.
pub(crate) struct Address<A: Actor>(UnboundedSender<Mail<A>>);

impl<A: Actor> Clone for Address<A> {
    fn clone(&self) -> Address<A> {
        Address(self.0.clone())
    }
}

impl<A: Actor> Address<A> {
    fn deliver(&self, mail: Mail<A>) {
        if self.0.send(mail).is_err() {
            verify::fail("an actor's task has ended");
        }
    }
}

/// The life of an actor, and the address to reach it.
fn actor<A: Actor>(mut actor: A) -> (Address<A>, impl Future<Output = ()> + Send) {
    let (address, mut mailbox) = unbounded_channel::<Mail<A>>();
    let life = async move {
        while let Some(mail) = mailbox.recv().await {
            mail.open(&mut actor);
        }
    };
    (Address(address), life)
}

struct Tasks(Runtime);

impl Queues for Tasks {
    type Queue<A: Actor> = Address<A>;

    fn start(workers: usize) -> Tasks {
        Tasks(runtime(workers))
    }

    fn queue<A: Actor>(&self, state: A) -> Address<A> {
        let (address, life) = actor(state);
        self.0.spawn(life);
        address
    }

    fn send<A: Actor>(queue: &Address<A>, message: A::Message) {
        queue.deliver(Mail::Message(message));
    }

    fn visit<A: Actor>(queue: &Address<A>, visit: impl FnOnce(&mut A) + Send + 'static) {
        queue.deliver(Mail::Visit(Box::new(visit)));
    }

    fn stop(self) {
        drop(self.0);
    }
}

impl NestedQueues for Tasks {
    fn queue_beside<A: Actor, B: Actor>(_: &Address<A>, state: B) -> Address<B> {
        let (address, life) = actor(state);
        ::tokio::spawn(life);
        address
    }
}

struct Counter {
    runtime: Runtime,
    count: Mutex<u64>,
}

impl Counter {
    fn new(load: &Load) -> Counter {
        Counter { runtime: runtime(load.workers), count: Mutex::new(0) }
    }
}

impl Guarded for Counter {
    fn add(&self, times: u64) {
        self.runtime.block_on(async {
            for _ in 0..times {
                *self.count.lock().await += 1;
            }
        });
    }

    fn total(&self) -> u64 {
        *self.count.blocking_lock()
    }
}

enum Order {
    Add,
    AddAndGet(oneshot::Sender<u64>),
}

/// A task that counts and answers.
struct Answering {
    orders: UnboundedSender<Order>,
    _runtime: Runtime,
}

impl Answering {
    fn new(load: &Load) -> Answering {
        let runtime = runtime(load.workers);
        let (orders, mut mailbox) = unbounded_channel();
        runtime.spawn(async move {
            let mut count = 0;
            while let Some(order) = mailbox.recv().await {
                count += 1;
                if let Order::AddAndGet(answer) = order {
                    let _ = answer.send(count);
                }
            }
        });
        Answering { orders, _runtime: runtime }
    }
}

impl Asked for Answering {
    fn add(&self) {
        let _ = self.orders.send(Order::Add);
    }

    fn add_and_get(&self) -> u64 {
        let (answer, answered) = oneshot::channel();
        let _ = self.orders.send(Order::AddAndGet(answer));
        answered.blocking_recv().unwrap_or_else(|_| verify::fail("the task that answers has ended"))
    }
}

struct Shared {
    runtime: Runtime,
    lock: RwLock<()>,
    twins: Twins,
}

impl ReadWrite for Shared {
    fn run(&self, steps: Steps) -> u64 {
        self.runtime.block_on(async {
            let mut torn = 0;
            for step in steps {
                match step {
                    Step::Read => {
                        let _reading = self.lock.read().await;
                        torn += u64::from(!self.twins.equal());
                    }
                    Step::Write => {
                        let _writing = self.lock.write().await;
                        self.twins.write();
                    }
                }
            }
            torn
        })
    }

    fn twins(&self) -> &Twins {
        &self.twins
    }
}

/// An inner node of the tree: ten tasks, awaited.
fn node(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        let leaves = leaves / 10;
        let children: Vec<JoinHandle<u64>> = (0..10)
            .map(|child| {
                let first = first + child * leaves;
                // A leaf is spawned without a box: only inner nodes pay for the box that recursion
                // needs.
                if leaves == 1 { ::tokio::spawn(async move { first }) } else { ::tokio::spawn(node(first, leaves)) }
            })
            .collect();
        let mut sum = 0;
        for child in children {
            sum += child.await.expect("a task of the tree panicked");
        }
        sum
    })
}

impl Peer for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    actor_workloads!(Tasks);

    fn q2(&self, load: &Load) -> Option<Sample> {
        Some(blocks::q2(load, &Counter::new(load)))
    }

    fn q2c(&self, load: &Load) -> Option<Sample> {
        Some(blocks::q2c(load, &Counter::new(load)))
    }

    fn q2b(&self, load: &Load) -> Option<Sample> {
        Some(round_trip::q2b(load, &Answering::new(load)))
    }

    fn q7(&self, load: &Load) -> Option<Sample> {
        let runtime = runtime(load.workers);
        Some(blocks::q7(load, |count, marks| {
            let latch = Latch::new(count);
            for block in 0..count {
                let (marks, latch) = (Arc::clone(marks), Arc::clone(&latch));
                runtime.spawn(async move {
                    marks.mark(block);
                    latch.down();
                });
            }
            latch.wait("tasks that ran");
        }))
    }

    fn q7o(&self, load: &Load) -> Option<Sample> {
        self.q7(load)
    }

    fn q8(&self, load: &Load) -> Option<Sample> {
        let leaves = power_of_ten(load.of(1_000_000).max(10));
        let runtime = runtime(load.workers);
        let clock = Clock::start();
        let root = runtime.spawn(node(0, leaves));
        let sum = runtime.block_on(root).expect("the tree panicked");
        let took = clock.stop();
        verify::equal("sum of the leaves", sum, sum_below(leaves));
        Some(Sample::new(took, [took.ms()]))
    }

    fn q8q(&self, load: &Load) -> Option<Sample> {
        Some(tree::q8q::<Tasks>(load))
    }

    fn q10(&self, load: &Load, pinned: bool) -> Option<Sample> {
        let shared = Shared { runtime: runtime(load.workers), lock: RwLock::new(()), twins: Twins::default() };
        blocks::q10(load, pinned, &shared)
    }

    fn q11(&self, load: &Load) -> Option<Sample> {
        idle::q11::<Tasks>(load)
    }

    fn q14(&self, load: &Load) -> Option<Sample> {
        Some(idle::q14(load, |tasks: &Tasks, queue, delay, due| {
            let queue = queue.clone();
            let sleep = {
                let _entered = tasks.0.enter();
                ::tokio::time::sleep(delay)
            };
            tasks.0.spawn(async move {
                sleep.await;
                queue.deliver(Mail::Message(due));
            });
        }))
    }

    fn q15(&self, load: &Load) -> Option<Sample> {
        let submit = |runtime: &Runtime, nap: Nap| {
            runtime.spawn_blocking(move || nap.take());
        };
        blocks::q15(load, || runtime(load.workers), submit, drop)
    }
    fn q20(&self, load: &Load) -> Option<Sample> {
        Some(round_trip::q20(load, &Answering::new(load)))
    }

    fn q20g(&self, load: &Load) -> Option<Sample> {
        Some(round_trip::q20g(load, &Answering::new(load)))
    }
}
