//! Classes of service: the higher class runs first, the lower one still runs, and a waiting thread
//! boosts what it waits for.
//!
//! One worker without replacement threads and everything submitted before it takes anything: the
//! order is foretold, not hoped for.

use crate::by_a_worker;
use singletrack_queues::{ConcurrentQueue, Group, Qos, Queue, Runtime, WorkItem};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

/// One thread, which is in a block until the test sends to the result.
pub(crate) fn one_held_worker() -> (Runtime, Sender<()>) {
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

/// The blocks that ran, in order.
#[derive(Clone, Default)]
pub(crate) struct Order<T>(Arc<Mutex<Vec<T>>>);

impl<T: Copy + Send + 'static> Order<T> {
    pub(crate) fn note(&self, what: T) -> impl FnOnce() + Send + use<T> {
        let order = self.0.clone();
        move || order.lock().expect("no panic").push(what)
    }

    pub(crate) fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

pub(crate) fn queue(runtime: &Runtime, label: &'static str, qos: Qos) -> Queue {
    Queue::builder(label).runtime(runtime).qos(qos).build()
}

#[test]
fn under_saturation_the_higher_class_goes_first_and_the_lower_ones_progress() {
    let (runtime, open) = one_held_worker();
    let (order, group) = (Order::default(), Group::new());
    for _ in 0..200 {
        for qos in Qos::ALL {
            // A queue for each block, so that each is a turn.
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
        assert_eq!(by_a_worker(queue.call(Qos::current)), qos);
    }
    let runtime = Runtime::global();
    let (tell, told) = channel();
    runtime.spawn_as(Qos::Utility, move || tell.send(Qos::current()).expect("waited for"));
    assert_eq!(told.recv(), Ok(Qos::Utility));
    assert_eq!(by_a_worker(Queue::new("plain").call(Qos::current)), Qos::Default);
}

#[test]
fn a_block_runs_in_the_class_of_its_queue_when_the_target_runs_already() {
    let target = Queue::builder("target").qos(Qos::Background).build();
    let urgent = Queue::builder("urgent").target(&target).qos(Qos::UserInteractive).build();
    let (tell, told) = channel();
    let after = target.clone();
    target.submit(move || {
        let also = tell.clone();
        urgent.submit(move || also.send(Qos::current()).expect("waited for"));
        after.submit(move || tell.send(Qos::current()).expect("waited for"));
    });
    assert_eq!(told.recv(), Ok(Qos::UserInteractive));
    told.recv().expect("it runs");
}

#[test]
fn a_closure_works_for_the_thread_that_waits_for_it_wherever_it_runs() {
    let low = Queue::builder("low").qos(Qos::Background).build();
    for _ in 0..200 {
        let (begun, begins) = channel();
        low.submit(move || {
            begun.send(()).expect("waited for");
            // So that waiting threads usually find the queue busy, and its drain runs their
            // closures.
            (0..50).for_each(|_| std::thread::yield_now());
        });
        begins.recv().expect("it runs");
        let timeout = std::time::Duration::from_secs(60);
        let classes = Qos::UserInteractive.run(|| (low.sync(Qos::current), low.sync_timeout(timeout, Qos::current)));
        assert_eq!(classes, (Qos::UserInteractive, Ok(Qos::UserInteractive)));
    }
}

#[test]
fn what_comes_from_other_threads_is_not_starved_by_a_higher_class_and_the_worker_itself() {
    struct Busy {
        runtime: Runtime,
        turns: AtomicUsize,
        done: AtomicBool,
    }
    fn again(busy: Arc<Busy>, qos: Qos) {
        busy.turns.fetch_add(1, SeqCst);
        if !busy.done.load(SeqCst) {
            busy.runtime.clone().spawn_as(qos, move || again(busy, qos));
        }
    }
    /// Submits from another thread, in the middle of a block, so that the turns can be counted.
    fn from_outside(busy: Arc<Busy>, left: usize, tell: Sender<usize>) {
        let outside = std::thread::spawn(move || {
            let before = busy.turns.load(SeqCst);
            busy.runtime.clone().spawn(move || {
                tell.send(busy.turns.load(SeqCst) - before).expect("waited for");
                match left {
                    0 => busy.done.store(true, SeqCst),
                    _ => from_outside(busy, left - 1, tell),
                }
            });
        });
        outside.join().expect("it does not panic");
    }
    let (runtime, open) = one_held_worker();
    let busy = Arc::new(Busy { runtime: runtime.clone(), turns: AtomicUsize::new(0), done: AtomicBool::new(false) });
    let (tell, told) = channel();
    {
        let busy = busy.clone();
        runtime.spawn(move || {
            again(busy.clone(), Qos::UserInteractive);
            again(busy.clone(), Qos::Default);
            from_outside(busy, 40, tell);
        });
    }
    open.send(()).expect("it waits");
    let waits: Vec<_> = told.iter().collect();
    assert_eq!(waits.len(), 41);
    // A look at blocks from outside is due after 61 turns, and one of 16 turns belongs to their
    // class.
    assert!(waits.iter().all(|&turns| turns <= 61 + 2 * 16), "{waits:?}");
}

#[test]
fn a_concurrent_queue_has_a_class_and_passes_it_up() {
    let (runtime, open) = one_held_worker();
    let (order, group) = (Order::default(), Group::new());
    let concurrent = |label, qos| ConcurrentQueue::builder(label).runtime(&runtime).qos(qos).build();
    let (low, plain, high) = (
        concurrent("low", Qos::Background),
        concurrent("plain", Qos::Default),
        concurrent("high", Qos::UserInteractive),
    );
    let child = Queue::builder("child").target(&plain).qos(Qos::UserInitiated).build();
    let submit = |queue: &ConcurrentQueue, name| {
        let (note, member) = (order.note(name), group.clone());
        member.enter();
        queue.submit(move || {
            note();
            member.leave().expect("entered above");
        });
    };
    submit(&low, "low");
    submit(&plain, "plain");
    group.submit(&child, order.note("child"));
    WorkItem::new(order.note("item")).qos(Qos::UserInteractive).submit(&low);
    submit(&high, "high");
    open.send(()).expect("it waits");
    group.wait();
    assert_eq!(order.take(), ["item", "high", "child", "plain", "low"]);
    assert_eq!(high.qos(), Qos::UserInteractive);
    assert_eq!(low.call(Qos::current).wait().ok(), Some(Qos::Background));
    assert_eq!(low.barrier_call(Qos::current).wait().ok(), Some(Qos::Background));
}
