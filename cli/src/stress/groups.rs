//! A group releases its waiters and submits each notify once, when all its blocks have ended: not
//! before, and not twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::time::Duration;

use singletrack::queues::Group;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "groups",
    checks: &[Check { name: "groups", counts: "blocks that their group waited for, and notifies" }],
    place: Place::Beside,
    round,
};

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let queues: Vec<_> = (0..choice.between(1..=6)).map(|i| runtime.queue(format!("groups.{i}"))).collect();
    let told_on = runtime.queue("groups.notify");
    // The same group again and again: it may become busy after it was empty.
    let group = Group::new();
    let mut verbs = Verbs::new(round.ground.fault);
    for _ in 0..choice.between(5..=30) {
        let (blocks, notifies) = (choice.between(1..=100), choice.between(1..=3));
        let ended = Arc::new(AtomicUsize::new(0));
        let (tell, told) = channel();
        // Holds the group until everything is in place.
        group.enter();
        for _ in 0..notifies {
            let (ended, tell) = (ended.clone(), tell.clone());
            group.notify(&told_on, move || {
                // The receiver lives until the last one has sent.
                let _ = tell.send(ended.load(SeqCst));
            });
        }
        drop(tell);
        for _ in 0..blocks {
            let (ended, dwell) = (ended.clone(), choice.dwell());
            verbs.submit_in(&group, &queues[choice.between(0..=queues.len() - 1)], move || {
                dwell.pass();
                ended.fetch_add(1, SeqCst);
            });
        }
        score.expect(!group.wait_timeout(Duration::ZERO), || "a group that was entered says that it is empty".into());
        score.expect(told.try_recv().is_err(), || "a group notified before its last block had left".into());
        score.expect(group.leave().is_ok(), || "a group that was entered could not be left".into());
        round.stage(format_args!("a group of {blocks} blocks"));
        group.wait();
        let now = ended.load(SeqCst);
        score.expect(now == blocks, || format!("a group of {blocks} blocks let its waiter go when {now} had ended"));
        round.stage(format_args!("{notifies} notifies of a group that is empty"));
        // Ends when the last notify has run or was dropped.
        let told: Vec<usize> = told.iter().collect();
        score.expect(told.len() == notifies, || format!("of {notifies} notifies of a group {} ran", told.len()));
        score.expect(told.iter().all(|&ended| ended == blocks), || {
            format!("a notify of a group of {blocks} blocks ran when {told:?} had ended")
        });
        score.verified(blocks + notifies);
    }
    score.expect(group.leave().is_err(), || "a group was left more often than entered, and did not say so".into());
}
