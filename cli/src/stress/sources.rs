//! No signal is lost: the handler that runs after a merge sees the bit, and everything that its
//! thread did before.
//!
//! Each thread writes a number and then merges its bit. The handler copies the numbers of the bits
//! that it got. When the threads and then the queue are done, every last number must have been
//! copied. Bursts are short, so that the last merge of a thread, which no later one can make up
//! for, is frequent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use singletrack::queues::Source;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "sources",
    checks: &[Check { name: "sources", counts: "signals that were handled" }],
    place: Place::Beside,
    round,
};
const BURSTS: usize = 40;

/// A thread's number and the handler's copy of it. Relaxed: the source must order them.
#[derive(Default)]
struct Slot {
    written: AtomicU64,
    copied: AtomicU64,
}

struct Slots {
    slots: Vec<Slot>,
    handled: AtomicUsize,
    score: Arc<Score>,
}

impl Slots {
    fn handle(&self, bits: u64) {
        self.score.expect(bits != 0 && bits >> self.slots.len() == 0, || {
            format!("the handler got the bits {bits:#b}, of which {} are in use", self.slots.len())
        });
        for (i, slot) in self.slots.iter().enumerate().filter(|(i, _)| bits >> i & 1 == 1) {
            let (before, now) = (slot.copied.load(Relaxed), slot.written.load(Relaxed));
            self.score.expect(now >= before, || format!("signaller {i}'s number went back from {before} to {now}"));
            slot.copied.store(now, Relaxed);
        }
        self.handled.fetch_add(1, Relaxed);
    }
}

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let signallers = choice.between(1..=4);
    let slots = Arc::new(Slots {
        slots: (0..signallers).map(|_| Slot::default()).collect(),
        handled: AtomicUsize::new(0),
        score: score.clone(),
    });
    let on = slots.clone();
    let queue = runtime.queue("sources");
    let source = Source::new(&queue, move |bits| on.handle(bits));
    let mut verbs: Vec<_> = (0..signallers).map(|_| Verbs::new(round.ground.fault)).collect();
    for _ in 0..BURSTS {
        round.stage(format_args!("a burst of signals of {signallers} threads"));
        let mut signals = 0;
        std::thread::scope(|scope| {
            for (i, verbs) in verbs.iter_mut().enumerate() {
                let (times, dwell, later) = (choice.between(1..=20), choice.dwell(), choice.one_in(8));
                let (slot, source) = (&slots.slots[i], &source);
                signals += times;
                scope.spawn(move || {
                    for _ in 0..times {
                        slot.written.store(slot.written.load(Relaxed) + 1, Relaxed);
                        if later {
                            source.merge_deferred(1 << i);
                        } else {
                            verbs.merge(source, 1 << i);
                        }
                        dwell.pass();
                    }
                });
            }
        });
        queue.sync(|| ());
        for (i, slot) in slots.slots.iter().enumerate() {
            let (written, copied) = (slot.written.load(Relaxed), slot.copied.load(Relaxed));
            score.expect(written == copied, || {
                format!("signaller {i} merged its bit for number {written}; the handler ran last for {copied}")
            });
        }
        score.verified(signals);
    }
    source.cancel();
    queue.sync(|| ());
    let handled = slots.handled.load(Relaxed);
    source.merge(1);
    queue.sync(|| ());
    score.expect(slots.handled.load(Relaxed) == handled, || "a handler ran after its source was cancelled".into());
}
