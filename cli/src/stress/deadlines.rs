//! Deadlines: a delayed block is not early, by either clock. A deadline of never does not come. A
//! wait gives up when its time has come and no sooner.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use singletrack::queues::{Semaphore, When};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "deadlines",
    checks: &[Check { name: "deadlines", counts: "points in time that were kept" }],
    place: Place::Beside,
    round,
};

fn round(round: &Round, mut choice: Choice) {
    let (runtime, score) = (&round.ground.runtime, round.score(0));
    let queue = runtime.queue("deadlines");
    let count = choice.between(50..=200);
    let mut verbs = Verbs::new(round.ground.fault);
    let (fired, all_fired) = channel();
    for _ in 0..count {
        let delay = Duration::from_micros(choice.between(0..=40_000) as u64);
        let (score, fired, by_the_wall) = (score.clone(), fired.clone(), choice.one_in(2));
        let (at, wall) = (Instant::now() + delay, SystemTime::now() + delay);
        verbs.submit_by(&queue, if by_the_wall { When::from(wall) } else { When::from(at) }, move || {
            let early = if by_the_wall { wall > SystemTime::now() } else { at > Instant::now() };
            score.expect(!early, || format!("a block for {delay:?} later, by_the_wall: {by_the_wall}, came early"));
            let _ = fired.send(());
        });
    }
    drop(fired);
    let never = queue.submit_after(When::NEVER, || ());
    round.stage(format_args!("{count} blocks for points in time"));
    let came = all_fired.iter().count();
    score.expect(came == count, || format!("of {count} blocks for later {came} came"));
    score.expect(never.cancel(), || "a block for never could not be cancelled: did it run?".into());
    let until = Instant::now() + Duration::from_micros(choice.between(0..=2_000) as u64);
    round.stage("a wait that must give up");
    let taken = Semaphore::new(0).wait_timeout(until);
    score.expect(!taken && Instant::now() >= until, || "a wait gave up before its time".into());
    score.verified(count + 2);
}
