//! The memory that all threads share: nodes of one size, handed out and taken back in batches,
//! under a lock.
//!
//! *Slabs* of [`SLAB`] bytes are cut into nodes. A slab has a bit for each node, which says whether
//! it is free. So nodes are handed out in the order of their addresses, in whatever order they came
//! back, and neither side touches them. The address of a node, rounded down, is that of its slab.
//!
//! Memory comes back late: nodes are taken from one slab until it has none, then from the slab that
//! has been entirely free for longest. By then, the core that used its nodes last has finished with
//! their cache lines. For the same reason a depot has [`FEWEST`] slabs before it uses one again.
//! Taking the memory that came back last instead costs a fan-in between 1.4 and 9 times as much.
//!
//! A slab stays as long as one of its nodes is in use. Of the slabs that are entirely free, as many
//! stay as there are other slabs, and [`KEPT`] more. The rest goes back to the system at once. So a
//! load that doubles and halves asks the system for nothing, and a burst of millions of blocks
//! leaves little memory behind.
//!
//! Not for: the threads' part (`memory`), where slabs are from (`pages`).

use std::ptr;

use super::pages::{self, SLAB};
#[cfg(not(queues_loom))]
use crate::base::sync::MutexGuard;
use crate::base::sync::{Mutex, lock};

/// Bits of a word.
pub(crate) const BITS: usize = u64::BITS as usize;
/// The size of the smallest nodes, in bytes.
pub(crate) const SMALLEST: usize = 32;
/// The number of words of a slab of the smallest nodes.
const WORDS: usize = SLAB / SMALLEST / BITS;
/// The number of unused slabs that stay: 16 MiB. A queue whose backlog comes and goes asks the
/// system for nothing then.
const KEPT: usize = if cfg!(queues_loom) { 0 } else { 256 };
/// The number of slabs that there are before one is used again: 2 MiB, as much as a core's own
/// cache. Half of it doubles the time of a submit to one queue.
pub(crate) const FEWEST: usize = if cfg!(queues_loom) { 0 } else { 32 };

/// The header in front of a slab's nodes. Guarded by the lock of its depot.
struct Slab {
    /// A bit for each node. It is set if the node is free.
    free: [u64; WORDS],
    /// The number of free nodes.
    count: usize,
    /// The neighbours in the line in which it is.
    previous: *mut Slab,
    next: *mut Slab,
}

/// Slabs in the order in which they came.
#[derive(Debug)]
struct Line {
    first: *mut Slab,
    last: *mut Slab,
    len: usize,
}

impl Line {
    const fn new() -> Self {
        Self { first: ptr::null_mut(), last: ptr::null_mut(), len: 0 }
    }

    /// # Safety
    /// The slab is in no line, and stays while it is in this one. The caller holds the lock.
    unsafe fn push(&mut self, slab: *mut Slab) {
        // SAFETY: the caller's promise, which also holds for what was pushed before.
        unsafe {
            (*slab).previous = self.last;
            (*slab).next = ptr::null_mut();
            if self.last.is_null() {
                self.first = slab;
            } else {
                (*self.last).next = slab;
            }
        }
        self.last = slab;
        self.len += 1;
    }

    /// # Safety
    /// The slab is in this line. The caller holds the lock.
    unsafe fn remove(&mut self, slab: *mut Slab) {
        // SAFETY: the caller's promise: all neighbours are in the line too.
        unsafe {
            let (previous, next) = ((*slab).previous, (*slab).next);
            if previous.is_null() {
                self.first = next;
            } else {
                (*previous).next = next;
            }
            if next.is_null() {
                self.last = previous;
            } else {
                (*next).previous = previous;
            }
        }
        self.len -= 1;
    }

    /// Removes the slab that came first. Null: the line is empty.
    ///
    /// # Safety
    /// The caller holds the lock.
    unsafe fn pop(&mut self) -> *mut Slab {
        let slab = self.first;
        if !slab.is_null() {
            // SAFETY: the caller's promise, and it is in the line.
            unsafe { self.remove(slab) };
        }
        slab
    }
}

/// A slab with free nodes is the current one or in a line. One without is in neither.
#[derive(Debug)]
struct Slabs {
    /// The logarithm of a node's size.
    shift: u32,
    /// The slab from which nodes are taken. Null: another has to be chosen.
    current: *mut Slab,
    /// The slabs whose nodes are all free. Nodes are taken from these first.
    unused: Line,
    /// The slabs with some free nodes.
    partly: Line,
    /// The number of all slabs with nodes.
    all: usize,
    /// Addresses for more slabs.
    bare: Vec<*mut u8>,
}

// SAFETY: the slabs belong to the depot, and their nodes have no owner.
unsafe impl Send for Slabs {}

impl Slabs {
    const fn new(size: usize) -> Self {
        assert!(size >= SMALLEST && size * BITS <= SLAB, "the nodes of a word are in one slab");
        Self {
            shift: size.ilog2(),
            current: ptr::null_mut(),
            unused: Line::new(),
            partly: Line::new(),
            all: 0,
            bare: Vec::new(),
        }
    }

    /// The number of the first node in a slab: behind the header.
    fn header(&self) -> usize {
        size_of::<Slab>().div_ceil(1 << self.shift)
    }

    /// The number of nodes in a slab.
    fn nodes(&self) -> usize {
        (SLAB >> self.shift) - self.header()
    }

    /// Whether a slab has to be added before nodes can be taken.
    fn needs_slab(&self) -> bool {
        self.current.is_null() && (self.all < FEWEST || self.unused.len + self.partly.len == 0)
    }

    /// Calls `push` with the nodes of the fullest word of the current slab. Returns the number of
    /// nodes, or 0 if there are none.
    fn take(&mut self, push: &mut impl FnMut(*mut u8)) -> usize {
        // SAFETY: the lock is held.
        unsafe {
            if self.current.is_null() {
                self.current = self.unused.pop();
            }
            if self.current.is_null() {
                self.current = self.partly.pop();
            }
        }
        let slab = self.current;
        if slab.is_null() {
            return 0;
        }
        // SAFETY: a slab with free nodes stays, and only the holder of the lock touches it.
        let head = unsafe { &mut *slab };
        let words = &mut head.free[..(SLAB >> self.shift) / BITS];
        let full = words.iter().position(|bits| *bits == u64::MAX);
        let fullest = full.or_else(|| (0..words.len()).max_by_key(|word| words[*word].count_ones()));
        let Some(word) = fullest else { return 0 };
        let mut bits = std::mem::take(&mut words[word]);
        let taken = bits.count_ones() as usize;
        head.count -= taken;
        if head.count == 0 {
            self.current = ptr::null_mut();
        }
        // From the last to the first, because the node that is pushed last is used first.
        while let Some(bit) = bits.checked_ilog2() {
            bits ^= 1 << bit;
            push(slab.cast::<u8>().wrapping_add((word * BITS + bit as usize) << self.shift));
        }
        taken
    }

    /// Takes back the nodes of one word, at least one. `first` is the place of the word's first
    /// node. Slabs that are no longer used go into the list `gone`.
    fn give(&mut self, first: *mut u8, bits: u64, gone: &mut *mut Slab) {
        let slab: *mut Slab = first.map_addr(|address| address & !(SLAB - 1)).cast();
        let word = ((first.addr() & (SLAB - 1)) >> self.shift) / BITS;
        // SAFETY: a slab stays until its last node is given back, and only the holder of the lock
        // touches it.
        let head = unsafe { &mut *slab };
        debug_assert_eq!(head.free[word] & bits, 0, "each is given back once");
        head.free[word] |= bits;
        let had_none = head.count == 0;
        head.count += bits.count_ones() as usize;
        let all_free = head.count == self.nodes();
        // SAFETY: as above: slabs with free nodes stay. This one is in `partly` unless it is the
        // current one or had no free node.
        unsafe {
            if had_none {
                self.partly.push(slab);
            }
            if all_free {
                if slab == self.current {
                    self.current = ptr::null_mut();
                } else {
                    self.partly.remove(slab);
                }
                self.unused.push(slab);
                while self.unused.len > KEPT + self.all - self.unused.len {
                    let slab = self.unused.pop();
                    self.all -= 1;
                    (*slab).next = *gone;
                    *gone = slab;
                }
            }
        }
    }

    /// Adds a new slab, all free.
    fn add(&mut self, slab: *mut Slab) {
        let mut free = [0; WORDS];
        for number in self.header()..SLAB >> self.shift {
            free[number / BITS] |= 1 << (number % BITS);
        }
        let head = Slab { free, count: self.nodes(), previous: ptr::null_mut(), next: ptr::null_mut() };
        // SAFETY: fresh memory, large enough and aligned, which stays while it is in the line.
        unsafe {
            slab.write(head);
            self.unused.push(slab);
        }
        self.all += 1;
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Depot(Mutex<Slabs>);

impl Depot {
    #[cfg(not(queues_loom))]
    pub(super) const fn new(size: usize) -> Self {
        Self(Mutex::new(Slabs::new(size)))
    }

    #[cfg(queues_loom)]
    pub(crate) fn new(size: usize) -> Self {
        Self(Mutex::new(Slabs::new(size)))
    }

    /// Calls `push` with nodes, many of them side by side: at least one, and fewer than `want` and
    /// a word's nodes together.
    pub(crate) fn take(&self, want: usize, mut push: impl FnMut(*mut u8)) {
        let mut slabs = lock(&self.0);
        if slabs.needs_slab() {
            if slabs.bare.is_empty() {
                slabs.bare.extend(pages::reserve());
            }
            let slab = slabs.bare.pop().unwrap_or_else(|| unreachable!("some were added"));
            // Pages take a while: without the lock.
            drop(slabs);
            pages::fill(slab);
            slabs = lock(&self.0);
            slabs.add(slab.cast());
        }
        let mut taken = 0;
        while taken < want {
            match slabs.take(&mut push) {
                0 => break,
                more => taken += more,
            }
        }
    }

    /// Takes nodes back. This is faster in the order of their addresses.
    pub(crate) fn give(&self, nodes: impl Iterator<Item = *mut u8>) {
        let mut gone = ptr::null_mut();
        let mut slabs = lock(&self.0);
        let shift = slabs.shift;
        // Nodes of one word go together.
        let (mut word, mut bits) = (ptr::null_mut(), 0);
        for node in nodes {
            let first = node.map_addr(|address| address & !((BITS << shift) - 1));
            if first != word && bits != 0 {
                slabs.give(word, bits, &mut gone);
                bits = 0;
            }
            word = first;
            bits |= 1 << ((node.addr() >> shift) % BITS);
        }
        if bits != 0 {
            slabs.give(word, bits, &mut gone);
        }
        drop(slabs);
        while !gone.is_null() {
            let slab = gone;
            // SAFETY: it left the depot with its last node: nothing else knows it.
            let stays = unsafe {
                gone = (*slab).next;
                pages::release(slab.cast())
            };
            if stays {
                lock(&self.0).bare.push(slab.cast());
            }
        }
    }

    /// The number of slabs.
    #[cfg(test)]
    pub(crate) fn slabs(&self) -> usize {
        lock(&self.0).all
    }

    /// Keeps all threads out while the result lives.
    #[cfg(not(queues_loom))]
    pub(super) fn close(&'static self) -> Closed {
        Closed(lock(&self.0))
    }
}

/// See [`Depot::close`].
#[cfg(not(queues_loom))]
pub(super) struct Closed(#[expect(dead_code, reason = "it is kept")] MutexGuard<'static, Slabs>);

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn take(depot: &Depot, count: usize) -> Vec<*mut u8> {
        let mut nodes = Vec::new();
        while nodes.len() < count {
            depot.take(1, |node| nodes.push(node));
        }
        nodes
    }

    #[test]
    fn nodes_are_aligned_and_apart_from_one_another() {
        for size in [32, 64, 128, 1024] {
            let depot = Depot::new(size);
            let nodes = take(&depot, 5_000);
            let mut addresses: Vec<_> = nodes.iter().map(|node| node.addr()).collect();
            addresses.sort_unstable();
            assert!(addresses.windows(2).all(|pair| pair[0] + size <= pair[1]));
            assert!(addresses.iter().all(|address| address % size == 0 && address % SLAB >= size_of::<Slab>()));
            depot.give(nodes.into_iter());
        }
    }

    #[test]
    fn a_burst_leaves_few_slabs_behind_whatever_the_order_in_which_it_ends() {
        let depot = Depot::new(64);
        let mut nodes = take(&depot, 900_000);
        let slabs = depot.slabs();
        assert!((881..890).contains(&slabs), "no more than are needed: {slabs}");
        // The nodes are far from one another in the list.
        let step = 7_919;
        nodes = (0..nodes.len()).map(|i| nodes[i * step % nodes.len()]).collect();
        for batch in nodes.chunks(64) {
            depot.give(batch.iter().copied());
        }
        assert_eq!(depot.slabs(), KEPT, "those that are kept");
    }

    #[test]
    fn a_load_that_doubles_and_halves_keeps_its_slabs() {
        let depot = Depot::new(64);
        let base = take(&depot, 50_000);
        let more = take(&depot, 50_000);
        depot.give(more.iter().copied());
        let slabs = depot.slabs();
        let again: BTreeSet<_> = take(&depot, 40_000).into_iter().collect();
        assert_eq!(depot.slabs(), slabs, "nothing was asked for");
        assert!(again.len() >= 40_000);
        depot.give(base.into_iter().chain(again));
    }

    #[test]
    fn memory_that_was_entirely_free_for_longest_is_taken_first() {
        let depot = Depot::new(1024);
        let slab_of = |node: &*mut u8| node.addr() & !(SLAB - 1);
        // All nodes of all slabs, slab by slab.
        let mut slabs: Vec<Vec<*mut u8>> = Vec::new();
        while slabs.len() < FEWEST || depot.slabs() < slabs.len() {
            let nodes = take(&depot, SLAB / 1024 - 1);
            assert!(nodes.iter().all(|node| slab_of(node) == slab_of(&nodes[0])), "one slab until it has none");
            slabs.push(nodes);
        }
        assert_eq!(depot.slabs(), FEWEST);
        let used = slabs.split_off(3);
        let order = [1, 2, 0].map(|number| slab_of(&slabs[number][0]));
        // One slab is partly free before the others are entirely free.
        depot.give(used[0][..1].iter().copied());
        for number in [1, 2, 0] {
            depot.give(slabs[number].iter().copied());
        }
        for slab in order {
            let nodes = take(&depot, SLAB / 1024 - 1);
            assert!(nodes.iter().all(|node| slab_of(node) == slab));
        }
        assert_eq!(take(&depot, 1), used[0][..1], "the last that is free");
        assert_eq!(depot.slabs(), FEWEST, "nothing was asked for");
    }
}
