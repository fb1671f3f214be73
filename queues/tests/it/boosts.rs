//! A waiting thread boosts the queue that it waits for: the lines, tokens that overtake, and what
//! remains of them.

use super::qos::{Order, one_held_worker, queue};
use crate::{by_a_worker, wait_until};
use singletrack_queues::{ConcurrentQueue, Group, Qos, Queue, Runtime, WorkEnd, WorkItem};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};

#[test]
fn a_queue_boosts_its_target_while_it_waits_there() {
    let (runtime, open) = one_held_worker();
    let (order, group) = (Order::default(), Group::new());
    let target = queue(&runtime, "target", Qos::Background);
    group.submit(&target, order.note("target"));
    for _ in 0..8 {
        group.submit(&queue(&runtime, "other", Qos::Default), order.note("other"));
    }
    let urgent = Queue::builder("urgent").target(&target).qos(Qos::UserInteractive).build();
    group.submit(&urgent, order.note("urgent"));
    open.send(()).expect("it waits");
    group.wait();
    assert_eq!(order.take()[..2], ["target", "urgent"], "the entries in front of it, then it, then all others");
    let (runtime, open) = one_held_worker();
    let target = queue(&runtime, "target", Qos::Background);
    let low = Queue::builder("low").target(&target).qos(Qos::Utility).build();
    for (queue, name) in [(&queue(&runtime, "other", Qos::Default), "other"), (&low, "low"), (&target, "target")] {
        group.submit(queue, order.note(name));
    }
    open.send(()).expect("it waits");
    group.wait();
    assert_eq!(order.take(), ["other", "low", "target"], "boosted to utility, no further");
}

#[test]
fn a_work_item_of_a_higher_class_overtakes_the_lines_but_not_its_queue() {
    let (runtime, open) = one_held_worker();
    let (order, group) = (Order::default(), Group::new());
    let low = queue(&runtime, "low", Qos::Background);
    for _ in 0..8 {
        group.submit(&queue(&runtime, "default", Qos::Default), order.note("default"));
        group.submit(&queue(&runtime, "background", Qos::Background), order.note("background"));
    }
    group.submit(&low, order.note("in front"));
    let item = WorkItem::new(order.note("item")).qos(Qos::UserInitiated).submit(&low);
    open.send(()).expect("it waits");
    assert_eq!(item.wait(), WorkEnd::Ran);
    group.wait();
    assert_eq!(order.take()[..2], ["in front", "item"]);
    // The boost is over: the queue has its own class again.
    assert_eq!(by_a_worker(low.call(Qos::current)), Qos::Background);
    runtime.shutdown(std::time::Duration::from_secs(10));
}

#[test]
fn a_cancelled_or_dropped_item_boosts_no_longer() {
    let (runtime, open) = one_held_worker();
    let low = queue(&runtime, "low", Qos::Background);
    let gone = WorkItem::new(|| ()).qos(Qos::UserInteractive).submit(&low);
    assert!(gone.cancel());
    open.send(()).expect("it waits");
    low.sync(|| ());
    // A token that was sent for it may still be in the higher line. It serves one turn.
    wait_until("its own class again", || by_a_worker(low.call(Qos::current)) == Qos::Background);
}

#[test]
fn however_many_items_wait_the_last_boosts_as_the_first() {
    const ITEMS: usize = 600;
    const LANES: usize = 64;
    let (runtime, open) = one_held_worker();
    let (order, group) = (Order::default(), Group::new());
    let low = queue(&runtime, "low", Qos::Background);
    for _ in 0..LANES {
        group.submit(&queue(&runtime, "default", Qos::Default), order.note("default"));
    }
    let item = |_| WorkItem::new(order.note("item")).qos(Qos::UserInteractive).submit(&low);
    let items: Vec<_> = (0..ITEMS).map(item).collect();
    open.send(()).expect("it waits");
    assert!(items.iter().all(|item| item.wait() == WorkEnd::Ran));
    group.wait();
    let order = order.take();
    let last = order.iter().rposition(|&ran| ran == "item").expect("all ran");
    assert!(last + 1 - ITEMS < LANES / 2, "{} of {LANES} lanes went before the last item", last + 1 - ITEMS);
}

#[test]
fn boosts_that_are_over_do_not_fill_a_line_that_is_rarely_come_to() {
    const ROUNDS: usize = 1_000;
    fn again(runtime: Runtime, turns: Arc<AtomicUsize>, done: Arc<AtomicBool>) {
        turns.fetch_add(1, SeqCst);
        if !done.load(SeqCst) {
            runtime.clone().spawn_as(Qos::UserInteractive, move || again(runtime, turns, done));
        }
    }
    /// It goes from block to block, so that nothing depends on the time at which a thread gets to
    /// it.
    fn round(low: Queue, left: usize, turns: Arc<AtomicUsize>, tell: Sender<usize>) {
        if left == 0 {
            let before = turns.load(SeqCst);
            let tell = move || tell.send(turns.load(SeqCst) - before).expect("waited for");
            return low.runtime().spawn_as(Qos::Utility, tell);
        }
        low.submit(|| ());
        WorkItem::new(|| ()).qos(Qos::Utility).submit(&low);
        let also = low.clone();
        WorkItem::new(move || {
            let next = also.runtime();
            next.spawn_as(Qos::UserInteractive, move || round(also, left - 1, turns, tell));
        })
        .qos(Qos::UserInteractive)
        .submit(&low);
    }
    let (runtime, open) = one_held_worker();
    let (turns, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (tell, told) = channel();
    let low = queue(&runtime, "low", Qos::Background);
    again(runtime.clone(), turns.clone(), done.clone());
    runtime.spawn_as(Qos::UserInteractive, move || round(low, ROUNDS, turns, tell));
    open.send(()).expect("it waits");
    let waited = told.recv().expect("it runs");
    done.store(true, SeqCst);
    assert!(waited < ROUNDS, "{waited} turns of a higher class went first");
}

#[test]
fn a_sync_of_a_higher_class_boosts_what_it_waits_for() {
    const LANES: usize = 20_000;
    let runtime = Runtime::builder().workers(2).thread_cap(2).name("boost").build().expect("two threads");
    let (done, ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // The lowest line is long and never gets shorter: an entry that joins it waits for all entries
    // before it. These are one-shot blocks, each a turn, because a queue that submits to itself
    // would run many of its blocks in one turn.
    fn fill(runtime: Runtime, done: Arc<AtomicBool>, ran: Arc<AtomicUsize>) {
        let again = runtime.clone();
        runtime.spawn_as(Qos::Background, move || {
            ran.fetch_add(1, SeqCst);
            if !done.load(SeqCst) {
                fill(again, done, ran);
            }
        });
    }
    for _ in 0..LANES {
        fill(runtime.clone(), done.clone(), ran.clone());
    }
    // The line above it never ends either.
    fn saturate(runtime: Runtime, done: Arc<AtomicBool>) {
        if !done.load(SeqCst) {
            let again = runtime.clone();
            runtime.spawn_as(Qos::UserInitiated, move || saturate(again, done));
        }
    }
    for _ in 0..8 {
        saturate(runtime.clone(), done.clone());
    }
    let low = queue(&runtime, "low", Qos::Background);
    low.submit(|| ());
    let before = ran.load(SeqCst);
    let overtaken = Qos::UserInteractive.run(|| low.sync(|| ran.load(SeqCst) - before));
    done.store(true, SeqCst);
    assert!(overtaken < LANES / 2, "{overtaken} of {LANES} that stood in front ran first: it was not boosted");
    assert_eq!(runtime.shutdown(std::time::Duration::from_secs(60)).dropped, 0);
}

#[test]
fn queues_that_were_overtaken_in_their_line_run_everything_once_and_end() {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    let runtime = Runtime::builder().workers(2).name("overtaken").build().expect("two threads");
    static OWNED: singletrack_queues::SpecificKey<Ends> = singletrack_queues::SpecificKey::new();
    let (ended, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    const ROUNDS: usize = 2_000;
    let mut order_broken = 0;
    for round in 0..ROUNDS {
        let low = queue(&runtime, "low", Qos::Background);
        low.set_specific(&OWNED, Ends(ended.clone()));
        let last = Arc::new(AtomicUsize::new(0));
        for number in 1..=4 {
            let (ran, last) = (ran.clone(), last.clone());
            let count = move || {
                ran.fetch_add(1, SeqCst);
                last.swap(number, SeqCst)
            };
            match (round + number) % 3 {
                0 => low.submit(move || assert!(count() < 4)),
                1 => drop(WorkItem::new(move || assert!(count() < 4)).qos(Qos::UserInteractive).submit(&low)),
                _ => {
                    let before = Qos::UserInitiated.run(|| low.sync(count));
                    order_broken += usize::from(before != number - 1);
                }
            }
        }
    }
    assert_eq!(order_broken, 0);
    assert_eq!(runtime.shutdown(std::time::Duration::from_secs(60)).dropped, 0);
    assert_eq!(ran.load(SeqCst), 4 * ROUNDS);
    assert_eq!(ended.load(SeqCst), ROUNDS, "each queue was freed, once");
}

#[test]
fn a_shutdown_drops_what_waits_in_every_line() {
    let (runtime, open) = one_held_worker();
    let low = queue(&runtime, "low", Qos::Background);
    for qos in Qos::ALL {
        queue(&runtime, "never", qos).submit(|| unreachable!("the deadline has passed"));
    }
    let item = WorkItem::new(|| unreachable!("the deadline has passed")).qos(Qos::UserInteractive).submit(&low);
    let report = runtime.shutdown(std::time::Duration::ZERO);
    open.send(()).expect("it waits");
    assert_eq!(item.wait(), WorkEnd::Dropped);
    assert_eq!((report.dropped, report.stuck.len()), (6, 1));
}

#[test]
fn a_shutdown_counts_what_a_suspended_queue_holds_while_its_overtaken_entry_still_waits() {
    let (runtime, open) = one_held_worker();
    let low = queue(&runtime, "low", Qos::Background);
    {
        let low = low.clone();
        low.clone().submit(move || low.suspend());
    }
    let item = WorkItem::new(|| unreachable!("it is suspended")).qos(Qos::UserInteractive).submit(&low);
    // Behind the token that overtakes the entry of the queue, so that no worker reaches the line of
    // the entry.
    let (held, holds) = channel();
    let (open_again, gate) = channel::<()>();
    runtime.spawn_as(Qos::UserInteractive, move || {
        held.send(()).expect("waited for");
        gate.recv().expect("opened");
    });
    open.send(()).expect("it waits");
    holds.recv().expect("it came to it");
    let report = runtime.shutdown(std::time::Duration::ZERO);
    assert_eq!(item.wait(), WorkEnd::Dropped);
    assert_eq!(report.suspended, [("low".to_owned(), 1)]);
    assert_eq!((report.dropped, report.stuck.len()), (1, 1));
    open_again.send(()).expect("it waits");
}

/// Regression: the wait of a thread that is no more urgent than the queue was counted down without
/// having been counted up.
#[test]
fn a_wait_that_boosts_nothing_leaves_the_class_as_it_is() {
    let runtime = Runtime::builder().workers(2).name("qos").build().expect("two threads");
    let plain = queue(&runtime, "plain", Qos::Default);
    let _graded = queue(&runtime, "graded", Qos::Utility);
    for _ in 0..20 {
        let (open, gate) = channel::<()>();
        plain.submit(move || gate.recv().expect("opened"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| plain.sync(|| ()));
            open.send(()).expect("it waits");
            waits.join().expect("no panic");
        });
        assert_eq!(by_a_worker(plain.call(Qos::current)), Qos::Default);
    }
}

#[test]
fn who_waits_for_a_concurrent_queue_boosts_what_it_lets_in() {
    let runtime = Runtime::builder().workers(2).name("boost").build().expect("two threads");
    let low = ConcurrentQueue::builder("low").runtime(&runtime).qos(Qos::Background).build();
    for _ in 0..50 {
        let (begun, begins) = channel::<()>();
        let (open, gate) = channel::<()>();
        low.submit(move || {
            begun.send(()).expect("waited for");
            gate.recv().expect("opened");
        });
        begins.recv().expect("it came to it");
        std::thread::scope(|scope| {
            // Behind a block that is in, and another one that is listed behind a barrier.
            low.barrier(|| ());
            let listed = low.call(Qos::current);
            let waits = scope.spawn(|| Qos::UserInitiated.run(|| low.barrier_sync(Qos::current)));
            open.send(()).expect("it waits");
            assert!(waits.join().expect("no panic") >= Qos::Background);
            assert!(listed.wait().expect("it runs") >= Qos::Background);
        });
        // The boost is over.
        assert_eq!(low.call(Qos::current).wait().ok(), Some(Qos::Background));
    }
}

#[test]
fn a_queue_whose_entry_is_overtaken_twice_ends() {
    struct Ends(Arc<AtomicUsize>);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.fetch_add(1, SeqCst);
        }
    }
    static OWNED: singletrack_queues::SpecificKey<Ends> = singletrack_queues::SpecificKey::new();
    const ROUNDS: usize = 32;
    let ended = Arc::new(AtomicUsize::new(0));
    // Now and then the lowest line has its turn in between, and the entry is not overtaken the
    // second time.
    for _ in 0..ROUNDS {
        let (runtime, open) = one_held_worker();
        let low = queue(&runtime, "low", Qos::Background);
        low.set_specific(&OWNED, Ends(ended.clone()));
        low.submit(|| ());
        let high = queue(&runtime, "high", Qos::UserInteractive);
        let own = low.clone();
        let again = move || {
            own.submit(|| ());
            WorkItem::new(|| ()).qos(Qos::UserInteractive).submit(&own);
        };
        // It runs by its token, and its entry stays behind, in the lowest line.
        WorkItem::new(move || high.submit(again)).qos(Qos::UserInteractive).submit(&low);
        drop(low);
        open.send(()).expect("it waits");
        assert_eq!(runtime.shutdown(std::time::Duration::from_secs(60)).dropped, 0);
    }
    assert_eq!(ended.load(SeqCst), ROUNDS, "each queue was freed, once");
}
