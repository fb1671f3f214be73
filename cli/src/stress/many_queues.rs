//! A hundred thousand queues are made, used and dropped. Each runs its blocks, also after its last
//! handle is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::mpsc::channel;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;

pub(super) const FAMILY: Family = Family {
    name: "many-queues",
    checks: &[Check { name: "many-queues", counts: "queues that ran their blocks" }],
    place: Place::Alone,
    round,
};
const QUEUES: usize = 100_000;

fn round(round: &Round, mut choice: Choice) {
    let Some(own) = round.own_runtime() else { return };
    let score = round.score(0);
    // All alive at once in one round, dropped as they are made in the next.
    let keep = choice.one_in(2);
    let ran: Arc<Vec<AtomicU8>> = Arc::new((0..QUEUES).map(|_| AtomicU8::new(0)).collect());
    let (done, all_done) = channel::<()>();
    let mut kept = Vec::new();
    round.stage(format_args!("{QUEUES} queues"));
    for i in 0..QUEUES {
        let queue = own.runtime.queue("many");
        for expected in 0..2 {
            let (ran, done, score) = (ran.clone(), done.clone(), score.clone());
            queue.submit(move || {
                let before = ran[i].fetch_add(1, Relaxed);
                score.expect(before == expected, || {
                    format!("queue {i} of {QUEUES} ran block {before} before {expected}")
                });
                drop(done);
            });
        }
        if keep {
            kept.push(queue);
        }
    }
    drop(done);
    // Ends when the last block has run or was dropped.
    all_done.iter().for_each(drop);
    let whole = ran.iter().filter(|ran| ran.load(Relaxed) == 2).count();
    score.expect(whole == QUEUES, || format!("of {QUEUES} queues {whole} ran both of their blocks"));
    round.stage(format_args!("{} queues that are used again", kept.len()));
    for (i, queue) in kept.iter().enumerate() {
        let value = queue.sync(|| ran[i].load(Relaxed));
        score.expect(value == 2, || format!("queue {i} of {QUEUES} forgot what it had done"));
    }
    score.verified(whole);
}
