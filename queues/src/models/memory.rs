//! A node of a depot belongs to one thread at a time, and its slab is freed once all its nodes came
//! back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use loom::thread;

use super::{begin, check};
use crate::base::memory::depot::Depot;
use crate::base::sync::OwnerCell;

/// So large that the nodes of a slab are one word of bits.
const SIZE: usize = 1024;

struct Shared {
    depot: Depot,
    /// The content of each node, by its address, because loom cannot see into memory. The lock is
    /// std's, which loom does not see either.
    nodes: Mutex<HashMap<usize, Arc<Node>>>,
}

struct Node(OwnerCell<u8>);

// SAFETY: the model checks that this is sound.
unsafe impl Sync for Node {}
// SAFETY: as above.
unsafe impl Send for Node {}

impl Shared {
    /// Takes nodes, uses one of them, and gives them back.
    fn run(&self) {
        let mut taken = Vec::new();
        self.depot.take(1, |node| taken.push(node));
        if let Some(node) = taken.last() {
            let node = {
                let mut nodes = self.nodes.lock().expect("no panic under it");
                nodes.entry(node.addr()).or_insert_with(|| Arc::new(Node(OwnerCell::new(0)))).clone()
            };
            // SAFETY: this thread took the node, which loom checks.
            unsafe { node.0.set(node.0.get() + 1) };
        }
        self.depot.give(taken.into_iter());
    }
}

#[test]
fn taking_against_giving() {
    check(3, || {
        let shared = Arc::new(Shared { depot: Depot::new(SIZE), nodes: Mutex::default() });
        let other = {
            let shared = shared.clone();
            thread::spawn(move || shared.run())
        };
        begin();
        shared.run();
        other.join().expect("it does not panic");
        assert_eq!(shared.depot.slabs(), 0, "nothing is in use, so nothing stays");
    });
}
