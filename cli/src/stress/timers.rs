//! A timer's block is never early, never lost, runs once, and not at all after a `cancel` that
//! reported success.
//!
//! Lateness is not judged: on a loaded machine nobody can promise it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "timers",
    checks: &[Check { name: "timers", counts: "timers that fired in time or were cancelled" }],
    place: Place::Beside,
    round,
};

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let queues: Vec<_> = (0..choice.between(1..=4)).map(|i| runtime.queue(format!("timers.{i}"))).collect();
    let count = choice.between(100..=600);
    let runs: Arc<Vec<AtomicU8>> = Arc::new((0..count).map(|_| AtomicU8::new(0)).collect());
    let mut verbs = Verbs::new(round.ground.fault);
    let (fired, all_fired) = channel();
    let mut timers = Vec::new();
    for number in 0..count {
        let delay = Duration::from_micros(choice.between(0..=40_000) as u64);
        let (runs, fired, score, set) = (runs.clone(), fired.clone(), score.clone(), Instant::now());
        let queue = &queues[choice.between(0..=queues.len() - 1)];
        timers.push(verbs.submit_after(queue, delay, move || {
            let after = set.elapsed();
            score.expect(after >= delay, || format!("a timer of {delay:?} fired after {after:?}"));
            let before = runs[number].fetch_add(1, SeqCst);
            score.expect(before == 0, || "a timer fired twice".into());
            let _ = fired.send(());
        }));
    }
    drop(fired);
    round.stage(format_args!("{count} timers, some of which are cancelled"));
    let mut taken_back = Vec::new();
    for (number, timer) in timers.iter().enumerate() {
        if choice.one_in(3) && timer.cancel() {
            taken_back.push(number);
            score.expect(!timer.cancel(), || "a timer was cancelled twice with success".into());
        }
    }
    // Ends when the last timer has fired or its block was dropped.
    let fired = all_fired.iter().count();
    let due = count - taken_back.len();
    score.expect(fired == due, || {
        format!("{count} timers, {} of them cancelled in time: {fired} fired", taken_back.len())
    });
    let risen = taken_back.iter().filter(|&&number| runs[number].load(SeqCst) > 0).count();
    score.expect(risen == 0, || format!("{risen} timers fired after a cancel that said they would not"));
    score.expect(timers.iter().all(|timer| !timer.cancel()), || "a timer that has fired could be cancelled".into());
    score.verified(count);
}
