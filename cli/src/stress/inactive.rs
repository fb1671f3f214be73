//! A queue that was built inactive runs nothing before `activate`, and everything in order
//! afterwards. That holds however many threads activate it at once, and whether or not it is also
//! suspended or loses its last handle.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use singletrack::queues::{Group, Queue, Runtime};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "inactive",
    checks: &[Check { name: "inactive", counts: "blocks that ran in order after their queue was activated" }],
    place: Place::Beside,
    round,
};

/// Gives every free worker the time to begin something.
fn let_others_run(runtime: &Runtime, choice: &mut Choice) {
    for _ in 0..choice.between(1..=3) {
        // An error would mean that the runtime is gone, which other checks report.
        let _ = runtime.queue("inactive.other").call(|| ()).wait();
    }
}

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let mut verbs = Verbs::new(round.ground.fault);
    let target = runtime.queue("inactive.target");
    for number in 0..32 {
        let builder = Queue::builder(format!("inactive.{number}"));
        let queue = verbs.inactive(if choice.one_in(3) { builder.target(&target) } else { builder.runtime(runtime) });
        let (begun, group, blocks) = (Arc::new(AtomicUsize::new(0)), Group::new(), choice.between(1..=60));
        for block in 0..blocks {
            let (begun, score) = (begun.clone(), score.clone());
            group.submit(&queue, move || {
                let before = begun.fetch_add(1, SeqCst);
                score.expect(before == block, || format!("block {block} ran when block {before} was due"));
            });
        }
        let_others_run(runtime, &mut choice);
        let early = begun.load(SeqCst);
        score.expect(early == 0, || format!("{early} blocks began before their queue was activated"));
        round.stage(format_args!("{blocks} blocks of an inactive queue"));
        if choice.one_in(8) {
            drop(queue);
        } else {
            let suspended = choice.one_in(3);
            if suspended {
                queue.suspend();
            }
            std::thread::scope(|scope| {
                for _ in 0..choice.between(1..=3) {
                    scope.spawn(|| queue.activate());
                }
                if suspended {
                    scope.spawn(|| score.expect(queue.resume().is_ok(), || "a suspension was not counted".into()));
                }
            });
        }
        group.wait();
        let ran = begun.load(SeqCst);
        score.expect(ran == blocks, || format!("{ran} of {blocks} blocks of an inactive queue ran"));
        score.verified(ran);
    }
}
