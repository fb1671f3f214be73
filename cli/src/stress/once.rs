//! A value is made once, whichever thread comes first and however many come at once. After a panic
//! the next one makes it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use singletrack::queues::Once;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "once",
    checks: &[Check { name: "once", counts: "times that a value was asked for" }],
    place: Place::Beside,
    round,
};

/// One value, and what happened to it.
#[derive(Default)]
struct Made {
    once: Once<usize>,
    times: AtomicUsize,
    /// Its first initializer panics.
    panics: AtomicBool,
}

fn ask(all: &[Made], verbs: &mut Verbs, choice: &mut Choice, score: &Score) {
    let first = choice.between(0..=all.len() - 1);
    for number in (first..all.len()).chain(0..first) {
        let (made, dwell) = (&all[number], choice.dwell());
        let value = catch_unwind(AssertUnwindSafe(|| {
            *verbs.once(&made.once, || {
                dwell.pass();
                if made.panics.swap(false, SeqCst) {
                    // Quietly: no hook is called, nothing is printed.
                    std::panic::resume_unwind(Box::new(()));
                }
                made.times.fetch_add(1, SeqCst);
                number
            })
        }));
        if let Ok(value) = value {
            score.expect(value == number, || format!("a value made once was {value} instead of {number}"));
        }
        score.verified(1);
    }
}

fn round(round: &Round, mut choice: Choice) {
    let (threads, values, score) = (choice.between(2..=4), choice.between(20..=200), round.score(0));
    let all: Vec<Made> = (0..values).map(|_| Made::default()).collect();
    for made in &all {
        made.panics.store(choice.one_in(8), SeqCst);
    }
    round.stage(format_args!("{threads} threads that ask for {values} values"));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (all, mut choice) = (&all, choice.fork());
            let mut verbs = Verbs::new(round.ground.fault);
            scope.spawn(move || ask(all, &mut verbs, &mut choice, score));
        }
    });
    for (number, made) in all.iter().enumerate() {
        let times = made.times.load(SeqCst);
        // If one panicked, all others came later or found the value made.
        score.expect(times == 1, || format!("a value for {threads} threads was made {times} times"));
        score.expect(made.once.get() == Some(&number), || "a value that was made is not there".into());
    }
}
