//! A value of a queue is found from each queue that targets it, the nearest first, also while it is
//! replaced. The replaced value is returned, and the rest goes with its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use singletrack::queues::{Group, Queue, SpecificKey};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "specifics",
    checks: &[Check { name: "specifics", counts: "values that were found on the right queue" }],
    place: Place::Beside,
    round,
};

static LEVEL: SpecificKey<Value> = SpecificKey::new();
static VERSION: SpecificKey<Value> = SpecificKey::new();

/// Counts the values that exist.
struct Value {
    number: u64,
    there: Arc<AtomicUsize>,
}

impl Value {
    fn new(number: u64, there: &Arc<AtomicUsize>) -> Value {
        there.fetch_add(1, SeqCst);
        Value { number, there: there.clone() }
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.there.fetch_sub(1, SeqCst);
    }
}

fn number(value: Option<Arc<Value>>) -> Option<u64> {
    value.map(|value| value.number)
}

fn round(round: &Round, mut choice: Choice) {
    let score = round.score(0);
    let there = Arc::new(AtomicUsize::new(0));
    let mut verbs = Verbs::new(round.ground.fault);
    for _ in 0..8 {
        let mut chain = vec![round.ground.runtime.queue("specifics.0")];
        for level in 1..=choice.between(1..=6) {
            chain.push(Queue::builder(format!("specifics.{level}")).target(&chain[level - 1]).build());
        }
        levels(round, &chain, &there, &mut verbs, &mut choice);
        versions(round, &chain, &there, &mut verbs, &mut choice);
        round.stage("values that go with their queues");
        drop(chain);
        while there.load(SeqCst) > 0 {
            std::thread::yield_now();
        }
        score.verified(1);
    }
}

/// Each queue finds the nearest value: from outside, from a block, from a `sync`.
fn levels(round: &Round, chain: &[Queue], there: &Arc<AtomicUsize>, verbs: &mut Verbs, choice: &mut Choice) {
    let (score, group) = (round.score(0), Group::new());
    round.stage(format_args!("values up a chain of {} targets", chain.len()));
    let mut nearest = None;
    for (level, queue) in chain.iter().enumerate() {
        if choice.one_in(2) {
            nearest = Some(level as u64);
            let before = verbs.set_specific(queue, &LEVEL, Value::new(level as u64, there));
            score.expect(before.is_none(), || "a new queue had a value already".into());
        }
        let expected = nearest;
        let check = {
            let score = score.clone();
            move |found: Option<u64>, from: &str| {
                score
                    .expect(found == expected, || format!("from {from} of level {level}: {found:?}, not {expected:?}"));
                score.verified(1);
            }
        };
        check(number(queue.get_specific(&LEVEL)), "outside");
        check(queue.sync(|| number(LEVEL.current())), "a sync");
        group.submit(queue, move || check(number(LEVEL.current()), "a block"));
    }
    group.wait();
}

/// A value is replaced again and again. The version that blocks find never goes back.
fn versions(round: &Round, chain: &[Queue], there: &Arc<AtomicUsize>, verbs: &mut Verbs, choice: &mut Choice) {
    let score = round.score(0);
    let (root, leaf) = (&chain[0], &chain[chain.len() - 1]);
    let (last, group) = (Arc::new(AtomicU64::new(0)), Group::new());
    round.stage("a value that is replaced while blocks look for it");
    for version in 1..=choice.between(10..=60) as u64 {
        let before = number(verbs.set_specific(root, &VERSION, Value::new(version, there)));
        let expected = (version > 1).then(|| version - 1);
        score.expect(before == expected, || format!("version {version} replaced {before:?}, not {expected:?}"));
        let (last, score) = (last.clone(), score.clone());
        group.submit(leaf, move || {
            let found = number(VERSION.current()).unwrap_or(0);
            let before = last.swap(found, SeqCst);
            score.expect(found >= version.max(before), || {
                format!("version {found} was found after {before}, by a block that came after {version} was set")
            });
            score.verified(1);
        });
    }
    group.wait();
    score.expect(root.remove_specific(&VERSION).is_some(), || "a value was not there any more".into());
    score.expect(leaf.get_specific(&VERSION).is_none(), || "a value was found after it had been removed".into());
}
