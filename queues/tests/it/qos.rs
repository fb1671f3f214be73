//! Classes of service: higher first, lower still, and who waits lifts what it waits for.
//!
//! One worker without stand-ins and everything submitted before it takes anything: the order is foretold, not hoped for.

use singletrack_queues::{Group, Qos, Queue, Runtime, WorkEnd, WorkItem};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

/// One thread, which is in a block until the result is sent to.
fn one_held_worker() -> (Runtime, Sender<()>) {
    let runtime = Runtime::builder().workers(1).thread_cap(1).name("qos").build().expect("a thread");
    let (open, gate) = channel::<()>();
    let (held, holds) = channel();
    runtime.spawn(move || {
        held.send(()).expect("waited for");
        gate.recv().expect("opened");
    });
    holds.recv().expect("it came to it");
    (runtime, open)
}

/// What ran, in order.
#[derive(Clone, Default)]
struct Order<T>(Arc<Mutex<Vec<T>>>);

impl<T: Copy + Send + 'static> Order<T> {
    fn note(&self, what: T) -> impl FnOnce() + Send + use<T> {
        let order = self.0.clone();
        move || order.lock().expect("no panic").push(what)
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

fn queue(runtime: &Runtime, label: &'static str, qos: Qos) -> Queue {
    Queue::builder(label).runtime(runtime).qos(qos).build()
}

#[test]
fn under_saturation_the_higher_class_goes_first_and_the_lower_ones_progress() {
    let (runtime, open) = one_held_worker();
    let (order, group) = (Order::default(), Group::new());
    for _ in 0..200 {
        for qos in Qos::ALL {
            // A queue each, so that each is a turn.
            group.submit(&queue(&runtime, "one", qos), order.note(qos));
        }
    }
    open.send(()).expect("it waits");
    group.wait();
    let order = order.take();
    assert_eq!(order.len(), 1_000);
    let count = |range: std::ops::Range<usize>, qos| order[range].iter().filter(|&&ran| ran == qos).count();
    assert_eq!(count(0..160, Qos::UserInteractive), 150, "{:?}", &order[..160]);
    for qos in Qos::ALL {
        assert!(count(0..80, qos) > 0, "{qos} starves: {:?}", &order[..80]);
    }
    let last = |qos| order.iter().rposition(|&ran| ran == qos).expect("all ran");
    assert!(Qos::ALL.is_sorted_by_key(|&qos| std::cmp::Reverse(last(qos))), "a higher class is done first");
}

#[test]
fn a_block_runs_in_the_class_of_its_queue() {
    for qos in Qos::ALL {
        let queue = Queue::builder("class").qos(qos).build();
        assert_eq!(queue.qos(), qos);
        assert_eq!(queue.call(Qos::current).wait().expect("it runs"), qos);
    }
    let runtime = Runtime::global();
    let (tell, told) = channel();
    runtime.spawn_as(Qos::Utility, move || tell.send(Qos::current()).expect("waited for"));
    assert_eq!(told.recv(), Ok(Qos::Utility));
    assert_eq!(Queue::new("plain").call(Qos::current).wait().expect("it runs"), Qos::Default);
}

#[test]
fn a_queue_lifts_its_target_while_it_waits_there() {
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
    assert_eq!(order.take()[..2], ["target", "urgent"], "what stood in front of it, then it, then all others");
    let (runtime, open) = one_held_worker();
    let target = queue(&runtime, "target", Qos::Background);
    let low = Queue::builder("low").target(&target).qos(Qos::Utility).build();
    for (queue, name) in [(&queue(&runtime, "other", Qos::Default), "other"), (&low, "low"), (&target, "target")] {
        group.submit(queue, order.note(name));
    }
    open.send(()).expect("it waits");
    group.wait();
    assert_eq!(order.take(), ["other", "low", "target"], "lifted to utility, no further");
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
    // It is over: the queue has its own class again.
    assert_eq!(low.call(Qos::current).wait().expect("it runs"), Qos::Background);
    runtime.shutdown(std::time::Duration::from_secs(10));
}

#[test]
fn a_cancelled_or_dropped_item_lifts_no_longer() {
    let (runtime, open) = one_held_worker();
    let low = queue(&runtime, "low", Qos::Background);
    let gone = WorkItem::new(|| ()).qos(Qos::UserInteractive).submit(&low);
    assert!(gone.cancel());
    open.send(()).expect("it waits");
    low.sync(|| ());
    assert_eq!(low.call(Qos::current).wait().expect("it runs"), Qos::Background);
}

#[test]
fn a_sync_of_a_higher_class_lifts_what_it_waits_for() {
    const LANES: usize = 5_000;
    let runtime = Runtime::builder().workers(2).thread_cap(2).name("lift").build().expect("two threads");
    let (done, ran) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // The lowest line is long and never gets shorter: whoever joins it waits for all who stand there.
    let fillers: Vec<_> = (0..LANES).map(|_| queue(&runtime, "filler", Qos::Background)).collect();
    fn fill(filler: Queue, done: Arc<AtomicBool>, ran: Arc<AtomicUsize>) {
        let again = filler.clone();
        filler.submit(move || {
            ran.fetch_add(1, SeqCst);
            if !done.load(SeqCst) {
                fill(again, done, ran);
            }
        });
    }
    for filler in &fillers {
        fill(filler.clone(), done.clone(), ran.clone());
    }
    // And the line above it never ends.
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
    assert!(overtaken < LANES / 2, "{overtaken} of {LANES} that stood in front ran first: it was not lifted");
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
