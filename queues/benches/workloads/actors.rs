//! The workloads on busy serial queues that own a state: Q1, Q3, Q4, Q5, Q6 and Q9. Also here: what
//! a peer's queues must be able to do; `idle`, `tree` and `savina` build on it.
//!
//! A workload is an `Actor` (a state, and what a message does to it), written once and compiled for
//! each peer: a peer of closures submits `move |actor| actor.receive(message)`, a peer of tasks
//! sends the message through its channel. So no peer pays for an abstraction, and tokio's messages
//! are plain values, as in a tokio program, not boxes.

use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use super::measure::{Clock, Sample, Took};
use super::verify::{self, Latch, PATIENCE, Random};
use super::workloads::Load;

/// A state that lives on a serial queue.
pub(crate) trait Actor: Send + 'static {
    type Message: Send + 'static;

    fn receive(&mut self, message: Self::Message);
}

/// A runtime of serial queues, each with its state.
pub(crate) trait Queues: Sized + 'static {
    type Queue<A: Actor>: Clone + Send + Sync + 'static;

    fn start(workers: usize) -> Self;
    fn queue<A: Actor>(&self, actor: A) -> Self::Queue<A>;
    fn send<A: Actor>(queue: &Self::Queue<A>, message: A::Message);
    /// Runs a closure on the state, after everything sent before.
    fn visit<A: Actor>(queue: &Self::Queue<A>, visit: impl FnOnce(&mut A) + Send + 'static);
    /// Ends the runtime and its threads.
    fn stop(self);
}

/// Runs a closure on a queue's state and waits for the answer.
pub(crate) fn ask<R: Queues, A: Actor, T: Send + 'static>(
    queue: &R::Queue<A>,
    look: impl FnOnce(&mut A) -> T + Send + 'static,
) -> T {
    let (answer, answered) = mpsc::sync_channel(1);
    R::visit(queue, move |actor| {
        let _ = answer.send(look(actor));
    });
    match answered.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(error) => verify::fail(&format!("the last block of a queue did not run ({error})")),
    }
}

/// Enters every queue at the same time and waits until all of them have done their earlier blocks.
pub(crate) fn settle<R: Queues, A: Actor>(queues: &[R::Queue<A>], visit: fn(&mut A)) {
    let latch = Latch::new(queues.len() as u64);
    for queue in queues {
        let latch = Arc::clone(&latch);
        R::visit(queue, move |actor| {
            visit(actor);
            latch.down();
        });
    }
    latch.wait("queues that came to their end");
}

/// A plain counter.
struct Counter(u64);

impl Actor for Counter {
    type Message = ();

    fn receive(&mut self, (): ()) {
        self.0 += 1;
    }
}

/// Q1: one thread submits to one queue and waits for the drain.
pub(crate) fn q1<R: Queues>(load: &Load) -> Sample {
    let blocks = load.of(5_000_000);
    let runtime = R::start(load.workers);
    let queue = runtime.queue(Counter(0));
    let clock = Clock::start();
    for _ in 0..blocks {
        R::send(&queue, ());
    }
    let ran = ask::<R, _, _>(&queue, |counter| counter.0);
    let took = clock.stop();
    verify::equal("blocks that ran", ran, blocks);
    drop(queue);
    runtime.stop();
    took.ns_per(blocks)
}

/// Expects each producer's messages in order, none missing and none twice.
struct Inbox {
    next: Vec<u32>,
    out_of_order: u64,
}

impl Actor for Inbox {
    type Message = (u32, u32);

    fn receive(&mut self, (producer, sequence): (u32, u32)) {
        let next = &mut self.next[producer as usize];
        self.out_of_order += u64::from(*next != sequence);
        *next = sequence + 1;
    }
}

/// Q3: several threads submit to one queue.
pub(crate) fn q3<R: Queues>(load: &Load, producers: u32) -> Sample {
    let each = (load.of(4_000_000) / u64::from(producers)).max(1) as u32;
    let runtime = R::start(load.workers);
    let queue = runtime.queue(Inbox { next: vec![0; producers as usize], out_of_order: 0 });
    let start = Barrier::new(producers as usize + 1);
    let (took, next, out_of_order) = thread::scope(|scope| {
        let producers: Vec<_> = (0..producers)
            .map(|producer| {
                let (queue, start) = (&queue, &start);
                scope.spawn(move || {
                    start.wait();
                    for sequence in 0..each {
                        R::send(queue, (producer, sequence));
                    }
                })
            })
            .collect();
        // Before the barrier: after it, the producers may already have run for a while.
        let clock = Clock::start();
        start.wait();
        for producer in producers {
            producer.join().expect("a producer panicked");
        }
        let (next, out_of_order) = ask::<R, _, _>(&queue, |inbox| (inbox.next.clone(), inbox.out_of_order));
        (clock.stop(), next, out_of_order)
    });
    verify::equal("blocks that were not next in their submitter's order", out_of_order, 0);
    verify::equal("blocks that ran, by submitter", next, vec![each; producers as usize]);
    drop(queue);
    runtime.stop();
    took.millions_per_s(u64::from(each) * u64::from(producers))
}

/// Q4: two threads submit to many queues.
pub(crate) fn q4<R: Queues>(load: &Load) -> Sample {
    const QUEUES: u64 = 10_000;
    const PRODUCERS: u64 = 2;
    let each = load.of(4_000_000) / PRODUCERS;
    let runtime = R::start(load.workers);
    let queues: Vec<_> = (0..QUEUES).map(|_| runtime.queue(Counter(0))).collect();
    let start = Barrier::new(PRODUCERS as usize + 1);
    let took = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (queues, start) = (&queues, &start);
                scope.spawn(move || {
                    let mut random = Random::new(producer);
                    start.wait();
                    for _ in 0..each {
                        R::send(&queues[random.below(QUEUES) as usize], ());
                    }
                })
            })
            .collect();
        let clock = Clock::start();
        start.wait();
        for producer in producers {
            producer.join().expect("a producer panicked");
        }
        settle::<R, _>(&queues, |_| ());
        clock.stop()
    });
    let mut expected = vec![0; QUEUES as usize];
    for producer in 0..PRODUCERS {
        let mut random = Random::new(producer);
        for _ in 0..each {
            expected[random.below(QUEUES) as usize] += 1;
        }
    }
    for (queue, expected) in queues.iter().zip(expected) {
        let ran = ask::<R, _, _>(queue, |counter| counter.0);
        verify::equal("blocks that ran on one of the queues", ran, expected);
    }
    drop(queues);
    runtime.stop();
    took.millions_per_s(each * PRODUCERS)
}

/// Passes a token on until it has made its hops.
struct Hopper<R: Queues> {
    next: Option<R::Queue<Hopper<R>>>,
    hops: u64,
    done: Arc<Latch>,
}

impl<R: Queues> Actor for Hopper<R> {
    /// Hops still to be made, this one included.
    type Message = u64;

    fn receive(&mut self, left: u64) {
        self.hops += 1;
        match (&self.next, left) {
            (Some(next), 2..) => R::send(next, left - 1),
            _ => self.done.down(),
        }
    }
}

/// A ring of queues round which tokens run; returns the time and the hops that each queue saw.
fn ring<R: Queues>(load: &Load, queues: usize, tokens: u64, hops_each: u64) -> (Took, Vec<u64>) {
    let runtime = R::start(load.workers);
    let done = Latch::new(tokens);
    let ring: Vec<_> =
        (0..queues).map(|_| runtime.queue(Hopper::<R> { next: None, hops: 0, done: Arc::clone(&done) })).collect();
    for (at, queue) in ring.iter().enumerate() {
        let next = ring[(at + 1) % queues].clone();
        R::visit(queue, move |hopper| hopper.next = Some(next));
    }
    settle::<R, _>(&ring, |_| ());
    let clock = Clock::start();
    for token in 0..tokens {
        R::send(&ring[token as usize * queues / tokens as usize], hops_each);
    }
    done.wait("tokens that finished their hops");
    let took = clock.stop();
    // The ring of handles is taken apart; otherwise nothing in it would ever be dropped.
    settle::<R, _>(&ring, |hopper| hopper.next = None);
    let hops = ring.iter().map(|queue| ask::<R, _, _>(queue, |hopper| hopper.hops)).collect();
    drop(ring);
    runtime.stop();
    (took, hops)
}

/// Q5: two queues bounce one message.
pub(crate) fn q5<R: Queues>(load: &Load) -> Sample {
    let hops = load.of(1_000_000);
    let (took, seen) = ring::<R>(load, 2, 1, hops);
    verify::equal("hops of each queue", seen, vec![hops.div_ceil(2), hops / 2]);
    took.ns_per(hops)
}

/// Q6: 64 tokens run round a ring of 1,000 queues.
pub(crate) fn q6<R: Queues>(load: &Load) -> Sample {
    const TOKENS: u64 = 64;
    let each = (load.of(2_000_000) / TOKENS).max(1);
    let (took, seen) = ring::<R>(load, 1_000, TOKENS, each);
    verify::equal("hops in all", seen.iter().sum::<u64>(), each * TOKENS);
    took.millions_per_s(each * TOKENS)
}

type Bank<R> = Arc<Vec<<R as Queues>::Queue<Account<R>>>>;

/// A bank account that knows all others.
struct Account<R: Queues> {
    balance: i64,
    credits: u64,
    others: Option<Bank<R>>,
}

enum Order {
    Transfer { to: u32, amount: u32 },
    Credit { amount: u32 },
}

impl<R: Queues> Actor for Account<R> {
    type Message = Order;

    fn receive(&mut self, order: Order) {
        match order {
            Order::Transfer { to, amount } => {
                self.balance -= i64::from(amount);
                let others = self.others.as_ref().expect("accounts are introduced first");
                R::send(&others[to as usize], Order::Credit { amount });
            }
            Order::Credit { amount } => {
                self.balance += i64::from(amount);
                self.credits += 1;
            }
        }
    }
}

/// Accounts of the bank (also of the one with a plain mutex for each).
pub(crate) const ACCOUNTS: u64 = 1_000;

/// The same transfers for every peer: from, to and the amount.
pub(crate) fn transfers(count: u64) -> impl Iterator<Item = (usize, u32, u32)> {
    let mut random = Random::new(9);
    (0..count).map(move |_| {
        let from = random.below(ACCOUNTS);
        let to = (from + 1 + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        (from as usize, to as u32, random.below(100) as u32)
    })
}

/// Q9: transfers between accounts, each a queue.
pub(crate) fn q9<R: Queues>(load: &Load) -> Sample {
    let count = load.of(1_000_000);
    let runtime = R::start(load.workers);
    let account = || Account::<R> { balance: 1_000, credits: 0, others: None };
    let accounts: Bank<R> = Arc::new((0..ACCOUNTS).map(|_| runtime.queue(account())).collect());
    for queue in accounts.iter() {
        let others = Arc::clone(&accounts);
        R::visit(queue, move |account| account.others = Some(others));
    }
    settle::<R, _>(&accounts, |_| ());
    let clock = Clock::start();
    for (from, to, amount) in transfers(count) {
        R::send(&accounts[from], Order::Transfer { to, amount });
    }
    // Once all accounts have made their transfers, every credit has been sent; then the credits
    // must arrive.
    settle::<R, _>(&accounts, |_| ());
    settle::<R, _>(&accounts, |_| ());
    let took = clock.stop();
    let mut expected = vec![1_000; ACCOUNTS as usize];
    for (from, to, amount) in transfers(count) {
        expected[from] -= i64::from(amount);
        expected[to as usize] += i64::from(amount);
    }
    let mut credits = 0;
    for (queue, expected) in accounts.iter().zip(expected) {
        let (balance, credited) = ask::<R, _, _>(queue, |account| (account.balance, account.credits));
        verify::equal("balance of an account", balance, expected);
        credits += credited;
    }
    verify::equal("credits", credits, count);
    settle::<R, _>(&accounts, |account| account.others = None);
    drop(accounts);
    runtime.stop();
    took.millions_per_s(count)
}
