//! `apply` calls its closure once for each number, also nested, in blocks of queues, and in ranges.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use singletrack::queues::apply_chunks;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "apply",
    checks: &[Check { name: "apply", counts: "numbers that were called once" }],
    place: Place::Beside,
    round,
};

/// How often each number was called.
struct Calls(Vec<AtomicU8>);

impl Calls {
    fn new(n: usize) -> Calls {
        Calls((0..n).map(|_| AtomicU8::new(0)).collect())
    }

    fn call(&self, number: usize) {
        self.0[number].fetch_add(1, Relaxed);
    }

    fn audit(&self, score: &Score, how: &str) {
        if let Some(number) = self.0.iter().position(|calls| calls.load(Relaxed) != 1) {
            let (calls, n) = (self.0[number].load(Relaxed), self.0.len());
            score.broken(|| format!("{how} of {n} numbers called number {number} {calls} times"));
        }
        score.verified(self.0.len());
    }
}

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let n = choice.between(0..=5_000);
    round.stage(format_args!("an apply of {n} numbers"));
    let calls = Calls::new(n);
    Verbs::new(round.ground.fault).apply(runtime, n, |number| calls.call(number));
    calls.audit(score, "an apply");

    let (outer, inner) = (choice.between(1..=12), choice.between(1..=200));
    round.stage(format_args!("an apply of {outer} with one of {inner} in each"));
    let calls = Calls::new(outer * inner);
    runtime.apply(outer, |i| runtime.apply(inner, |j| calls.call(i * inner + j)));
    calls.audit(score, "a nested apply");

    // From blocks, several at a time, so that the helpers of one meet those of the others.
    let tasks: Vec<_> = (0..choice.between(1..=3))
        .map(|i| {
            let (n, score) = (choice.between(1..=3_000), score.clone());
            runtime.queue(format!("apply.{i}")).call(move || {
                let calls = Arc::new(Calls::new(n));
                apply_chunks(n, |range: Range<usize>| range.for_each(|number| calls.call(number)));
                calls.audit(&score, "an apply in ranges, from a block,");
            })
        })
        .collect();
    round.stage(format_args!("{} blocks that apply", tasks.len()));
    for task in tasks {
        if let Err(error) = task.wait() {
            score.broken(|| format!("a block that applies did not come to its end: {error}"));
        }
    }
}
