//! Serial and concurrent queues in one hierarchy: each level keeps its width, its order and its barriers.

use crate::{LONG, Latch, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Queue, Runtime, SyncError, TargetQueue, TrySyncError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const WORKERS: usize = 4;

/// What a level may be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Serial,
    Width(usize),
    Wide,
}

const KINDS: [Kind; 4] = [Kind::Serial, Kind::Width(1), Kind::Width(2), Kind::Wide];

impl Kind {
    fn limit(self) -> usize {
        match self {
            Kind::Serial => 1,
            Kind::Width(width) => width,
            // As many as there are threads: a worker that waits in a block may be stood in for.
            Kind::Wide => usize::MAX,
        }
    }
}

#[derive(Clone)]
enum Either {
    Serial(Queue),
    Concurrent(ConcurrentQueue),
}

impl Either {
    fn build(kind: Kind, label: &str, runtime: &Runtime, target: Option<&Either>) -> Self {
        let label = label.to_owned();
        let target = target.map(|target| match target {
            Either::Serial(queue) => TargetQueue::from(queue),
            Either::Concurrent(queue) => TargetQueue::from(queue),
        });
        if kind == Kind::Serial {
            let builder = Queue::builder(label);
            return Either::Serial(match target {
                Some(target) => builder.target(target).build(),
                None => builder.runtime(runtime).build(),
            });
        }
        let mut builder = ConcurrentQueue::builder(label);
        if let Kind::Width(width) = kind {
            builder = builder.width(width);
        }
        Either::Concurrent(match target {
            Some(target) => builder.target(target).build(),
            None => builder.runtime(runtime).build(),
        })
    }

    fn submit(&self, f: impl FnOnce() + Send + 'static) {
        match self {
            Either::Serial(queue) => queue.submit(f),
            Either::Concurrent(queue) => queue.submit(f),
        }
    }

    fn sync(&self, f: impl FnOnce() + Send) {
        match self {
            Either::Serial(queue) => queue.sync(f),
            Either::Concurrent(queue) => queue.sync(f),
        }
    }

    fn barrier_sync(&self, f: impl FnOnce() + Send) {
        match self {
            Either::Serial(queue) => queue.sync(f),
            Either::Concurrent(queue) => queue.barrier_sync(f),
        }
    }
}

/// One queue of the tree, and how many are in it or in what targets it.
struct Node {
    queue: Either,
    kind: Kind,
    inside: AtomicUsize,
    up: Option<Arc<Node>>,
}

impl Node {
    fn new(kind: Kind, label: &str, runtime: &Runtime, up: Option<&Arc<Node>>) -> Arc<Node> {
        let queue = Either::build(kind, label, runtime, up.map(|up| &up.queue));
        Arc::new(Node { queue, kind, inside: AtomicUsize::new(0), up: up.cloned() })
    }

    fn chain(&self) -> impl Iterator<Item = &Node> {
        std::iter::successors(Some(self), |node| node.up.as_deref())
    }

    fn enter(&self, wrong: &AtomicUsize) {
        for node in self.chain() {
            if node.inside.fetch_add(1, SeqCst) >= node.kind.limit() {
                wrong.fetch_add(1, SeqCst);
            }
        }
    }

    fn leave(&self) {
        for node in self.chain() {
            node.inside.fetch_sub(1, SeqCst);
        }
    }
}

/// Blocks that come here stay until so many have been here at once.
struct Meeting {
    now: Mutex<(usize, usize)>,
    met: Condvar,
}

impl Meeting {
    fn attend(&self, many: usize) {
        let mut now = self.now.lock().expect("no panic under it");
        now.0 += 1;
        now.1 = now.1.max(now.0);
        self.met.notify_all();
        now = self.met.wait_timeout_while(now, LONG, |now| now.1 < many).expect("no panic under it").0;
        now.0 -= 1;
    }
}

/// A root, two queues on it, and two leaves on each of them.
fn tree(runtime: &Runtime, [top, middle, leaf]: [Kind; 3]) -> (Arc<Node>, Vec<Arc<Node>>, Vec<Arc<Node>>) {
    let root = Node::new(top, "root", runtime, None);
    let middles: Vec<_> = (0..2).map(|i| Node::new(middle, &format!("middle.{i}"), runtime, Some(&root))).collect();
    let leaves = (0..4).map(|i| Node::new(leaf, &format!("leaf.{i}"), runtime, Some(&middles[i / 2]))).collect();
    (root, middles, leaves)
}

fn all_hierarchies() -> impl Iterator<Item = [Kind; 3]> {
    KINDS
        .into_iter()
        .flat_map(|top| KINDS.into_iter().flat_map(move |mid| KINDS.into_iter().map(move |leaf| [top, mid, leaf])))
}

#[test]
fn every_hierarchy_runs_as_many_blocks_at_once_as_it_allows_and_never_more() {
    let runtime = runtime(WORKERS);
    for kinds in all_hierarchies() {
        let (_, _, leaves) = tree(&runtime, kinds);
        let [top, middle, leaf] = kinds.map(Kind::limit);
        let allowed = top.min(middle.min(leaf.saturating_mul(2)).saturating_mul(2));
        let many = allowed.min(WORKERS);
        let meeting = Arc::new(Meeting { now: Mutex::default(), met: Condvar::new() });
        let (wrong, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..2 * WORKERS {
            for leaf in &leaves {
                let (on, meeting, wrong, ran) = (leaf.clone(), meeting.clone(), wrong.clone(), ran.clone());
                leaf.queue.submit(move || {
                    on.enter(&wrong);
                    meeting.attend(many);
                    on.leave();
                    ran.fetch_add(1, SeqCst);
                });
            }
        }
        wait_until("all blocks of a hierarchy", || ran.load(SeqCst) == 8 * WORKERS);
        let most = meeting.now.lock().expect("no panic under it").1;
        assert!((many..=allowed).contains(&most), "{most} at once, {allowed} were allowed: {kinds:?}");
        assert_eq!(wrong.load(SeqCst), 0, "too many at once in a level of {kinds:?}");
    }
}

#[test]
fn every_hierarchy_keeps_its_widths_under_submits_and_syncs_and_loses_nothing() {
    let runtime = runtime(2);
    for kinds in all_hierarchies() {
        let (root, middles, leaves) = tree(&runtime, kinds);
        let all: Vec<_> = [root].into_iter().chain(middles).chain(leaves).collect();
        let (wrong, ran) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        std::thread::scope(|scope| {
            for who in 0..2 {
                let (all, wrong, ran) = (&all, &wrong, &ran);
                scope.spawn(move || {
                    for i in 0..300 {
                        let node = &all[(i * 5 + who) % all.len()];
                        let (on, wrong, ran) = (node.clone(), wrong.clone(), ran.clone());
                        let block = move || {
                            on.enter(&wrong);
                            std::hint::black_box(i);
                            on.leave();
                            ran.fetch_add(1, SeqCst);
                        };
                        match (i + who) % 16 {
                            0 => node.queue.sync(block),
                            8 => node.queue.barrier_sync(block),
                            _ => node.queue.submit(block),
                        }
                    }
                });
            }
        });
        wait_until("all blocks of a hierarchy", || ran.load(SeqCst) == 600);
        assert_eq!(wrong.load(SeqCst), 0, "too many at once in {kinds:?}");
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn serial_queues_on_a_concurrent_one_keep_their_order_and_its_barriers_are_alone() {
    let runtime = runtime(4);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).build();
    let leaves: Vec<_> = (0..6).map(|i| Queue::builder(format!("leaf.{i}")).target(&root).build()).collect();
    let inside = Arc::new(AtomicUsize::new(0));
    let logs: Vec<_> = leaves.iter().map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
    for i in 0..500 {
        for (leaf, log) in leaves.iter().zip(&logs) {
            let (inside, log) = (inside.clone(), log.clone());
            leaf.submit(move || {
                inside.fetch_add(1, SeqCst);
                log.try_lock().expect("one at a time in a leaf").push(i);
                inside.fetch_sub(1, SeqCst);
            });
        }
        if i % 10 == 0 {
            let inside = inside.clone();
            root.barrier(move || {
                assert_eq!(inside.load(SeqCst), 0, "a barrier beside a block of what targets its queue")
            });
        }
    }
    leaves.iter().for_each(|leaf| leaf.sync(|| ()));
    root.barrier_sync(|| ());
    for log in logs {
        assert!(log.lock().expect("no panic under it").iter().copied().eq(0..500));
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn a_barrier_is_alone_in_its_own_queue_and_an_ordinary_block_of_the_target() {
    let runtime = runtime(2);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).build();
    let child = ConcurrentQueue::builder("child").target(&root).build();
    let sibling = ConcurrentQueue::builder("sibling").target(&root).build();
    let (one, two) = (Latch::default(), Latch::default());
    let (open_one, wait_two) = (one.clone(), two.clone());
    let barrier = child.barrier_call(move || {
        open_one.open();
        wait_two.wait();
    });
    let beside = sibling.call(move || {
        two.open();
        one.wait();
    });
    assert!(barrier.wait().is_ok() && beside.wait().is_ok(), "each waited for the other to have begun");
}

/// Two hundred times: readers that must all have ended, then a barrier; in every shape that a concurrent queue can have.
#[test]
fn barriers_hold_for_two_hundred_generations_whatever_the_target() {
    let runtime = runtime(4);
    let serial = runtime.queue("serial");
    let wide = ConcurrentQueue::builder("wide").runtime(&runtime).build();
    let narrow = ConcurrentQueue::builder("narrow").target(&wide).width(2).build();
    let queues = [
        ConcurrentQueue::builder("on the pool").runtime(&runtime).build(),
        ConcurrentQueue::builder("with a width").runtime(&runtime).width(2).build(),
        ConcurrentQueue::builder("on a serial queue").target(&serial).build(),
        ConcurrentQueue::builder("on a concurrent queue").target(&wide).build(),
        ConcurrentQueue::builder("on a narrow queue").target(&narrow).width(3).build(),
    ];
    for queue in &queues {
        let (readers, generation) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for now in 0..200 {
            for _ in 0..5 {
                let (readers, generation) = (readers.clone(), generation.clone());
                queue.submit(move || {
                    readers.fetch_add(1, SeqCst);
                    assert_eq!(generation.load(SeqCst), now, "a block overtook a barrier, or was overtaken");
                    readers.fetch_sub(1, SeqCst);
                });
            }
            let (readers, generation) = (readers.clone(), generation.clone());
            let write = move || {
                assert_eq!(readers.load(SeqCst), 0, "a barrier beside readers");
                assert_eq!(generation.fetch_add(1, SeqCst), now);
            };
            if now % 4 == 0 { queue.barrier_sync(write) } else { queue.barrier(write) }
        }
        queue.barrier_sync(|| ());
        assert_eq!(generation.load(SeqCst), 200, "{queue:?}");
    }
    assert_eq!(runtime.stats().panics, 0);
}

#[test]
fn what_can_never_be_had_is_reported_with_both_queues() {
    fn sentence(f: impl FnOnce()) -> String {
        *catch_unwind(AssertUnwindSafe(f)).expect_err("it must panic").downcast::<String>().expect("text")
    }
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let table = ConcurrentQueue::builder("table").target(&root).build();
    let other = ConcurrentQueue::builder("other").target(&root).build();
    let view = ConcurrentQueue::builder("view").target(&table).build();
    let log = Queue::builder("log").target(&table).build();
    // A barrier of what this thread is in, directly or through a target.
    for said in [
        table.sync(|| sentence(|| table.barrier_sync(|| ()))),
        view.sync(|| sentence(|| table.barrier_sync(|| ()))),
        log.sync(|| sentence(|| table.barrier_sync(|| ()))),
    ] {
        assert!(said.contains("deadlock") && said.contains("\"table\""), "{said}");
    }
    // In a barrier of the target, or on a serial queue that both need.
    let said = table.barrier_sync(|| sentence(|| view.sync(|| ())));
    assert!(said.contains("\"view\"") && said.contains("\"table\""), "{said}");
    let said = table.sync(|| sentence(|| other.sync(|| ())));
    assert!(said.contains("\"other\"") && said.contains("\"table\""), "{said}");
    let said = root.sync(|| sentence(|| view.sync(|| ())));
    assert!(said.contains("\"view\"") && said.contains("\"root\""), "{said}");
    assert!(table.sync(|| matches!(table.try_barrier_sync(|| ()), Err(TrySyncError::Deadlock(..)))));
    let timed = table.sync(|| table.barrier_sync_timeout(LONG, || ()));
    assert!(matches!(timed, Err(SyncError::Deadlock(_))));
    // All of them go on.
    assert_eq!(view.barrier_sync(|| 1) + log.sync(|| 2) + other.sync(|| 4), 7);
}

#[test]
fn a_block_of_a_concurrent_queue_may_sync_on_what_targets_it_even_while_a_barrier_waits() {
    let runtime = runtime(2);
    let root = ConcurrentQueue::builder("root").runtime(&runtime).width(1).build();
    let view = ConcurrentQueue::builder("view").target(&root).build();
    let log = Queue::builder("log").target(&root).build();
    let written = root.sync(|| {
        let written = root.barrier_call(|| ());
        assert_eq!(view.sync(|| 1) + log.sync(|| 2) + view.barrier_sync(|| 4), 7);
        written
    });
    assert!(written.wait().is_ok());
}

#[test]
fn try_sync_and_sync_timeout_go_through_the_chain() {
    let runtime = runtime(2);
    let root = runtime.queue("root");
    let table = ConcurrentQueue::builder("table").target(&root).build();
    let leaf = Queue::builder("leaf").target(&table).build();
    assert_eq!(leaf.try_sync(|| 1).ok(), Some(1));
    assert_eq!(table.try_sync(|| 2).ok(), Some(2));
    let (busy, go) = (Latch::default(), Latch::default());
    let (begun, wait) = (busy.clone(), go.clone());
    let blocking = root.call(move || {
        begun.open();
        wait.wait();
    });
    busy.wait();
    assert!(matches!(leaf.try_sync(|| ()), Err(TrySyncError::Busy(_))));
    assert!(matches!(table.try_sync(|| ()), Err(TrySyncError::Busy(_))));
    for timed in [
        leaf.sync_timeout(Duration::from_millis(1), || ()),
        table.sync_timeout(Duration::from_millis(1), || ()),
        table.barrier_sync_timeout(Duration::from_millis(1), || ()),
    ] {
        assert!(matches!(timed, Err(SyncError::Timeout { .. })), "{timed:?}");
    }
    go.open();
    assert_eq!(leaf.sync_timeout(LONG, || 1), Ok(1));
    assert_eq!(table.sync_timeout(LONG, || 2), Ok(2));
    assert_eq!(table.barrier_sync_timeout(LONG, || 3), Ok(3));
    assert!(blocking.wait().is_ok());
    let caught = catch_unwind(AssertUnwindSafe(|| table.sync_timeout(LONG, || panic!("carried"))));
    assert!(caught.is_err());
    assert_eq!(table.barrier_sync(|| 4), 4, "the queue goes on");
}

#[test]
#[should_panic(expected = "on another runtime")]
fn a_target_on_another_runtime_is_refused() {
    let (one, two) = (runtime(1), runtime(1));
    let there = ConcurrentQueue::builder("there").runtime(&one).build();
    drop(ConcurrentQueue::builder("lost").target(&there).runtime(&two).build());
}

#[test]
fn handles_dropped_in_any_order_lose_nothing() {
    let runtime = runtime(2);
    let ran = Arc::new(AtomicUsize::new(0));
    let add = |ran: &Arc<AtomicUsize>| {
        let ran = ran.clone();
        move || {
            ran.fetch_add(1, SeqCst);
        }
    };
    for _ in 0..300 {
        let root = ConcurrentQueue::builder("root").runtime(&runtime).width(1).build();
        let middle = ConcurrentQueue::builder("middle").target(&root).build();
        let leaf = Queue::builder("leaf").target(&middle).build();
        for i in 0..4 {
            leaf.submit(add(&ran));
            middle.submit(add(&ran));
            if i == 2 {
                middle.barrier(add(&ran));
                root.barrier(add(&ran));
            }
        }
        drop(root);
        leaf.submit(add(&ran));
    }
    wait_until("all blocks", || ran.load(SeqCst) == 300 * 11);
}
