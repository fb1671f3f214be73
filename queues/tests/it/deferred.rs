//! A deferred block waits for everything else that its worker has, but not for ever.

use crate::{LONG, by_a_worker, runtime, wait_until};
use singletrack_queues::{Isolated, Merge, Queue, Source};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

type Log = Arc<Mutex<Vec<&'static str>>>;

fn note(log: &Log, what: &'static str) -> impl FnOnce() + Send + 'static {
    let log = log.clone();
    move || log.lock().expect("no panic under it").push(what)
}

#[test]
fn it_runs_behind_what_its_worker_has_and_what_that_makes() {
    let order = ["now", "next", "off", "behind off", "source"];
    // A worker that the system keeps from its processor for 4 ms has waited long enough.
    let found: Vec<_> = (0..20).map(|_| order_of_deferred_blocks()).take_while(|found| *found != order).collect();
    assert!(found.len() < 20, "never in order: {found:?}");
}

fn order_of_deferred_blocks() -> Vec<&'static str> {
    let runtime = runtime(1);
    let queue = |label: &'static str| runtime.queue(label);
    let (log, all) = (Log::default(), queue("all"));
    let (off, also_off, now, next) = (queue("off"), queue("also off"), queue("now"), queue("next"));
    let source = Source::new(&also_off, {
        let log = log.clone();
        move |_| note(&log, "source")()
    });
    let told = log.clone();
    all.submit(move || {
        off.submit_deferred(note(&told, "off"));
        source.merge_deferred(1);
        now.submit(move || {
            note(&told, "now")();
            next.submit(note(&told, "next"));
            off.submit_deferred(note(&told, "behind off"));
            source.merge_deferred(2);
        });
    });
    wait_until("all of it ran", || log.lock().expect("no panic under it").len() >= 5);
    std::mem::take(&mut *log.lock().expect("no panic under it"))
}

#[test]
fn what_comes_meanwhile_is_told_in_the_same_turn() {
    let runtime = runtime(1);
    let sums = Isolated::new(&runtime.queue("sums"), Vec::new());
    let told = sums.clone();
    let output = Source::builder(&runtime.queue("output"))
        .merging(Merge::Add)
        .build(move |sum| told.submit(move |all| all.push(sum)));
    let reads = runtime.queue("reads");
    runtime.queue("first").submit(move || {
        output.merge_deferred(1);
        for _ in 0..300 {
            let output = output.clone();
            reads.submit(move || output.merge_deferred(1));
        }
    });
    wait_until("the output was reported", || sums.sync(|all| !all.is_empty()));
    assert_eq!(sums.sync(std::mem::take), [301]);
}

/// Two queues that submit to each other until `stop`; `turns` counts their turns.
fn ping_pong(ping: Queue, pong: Queue, stop: Arc<AtomicBool>, turns: Arc<AtomicUsize>) {
    if !stop.load(Relaxed) {
        turns.fetch_add(1, Relaxed);
        let next = ping.clone();
        ping.submit(move || ping_pong(pong, next, stop, turns));
    }
}

#[test]
fn a_worker_that_is_never_done_comes_to_it_after_a_bounded_number_of_turns() {
    let runtime = runtime(1);
    let (stop, turns) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
    let (ping, pong, off) = (runtime.queue("ping"), runtime.queue("pong"), runtime.queue("off"));
    let (begun, seen) = (turns.clone(), Arc::new(AtomicUsize::new(0)));
    let (end, at) = (stop.clone(), seen.clone());
    let start = runtime.queue("start");
    start.submit(move || {
        off.submit_deferred(move || {
            at.store(begun.load(Relaxed), Relaxed);
            end.store(true, Relaxed);
        });
        ping_pong(ping, pong, stop, turns);
    });
    wait_until("the one that was put off had its turn", || seen.load(Relaxed) > 0);
    // 32 looks around, each after 61 turns, and the turns by which the slot may precede the deque.
    assert!(seen.load(Relaxed) <= 32 * 61 + 64, "after {} turns", seen.load(Relaxed));
}

#[test]
fn what_a_stuck_worker_put_off_runs_elsewhere() {
    let runtime = runtime(2);
    let ran = Arc::new(AtomicBool::new(false));
    let (off, tell) = (runtime.queue("off"), ran.clone());
    let stuck = runtime.queue("stuck").call(move || {
        off.submit_deferred(move || tell.store(true, Relaxed));
        wait_until("another thread ran it", || ran.load(Relaxed));
    });
    by_a_worker(stuck);
}

#[test]
fn a_shutdown_runs_it_and_afterwards_it_is_refused() {
    let runtime = runtime(2);
    let count = Arc::new(AtomicUsize::new(0));
    for i in 0..1_000 {
        let (off, count) = (runtime.queue(format!("off{i}")), count.clone());
        runtime.queue("on").submit(move || {
            off.submit_deferred(move || {
                count.fetch_add(1, Relaxed);
            })
        });
    }
    let report = runtime.shutdown(LONG);
    assert_eq!((count.load(Relaxed), report.dropped), (1_000, 0));
    let before = runtime.stats().rejected;
    runtime.queue("closed").submit_deferred(|| unreachable!("refused"));
    assert_eq!(runtime.stats().rejected, before + 1);
}

#[test]
fn a_deferred_block_gets_the_value_too() {
    let runtime = runtime(1);
    let value = Isolated::new(&runtime.queue("deferred"), 1);
    value.submit_deferred(|value| *value += 1);
    wait_until("the deferred block", || value.sync(|value| *value == 2));
}
