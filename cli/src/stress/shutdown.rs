//! A runtime that is shut down in mid-flight: every accepted block either ran or was reported as
//! dropped, exactly.
//!
//! Producers submit from threads until they are refused, blocks submit more blocks, queues are
//! suspended, and timers wait. Then the runtime ends with a deadline that is sometimes too short. A
//! block's ticket records on drop whether it had run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use singletrack::queues::Queue;

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;

pub(super) const FAMILY: Family = Family {
    name: "shutdown",
    checks: &[Check { name: "shutdown", counts: "blocks that ran or were reported as dropped" }],
    place: Place::Alone,
    round,
};

/// The fates of the blocks.
#[derive(Default)]
struct Tally {
    made: AtomicU64,
    ran: AtomicU64,
    dropped: AtomicU64,
}

/// Travels with a block.
struct Ticket {
    tally: Arc<Tally>,
    ran: bool,
}

impl Ticket {
    fn new(tally: &Arc<Tally>) -> Ticket {
        tally.made.fetch_add(1, SeqCst);
        Ticket { tally: tally.clone(), ran: false }
    }

    fn run(mut self) {
        self.ran = true;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let end = if self.ran { &self.tally.ran } else { &self.tally.dropped };
        end.fetch_add(1, SeqCst);
    }
}

/// Submits until it is refused.
fn produce(queues: &[Queue], tally: &Arc<Tally>, choice: &mut Choice) {
    loop {
        let (dwell, ticket) = (choice.dwell(), Ticket::new(tally));
        let queue = &queues[choice.between(0..=queues.len() - 1)];
        // What this block submits in turn, if it runs.
        let next = choice.one_in(4).then(|| (queues[0].clone(), tally.clone()));
        if choice.one_in(50) {
            // It fires, is dropped by the shutdown, or is refused.
            drop(queue.submit_after(Duration::from_micros(choice.between(0..=3_000) as u64), move || ticket.run()));
            continue;
        }
        let taken = queue.try_submit(move || {
            dwell.pass();
            if let Some((queue, tally)) = next {
                let ticket = Ticket::new(&tally);
                queue.submit(move || ticket.run());
            }
            ticket.run();
        });
        if taken.is_err() {
            return;
        }
    }
}

fn round(round: &Round, mut choice: Choice) {
    let Some(own) = round.own_runtime() else { return };
    let (runtime, score) = (&own.runtime, round.score(0));
    let queues: Vec<_> = (0..choice.between(2..=6)).map(|i| runtime.queue(format!("shutdown.{i}"))).collect();
    let held = choice.one_in(2);
    if held {
        queues[1].suspend();
    }
    let (tally, enough) = (Arc::new(Tally::default()), choice.between(100..=10_000) as u64);
    let deadline = [0, 1, 10, 10_000].map(Duration::from_millis)[choice.between(0..=3)];
    round.stage(format_args!("a shutdown with a deadline of {deadline:?} under load"));
    let producers = choice.between(1..=3);
    let report = std::thread::scope(|scope| {
        for _ in 0..producers {
            let (queues, tally, mut choice) = (&queues, &tally, choice.fork());
            scope.spawn(move || produce(queues, tally, &mut choice));
        }
        while tally.made.load(SeqCst) < enough {
            std::thread::yield_now();
        }
        own.shutdown(deadline)
    });
    round.stage("threads of a runtime that was shut down, which should end,");
    while runtime.stats().threads > 0 {
        std::thread::yield_now();
    }
    let stats = runtime.stats();
    let [made, ran, dropped] = [&tally.made, &tally.ran, &tally.dropped].map(|count| count.load(SeqCst));
    score.expect(made == ran + dropped, || {
        format!("of {made} blocks {ran} ran and {dropped} were dropped: {} are neither", made.abs_diff(ran + dropped))
    });
    score.expect(dropped == stats.dropped + stats.rejected, || {
        format!(
            "{dropped} blocks did not run; {} were said to be dropped and {} refused ({report})",
            stats.dropped, stats.rejected
        )
    });
    // A submission that was on its way when the shutdown returned is dropped after the report, and
    // counted: at most one of each producer. What a stuck block holds is dropped when that ends.
    let late = stats.dropped.saturating_sub(report.dropped);
    score.expect(report.dropped <= stats.dropped && (late <= producers as u64 || !report.stuck.is_empty()), || {
        format!(
            "{} blocks were dropped, the report of the shutdown knows of {} ({report})",
            stats.dropped, report.dropped
        )
    });
    let known = report.stuck.iter().all(|stuck| report.deadline_passed && stuck.label.starts_with("shutdown."));
    score.expect(known && report.suspended.len() <= usize::from(held), || {
        format!("a shutdown reported blocks or queues that were not stuck: {report}")
    });
    score.verified(usize::try_from(made).unwrap_or(usize::MAX));
}
