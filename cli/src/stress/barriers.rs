//! Readers run together, a barrier runs alone, and nothing overtakes a barrier in either direction.
//!
//! Each submitter counts its barriers: a reader must find exactly those before it done, and a
//! barrier exactly the readers before it. Two readers that wait for each other show that readers
//! run together.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};

use singletrack::queues::ConcurrentQueue;

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::ConcurrentSubmitter;

pub(super) const FAMILY: Family = Family {
    name: "barriers",
    checks: &[Check { name: "barriers", counts: "readers and barriers in their generation" }],
    place: Place::Beside,
    round,
};

/// The observations of readers and barriers about one another.
struct Table {
    readers: AtomicUsize,
    barriers: AtomicUsize,
    /// The number of ended barriers, by submitter.
    generation: Vec<AtomicUsize>,
    /// The number of ended readers, by submitter.
    read: Vec<AtomicUsize>,
    score: Arc<Score>,
}

impl Table {
    fn read(&self, submitter: usize, generation: usize, dwell: Dwell) {
        self.readers.fetch_add(1, Relaxed);
        let (alone, now) = (self.barriers.load(Relaxed) == 0, self.generation[submitter].load(Relaxed));
        self.score.expect(alone, || "a reader began while a barrier was running".into());
        self.score.expect(now == generation, || {
            format!("submitter {submitter}'s reader behind {generation} of its barriers ran when {now} had ended")
        });
        dwell.pass();
        self.read[submitter].fetch_add(1, Relaxed);
        self.readers.fetch_sub(1, Relaxed);
    }

    fn barrier(&self, submitter: usize, generation: usize, read: usize, dwell: Dwell) {
        let others = self.barriers.fetch_add(1, Relaxed);
        self.score.expect(others == 0, || "two barriers ran at once".into());
        for _ in 0..2 {
            let (now, readers) = (self.read[submitter].load(Relaxed), self.readers.load(Relaxed));
            self.score.expect(readers == 0, || format!("a barrier ran beside {readers} readers"));
            self.score.expect(now == read, || {
                format!("submitter {submitter}'s barrier behind {read} of its readers ran when {now} had ended")
            });
            dwell.pass();
        }
        let before = self.generation[submitter].fetch_add(1, Relaxed);
        self.score.expect(before == generation, || {
            format!("submitter {submitter}'s barrier {generation} ran after its barrier {before}")
        });
        self.barriers.fetch_sub(1, Relaxed);
    }
}

fn submit_all(round: &Round, queue: &ConcurrentQueue, table: &Arc<Table>, submitter: usize, choice: &mut Choice) {
    let mut to = ConcurrentSubmitter::new(queue, round.ground.fault);
    let (times, rare) = (choice.between(200..=800), choice.between(2..=20));
    let (mut generation, mut read) = (0, 0);
    for _ in 0..times {
        let (dwell, on, alone) = (choice.dwell(), table.clone(), choice.one_in(rare));
        // A call that waits would stand in front of a barrier that a broken queue holds back.
        let wait = round.ground.fault.is_none() && choice.one_in(12);
        match (alone, wait) {
            (false, false) => to.submit(move || on.read(submitter, generation, dwell)),
            (false, true) => queue.sync(|| on.read(submitter, generation, dwell)),
            (true, false) => to.barrier(move || on.barrier(submitter, generation, read, dwell)),
            (true, true) => queue.barrier_sync(|| on.barrier(submitter, generation, read, dwell)),
        }
        if alone {
            generation += 1;
        } else {
            read += 1;
        }
    }
    drop(to);
    queue.barrier_sync(|| ());
    let ran = table.read[submitter].load(Relaxed) + table.generation[submitter].load(Relaxed);
    table.score.expect(ran == times, || format!("submitter {submitter} submitted {times} blocks, {ran} ran"));
    table.score.verified(ran);
}

/// Each of two readers waits for the other. A queue that lets them in one by one never gets past
/// this.
fn run_together(round: &Round, queue: &ConcurrentQueue) {
    round.stage("two readers of one concurrent queue that wait for each other");
    let meeting = Arc::new(Barrier::new(2));
    let readers = [(); 2].map(|()| {
        let meeting = meeting.clone();
        queue.call(move || {
            meeting.wait();
        })
    });
    for reader in readers {
        if let Err(error) = reader.wait() {
            round.score(0).broken(|| format!("a reader did not come to its end: {error}"));
        }
    }
    round.score(0).verified(2);
}

fn round(round: &Round, mut choice: Choice) {
    let queue = ConcurrentQueue::builder("barriers").runtime(&round.ground.runtime).build();
    run_together(round, &queue);
    let submitters = choice.between(1..=3);
    let table = Arc::new(Table {
        readers: AtomicUsize::new(0),
        barriers: AtomicUsize::new(0),
        generation: (0..submitters).map(|_| AtomicUsize::new(0)).collect(),
        read: (0..submitters).map(|_| AtomicUsize::new(0)).collect(),
        score: round.score(0).clone(),
    });
    round.stage(format_args!("{submitters} submitters of readers and barriers"));
    std::thread::scope(|scope| {
        for submitter in 0..submitters {
            let (queue, table, mut choice) = (&queue, &table, choice.fork());
            scope.spawn(move || submit_all(round, queue, table, submitter, &mut choice));
        }
    });
}
