//! Workloops: the most urgent block goes first, each class keeps its order, and no class starves.
//!
//! First, a workloop that is inactive until everything is submitted: the order in which it ran is
//! compared with the promise, block by block. Then submitters from many threads, beside one another
//! and beside callers that wait in `sync`. The promises there are one at a time, none lost, and the
//! order of each submitter's blocks in each class.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use singletrack::queues::{Qos, Workloop};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score, locked};
use super::subject::Urgent;

pub(super) const FAMILY: Family = Family {
    name: "workloop",
    checks: &[
        Check { name: "urgency", counts: "blocks of workloops that ran when nothing more urgent was due" },
        Check { name: "class-order", counts: "blocks of workloops in the order of their class" },
        Check { name: "no-starvation", counts: "blocks of workloops within the bound of their class" },
    ],
    place: Place::Beside,
    round,
};

/// A class gets a turn after this many blocks of others have passed it, and waits for this many at
/// most.
const AGE: usize = 32;
const BOUND: usize = 36;

/// The blocks that ran: the class, and the number in that class.
type Ran = Vec<(Qos, usize)>;

/// Compares a whole run with what was submitted before it began.
fn audit(ran: &Ran, submitted: [usize; 5], scores: [&Score; 3]) {
    let [urgency, order, starvation] = scores;
    let mut left = submitted;
    let mut waited = [0; 5];
    for (at, &(qos, number)) in ran.iter().enumerate() {
        let class = qos as usize;
        let due = submitted[class] - left[class];
        order.expect(number == due, || format!("block {number} of class {qos} ran when {due} was due"));
        let higher = Qos::ALL.into_iter().rev().find(|&other| other > qos && left[other as usize] > 0);
        urgency.expect(higher.is_none() || waited[class] >= AGE, || {
            let higher = higher.unwrap_or_default();
            format!(
                "block {at} was of class {qos}, which had waited for {} others, while {higher} had some",
                waited[class]
            )
        });
        left[class] = left[class].saturating_sub(1);
        for other in 0..5 {
            waited[other] = if other == class || left[other] == 0 { 0 } else { waited[other] + 1 };
            starvation.expect(waited[other] <= BOUND, || {
                format!("class {} waited for more than {BOUND} blocks of others", Qos::ALL[other])
            });
        }
    }
    let whole = left.iter().all(|&left| left == 0);
    order.expect(whole, || format!("{submitted:?} blocks were submitted by class, {left:?} of them never ran"));
    scores.iter().for_each(|score| score.verified(ran.len()));
}

fn one_by_one(round: &Round, choice: &mut Choice, scores: [&Score; 3]) {
    let workloop = Workloop::builder("workloop.held").runtime(&round.ground.runtime).inactive().build();
    let ran: Arc<Mutex<Ran>> = Arc::default();
    let mut urgent = Urgent::new(round.ground.fault);
    let mut submitted = [0; 5];
    let blocks = choice.between(200..=1_000);
    for _ in 0..blocks {
        let qos = Qos::ALL[choice.between(0..=4)];
        let (number, ran) = (submitted[qos as usize], ran.clone());
        submitted[qos as usize] += 1;
        urgent.submit(&workloop, qos, move || locked(&ran).push((qos, number)));
    }
    urgent.let_go(&workloop);
    round.stage(format_args!("{blocks} blocks of all classes in a workloop that is activated"));
    workloop.activate();
    while locked(&ran).len() < blocks {
        if round.is_stopped() {
            return;
        }
        std::thread::yield_now();
    }
    audit(&locked(&ran), submitted, scores);
}

fn all_at_once(round: &Round, choice: &mut Choice, order: &Arc<Score>) {
    let workloop = Workloop::builder("workloop.crowded").runtime(&round.ground.runtime).build();
    let (submitters, times) = (choice.between(2..=4), choice.between(100..=600));
    let inside = Arc::new(AtomicUsize::new(0));
    // The blocks that ran, by submitter and class.
    let next: Arc<Vec<AtomicUsize>> = Arc::new((0..submitters * 5).map(|_| AtomicUsize::new(0)).collect());
    round.stage(format_args!("{submitters} submitters of {times} blocks of all classes to one workloop"));
    std::thread::scope(|scope| {
        for submitter in 0..submitters {
            let (workloop, inside, next, mut choice) = (&workloop, &inside, &next, choice.fork());
            scope.spawn(move || {
                let mut numbers = [0; 5];
                for _ in 0..times {
                    let (qos, dwell, sync) = (Qos::ALL[choice.between(0..=4)], choice.dwell(), choice.one_in(16));
                    let number = numbers[qos as usize];
                    numbers[qos as usize] += 1;
                    let (inside, next, order) = (inside.clone(), next.clone(), order.clone());
                    let block = move || {
                        let others = inside.fetch_add(1, Relaxed);
                        order.expect(others == 0, || "two blocks of a workloop ran at once".into());
                        let due = next[submitter * 5 + qos as usize].fetch_add(1, Relaxed);
                        order.expect(due == number, || {
                            format!("block {number} of submitter {submitter} in class {qos} ran when {due} was due")
                        });
                        dwell.pass();
                        inside.fetch_sub(1, Relaxed);
                    };
                    if sync { workloop.sync(qos, block) } else { workloop.submit(qos, block) }
                }
                // One of each class, behind everything that this thread sent in it.
                Qos::ALL.into_iter().for_each(|qos| workloop.sync(qos, || ()));
            });
        }
    });
    let ran: usize = next.iter().map(|ran| ran.load(Relaxed)).sum();
    order.expect(ran == submitters * times, || {
        format!("{} blocks were submitted to a workloop, {ran} ran", submitters * times)
    });
    order.verified(ran);
}

fn round(round: &Round, mut choice: Choice) {
    one_by_one(round, &mut choice, [round.score(0), round.score(1), round.score(2)]);
    if !round.is_stopped() {
        all_at_once(round, &mut choice, round.score(1));
    }
}
