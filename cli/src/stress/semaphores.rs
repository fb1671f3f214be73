//! A semaphore never lets more than its count in, and lets everybody in at last.
//!
//! Threads and blocks take and give back. Some wait without limit, some with a timeout. When all
//! that are left are waiting, nobody will ever signal: a waiter was forgotten. In the end as many
//! permits can be taken as in the beginning.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use singletrack::queues::Semaphore;

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "semaphores",
    checks: &[
        Check { name: "semaphores", counts: "times that no more than the count were in" },
        Check { name: "semaphore-line", counts: "waits that came to their turn" },
    ],
    place: Place::Beside,
    round,
};
const INSIDE: usize = 0;
const LINE: usize = 1;
const BURSTS: usize = 8;

struct Room {
    semaphore: Semaphore,
    count: usize,
    inside: AtomicUsize,
    /// The patient ones that have not come to their end.
    left: AtomicUsize,
    waits: AtomicUsize,
    score: Arc<Score>,
}

impl Room {
    fn visit(&self, dwell: Dwell, verbs: &mut Verbs) {
        let inside = self.inside.fetch_add(1, SeqCst) + 1;
        self.score.expect(inside <= self.count, || format!("{inside} were in, by a semaphore for {}", self.count));
        dwell.pass();
        self.inside.fetch_sub(1, SeqCst);
        self.waits.fetch_add(1, SeqCst);
        verbs.signal(&self.semaphore);
    }

    /// Takes part `times` times, without a timeout.
    fn patient(&self, times: usize, mut choice: Choice, mut verbs: Verbs) {
        for _ in 0..times {
            self.semaphore.wait();
            self.visit(choice.dwell(), &mut verbs);
        }
        self.left.fetch_sub(1, SeqCst);
    }

    fn impatient(&self, times: usize, mut choice: Choice, mut verbs: Verbs) {
        for _ in 0..times {
            if self.semaphore.wait_timeout(Duration::from_micros(choice.between(0..=200) as u64)) {
                self.visit(choice.dwell(), &mut verbs);
            }
        }
    }

    /// Whether all that are left are waiting. A thread that waits now was left before, so both
    /// together are consistent.
    fn is_stuck(&self) -> bool {
        let left = self.left.load(SeqCst);
        left > 0 && format!("{:?}", self.semaphore).contains(&format!("waiting: {left} "))
    }
}

fn round(round: &Round, mut choice: Choice) {
    for _ in 0..BURSTS {
        burst(round, &mut choice);
    }
}

fn burst(round: &Round, choice: &mut Choice) {
    let (count, patient, impatient) = (choice.between(1..=4), choice.between(1..=6), choice.between(0..=2));
    let room = Arc::new(Room {
        semaphore: Semaphore::new(count),
        count,
        inside: AtomicUsize::new(0),
        left: AtomicUsize::new(patient),
        waits: AtomicUsize::new(0),
        score: round.score(INSIDE).clone(),
    });
    round.stage(format_args!("{} threads at a semaphore for {count}", patient + impatient));
    for who in 0..patient {
        let (room, times, choice) = (room.clone(), choice.between(5..=40), choice.fork());
        let verbs = Verbs::new(round.ground.fault);
        let visits = move || room.patient(times, choice, verbs);
        // Blocks, too, whose threads are replaced.
        if who % 2 == 0 {
            std::thread::spawn(visits);
        } else {
            round.ground.runtime.spawn(visits);
        }
    }
    std::thread::scope(|scope| {
        for _ in 0..impatient {
            let (room, times, choice) = (&room, choice.between(5..=40), choice.fork());
            let verbs = Verbs::new(round.ground.fault);
            scope.spawn(move || room.impatient(times, choice, verbs));
        }
    });
    while room.left.load(SeqCst) > 0 {
        if room.is_stuck() {
            round.score(LINE).broken(|| "all that were left stood in line, and nobody was in to let them go".into());
            room.semaphore.signal();
        }
        std::thread::yield_now();
    }
    let left = std::iter::from_fn(|| room.semaphore.try_wait().then_some(())).count();
    round.score(INSIDE).expect(left <= count, || format!("a semaphore for {count} came to let {left} in"));
    round.score(LINE).expect(left >= count, || format!("a semaphore for {count} came to let only {left} in"));
    let waits = room.waits.load(SeqCst);
    round.score(INSIDE).verified(waits);
    round.score(LINE).verified(waits);
}
