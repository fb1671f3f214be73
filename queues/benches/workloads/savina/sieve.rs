//! Q19, sieve: numbers run down a line of filters, which grows by one whenever the last has no room
//! for a prime.
//!
//! A pipeline that builds itself: each message goes to the next filter or ends there. Savina's
//! filters keep 1,000 primes each and so measure divisions; these keep few, so that messages
//! dominate.

use std::sync::Arc;

use super::super::actors::{Actor, ask};
use super::super::measure::{Clock, Sample};
use super::super::tree::NestedQueues;
use super::super::verify::{self, Latch};
use super::super::workloads::Load;

/// The primes that a filter keeps.
const ROOM: usize = 10;

/// The source of the numbers: all odd ones from 3 on, below the bound in the message.
struct Numbers<R: NestedQueues> {
    first: Option<R::Queue<Filter<R>>>,
}

impl<R: NestedQueues> Actor for Numbers<R> {
    type Message = u32;

    fn receive(&mut self, below: u32) {
        let first = self.first.as_ref().expect("it is shown the first filter before");
        (3..below).step_by(2).for_each(|number| R::send(first, Message::Number(number)));
        R::send(first, Message::End);
    }
}

struct Filter<R: NestedQueues> {
    /// New filters are made beside this one.
    numbers: R::Queue<Numbers<R>>,
    primes: Vec<u32>,
    next: Option<R::Queue<Filter<R>>>,
    done: Arc<Latch>,
}

enum Message {
    Number(u32),
    End,
}

impl<R: NestedQueues> Filter<R> {
    fn new(numbers: &R::Queue<Numbers<R>>, first: u32, done: &Arc<Latch>) -> Filter<R> {
        let mut primes = Vec::with_capacity(ROOM);
        primes.push(first);
        Filter { numbers: numbers.clone(), primes, next: None, done: Arc::clone(done) }
    }
}

impl<R: NestedQueues> Actor for Filter<R> {
    type Message = Message;

    fn receive(&mut self, message: Message) {
        match (message, &self.next) {
            (Message::Number(number), next) if !self.primes.iter().any(|prime| number % prime == 0) => match next {
                Some(next) => R::send(next, Message::Number(number)),
                None if self.primes.len() < ROOM => self.primes.push(number),
                None => {
                    let next = Filter::new(&self.numbers, number, &self.done);
                    self.next = Some(R::queue_beside(&self.numbers, next));
                }
            },
            (Message::Number(_), _) => {}
            (Message::End, Some(next)) => R::send(next, Message::End),
            (Message::End, None) => self.done.down(),
        }
    }
}

/// The primes below a number, by the classic sieve.
fn primes_below(below: u32) -> Vec<u32> {
    let mut composite = vec![false; below as usize];
    let mut primes = Vec::new();
    for number in 2..below {
        if !composite[number as usize] {
            primes.push(number);
            (number..)
                .map(|factor| factor as usize * number as usize)
                .take_while(|at| *at < below as usize)
                .for_each(|at| composite[at] = true);
        }
    }
    primes
}

/// Q19: the primes below 100,000, by a line of filters.
pub(crate) fn q19<R: NestedQueues>(load: &Load) -> Sample {
    let below = load.of(100_000).max(10) as u32;
    let runtime = R::start(load.workers);
    let done = Latch::new(1);
    let numbers = runtime.queue(Numbers::<R> { first: None });
    let first = runtime.queue(Filter::<R>::new(&numbers, 2, &done));
    let shown = first.clone();
    R::visit(&numbers, move |numbers| numbers.first = Some(shown));
    let clock = Clock::start();
    R::send(&numbers, below);
    done.wait("the end of the numbers");
    let took = clock.stop();
    drop(ask::<R, _, _>(&numbers, |numbers| numbers.first.take()));
    let (mut found, mut at) = (Vec::new(), Some(first));
    // This thread takes the line apart, so that no filter is dropped by a block of its own.
    while let Some(filter) = at {
        let (primes, next) = ask::<R, _, _>(&filter, |filter| (std::mem::take(&mut filter.primes), filter.next.take()));
        found.extend(primes);
        at = next;
    }
    verify::equal("primes", found, primes_below(below));
    drop(numbers);
    runtime.stop();
    Sample::new(took, [took.ms()])
}
