//! Blocks that panic at random: each is counted, the queue goes on, and a waiting caller gets the
//! panic itself.
//!
//! The panics are unwound without the panic hook, because nobody wants to read thousands of them.
//! In every other family of the shared runtime a caller waits for each block that panics, so the
//! runtime's count must grow by exactly those made here.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use singletrack::queues::TaskError;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;

pub(super) const FAMILY: Family = Family {
    name: "panics",
    checks: &[Check { name: "panics", counts: "panics counted or carried, and blocks behind them that ran" }],
    place: Place::Beside,
    round,
};

/// The payload of a planned panic.
struct Planned(usize);

fn panic_as_planned(number: usize) -> ! {
    resume_unwind(Box::new(Planned(number)))
}

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let (queues, times) = (choice.between(1..=4), choice.between(100..=500));
    let queues: Vec<_> = (0..queues).map(|i| runtime.queue(format!("panics.{i}"))).collect();
    let before = runtime.stats().panics;
    let ran = Arc::new(AtomicUsize::new(0));
    let (mut planned, mut sound, mut carried) = (0, 0, 0);
    round.stage(format_args!("{times} blocks on {} queues, some of which panic", queues.len()));
    for number in 0..times {
        let queue = &queues[choice.between(0..=queues.len() - 1)];
        match choice.between(0..=9) {
            0..=2 => {
                planned += 1;
                queue.submit(move || panic_as_planned(number));
            }
            3 => {
                carried += 1;
                let caught = catch_unwind(AssertUnwindSafe(|| queue.sync(|| panic_as_planned(number))));
                let same =
                    caught.is_err_and(|payload| payload.downcast_ref::<Planned>().is_some_and(|p| p.0 == number));
                score.expect(same, || format!("the panic of sync {number} did not come back to its caller"));
            }
            4 => {
                carried += 1;
                let same = match queue.call(move || panic_as_planned(number)).wait() {
                    Err(TaskError::Panicked { payload, .. }) => {
                        payload.into_inner().downcast_ref::<Planned>().is_some_and(|p| p.0 == number)
                    }
                    _ => false,
                };
                score.expect(same, || format!("the panic of call {number} did not come to its task"));
            }
            _ => {
                sound += 1;
                let (ran, dwell) = (ran.clone(), choice.dwell());
                queue.submit(move || {
                    dwell.pass();
                    ran.fetch_add(1, Relaxed);
                });
            }
        }
    }
    round.stage(format_args!("{} queues after panics in their blocks", queues.len()));
    queues.iter().for_each(|queue| queue.sync(|| ()));
    let counted = runtime.stats().panics - before;
    score.expect(counted == planned as u64, || format!("{planned} blocks panicked, {counted} were counted"));
    let ran = ran.load(Relaxed);
    score.expect(ran == sound, || format!("{sound} blocks were among others that panic, {ran} of them ran"));
    score.verified(planned + carried + ran);
}
