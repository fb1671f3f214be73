//! A thread for each actor, with a channel of std (crossbeam's, by origin): what a program without
//! any runtime does.
//!
//! Workloads with thousands of queues are left out: no program starts that many threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::super::actors::{self, Actor, Queues};
use super::super::idle;
use super::super::measure::Sample;
use super::super::round_trip::{self, Asked};
use super::super::verify;
use super::super::workloads::Load;
use super::Peer;
use super::mail::Mail;

/// The peer.
pub(crate) struct ThreadsPeer;

/// The handle of an actor's thread.
pub(crate) struct Address<A: Actor>(Sender<Mail<A>>);

impl<A: Actor> Clone for Address<A> {
    fn clone(&self) -> Address<A> {
        Address(self.0.clone())
    }
}

impl<A: Actor> Address<A> {
    fn deliver(&self, mail: Mail<A>) {
        if self.0.send(mail).is_err() {
            verify::fail("an actor's thread has ended");
        }
    }
}

/// The started threads; each ends when the last address of its actor is dropped.
struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Queues for Threads {
    type Queue<A: Actor> = Address<A>;

    fn start(_: usize) -> Threads {
        Threads(Mutex::new(Vec::new()))
    }

    fn queue<A: Actor>(&self, mut actor: A) -> Address<A> {
        let (address, mailbox) = channel::<Mail<A>>();
        let thread = thread::spawn(move || {
            for mail in mailbox {
                mail.open(&mut actor);
            }
        });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        Address(address)
    }

    fn send<A: Actor>(queue: &Address<A>, message: A::Message) {
        queue.deliver(Mail::Message(message));
    }

    fn visit<A: Actor>(queue: &Address<A>, visit: impl FnOnce(&mut A) + Send + 'static) {
        queue.deliver(Mail::Visit(Box::new(visit)));
    }

    fn stop(self) {
        for thread in self.0.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if thread.join().is_err() {
                verify::fail("an actor's thread panicked");
            }
        }
    }
}

enum Order {
    Add,
    AddAndGet,
}

/// A pair of channels: orders one way, answers the other, both kept for the next round trip.
struct Pair {
    orders: Sender<Order>,
    answers: Receiver<u64>,
}

impl Pair {
    fn new() -> Pair {
        let (orders, mailbox) = channel();
        let (answer, answers) = channel();
        thread::spawn(move || {
            let mut count = 0;
            for order in mailbox {
                count += 1;
                if matches!(order, Order::AddAndGet) && answer.send(count).is_err() {
                    return;
                }
            }
        });
        Pair { orders, answers }
    }
}

impl Asked for Pair {
    fn add(&self) {
        let _ = self.orders.send(Order::Add);
    }

    fn add_and_get(&self) -> u64 {
        let _ = self.orders.send(Order::AddAndGet);
        self.answers.recv().unwrap_or_else(|_| verify::fail("the thread that answers has ended"))
    }
}

impl Peer for ThreadsPeer {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn q1(&self, load: &Load) -> Option<Sample> {
        Some(actors::q1::<Threads>(load))
    }

    fn q3(&self, load: &Load, producers: u32) -> Option<Sample> {
        Some(actors::q3::<Threads>(load, producers))
    }

    fn q5(&self, load: &Load) -> Option<Sample> {
        Some(actors::q5::<Threads>(load))
    }

    fn q12(&self, load: &Load) -> Option<Sample> {
        Some(idle::q12::<Threads>(load))
    }

    fn q2b(&self, load: &Load) -> Option<Sample> {
        Some(round_trip::q2b(load, &Pair::new()))
    }

    fn q20(&self, load: &Load) -> Option<Sample> {
        Some(round_trip::q20(load, &Pair::new()))
    }

    fn q20g(&self, load: &Load) -> Option<Sample> {
        Some(round_trip::q20g(load, &Pair::new()))
    }
}
