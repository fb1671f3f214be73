//! Do two workers that have nothing to do with one another touch the same memory? This module does
//! what is needed to find out.
//!
//! For: the same operations twice in a row, by one worker on queues of its own and then by the
//! other on its own, between marks that a trace shows. Not for: reading the trace (`lackey`).
//! Rules: two workers and no replacement thread. While one is at it the other sits in a block, so
//! the trace shows the work of one, and of the monitor now and then. No queue is another one's
//! neighbour in memory, or they would share a line for that alone.

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::thread;

use crossbeam_utils::CachePadded;
use singletrack_queues::{Queue, Runtime};

/// The measured operations of each worker, and the operations before them, which pay for what is
/// made once.
pub(crate) const OPS: usize = 256;
const BEFORE: usize = 64;
/// Stretches of each operation.
const STRETCHES: usize = 3;

/// The planted fault that must be found: every operation counts itself in one place.
pub(crate) const FAULT: &str = "shared-counter";

/// Each worker stores here where its part begins and where it ends.
static MARK: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(0));
static SHARED_COUNTER: CachePadded<AtomicU64> = CachePadded::new(AtomicU64::new(0));

type Then = Box<dyn FnOnce() + Send>;

/// The part of one worker in a stretch.
struct Part {
    runtime: &'static Runtime,
    done: AtomicUsize,
    broken: bool,
    then: Mutex<Option<Then>>,
}

impl Part {
    /// Leaked, so that an operation holds a pointer to it and counts nothing.
    fn new(runtime: &'static Runtime, broken: bool, then: Then) -> &'static CachePadded<Self> {
        let then = Mutex::new(Some(then));
        Box::leak(Box::new(CachePadded::new(Self { runtime, done: AtomicUsize::new(0), broken, then })))
    }

    /// Counts one more operation. `false` if it was the last, or one too many.
    fn one(&self) -> bool {
        if self.broken {
            SHARED_COUNTER.fetch_add(1, Relaxed);
        }
        // Only one thread comes here, as everywhere in a part.
        let done = self.done.load(Relaxed) + 1;
        self.done.store(done, Relaxed);
        if done == BEFORE {
            MARK.store(1, Relaxed);
        } else if done == BEFORE + OPS {
            MARK.store(0, Relaxed);
            let then = self.then.lock().unwrap_or_else(PoisonError::into_inner).take();
            then.expect("it ends once")();
        }
        done < BEFORE + OPS
    }
}

/// An operation to look at.
struct Operation {
    name: &'static str,
    /// `true`: a block of a worker does it. `false`: a thread outside does it while both workers
    /// are held.
    by_a_worker: bool,
    /// How many queues it has of its own.
    queues: usize,
    run: fn(&[Queue], &'static Part),
    /// How many lines of memory are the same for all threads that do it.
    shared: usize,
}

/// A queue that is turned on from outside goes through the one line in which all workers look, the
/// injector, and all pushers share its end. Nothing else is shared.
const ALL: &[Operation] = &[
    Operation {
        name: "hop to another queue",
        by_a_worker: true,
        queues: 2,
        run: |queues, part| hop(queues.into(), 0, part),
        shared: 0,
    },
    Operation {
        name: "hop, one of many messages",
        by_a_worker: true,
        queues: 16,
        run: |queues, part| {
            let queues: Arc<[Queue]> = queues.into();
            (0..queues.len()).step_by(2).for_each(|at| hop(queues.clone(), at, part));
        },
        shared: 0,
    },
    Operation {
        name: "block after block of a queue",
        by_a_worker: true,
        queues: 1,
        run: |queues, part| again(&queues[0], part),
        shared: 0,
    },
    Operation {
        name: "sync on an idle queue",
        by_a_worker: true,
        queues: 1,
        run: |queues, part| while queues[0].sync(|| part.one()) {},
        shared: 0,
    },
    Operation {
        name: "spawn a one-shot block",
        by_a_worker: true,
        queues: 0,
        run: |_, part| spawn_again(part),
        shared: 0,
    },
    Operation {
        name: "submit to a busy queue, from outside",
        by_a_worker: false,
        queues: 1,
        run: |queues, part| {
            while {
                queues[0].submit(|| ());
                part.one()
            } {}
        },
        shared: 0,
    },
    Operation {
        name: "submit, turning a queue on from outside",
        by_a_worker: false,
        queues: BEFORE + OPS,
        run: |queues, part| {
            queues.iter().for_each(|queue| {
                queue.submit(|| ());
                part.one();
            })
        },
        shared: 1,
    },
];

/// Sends a message to the queue at `at`, from there to the next one, and so on.
fn hop(queues: Arc<[Queue]>, at: usize, part: &'static Part) {
    let onward = queues.clone();
    queues[at].submit(move || {
        if part.one() {
            let next = (at + 1) % onward.len();
            hop(onward, next, part);
        }
    });
}

fn again(queue: &Queue, part: &'static Part) {
    let own = queue.clone();
    queue.submit(move || {
        if part.one() {
            again(&own, part);
        }
    });
}

fn spawn_again(part: &'static Part) {
    part.runtime.spawn(move || {
        if part.one() {
            spawn_again(part);
        }
    });
}

/// Two threads do `operation`, one after the other.
fn stretch(runtime: &'static Runtime, operation: &'static Operation, broken: bool) {
    let (first_over, second_may_begin) = channel();
    let (second_over, first_may_go) = channel();
    let (tell, told) = channel();
    let tell_too = tell.clone();
    let first = move || {
        first_over.send(()).expect("the other one waits");
        // Otherwise it would help the other thread.
        first_may_go.recv().expect("the other one comes to its end");
        tell.send(thread::current().id()).expect("this thread waits");
    };
    let second = move || {
        second_over.send(()).expect("the other one waits");
        tell_too.send(thread::current().id()).expect("this thread waits");
    };
    let begins: [Then; 2] =
        [Box::new(|| ()), Box::new(move || second_may_begin.recv().expect("the other one comes to its end"))];
    let thens: [Then; 2] = [Box::new(first), Box::new(second)];
    let held = (!operation.by_a_worker).then(|| hold_workers(runtime));
    let both = Arc::new(Barrier::new(2));
    for (begin, then) in begins.into_iter().zip(thens) {
        let queues = apart(runtime, operation.queues);
        let (part, both) = (Part::new(runtime, broken, then), both.clone());
        let run = move || {
            both.wait();
            begin();
            (operation.run)(&queues, part);
        };
        if operation.by_a_worker {
            runtime.spawn(run);
        } else {
            thread::spawn(run);
        }
    }
    let [one, other] = [told.recv(), told.recv()].map(|thread| thread.expect("each comes to its end"));
    assert_ne!(one, other, "two that wait for one another are two threads");
    if let Some(held) = held {
        held.wait();
    }
}

/// Both workers sit in a block when this returns, until one more thread waits at the barrier.
fn hold_workers(runtime: &Runtime) -> Arc<Barrier> {
    let barrier = Arc::new(Barrier::new(3));
    for _ in 0..2 {
        let barrier = barrier.clone();
        runtime.spawn(move || {
            barrier.wait();
            barrier.wait();
        });
    }
    barrier.wait();
    barrier
}

/// Queues with nothing else of ours on their lines: the queues in between stay unused.
fn apart(runtime: &Runtime, count: usize) -> Vec<Queue> {
    let many: Vec<Queue> = (0..3 * (count + 1)).map(|_| runtime.queue("apart")).collect();
    many.into_iter().skip(2).step_by(3).take(count).collect()
}

/// Prints where the mark is, waits for a line of input, does everything, and prints a line for each
/// stretch.
pub(crate) fn child(fault: Option<&str>) {
    println!("{:x}", MARK.as_ptr().addr());
    std::io::stdout().flush().expect("the parent reads it");
    std::io::stdin().lock().lines().next();
    let runtime = Runtime::builder().workers(2).thread_cap(2).build().expect("two threads for the workers");
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    for operation in (0..STRETCHES).flat_map(|_| ALL) {
        stretch(runtime, operation, fault == Some(FAULT));
        println!("{}|{}", operation.name, operation.shared);
    }
}
