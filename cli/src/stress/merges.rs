//! Sources that add deliver the exact sum, and sources that replace deliver the last value, also
//! when they are suspended meanwhile. The handler for the end runs once, after the last event.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};

use singletrack::queues::{Merge, Queue, Source};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "merges",
    checks: &[
        Check { name: "merged-sums", counts: "additions that were handed over" },
        Check { name: "last-values", counts: "bursts whose last value won" },
        Check { name: "source-end", counts: "sources that ended once, after the last event" },
    ],
    place: Place::Beside,
    round,
};
const SUMS: usize = 0;
const LAST: usize = 1;
const END: usize = 2;
const BURSTS: usize = 20;

fn round(round: &Round, mut choice: Choice) {
    sums(round, &mut choice);
    last_values(round, &mut choice);
    let mut verbs = Verbs::new(round.ground.fault);
    for _ in 0..32 {
        end(round, &mut choice, &mut verbs);
    }
}

fn queue(round: &Round, label: &'static str) -> Queue {
    round.ground.runtime.queue(label)
}

/// Suspends and resumes beside the threads that merge.
fn hold(source: &Source, choice: &mut Choice, score: &Score) {
    for _ in 0..choice.between(0..=5) {
        source.suspend();
        choice.dwell().pass();
        score.expect(source.resume().is_ok(), || "a suspension of a source was not counted".into());
    }
}

fn sums(round: &Round, choice: &mut Choice) {
    let (score, sum) = (round.score(SUMS), Arc::new(AtomicU64::new(0)));
    let handed = sum.clone();
    let queue = queue(round, "merges.sum");
    let source = Source::builder(&queue).merging(Merge::Add).build(move |sum| {
        handed.fetch_add(sum, SeqCst);
    });
    let mut all: Vec<_> = (0..choice.between(1..=4)).map(|_| Verbs::new(round.ground.fault)).collect();
    let mut expected = 0;
    for _ in 0..BURSTS {
        round.stage(format_args!("additions of {} threads", all.len()));
        let mut additions = 0;
        std::thread::scope(|scope| {
            for verbs in &mut all {
                let (times, value, dwell) = (choice.between(1..=50), choice.between(1..=1_000) as u64, choice.dwell());
                (additions, expected) = (additions + times, expected + times as u64 * value);
                let source = &source;
                scope.spawn(move || {
                    for _ in 0..times {
                        verbs.add(source, value);
                        dwell.pass();
                    }
                });
            }
            hold(&source, choice, score);
        });
        queue.sync(|| ());
        let handed = sum.load(SeqCst);
        score.expect(handed == expected, || format!("{expected} were added, {handed} were handed over"));
        score.verified(additions);
    }
}

fn last_values(round: &Round, choice: &mut Choice) {
    let (score, last) = (round.score(LAST), Arc::new(AtomicU64::new(0)));
    let (handed, on) = (last.clone(), score.clone());
    let queue = queue(round, "merges.last");
    let source = Source::builder(&queue).merging(Merge::Replace).build(move |value| {
        let before = handed.swap(value, SeqCst);
        on.expect(before < value, || format!("value {value} was handed over after {before}"));
    });
    let mut verbs = Verbs::new(round.ground.fault);
    let mut value = 0;
    for _ in 0..BURSTS {
        round.stage("a burst of values that replace one another");
        std::thread::scope(|scope| {
            let (times, dwell, source, verbs, value) =
                (choice.between(1..=20), choice.dwell(), &source, &mut verbs, &mut value);
            scope.spawn(move || {
                for _ in 0..times {
                    *value += 1;
                    verbs.replace(source, *value);
                    dwell.pass();
                }
            });
            hold(source, choice, score);
        });
        queue.sync(|| ());
        let handed = last.load(SeqCst);
        score.expect(handed == value, || format!("the last value was {value}, handed over was {handed}"));
        score.verified(1);
    }
}

/// How a source comes to its end.
#[derive(Clone, Copy)]
enum By {
    Cancel,
    CancelInHandler,
    LastHandle,
}

fn end(round: &Round, choice: &mut Choice, verbs: &mut Verbs) {
    let (score, ends) = (round.score(END), Arc::new(AtomicUsize::new(0)));
    let by = [By::Cancel, By::CancelInHandler, By::LastHandle][choice.between(0..=2)];
    let queue = queue(round, "merges.end");
    let (ended, on, own) = (ends.clone(), score.clone(), Arc::new(OnceLock::<Source>::new()));
    let cancels = own.clone();
    let told = ends.clone();
    let builder = verbs.on_cancel(Source::builder(&queue), move || _ = told.fetch_add(1, SeqCst));
    let source = builder.merging(Merge::Add).build(move |_| {
        on.expect(ended.load(SeqCst) == 0, || "a handler ran after the end of its source".into());
        if let Some(own) = cancels.get() {
            own.cancel();
        }
    });
    round.stage("the end of a source");
    if matches!(by, By::CancelInHandler) {
        own.get_or_init(|| source.clone());
    }
    drop(own);
    std::thread::scope(|scope| {
        let merger = source.clone();
        scope.spawn(move || (0..20).for_each(|_| merger.merge(1)));
        hold(&source, choice, score);
        if choice.one_in(4) {
            source.suspend();
        }
        match by {
            By::Cancel => (0..choice.between(1..=3)).for_each(|_| source.cancel()),
            By::CancelInHandler => while source.resume().is_ok() {},
            By::LastHandle => {}
        }
        drop(source);
    });
    // The run of the last event may be what submits the end.
    queue.sync(|| ());
    queue.sync(|| ());
    let ends = ends.load(SeqCst);
    score.expect(ends == 1, || format!("a source ended {ends} times"));
    score.verified(1);
}
