//! Q16, big: every actor pings a random one, waits for the answer, and pings the next one.
//!
//! Many to many: all actors may push to any of the mailboxes at the same time, and no mailbox is
//! hot for long.

use std::sync::Arc;

use super::super::actors::{Actor, Queues, ask, settle};
use super::super::measure::{Clock, Sample};
use super::super::verify::{self, Latch, Random};
use super::super::workloads::Load;

const ACTORS: u64 = 120;

/// The random row of actors that actor `of` pings.
fn choices(of: u64) -> Random {
    Random::new(1_600 + of)
}

type Everybody<R> = Arc<Vec<<R as Queues>::Queue<Pinger<R>>>>;

struct Pinger<R: Queues> {
    me: u32,
    all: Option<Everybody<R>>,
    choices: Random,
    left: u64,
    awaited: u32,
    pinged: u64,
    wrong: u64,
    done: Arc<Latch>,
}

enum Message {
    Start,
    Ping { from: u32 },
    Pong { from: u32 },
}

impl<R: Queues> Pinger<R> {
    fn new(me: u64, pings: u64, done: &Arc<Latch>) -> Pinger<R> {
        let (choices, done) = (choices(me), Arc::clone(done));
        Pinger { me: me as u32, all: None, choices, left: pings, awaited: 0, pinged: 0, wrong: 0, done }
    }

    fn send(&self, to: u32, message: Message) {
        let all = self.all.as_ref().expect("they are introduced first");
        R::send(&all[to as usize], message);
    }

    fn ping_next(&mut self) {
        if self.left == 0 {
            return self.done.down();
        }
        self.left -= 1;
        self.awaited = self.choices.below(ACTORS) as u32;
        self.send(self.awaited, Message::Ping { from: self.me });
    }
}

impl<R: Queues> Actor for Pinger<R> {
    type Message = Message;

    fn receive(&mut self, message: Message) {
        match message {
            Message::Start => self.ping_next(),
            Message::Ping { from } => {
                self.pinged += 1;
                self.send(from, Message::Pong { from: self.me });
            }
            Message::Pong { from } => {
                self.wrong += u64::from(from != self.awaited);
                self.ping_next();
            }
        }
    }
}

/// Q16: pings and pongs among all.
pub(crate) fn q16<R: Queues>(load: &Load) -> Sample {
    let pings = (load.of(2_400_000) / ACTORS).max(1);
    let runtime = R::start(load.workers);
    let done = Latch::new(ACTORS);
    let all: Arc<Vec<_>> = Arc::new((0..ACTORS).map(|me| runtime.queue(Pinger::<R>::new(me, pings, &done))).collect());
    for queue in all.iter() {
        let all = Arc::clone(&all);
        R::visit(queue, move |pinger| pinger.all = Some(all));
    }
    settle::<R, _>(&all, |_| ());
    let clock = Clock::start();
    for queue in all.iter() {
        R::send(queue, Message::Start);
    }
    done.wait("actors that got all their answers");
    let took = clock.stop();
    let mut expected = vec![0; ACTORS as usize];
    for mut choices in (0..ACTORS).map(choices) {
        for _ in 0..pings {
            expected[choices.below(ACTORS) as usize] += 1;
        }
    }
    for (queue, expected) in all.iter().zip(expected) {
        let (pinged, wrong) = ask::<R, _, _>(queue, |pinger| (pinger.pinged, pinger.wrong));
        verify::equal("pings that one of them got", pinged, expected);
        verify::equal("answers from an actor that was not asked", wrong, 0);
    }
    settle::<R, _>(&all, |pinger| pinger.all = None);
    drop(all);
    runtime.stop();
    took.millions_per_s(2 * pings * ACTORS)
}
