//! A thousand blocks that sleep do not make a thousand threads, everything else goes on, and the
//! replacement threads go away again.
//!
//! On a runtime of its own beside the others: sleeping costs no processor.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use singletrack::queues::Group;

use super::choice::Choice;
use super::round::{Family, Place, Round, thread_cap};
use super::score::Check;

pub(super) const FAMILY: Family = Family {
    name: "sleepers",
    checks: &[Check { name: "sleepers", counts: "blocks that slept under the cap of threads" }],
    place: Place::Beside,
    round,
};
const SLEEPERS: usize = 1_000;

fn round(round: &Round, mut choice: Choice) {
    let Some(own) = round.own_runtime() else { return };
    let (runtime, score) = (&own.runtime, round.score(0));
    let (workers, cap) = (round.workers(), thread_cap(round.workers()));
    let (now, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let group = Group::new();
    round.stage(format_args!("{SLEEPERS} blocks that sleep"));
    for i in 0..SLEEPERS {
        let (now, most) = (now.clone(), most.clone());
        let nap = Duration::from_micros(choice.between(500..=6_000) as u64);
        group.submit(&runtime.queue(format!("sleepers.{i}")), move || {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            std::thread::sleep(nap);
            now.fetch_sub(1, SeqCst);
        });
    }
    group.wait();
    let (stats, most) = (runtime.stats(), most.load(SeqCst));
    score.expect(stats.peak_threads <= cap && most <= cap, || {
        format!("{} threads, and {most} blocks asleep at once, with a cap of {cap}", stats.peak_threads)
    });
    score.expect(stats.peak_threads > workers, || {
        format!("{SLEEPERS} blocks slept on {workers} workers and nobody replaced them")
    });
    score.verified(SLEEPERS);
    round.stage("the replacement threads of blocks that slept, which should go away,");
    while runtime.stats().threads > workers && !round.is_stopped() {
        std::thread::sleep(Duration::from_millis(5));
    }
}
