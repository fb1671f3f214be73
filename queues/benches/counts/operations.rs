//! The counted operations, each in a stretch of its own.
//!
//! For: doing what is promised to be cheap, a known number of times, so that nothing else happens
//! meanwhile. Not for: counting (`meter`). Rules: one worker and no replacement thread for it. It
//! is either held in a block while this thread does something, or does everything itself; so each
//! stretch runs on one thread, takes the same path every time, and needs no clock. Where other
//! threads must have come to some point (waiters of a `sync`), a stretch in which they had not is
//! discarded. What is to be idle was not used before: a worker may still be about to let go of it.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use singletrack_queues::{
    Budget, ConcurrentQueue, Group, Isolated, MainQueue, Once, Qos, Queue, Runtime, Semaphore, Source, WorkItem,
    Workloop, join, scope,
};

use super::meter::{self, count};

/// Does all operations, each on a thread of its own, so that the memory that a thread keeps for its
/// blocks is the same every time.
pub(crate) fn all() {
    for &operation in ALL {
        thread::spawn(operation).join().expect("an operation went wrong, and said how");
    }
}

/// Each of them may run again and again.
const ALL: &[fn()] = &[
    blocks,
    queues_turned_on,
    hops,
    classes,
    workloop,
    sync_alone,
    sync_contended,
    one_shots,
    isolated,
    groups,
    tasks,
    work_items,
    sources,
    concurrent,
    semaphore,
    timers,
    parallel_loop,
    forked_tasks,
    main_queue,
    once,
    queues,
    suspended,
];

/// How many operations a stretch has: ten blocks of the injector, which has room for 63 entries
/// each.
const OPS: u64 = 630;

pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(one_worker)
}

/// Queues with classes of service have another runtime, because its workers look into a line for
/// each class from then on.
fn runtime_with_classes() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(one_worker)
}

fn one_worker() -> Runtime {
    Runtime::builder().workers(1).thread_cap(1).build().expect("a thread for the worker")
}

pub(crate) fn queue(label: &'static str) -> Queue {
    runtime().queue(label)
}

/// A block that holds the worker until it is released. The stretch of the worker begins there.
pub(crate) struct Held {
    go: Sender<()>,
}

fn hold(submit: impl FnOnce(Box<dyn FnOnce() + Send>)) -> Held {
    let (enter, entered) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    submit(Box::new(move || {
        enter.send(()).expect("a thread waits for it");
        let gone = gate.recv();
        drop((enter, gate));
        if gone.is_ok() {
            meter::begin();
        }
    }));
    entered.recv().expect("the worker runs what is submitted");
    Held { go }
}

/// Ends the worker's stretch after so many blocks.
struct Blocks {
    name: &'static str,
    left: AtomicUsize,
    over: Sender<()>,
}

impl Blocks {
    /// Leaked, a few bytes for each stretch, so that a block holds one pointer to it and counts
    /// nothing.
    fn new(name: &'static str) -> (&'static Self, Receiver<()>) {
        let (over, is_over) = mpsc::channel();
        (Box::leak(Box::new(Self { name, left: AtomicUsize::new(OPS as usize), over })), is_over)
    }

    /// The body of each block: one of the locked instructions that the run of a block costs.
    fn one(&self) {
        if self.left.fetch_sub(1, Relaxed) == 1 {
            meter::end(self.name, OPS);
            self.over.send(()).expect("a thread waits for the last");
        }
    }
}

/// `each` submits a block, `OPS` times, while the worker is held; then the worker runs the blocks.
fn submit_and_run(held: Held, submit: &'static str, run: &'static str, mut each: impl FnMut(&'static Blocks)) {
    let (blocks, over) = Blocks::new(run);
    count(submit, OPS, || each(blocks));
    held.go.send(()).expect("the worker waits for it");
    over.recv().expect("all blocks ran");
}

fn hold_queue(queue: &Queue) -> Held {
    let first = hold(|block| queue.submit(block));
    hold(|block| {
        // From now on this thread has memory for the blocks of this queue, as for those of every
        // busy queue.
        (0..3).for_each(|_| queue.submit(|| ()));
        queue.submit(block);
        drop(first);
    })
}

pub(crate) fn hold_worker(runtime: &Runtime) -> Held {
    hold(|block| runtime.spawn(block))
}

fn blocks() {
    let queue = queue("busy");
    submit_and_run(hold_queue(&queue), "submit to a busy queue", "run a block", |blocks| {
        queue.submit(|| blocks.one());
    });
}

fn queues_turned_on() {
    turn_on(runtime(), "submit, turning a queue on", "run a queue with one block", || queue("idle"));
}

fn turn_on(runtime: &Runtime, submit: &'static str, run: &'static str, make: impl Fn() -> Queue) {
    let queues: Vec<Queue> = (0..OPS).map(|_| make()).collect();
    let mut idle = queues.iter();
    submit_and_run(hold_worker(runtime), submit, run, |blocks| {
        idle.next().expect("as many as operations").submit(|| blocks.one());
    });
}

fn hops() {
    hop_between(runtime(), "hop to another queue", ["ping", "pong"].map(queue));
}

fn hop_between(runtime: &Runtime, name: &'static str, pair: [Queue; 2]) {
    fn hop(pair: Arc<[Queue; 2]>, at: usize, blocks: &'static Blocks) {
        if blocks.left.load(Relaxed) > 0 {
            let onward = pair.clone();
            pair[at].submit(move || hop(onward, 1 - at, blocks));
            blocks.one();
        }
    }
    let pair = Arc::new(pair);
    let (blocks, over) = Blocks::new(name);
    let held = hold_worker(runtime);
    let first = pair.clone();
    pair[0].submit(move || hop(first, 1, blocks));
    held.go.send(()).expect("the worker waits for it");
    over.recv().expect("all hops were made");
}

fn classes() {
    let runtime = runtime_with_classes();
    let urgent = |label| Queue::builder(label).runtime(runtime).qos(Qos::UserInteractive).build();
    turn_on(runtime, "submit, turning an urgent queue on", "run an urgent queue with one block", || urgent("idle"));
    hop_between(runtime, "hop to another urgent queue", ["ping", "pong"].map(urgent));
    hop_between(runtime, "hop, of default class beside classes", ["ping", "pong"].map(|label| runtime.queue(label)));
}

fn workloop() {
    let workloop = Workloop::builder("workloop").runtime(runtime_with_classes()).build();
    count("sync on a workloop", OPS, || workloop.sync(Qos::Default, || _ = black_box(0)));
    let held = hold(|block| workloop.submit(Qos::Default, block));
    submit_and_run(held, "submit to a workloop", "run a block of a workloop", |blocks| {
        workloop.submit(Qos::Default, || blocks.one());
    });
}

fn sync_alone() {
    let target = queue("target");
    count("sync on an idle queue", OPS, || target.sync(|| _ = black_box(0)));
    count("try_sync on an idle queue", OPS, || _ = target.try_sync(|| _ = black_box(0)));
    let queue = Queue::builder("above").target(&target).build();
    count("sync through one target", OPS, || queue.sync(|| _ = black_box(0)));
}

thread_local! {
    /// This thread holds the queue that the other threads wait for.
    static HOLDS: Cell<bool> = const { Cell::new(false) };
}

fn sync_contended() {
    // A thread runs this many closures for others, however long they take.
    const WAITERS: usize = 2;
    static COMBINED: AtomicUsize = AtomicUsize::new(0);
    let queue = queue("contended");
    HOLDS.set(true);
    for _attempt in 0..1_000 {
        COMBINED.store(0, Relaxed);
        let (coming, leave) = (AtomicUsize::new(0), Barrier::new(WAITERS + 1));
        thread::scope(|scope| {
            queue.sync(|| {
                for _ in 0..WAITERS {
                    scope.spawn(|| {
                        coming.fetch_add(1, Relaxed);
                        queue.sync(|| _ = HOLDS.get().then(|| COMBINED.fetch_add(1, Relaxed)));
                        // The waking thread would free a waiter that ended meanwhile.
                        leave.wait();
                    });
                }
                // All waiters arrive, and then have time to queue up and go to sleep.
                let mut patience = 0;
                while patience < 1_000 {
                    patience = if coming.load(Relaxed) == WAITERS { patience + 1 } else { 0 };
                    thread::yield_now();
                }
                meter::begin();
            });
            let combined = COMBINED.load(Relaxed) == WAITERS;
            meter::end(if combined { "run a waiting sync" } else { meter::DISCARDED }, WAITERS as u64);
            leave.wait();
        });
        if COMBINED.load(Relaxed) == WAITERS {
            return;
        }
    }
    panic!("in 1,000 attempts the waiting threads never all arrived in time: the machine may be too busy");
}

fn one_shots() {
    submit_and_run(hold_worker(runtime()), "spawn a one-shot block", "run a one-shot block", |blocks| {
        runtime().spawn(|| blocks.one());
    });
}

fn isolated() {
    let queue = queue("isolated");
    let number = Isolated::new(&queue, 0);
    submit_and_run(hold_queue(&queue), "submit to an isolated value", "run a block on a value", |blocks| {
        number.submit(|number| {
            *number += 1;
            blocks.one();
        });
    });
}

fn groups() {
    let (queue, group) = (queue("group"), Group::new());
    submit_and_run(hold_queue(&queue), "submit in a group", "run a block of a group", |blocks| {
        group.submit(&queue, || blocks.one());
    });
    group.wait();
    count("wait for an empty group", OPS, || group.wait());
}

fn tasks() {
    let queue = queue("call");
    let mut tasks = Vec::with_capacity(OPS as usize);
    submit_and_run(hold_queue(&queue), "call", "run a call", |blocks| {
        tasks.push(queue.call(|| blocks.one()));
    });
    queue.sync(|| ());
    count("wait for a call that is done", OPS, || _ = tasks.pop().map(|task| task.wait().is_ok()));
}

fn work_items() {
    let queue = queue("items");
    let mut items = Vec::with_capacity(OPS as usize);
    submit_and_run(hold_queue(&queue), "submit a work item", "run a work item", |blocks| {
        items.push(WorkItem::new(|| blocks.one()).submit(&queue));
    });
    queue.sync(|| ());
    count("wait for a work item that is done", OPS, || _ = items.pop().map(|item| item.wait()));
}

fn sources() {
    let queue = queue("sources");
    let (blocks, over) = Blocks::new("run a source's handler");
    let sources: Vec<Source> = (0..OPS).map(|_| Source::new(&queue, |_| blocks.one())).collect();
    let held = hold_queue(&queue);
    let mut first = sources.iter();
    count("merge, the first", OPS, || first.next().expect("as many as operations").merge(1));
    count("merge, more", OPS, || sources[0].merge(2));
    held.go.send(()).expect("the worker waits for it");
    over.recv().expect("all handlers ran");
}

fn concurrent() {
    let queue = ConcurrentQueue::builder("shared").runtime(runtime()).build();
    count("sync on a concurrent queue", OPS, || queue.sync(|| _ = black_box(0)));
    count("barrier_sync on a concurrent queue", OPS, || queue.barrier_sync(|| _ = black_box(0)));
    let (submit, run) = ("submit to a concurrent queue", "run a concurrent block");
    submit_and_run(hold_worker(runtime()), submit, run, |blocks| queue.submit(|| blocks.one()));
    let (submit, run) = ("submit a barrier", "run a barrier");
    let held = hold(|block| queue.barrier(block));
    submit_and_run(held, submit, run, |blocks| queue.barrier(|| blocks.one()));
}

fn semaphore() {
    let semaphore = Semaphore::new(1);
    count("semaphore, wait and signal", OPS, || {
        semaphore.wait();
        semaphore.signal();
    });
}

fn timers() {
    let queue = queue("timers");
    let hours = |hours: u64| Duration::from_secs(3_600 * hours);
    // The earliest timer, which must wake the sleeping worker.
    let first = queue.submit_after(hours(1), || ());
    let mut timers = Vec::with_capacity(OPS as usize);
    count("add a timer", OPS, || timers.push(queue.submit_after(hours(2), || ())));
    let mut each = timers.iter();
    count("cancel a timer", OPS, || _ = each.next().map(|timer| timer.cancel()));
    first.cancel();
}

fn parallel_loop() {
    count("apply, a loop of one", OPS, || runtime().apply(1, |i| _ = black_box(i)));
    meter::begin();
    runtime().apply(OPS as usize, |i| _ = black_box(i));
    meter::end("apply, one more of a loop", OPS);
}

fn forked_tasks() {
    runtime().scope(|_| {
        // On the worker, which takes back all tasks, because there is no other worker.
        scope(|scope| {
            count("spawn in a scope", OPS, || scope.spawn(|| _ = black_box(0)));
            meter::begin();
        });
        meter::end("run a task of a scope", OPS);
        count("join", OPS, || _ = join(|| black_box(0), || black_box(0)));
        // More tasks than are left to other threads.
        scope(|scope| {
            (0..2_000).for_each(|_| scope.spawn(|| ()));
            count("spawn in a scope, done at once", OPS, || scope.spawn(|| _ = black_box(0)));
        });
    });
}

fn main_queue() {
    let main = MainQueue::with_runtime("main", runtime());
    let handle = main.handle();
    count("submit to a main queue", OPS, || handle.submit(|| _ = black_box(0)));
    // One turn takes all of them.
    meter::begin();
    let more = main.drain(Budget::ALL);
    meter::end("run a block of a main queue", OPS);
    assert!(!more, "one turn runs what waits");
    count("sync on a main queue, from its thread", OPS, || handle.sync(|| _ = black_box(0)));
}

fn once() {
    let once = Once::new();
    count("get a value that is made once", OPS, || _ = black_box(once.get_or_init(|| 1)));
}

fn queues() {
    let mut queues = Vec::with_capacity(OPS as usize);
    count("make a queue", OPS, || queues.push(queue("new")));
    count("drop an idle queue", OPS, || _ = queues.pop());
    let queue = queue("cloned");
    count("clone and drop a handle", OPS, || drop(black_box(queue.clone())));
}

fn suspended() {
    let queue = queue("suspended");
    count("suspend and resume an idle queue", OPS, || {
        queue.suspend();
        _ = queue.resume();
    });
}
