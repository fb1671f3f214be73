//! Q18, bounded buffer: producers and consumers, and a manager that lets a producer work only while
//! there is room for its item.
//!
//! Flow control by messages: an item costs four of them (produce, an item, take it, I am free), all
//! through the manager.

use std::collections::VecDeque;
use std::sync::Arc;

use super::super::actors::{Actor, Queues, ask, settle};
use super::super::measure::{Clock, Sample};
use super::super::verify::{self, Latch};
use super::super::workloads::Load;

pub(crate) const PRODUCERS: u32 = 40;
pub(crate) const CONSUMERS: u32 = 40;
/// The most items that are produced and not yet taken.
pub(crate) const CAPACITY: usize = 50;
/// The cost of producing and of consuming: the steps of a generator of random numbers.
const COST: u32 = 25;

fn toil(mut x: u64) -> u64 {
    for _ in 0..COST {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

/// The items that each producer makes.
pub(crate) fn items_each(load: &Load) -> u32 {
    (load.of(400_000) / u64::from(PRODUCERS)).max(1) as u32
}

/// The value of an item, which takes the work to compute: from the producer's number and the
/// item's.
pub(crate) fn produce(producer: u32, item: u32) -> u64 {
    toil(1 + u64::from(producer) + u64::from(item) * u64::from(PRODUCERS))
}

/// The items that one consumer received.
#[derive(Clone, Copy, Default)]
pub(crate) struct Consumed {
    count: u64,
    sum: u64,
}

impl Consumed {
    pub(crate) fn take(&mut self, item: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(toil(item));
    }
}

/// Verifies that all items arrived, each once.
pub(crate) fn verify_items(load: &Load, consumed: impl IntoIterator<Item = Consumed>) {
    let (mut count, mut sum) = (0, 0_u64);
    for Consumed { count: more, sum: part } in consumed {
        count += more;
        sum = sum.wrapping_add(part);
    }
    let mut expected = Consumed::default();
    for producer in 0..PRODUCERS {
        (0..items_each(load)).for_each(|item| expected.take(produce(producer, item)));
    }
    verify::equal("items that were consumed", count, expected.count);
    verify::equal("the sum of all items", sum, expected.sum);
}

struct Item {
    producer: u32,
    number: u32,
    value: u64,
}

struct Manager<R: Queues> {
    producers: Vec<R::Queue<Producer<R>>>,
    consumers: Vec<R::Queue<Consumer<R>>>,
    stored: VecDeque<Item>,
    most: usize,
    /// Producers that wait until there is room.
    held: VecDeque<u32>,
    /// Consumers that wait for an item.
    free: VecDeque<u32>,
    /// The next item of each producer.
    next: Vec<u32>,
    out_of_order: u64,
    left: u64,
    done: Arc<Latch>,
}

enum ToManager {
    Start,
    Produced(Item),
    Free { consumer: u32 },
}

impl<R: Queues> Manager<R> {
    fn go_on(&self, producer: u32) {
        R::send(&self.producers[producer as usize], ());
    }

    fn give(&self, consumer: u32, item: &Item) {
        R::send(&self.consumers[consumer as usize], item.value);
    }
}

impl<R: Queues> Actor for Manager<R> {
    type Message = ToManager;

    fn receive(&mut self, message: ToManager) {
        match message {
            ToManager::Start => {
                self.free.extend(0..CONSUMERS);
                (0..PRODUCERS).for_each(|producer| self.go_on(producer));
            }
            ToManager::Produced(item) => {
                let producer = item.producer;
                let next = &mut self.next[producer as usize];
                self.out_of_order += u64::from(*next != item.number);
                *next = item.number + 1;
                match self.free.pop_front() {
                    Some(consumer) => self.give(consumer, &item),
                    None => self.stored.push_back(item),
                }
                self.most = self.most.max(self.stored.len());
                // Each of the other producers may be producing now.
                if self.stored.len() > CAPACITY - PRODUCERS as usize {
                    self.held.push_back(producer);
                } else {
                    self.go_on(producer);
                }
            }
            ToManager::Free { consumer } => {
                self.left -= 1;
                match self.stored.pop_front() {
                    Some(item) => self.give(consumer, &item),
                    None => self.free.push_back(consumer),
                }
                if let Some(producer) = self.held.pop_front() {
                    self.go_on(producer);
                }
                if self.left == 0 {
                    self.done.down();
                }
            }
        }
    }
}

struct Producer<R: Queues> {
    me: u32,
    made: u32,
    of: u32,
    manager: Option<R::Queue<Manager<R>>>,
}

impl<R: Queues> Actor for Producer<R> {
    type Message = ();

    fn receive(&mut self, (): ()) {
        if self.made < self.of {
            let item = Item { producer: self.me, number: self.made, value: produce(self.me, self.made) };
            self.made += 1;
            let manager = self.manager.as_ref().expect("it is introduced first");
            R::send(manager, ToManager::Produced(item));
        }
    }
}

struct Consumer<R: Queues> {
    me: u32,
    consumed: Consumed,
    manager: Option<R::Queue<Manager<R>>>,
}

impl<R: Queues> Actor for Consumer<R> {
    type Message = u64;

    fn receive(&mut self, item: u64) {
        self.consumed.take(item);
        let manager = self.manager.as_ref().expect("it is introduced first");
        R::send(manager, ToManager::Free { consumer: self.me });
    }
}

/// Q18: items through a buffer with a bound.
pub(crate) fn q18<R: Queues>(load: &Load) -> Sample {
    let each = items_each(load);
    let items = u64::from(each) * u64::from(PRODUCERS);
    let runtime = R::start(load.workers);
    let done = Latch::new(1);
    let producer = |me| runtime.queue(Producer::<R> { me, made: 0, of: each, manager: None });
    let producers: Vec<_> = (0..PRODUCERS).map(producer).collect();
    let consumer = |me| runtime.queue(Consumer::<R> { me, consumed: Consumed::default(), manager: None });
    let consumers: Vec<_> = (0..CONSUMERS).map(consumer).collect();
    let manager = runtime.queue(Manager::<R> {
        producers: producers.clone(),
        consumers: consumers.clone(),
        stored: VecDeque::new(),
        most: 0,
        held: VecDeque::new(),
        free: VecDeque::new(),
        next: vec![0; PRODUCERS as usize],
        out_of_order: 0,
        left: items,
        done: Arc::clone(&done),
    });
    for producer in &producers {
        let manager = manager.clone();
        R::visit(producer, move |producer| producer.manager = Some(manager));
    }
    for consumer in &consumers {
        let manager = manager.clone();
        R::visit(consumer, move |consumer| consumer.manager = Some(manager));
    }
    settle::<R, _>(&producers, |_| ());
    settle::<R, _>(&consumers, |_| ());
    let clock = Clock::start();
    R::send(&manager, ToManager::Start);
    done.wait("the buffer that all items passed");
    let took = clock.stop();
    let (out_of_order, most) = ask::<R, _, _>(&manager, |manager| (manager.out_of_order, manager.most));
    verify::equal("items that were not next in their producer's order", out_of_order, 0);
    verify::equal("more items stored than there is room for", most > CAPACITY, false);
    let consumed = consumers.iter().map(|queue| ask::<R, _, _>(queue, |consumer| consumer.consumed));
    verify_items(load, consumed.collect::<Vec<_>>());
    settle::<R, _>(&producers, |producer| producer.manager = None);
    settle::<R, _>(&consumers, |consumer| consumer.manager = None);
    drop((manager, producers, consumers));
    runtime.stop();
    took.millions_per_s(items)
}
