//! One at a time, in order, each exactly once: a ledger of numbered blocks.
//!
//! Threads, and blocks on the workers, submit tickets to a few queues. A block notes whether
//! another one is in its queue, whether its submitter's previous ticket came before it, and that
//! its ticket was used. The ledger is read when all queues are empty.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::channel;

use super::choice::{Choice, Dwell};
use super::round::{Family, Place, Round};
use super::score::{Check, Score};
use super::subject::Subject;

pub(super) const FAMILY: Family = Family {
    name: "ledger",
    checks: &[
        Check { name: "one-at-a-time", counts: "blocks that had their queue for themselves" },
        Check { name: "order", counts: "blocks behind the previous one of their submitter" },
        Check { name: "no-loss", counts: "submitted blocks that ran" },
        Check { name: "no-duplicate", counts: "blocks that ran once" },
    ],
    place: Place::Beside,
    round,
};
const ONE: usize = 0;
const ORDER: usize = 1;
const LOSS: usize = 2;
const DUPLICATE: usize = 3;

/// The part of one another that the blocks of one queue see. Relaxed throughout: the queue itself
/// must order them.
struct Lane {
    /// One more than the ticket of the block inside, or 0.
    inside: AtomicU64,
    /// One more than the last number of each submitter.
    last: Vec<AtomicU64>,
}

struct Ledger {
    lanes: Vec<Lane>,
    runs: Vec<AtomicU8>,
    one: Arc<Score>,
    order: Arc<Score>,
}

impl Ledger {
    fn block(&self, lane: usize, submitter: usize, number: u64, ticket: usize, dwell: Dwell) {
        let on = &self.lanes[lane];
        let before = on.inside.swap(ticket as u64 + 1, Relaxed);
        self.one.expect(before == 0, || {
            format!("block {ticket} began on queue {lane} while block {} was running there", before - 1)
        });
        let last = on.last[submitter].load(Relaxed);
        self.order.expect(last <= number + 1, || {
            format!("submitter {submitter}'s block {number} ran on queue {lane} after its block {}", last - 1)
        });
        on.last[submitter].store(number + 1, Relaxed);
        dwell.pass();
        self.runs[ticket].fetch_add(1, Relaxed);
        on.inside.store(0, Relaxed);
    }
}

fn round(round: &Round, mut choice: Choice) {
    let (queues, submitters, each) = (choice.between(1..=4), choice.between(2..=4), choice.between(400..=2_000));
    let ledger = Arc::new(Ledger {
        lanes: (0..queues)
            .map(|_| Lane { inside: AtomicU64::new(0), last: (0..submitters).map(|_| AtomicU64::new(0)).collect() })
            .collect(),
        runs: (0..submitters * each).map(|_| AtomicU8::new(0)).collect(),
        one: round.score(ONE).clone(),
        order: round.score(ORDER).clone(),
    });
    let fault = round.ground.fault;
    let runtime = &round.ground.runtime;
    let subjects: Vec<_> = (0..queues).map(|q| Subject::new(runtime, format!("ledger.{q}"), fault)).collect();

    round.stage(format_args!("{submitters} submitters of {each} blocks to {queues} queues"));
    let (ended, all_ended) = channel();
    for submitter in 0..submitters {
        let (mut choice, ledger, subjects, ended) = (choice.fork(), ledger.clone(), subjects.clone(), ended.clone());
        let submit = move || {
            let mut to: Vec<_> = subjects.iter().map(|subject| subject.submitter()).collect();
            for number in 0..each {
                let (lane, dwell, ledger) = (choice.between(0..=to.len() - 1), choice.dwell(), ledger.clone());
                let ticket = submitter * each + number;
                to[lane].submit(move || ledger.block(lane, submitter, number as u64, ticket, dwell));
            }
            drop(to);
            // Nobody listens any more if the check was given up.
            let _ = ended.send(());
        };
        // Every other one submits from a worker, which takes another path to the queue.
        if submitter % 2 == 0 {
            std::thread::spawn(submit);
        } else {
            runtime.spawn(submit);
        }
    }
    drop(ended);
    let ended = all_ended.iter().count();
    round.score(LOSS).expect(ended == submitters, || {
        format!("of {submitters} one-shot blocks and threads that submit, {ended} came to their end")
    });
    round.stage(format_args!("{} blocks on {queues} queues", submitters * each));
    subjects.iter().for_each(|subject| subject.settle());
    audit(round, &ledger);
}

fn audit(round: &Round, ledger: &Ledger) {
    let of = |wanted: fn(u8) -> bool| ledger.runs.iter().filter(move |runs| wanted(runs.load(Relaxed))).count();
    let (lost, twice, all) = (of(|runs| runs == 0), of(|runs| runs > 1), ledger.runs.len());
    round.score(LOSS).expect(lost == 0, || {
        let first = ledger.runs.iter().position(|runs| runs.load(Relaxed) == 0).unwrap_or_default();
        format!("{lost} of {all} submitted blocks never ran, the first of them is number {first}")
    });
    round.score(DUPLICATE).expect(twice == 0, || {
        let first = ledger.runs.iter().position(|runs| runs.load(Relaxed) > 1).unwrap_or_default();
        format!("{twice} of {all} submitted blocks ran more than once, the first of them is number {first}")
    });
    for (check, count) in [(ONE, all - lost), (ORDER, all - lost), (LOSS, all - lost), (DUPLICATE, all - twice)] {
        round.score(check).verified(count);
    }
}
