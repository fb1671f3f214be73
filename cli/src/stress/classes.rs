//! Classes of service under saturation: a higher one goes first, a lower one progresses, and a
//! waiting thread boosts the queue that it waits for.
//!
//! Counted in turns, not in time: all workers are held until everything is submitted, and they get
//! no replacement threads. A worker that the system stops has few blocks taken, so each bound
//! allows for those.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use singletrack::queues::{Group, Qos, Queue, Runtime};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score, locked};
use super::subject::Classes;

pub(super) const FAMILY: Family = Family {
    name: "classes",
    checks: &[
        Check { name: "classes", counts: "blocks of a higher class that went before lower ones" },
        Check { name: "ageing", counts: "blocks of a lower class that ran beside a higher one" },
        Check { name: "boosts", counts: "waits of a higher class that boosted a queue" },
    ],
    place: Place::Alone,
    round,
};

/// A worker gives one turn of this many to the lower classes, and one of four times as many to each
/// of them.
const AGED: usize = 16;

/// Holds every worker until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<(usize, bool)>, Condvar)>);

impl Gate {
    fn hold(runtime: &Runtime) -> Gate {
        let gate = Gate::default();
        for _ in 0..runtime.workers() {
            let gate = gate.clone();
            runtime.spawn(move || {
                let (state, bell) = &*gate.0;
                locked(state).0 += 1;
                bell.notify_all();
                let held = bell.wait_while(locked(state), |(_, open)| !*open);
                drop(held.unwrap_or_else(PoisonError::into_inner));
            });
        }
        let (state, bell) = &*gate.0;
        let all = bell.wait_while(locked(state), |(held, _)| *held < runtime.workers());
        drop(all.unwrap_or_else(PoisonError::into_inner));
        gate
    }

    fn open(&self) {
        locked(&self.0.0).1 = true;
        self.0.1.notify_all();
    }
}

/// Submits blocks of all classes to held workers, and records the order in which they ran.
fn saturate(runtime: &Runtime, classes: &mut Classes, each: usize) -> Vec<Qos> {
    let gate = Gate::hold(runtime);
    let (order, group) = (Arc::new(Mutex::new(Vec::new())), Group::new());
    for _ in 0..each {
        for qos in Qos::ALL {
            let (order, member) = (order.clone(), group.clone());
            member.enter();
            // A queue for each block: each is a turn.
            let queue = classes.queue(runtime, "one", qos);
            classes.submit(&queue, move || {
                locked(&order).push(qos);
                let _ = member.leave();
            });
        }
    }
    gate.open();
    group.wait();
    std::mem::take(&mut *locked(&order))
}

/// The default class is taken by the batch, the others one by one.
const BATCH: usize = 33;

/// The position at which all blocks of a class had run, except for those that stopped workers may
/// have taken.
fn end_of(order: &[Qos], qos: Qos, each: usize, workers: usize) -> usize {
    let in_hands = if qos == Qos::Default { BATCH * workers } else { workers };
    order.iter().enumerate().filter(|(_, ran)| **ran == qos).nth(each - in_hands).map_or(0, |(at, _)| at)
}

fn judge_order(order: &[Qos], each: usize, workers: usize, score: &Score, ageing: &Score) {
    for &qos in &Qos::ALL[1..] {
        let turns = end_of(order, qos, each, workers);
        let lower = order[..turns].iter().filter(|&&ran| ran < qos).count();
        let allowed = turns / AGED + 2 * workers;
        score.expect(lower <= allowed, || {
            format!("{lower} blocks of lower classes went before {each} {qos} ones; {allowed} may")
        });
    }
    let turns = end_of(order, Qos::UserInteractive, each, workers);
    for &qos in &Qos::ALL[..4] {
        let ran = order[..turns].iter().filter(|&&ran| ran == qos).count();
        let due = (turns / (4 * AGED)).saturating_sub(2 * workers);
        ageing.expect(ran >= due, || {
            format!("{ran} {qos} blocks ran in {turns} turns of a higher class; {due} were due")
        });
        ageing.verified(ran);
    }
    score.verified(order.len());
}

/// The lowest line never gets shorter, and the one above it never ends.
struct Flood {
    over: Arc<AtomicBool>,
    ran: Arc<AtomicUsize>,
}

impl Flood {
    fn begin(runtime: &Runtime, lanes: usize) -> Flood {
        let flood = Flood { over: Arc::default(), ran: Arc::default() };
        for _ in 0..lanes {
            fill(runtime.clone(), flood.over.clone(), flood.ran.clone());
        }
        for _ in 0..4 * runtime.workers() {
            above(runtime.clone(), flood.over.clone());
        }
        flood
    }
}

/// One-shot blocks: a queue that submits to itself would run many of its blocks in a turn.
fn fill(runtime: Runtime, over: Arc<AtomicBool>, ran: Arc<AtomicUsize>) {
    let again = runtime.clone();
    runtime.spawn_as(Qos::Background, move || {
        ran.fetch_add(1, SeqCst);
        if !over.load(SeqCst) {
            fill(again, over, ran);
        }
    });
}

fn above(runtime: Runtime, over: Arc<AtomicBool>) {
    if !over.load(SeqCst) {
        let again = runtime.clone();
        runtime.spawn_as(Qos::UserInitiated, move || above(again, over));
    }
}

/// Waits repeatedly for a queue at the end of the lowest line. The system may stop the waiting
/// thread before it announces its wait, for as long as half the line needs. So the line is long,
/// and only some of the waits must be boosted. Without boosts none is.
fn boost(runtime: &Runtime, classes: &Classes, lanes: usize, waits: usize, score: &Score) {
    let flood = Flood::begin(runtime, lanes);
    let low = Queue::builder("low").runtime(runtime).qos(Qos::Background).build();
    let mut boosted = 0;
    for _ in 0..waits {
        low.submit(|| ());
        let before = flood.ran.load(SeqCst);
        let overtook = classes.sync_as(&low, Qos::UserInteractive, || flood.ran.load(SeqCst) - before);
        boosted += usize::from(overtook < lanes / 2);
    }
    flood.over.store(true, SeqCst);
    score.expect(4 * boosted > waits, || {
        format!("in {} of {waits} waits most of the {lanes} blocks that stood in front ran first", waits - boosted)
    });
    score.verified(boosted);
}

fn round(round: &Round, mut choice: Choice) {
    let Some(own) = round.own_without_replacements() else { return };
    let (runtime, workers) = (&own.runtime, round.workers());
    let mut classes = Classes::new(round.ground.fault);
    let each = 640 + 128 * workers + choice.between(0..=200);
    round.stage(format_args!("{each} blocks of each class"));
    let order = saturate(runtime, &mut classes, each);
    judge_order(&order, each, workers, round.score(0), round.score(1));
    let (lanes, waits) = (choice.between(5_000..=10_000), choice.between(5..=15));
    round.stage(format_args!("{waits} waits for a queue behind {lanes} blocks"));
    boost(runtime, &classes, lanes, waits, round.score(2));
}
