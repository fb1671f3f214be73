//! A work item runs or is cancelled, once, whichever comes first. A cancel frees its captures
//! before it returns. Each notify comes once, after the end.
//!
//! Threads cancel items that queues are about to run. The result of the cancel, the result of the
//! wait and the run of the body must agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use singletrack::queues::{WorkEnd, WorkHandle};

use super::choice::Choice;
use super::round::{Family, Place, Round};
use super::score::Check;
use super::subject::Verbs;

pub(super) const FAMILY: Family = Family {
    name: "work-items",
    checks: &[
        Check { name: "work-items", counts: "items that ran or were cancelled, once" },
        Check { name: "item-captures", counts: "items whose captures were gone when they had ended" },
        Check { name: "item-notify", counts: "notifies that came once, after the end" },
    ],
    place: Place::Beside,
    round,
};
const ENDS: usize = 0;
const CAPTURES: usize = 1;
const NOTIFY: usize = 2;
const CANCELLERS: usize = 2;

/// The fate of an item.
#[derive(Default)]
struct Fate {
    ran: AtomicUsize,
    freed: AtomicBool,
    told: AtomicUsize,
    told_early: AtomicBool,
    cancels: AtomicUsize,
}

/// The capture of the body.
struct Capture(Arc<Fate>);

impl Drop for Capture {
    fn drop(&mut self) {
        self.0.freed.store(true, SeqCst);
    }
}

fn round(round: &Round, mut choice: Choice) {
    let runtime = &round.ground.runtime;
    let queues: Vec<_> = (0..choice.between(1..=3)).map(|i| runtime.queue(format!("items.{i}"))).collect();
    let told_on = runtime.queue("items.told");
    let (count, notifies) = (choice.between(100..=400), choice.between(1..=3));
    let mut verbs = Verbs::new(round.ground.fault);
    round.stage(format_args!("{count} work items, some of which are cancelled"));
    let items: Vec<(WorkHandle, Arc<Fate>)> = (0..count)
        .map(|_| {
            let (fate, dwell) = (Arc::<Fate>::default(), choice.dwell());
            let capture = Capture(fate.clone());
            let item = verbs.item(move || {
                capture.0.ran.fetch_add(1, SeqCst);
                dwell.pass();
            });
            let item = item.submit(&queues[choice.between(0..=queues.len() - 1)]);
            for _ in 0..notifies {
                let fate = fate.clone();
                verbs.notify(&item, &told_on, move || {
                    fate.told.fetch_add(1, SeqCst);
                    if !fate.freed.load(SeqCst) {
                        fate.told_early.store(true, SeqCst);
                    }
                });
            }
            (item, fate)
        })
        .collect();
    std::thread::scope(|scope| {
        for _ in 0..CANCELLERS {
            let (items, mut choice, mut verbs) = (&items, choice.fork(), Verbs::new(round.ground.fault));
            scope.spawn(move || {
                for (item, fate) in items.iter().rev().filter(|_| choice.one_in(2)) {
                    if verbs.cancel(item) {
                        fate.cancels.fetch_add(1, SeqCst);
                        round.score(CAPTURES).expect(fate.freed.load(SeqCst) || fate.ran.load(SeqCst) > 0, || {
                            "a cancel that said it kept a body from running returned before its captures were gone"
                                .into()
                        });
                    }
                }
            });
        }
        for (item, fate) in &items {
            let end = item.wait();
            round.score(CAPTURES).expect(fate.freed.load(SeqCst), || {
                format!("an item ended as {end:?}, and its captures were still there")
            });
        }
    });
    // An end submits its notifies after it has released the waiters.
    queues.iter().for_each(|queue| queue.sync(|| ()));
    told_on.sync(|| ());
    for (item, fate) in &items {
        let (end, ran, cancels) = (item.wait(), fate.ran.load(SeqCst), fate.cancels.load(SeqCst));
        let agree = match end {
            WorkEnd::Ran => ran == 1 && cancels == 0,
            WorkEnd::Cancelled => ran == 0 && cancels == 1,
            _ => false,
        };
        round.score(ENDS).expect(agree, || {
            format!(
                "an item ended as {end:?}; its body ran {ran} times, {cancels} cancels said that they kept it from that"
            )
        });
        let (told, early) = (fate.told.load(SeqCst), fate.told_early.load(SeqCst));
        round.score(NOTIFY).expect(told == notifies && !early, || {
            let when = if early { ", before its captures were gone" } else { "" };
            format!("an item with {notifies} notifies notified {told} times{when}")
        });
    }
    for (check, verified) in [(ENDS, count), (CAPTURES, count), (NOTIFY, count * notifies)] {
        round.score(check).verified(verified);
    }
}
