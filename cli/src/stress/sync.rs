//! `sync` borrows, returns a value and excludes, contended by threads and by workers, mixed with
//! submits.
//!
//! Every operation adds one to a counter that only its queue may touch. The counter is read and
//! written in two steps, so a second one at the same time would lose an addition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use singletrack::queues::{Isolated, Queue, SyncError, Task, TrySyncError};

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};

pub(super) const FAMILY: Family = Family {
    name: "sync",
    checks: &[Check { name: "sync", counts: "calls that returned their value, and submits among them" }],
    place: Place::Beside,
    round,
};
/// Far more than any call takes.
const LONG: Duration = Duration::from_secs(60);

/// The operations of one caller.
#[derive(Default)]
struct Done {
    operations: usize,
    /// The closure of a `try_sync` came back, or a `sync_timeout` ran out.
    in_vain: usize,
}

fn step(counter: &mut usize, dwell: Dwell) -> usize {
    let before = *counter;
    dwell.pass();
    *counter = before + 1;
    before
}

fn call(on: &Isolated<usize>, queue: &Queue, score: &Score, choice: &mut Choice, times: usize) -> Done {
    let (mut done, mut last) = (Done::default(), None);
    // Runs beside the counter on the same queue, and touches only what it borrows.
    let mut borrowed = 0;
    for _ in 0..times {
        let dwell = choice.dwell();
        match choice.between(0..=9) {
            0..=4 => {
                let value = on.sync(|counter| step(counter, dwell));
                score.expect(last.is_none_or(|last| last < value), || {
                    format!("sync returned {value} after {last:?} to the same caller of a counter that only grows")
                });
                last = Some(value);
                done.operations += 1;
            }
            5..=6 => {
                on.submit(move |counter| {
                    step(counter, dwell);
                });
                done.operations += 1;
            }
            7 => {
                let before = borrowed;
                let value = queue.sync(|| {
                    borrowed += 1;
                    borrowed
                });
                score.expect(value == before + 1 && borrowed == value, || {
                    format!("a borrowing sync returned {value} and left {borrowed} where {} was due", before + 1)
                });
            }
            8 => match queue.try_sync(|| dwell.pass()) {
                Ok(()) => {}
                Err(TrySyncError::Busy(_)) => done.in_vain += 1,
                Err(error) => score.broken(|| format!("try_sync reported a deadlock where there was none: {error}")),
            },
            _ => {
                let patience = if choice.one_in(2) { LONG } else { Duration::from_micros(50) };
                match queue.sync_timeout(patience, || dwell.pass()) {
                    Ok(()) => {}
                    Err(SyncError::Timeout { .. }) if patience != LONG => done.in_vain += 1,
                    Err(error) => score.broken(|| format!("sync_timeout failed without need: {error}")),
                }
            }
        }
    }
    done
}

fn round(round: &Round, mut choice: Choice) {
    let runtime = &round.ground.runtime;
    let counter = Isolated::new(&runtime.queue("sync.counter"), 0usize);
    let (threads, blocks, times) = (choice.between(1..=3), choice.between(1..=3), choice.between(200..=1_000));
    let total = Arc::new(AtomicUsize::new(0));
    let score = round.score(0);

    round.stage(format_args!("{threads} threads and {blocks} blocks that call sync {times} times each"));
    let callers: Vec<Task<()>> = (0..blocks)
        .map(|i| {
            let (counter, total, score, mut choice) = (counter.clone(), total.clone(), score.clone(), choice.fork());
            runtime.queue(format!("sync.caller.{i}")).call(move || {
                let done = call(&counter, counter.queue(), &score, &mut choice, times);
                total.fetch_add(done.operations, Relaxed);
                score.verified(times - done.in_vain);
            })
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (counter, total, mut choice) = (&counter, &total, choice.fork());
            scope.spawn(move || {
                let done = call(counter, counter.queue(), score, &mut choice, times);
                total.fetch_add(done.operations, Relaxed);
                score.verified(times - done.in_vain);
            });
        }
    });
    for caller in callers {
        if let Err(error) = caller.wait() {
            score.broken(|| format!("a block that calls sync did not come to its end: {error}"));
        }
    }
    let (counted, due) = (counter.sync(|counter| *counter), total.load(Relaxed));
    score.expect(counted == due, || format!("{due} additions were made on one queue, {counted} are left"));
}
