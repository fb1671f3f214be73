//! The finalizer of a queue runs once, after its last block, and outside all its blocks.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{Queue, Runtime, SpecificKey};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};

static OWNED: SpecificKey<Finalizer> = SpecificKey::new();
static DEPTH: SpecificKey<usize> = SpecificKey::new();

/// On its drop it reports how many blocks had run, and whether a block of its queue was running on
/// this thread.
struct Finalizer {
    name: &'static str,
    ran: Arc<AtomicUsize>,
    tell: Sender<(&'static str, usize, bool)>,
}

impl Drop for Finalizer {
    fn drop(&mut self) {
        let inside = OWNED.current().is_some_and(|owned| owned.name == self.name);
        let _ = self.tell.send((self.name, self.ran.load(SeqCst), inside));
    }
}

struct Owner {
    ran: Arc<AtomicUsize>,
    tell: Sender<(&'static str, usize, bool)>,
    told: Receiver<(&'static str, usize, bool)>,
}

impl Owner {
    fn new() -> Self {
        let (tell, told) = mpsc::channel();
        Self { ran: Arc::default(), tell, told }
    }

    fn gives(&self, queue: &Queue, name: &'static str) {
        let (ran, tell) = (self.ran.clone(), self.tell.clone());
        assert!(queue.set_specific(&OWNED, Finalizer { name, ran, tell }).is_none());
    }

    fn submits(&self, queue: &Queue, blocks: usize) {
        for _ in 0..blocks {
            let ran = self.ran.clone();
            queue.submit(move || {
                assert!(OWNED.current().is_some(), "the value is there as long as blocks run");
                ran.fetch_add(1, SeqCst);
            });
        }
    }

    #[track_caller]
    fn expects(&self, name: &str, blocks: usize) {
        let (who, ran, inside) = self.told.recv_timeout(LONG).expect("it goes with its queue");
        assert_eq!((who, ran, inside), (name, blocks, false));
    }
}

fn at_work(runtime: &Runtime) {
    let owner = Owner::new();
    // An idle queue.
    let queue = runtime.queue("idle");
    owner.gives(&queue, "idle");
    drop(queue);
    owner.expects("idle", 0);
    // A busy queue.
    let queue = runtime.queue("busy");
    owner.gives(&queue, "busy");
    owner.submits(&queue, 1_000);
    drop(queue);
    owner.expects("busy", 1_000);
    // A suspended queue, which runs what it holds first.
    let queue = runtime.queue("held");
    owner.gives(&queue, "held");
    queue.suspend();
    owner.submits(&queue, 10);
    drop(queue);
    owner.expects("held", 1_010);
    // A queue that its own block drops.
    let queue = runtime.queue("own");
    owner.gives(&queue, "own");
    let own: Arc<OnceLock<Queue>> = Arc::default();
    let (mine, ran) = (own.clone(), owner.ran.clone());
    queue.submit(move || {
        while mine.get().is_none() {
            std::thread::yield_now();
        }
        drop(mine);
        ran.fetch_add(1, SeqCst);
    });
    own.set(queue).expect("set once");
    drop(own);
    owner.expects("own", 1_011);
    assert!(owner.told.try_recv().is_err(), "each once");
}

#[test]
fn a_value_of_a_queue_goes_after_the_last_block_and_in_no_block_of_it() {
    for workers in [1, 4] {
        let runtime = runtime(workers);
        (0..20).for_each(|_| at_work(&runtime));
        assert_eq!(runtime.stats().panics, 0);
    }
}

#[test]
fn the_values_of_a_leaf_and_of_its_target_go_after_the_last_block_of_both() {
    let runtime = runtime(2);
    for _ in 0..50 {
        let owner = Owner::new();
        let root = runtime.queue("root");
        let leaf = Queue::builder("leaf").target(&root).build();
        owner.gives(&root, "root");
        owner.gives(&leaf, "leaf");
        owner.submits(&leaf, 20);
        drop((root, leaf));
        let ends = [(); 2].map(|()| owner.told.recv_timeout(LONG).expect("both are dropped"));
        // The order of the two is not guaranteed; only that both come after the last block.
        assert!(ends.iter().all(|&(_, ran, inside)| ran == 20 && !inside), "{ends:?}");
    }
}

#[test]
fn what_the_last_block_captured_goes_once_when_it_has_run() {
    let runtime = runtime(2);
    for _ in 0..200 {
        let token = Arc::new(());
        let queue = runtime.queue("captures");
        for _ in 0..10 {
            let token = token.clone();
            queue.submit(move || assert!(Arc::strong_count(&token) >= 1));
        }
        drop(queue);
        wait_until("the captures of ten blocks", || Arc::strong_count(&token) == 1);
    }
}

#[test]
fn a_value_is_found_through_eighty_targets() {
    let runtime = runtime(2);
    let mut queues = vec![runtime.queue("chain.0")];
    for level in 1..80 {
        queues.push(Queue::builder(format!("chain.{level}")).target(&queues[level - 1]).build());
    }
    queues[0].set_specific(&DEPTH, 0);
    queues[40].set_specific(&DEPTH, 40);
    for (level, queue) in queues.iter().enumerate() {
        let nearest = if level < 40 { 0 } else { 40 };
        let from_block = queue.call(|| DEPTH.current().as_deref().copied());
        assert_eq!(from_block.wait().ok().flatten(), Some(nearest), "level {level}");
        assert_eq!(queue.sync(|| DEPTH.current().as_deref().copied()), Some(nearest));
    }
}

#[test]
fn a_value_may_own_the_last_handle_of_another_queue_or_of_the_runtime() {
    static NEXT: SpecificKey<Queue> = SpecificKey::new();
    static HOME: SpecificKey<Runtime> = SpecificKey::new();
    let runtime = runtime(2);
    let owner = Owner::new();
    let mut first = runtime.queue("last of the line");
    owner.gives(&first, "last of the line");
    first.set_specific(&HOME, runtime.clone());
    for i in 0..500 {
        let queue = runtime.queue(format!("line.{i}"));
        queue.set_specific(&NEXT, first);
        first = queue;
    }
    owner.submits(&first.get_specific(&NEXT).expect("given above").get_specific(&NEXT).expect("given above"), 0);
    drop(runtime);
    drop(first);
    owner.expects("last of the line", 0);
}
