//! A ticker is never early, and its fired and missed ticks together are the ticks that were due.
//!
//! Each call gets a number of ticks. Their sum must never be ahead of the clock. At a call that
//! begins after some moment it must be at least the number due by then, also when the ticker was
//! suspended or its queue busy. Lateness is not judged.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use singletrack::queues::{Queue, Ticker};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::{Check, locked};
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "tickers",
    checks: &[
        Check { name: "tickers", counts: "ticks that were not early" },
        Check { name: "ticks-counted", counts: "ticks, fired or missed, that were reported" },
    ],
    place: Place::Beside,
    round,
};
const EARLY: usize = 0;
const COUNTED: usize = 1;

/// A ticker, and what it reported.
struct Clock {
    queue: Queue,
    ticker: Ticker,
    interval: Duration,
    /// It was made between these two.
    made: [Instant; 2],
    /// The sum after each call.
    sums: Arc<Mutex<Vec<u64>>>,
}

fn due(begin: Instant, end: Instant, interval: Duration) -> u64 {
    (end.saturating_duration_since(begin).as_nanos() / interval.as_nanos()) as u64
}

fn round(round: &Round, mut choice: Choice) {
    let queues: Vec<_> =
        (0..choice.between(1..=3)).map(|i| round.ground.runtime.queue(format!("tickers.{i}"))).collect();
    let mut verbs = Verbs::new(round.ground.fault);
    let clocks: Vec<Clock> = (0..16)
        .map(|_| {
            let interval = Duration::from_micros(choice.between(200..=1_500) as u64);
            let sums: Arc<Mutex<Vec<u64>>> = Arc::default();
            let (all, score, before) = (sums.clone(), round.score(EARLY).clone(), Instant::now());
            let queue = &queues[choice.between(0..=queues.len() - 1)];
            let ticker = verbs.ticker(queue, interval, move |ticks| {
                let most = due(before, Instant::now(), interval);
                let mut all = locked(&all);
                let sum = all.last().copied().unwrap_or(0) + ticks;
                score.expect(sum <= most, || format!("{sum} ticks of {interval:?} came when {most} were due"));
                score.expect(ticks > 0, || "a ticker called for no tick".into());
                all.push(sum);
            });
            Clock { queue: queue.clone(), ticker, interval, made: [before, Instant::now()], sums }
        })
        .collect();
    round.stage(format_args!("{} tickers, some of them suspended", clocks.len()));
    for _ in 0..choice.between(5..=30) {
        let clock = &clocks[choice.between(0..=clocks.len() - 1)];
        clock.ticker.suspend();
        std::thread::sleep(Duration::from_micros(choice.between(0..=2_000) as u64));
        round.score(COUNTED).expect(clock.ticker.resume().is_ok(), || "a suspension was not counted".into());
    }
    for clock in &clocks {
        audit(round, clock);
    }
}

/// At a call that begins after this very moment, all ticks that are due now must be reported.
fn audit(round: &Round, clock: &Clock) {
    let queue = &clock.queue;
    round.stage(format_args!("the next tick of {:?}", clock.interval));
    let (calls, at) = queue.sync(|| (locked(&clock.sums).len(), Instant::now()));
    while locked(&clock.sums).len() <= calls {
        std::thread::yield_now();
    }
    let told = locked(&clock.sums)[calls];
    let least = due(clock.made[1], at, clock.interval);
    round.score(COUNTED).expect(told >= least, || {
        format!("{told} ticks of {:?} were reported, fired or missed, when {least} were due", clock.interval)
    });
    clock.ticker.cancel();
    let ended = queue.sync(|| locked(&clock.sums).len());
    queue.sync(|| ());
    let later = locked(&clock.sums).len();
    round.score(EARLY).expect(later == ended, || "a ticker ticked after it was cancelled".into());
    for check in [EARLY, COUNTED] {
        round.score(check).verified(told as usize);
    }
}
