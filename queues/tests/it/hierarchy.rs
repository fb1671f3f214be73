//! Every hierarchy of serial and concurrent queues, three deep: as many blocks run at once as it
//! allows, and never more.

use crate::{LONG, runtime, wait_until};
use singletrack_queues::{ConcurrentQueue, Queue, Runtime, TargetQueue};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};

const WORKERS: usize = 4;

/// The kind of a level.
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
            // As many as there are threads: a worker that waits in a block may be replaced.
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

/// One queue of the tree, and how many blocks are in it or in the queues that target it.
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

/// Blocks that arrive here stay until `many` have been here at once.
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
