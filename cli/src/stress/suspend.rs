//! Storms of suspend and resume beside submits: nothing begins while a queue is suspended, and
//! nothing is lost or out of order.
//!
//! A holder suspends, reads how many blocks have begun, lets others have the processor, and reads
//! again: at most the one block that was on its way may have begun. After the storm the queue was
//! resumed as often as suspended, which one more `resume` must report.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use singletrack::queues::Queue;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "suspend",
    checks: &[Check { name: "suspend", counts: "blocks in order and holds in which nothing began" }],
    place: Place::Beside,
    round,
};

fn hold(queue: &Queue, begun: &AtomicUsize, score: &Score, verbs: &mut Verbs, choice: &mut Choice, times: usize) {
    for _ in 0..times {
        let deep = choice.between(1..=3);
        (0..deep).for_each(|_| queue.suspend());
        let at_first = begun.load(SeqCst);
        (0..choice.between(0..=4)).for_each(|_| std::thread::yield_now());
        let later = begun.load(SeqCst);
        score.expect(later <= at_first + 1, || {
            format!("{} blocks began while their queue was suspended", later - at_first)
        });
        for _ in 0..deep {
            if let Err(error) = verbs.resume(queue) {
                score.broken(|| format!("a resume for each suspend, and yet: {error}"));
            }
        }
        score.verified(1);
    }
}

fn round(round: &Round, mut choice: Choice) {
    let queue = round.ground.runtime.queue("suspend");
    let (holders, times, blocks) = (choice.between(1..=3), choice.between(50..=300), choice.between(500..=3_000));
    let begun = Arc::new(AtomicUsize::new(0));
    let score = round.score(0);
    round.stage(format_args!("{blocks} blocks and {holders} threads that suspend and resume {times} times each"));
    std::thread::scope(|scope| {
        for _ in 0..holders {
            let (queue, begun, mut choice) = (&queue, &begun, choice.fork());
            let mut verbs = Verbs::new(round.ground.fault);
            scope.spawn(move || hold(queue, begun, score, &mut verbs, &mut choice, times));
        }
        for number in 0..blocks {
            let (begun, score, dwell) = (begun.clone(), score.clone(), choice.dwell());
            queue.submit(move || {
                let before = begun.fetch_add(1, SeqCst);
                score.expect(before == number, || format!("block {number} ran when block {before} was due"));
                dwell.pass();
            });
        }
    });
    let mut lost = 0;
    while queue.resume().is_ok() {
        lost += 1;
    }
    score.expect(lost == 0, || {
        format!("after a resume for each suspend the queue was still held: {lost} resumes were lost")
    });
    round.stage(format_args!("{blocks} blocks after a storm of suspend and resume"));
    queue.sync(|| ());
    let ran = begun.load(SeqCst);
    score.expect(ran == blocks, || format!("{blocks} blocks were submitted to a queue that was held, {ran} ran"));
    score.verified(ran);
}
