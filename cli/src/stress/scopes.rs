//! A scope ends when each of its pieces has run once, and while a block waits for its pieces
//! nothing runs in the middle of it.
//!
//! Several blocks fork at once, so that workers take pieces of one while they wait for those of
//! another. Meanwhile plain blocks are submitted, which would be the ones to run in the middle.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use singletrack::queues::{Group, Queue, join, scope};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "scopes",
    checks: &[
        Check { name: "scopes", counts: "pieces that ran once" },
        Check { name: "scope-alone", counts: "blocks that nothing ran in the middle of" },
    ],
    place: Place::Beside,
    round,
};
const PIECES: usize = 0;
const ALONE: usize = 1;

thread_local! {
    /// This thread is in a block of ours.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` as a block that expects its thread to be in no other one.
fn block<R>(score: &Score, f: impl FnOnce() -> R) -> R {
    let inside = INSIDE.replace(true);
    score.expect(!inside, || "a block ran in the middle of another one, which waited for its pieces".to_owned());
    let result = f();
    INSIDE.set(inside);
    score.verified(1);
    result
}

/// The leaves of a tree whose nodes fork in alternating ways.
fn leaves(depth: u32) -> usize {
    if depth == 0 {
        return 1;
    }
    if depth.is_multiple_of(2) {
        let (left, right) = join(|| leaves(depth - 1), || leaves(depth - 1));
        return left + right;
    }
    let mut each = [0; 2];
    scope(|scope| each.iter_mut().for_each(|each| scope.spawn(move || *each = leaves(depth - 1))));
    each.iter().sum()
}

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(PIECES));
    let n = choice.between(0..=3_000);
    round.stage(format_args!("a scope of {n} pieces"));
    let runs: Vec<AtomicU8> = (0..n).map(|_| AtomicU8::new(0)).collect();
    let verbs = Verbs::new(round.ground.fault);
    runtime.scope(|scope| {
        for (number, runs) in runs.iter().enumerate() {
            verbs.spawn_in(scope, (number, n), move || _ = runs.fetch_add(1, Relaxed));
        }
    });
    if let Some((number, runs)) = runs.iter().map(|runs| runs.load(Relaxed)).enumerate().find(|(_, runs)| *runs != 1) {
        score.broken(|| format!("piece {number} of a scope of {n} ran {runs} times"));
    }
    score.verified(n);

    let (forks, depth) = (choice.between(1..=6), choice.between(1..=9) as u32);
    round.stage(format_args!("{forks} blocks that fork {depth} times"));
    let (group, plain) = (Group::new(), runtime.queue("scopes.plain"));
    let tasks: Vec<_> = (0..forks)
        .map(|i| {
            let (alone, group, plain) = (round.score(ALONE).clone(), group.clone(), plain.clone());
            let mut verbs = Verbs::new(round.ground.fault);
            runtime.queue(format!("scopes.{i}")).call(move || fork(&alone, &group, &plain, &mut verbs, depth))
        })
        .collect();
    for task in tasks {
        match task.wait() {
            Ok(found) => score.expect(found == 1 << depth, || format!("a tree of {} leaves had {found}", 1 << depth)),
            Err(error) => score.broken(|| format!("a block that forks did not come to its end: {error}")),
        }
        score.verified(1 << depth);
    }
    group.wait();
}

/// A block that forks, and leaves plain blocks behind.
fn fork(score: &Arc<Score>, group: &Group, plain: &Queue, verbs: &mut Verbs, depth: u32) -> usize {
    block(score, || {
        for _ in 0..16 {
            let (score, member) = (score.clone(), group.clone());
            group.enter();
            verbs.submit_beside_a_wait(plain, move || {
                block(&score, || ());
                member.leave().expect("entered before it was submitted");
            });
        }
        leaves(depth)
    })
}
