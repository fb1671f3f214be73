//! Q17, chameneos: creatures meet in pairs at one mall, change their colours and go there again.
//!
//! Many to one and back: all creatures push to the mall's mailbox all the time, and every message
//! carries a handle.

use std::sync::Arc;

use super::super::actors::{Actor, Queues, ask, settle};
use super::super::measure::{Clock, Sample};
use super::super::verify::{self, Latch};
use super::super::workloads::Load;

const CREATURES: u32 = 100;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Colour {
    Red,
    Yellow,
    Blue,
}

impl Colour {
    const ALL: [Colour; 3] = [Colour::Red, Colour::Yellow, Colour::Blue];

    /// The colour of both after a meeting: unchanged if they were alike, otherwise the third
    /// colour.
    fn meets(self, other: Colour) -> Colour {
        if self == other { self } else { Colour::ALL[3 - self as usize - other as usize] }
    }
}

/// A creature that comes to the mall, as the mall and the other creature see it.
struct Visitor<R: Queues> {
    creature: R::Queue<Creature<R>>,
    id: u32,
    colour: Colour,
}

struct Mall<R: Queues> {
    meetings_left: u64,
    waits: Option<R::Queue<Creature<R>>>,
}

impl<R: Queues> Actor for Mall<R> {
    type Message = Visitor<R>;

    fn receive(&mut self, visitor: Visitor<R>) {
        if self.meetings_left == 0 {
            return R::send(&visitor.creature, Message::Closed);
        }
        match self.waits.take() {
            None => self.waits = Some(visitor.creature),
            Some(waits) => {
                self.meetings_left -= 1;
                R::send(&waits, Message::Meet(visitor));
            }
        }
    }
}

/// Where a creature goes, and the handle by which it is answered.
struct Ways<R: Queues> {
    mall: R::Queue<Mall<R>>,
    own: R::Queue<Creature<R>>,
}

struct Creature<R: Queues> {
    id: u32,
    colour: Colour,
    ways: Option<Ways<R>>,
    meetings: u64,
    with_itself: u64,
    done: Arc<Latch>,
}

enum Message<R: Queues> {
    Start,
    /// The creature waited, and this one arrived.
    Meet(Visitor<R>),
    /// The creature met a waiting one, and has this colour now.
    Change(Colour),
    Closed,
}

impl<R: Queues> Creature<R> {
    fn visit_the_mall(&self) {
        let Ways { mall, own } = self.ways.as_ref().expect("it is shown its ways first");
        R::send(mall, Visitor { creature: own.clone(), id: self.id, colour: self.colour });
    }
}

impl<R: Queues> Actor for Creature<R> {
    type Message = Message<R>;

    fn receive(&mut self, message: Message<R>) {
        match message {
            Message::Start => {}
            Message::Meet(other) => {
                self.colour = self.colour.meets(other.colour);
                self.meetings += 1;
                self.with_itself += u64::from(other.id == self.id);
                R::send(&other.creature, Message::Change(self.colour));
            }
            Message::Change(colour) => {
                self.colour = colour;
                self.meetings += 1;
            }
            Message::Closed => return self.done.down(),
        }
        self.visit_the_mall();
    }
}

/// Q17: meetings at one mall.
pub(crate) fn q17<R: Queues>(load: &Load) -> Sample {
    let meetings = load.of(400_000);
    let runtime = R::start(load.workers);
    let done = Latch::new(u64::from(CREATURES));
    let mall = runtime.queue(Mall::<R> { meetings_left: meetings, waits: None });
    let creature = |id: u32| {
        let colour = Colour::ALL[id as usize % 3];
        let done = Arc::clone(&done);
        runtime.queue(Creature::<R> { id, colour, ways: None, meetings: 0, with_itself: 0, done })
    };
    let creatures: Vec<_> = (0..CREATURES).map(creature).collect();
    for creature in &creatures {
        let ways = Ways { mall: mall.clone(), own: creature.clone() };
        R::visit(creature, move |creature| creature.ways = Some(ways));
    }
    settle::<R, _>(&creatures, |_| ());
    let clock = Clock::start();
    for creature in &creatures {
        R::send(creature, Message::Start);
    }
    done.wait("creatures that found the mall closed");
    let took = clock.stop();
    let mut met = 0;
    for creature in &creatures {
        let (meetings, with_itself) = ask::<R, _, _>(creature, |one| (one.meetings, one.with_itself));
        verify::equal("meetings of a creature with itself", with_itself, 0);
        met += meetings;
    }
    verify::equal("creatures in meetings", met, 2 * meetings);
    settle::<R, _>(&creatures, |creature| creature.ways = None);
    drop((creatures, mall));
    runtime.stop();
    took.millions_per_s(meetings)
}
