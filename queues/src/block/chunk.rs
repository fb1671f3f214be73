//! Memory for the blocks of a busy queue, one beside the other.
//!
//! The blocks that wait in a queue are run in the order in which they were submitted, and an allocator puts each next to
//! whatever its thread allocated before. So with many queues every block is a miss in the caches of the drainer, and none
//! can be foretold. Here a thread has a *chunk* for each of the busy queues that it submits to, and takes memory from it
//! from the front to the end; most of the next block is then on its way with the one before. It also asks the allocator
//! once for a chunk instead of once for a block, whichever allocator the program has.
//!
//! A thread finds its chunks by the address of the queue, in a table with a few places for each address. That is a hint and
//! no more: a queue that is gone, and another one at its address, do no harm. A queue gets a chunk with the second block
//! that finds it in the table, so that one which is rarely busy costs none. The table and its chunks are the thread's, and
//! end with it: at most [`SETS`] * [`WAYS`] chunks of [`SIZE`] bytes.
//!
//! Who takes memory is the thread; who gives it back is whoever ran the block, on any thread, for many blocks of a chunk at
//! once: it owes a chunk what it ran of it until it comes to another, or ends. A chunk counts the bytes that are in use
//! ([`Left`]), and the last to give some back frees it, once the thread has done with it.
//! Not for: what is in the memory (`block`).

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::ptr::{self, NonNull};

use crate::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Release},
    fence,
};
use crate::sync::{order_unless, planted, prefetch};

/// Bytes of a chunk, and what its address is a multiple of, so that whoever has a block finds its chunk.
const SIZE: usize = 1024;
/// What the address of a block is a multiple of, and its size is rounded to.
pub(crate) const ALIGN: usize = 16;
/// Larger blocks go to the allocator.
pub(crate) const MOST: usize = 128;

/// How many sets the table has: a power of two.
const SETS: usize = 512;
/// How many queues whose addresses lead to the same set may have a chunk: as many as a cache line has room for.
const WAYS: usize = 4;
/// How many queues that find no place in their set are passed over until one drives another out.
const PATIENCE: u32 = 32;

const CHUNK: Layout = match Layout::from_size_align(SIZE, SIZE) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two"),
};

thread_local! {
    static HERE: Cell<*const Table> = const { Cell::new(ptr::null()) };
    static OWED: Cell<Owed> = const { Cell::new(Owed::NOTHING) };
    static END: End = const { End };
}

/// How many bytes of a chunk may still be given back, and more than all of them as long as a thread takes from it.
#[derive(Debug)]
pub(crate) struct Left(AtomicU32);

impl Left {
    /// More than a chunk has.
    const TAKEN_FROM: u32 = 1 << 16;

    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(Self::TAKEN_FROM))
    }

    /// `bytes` are not used any more. `true`: none are, and none will be; the caller frees the chunk.
    #[inline]
    pub(crate) fn give_back(&self, bytes: u32) -> bool {
        // Release: the last use of them happens before the end; partner: the fence of the last one.
        let release = order_unless("chunk: giving back does not release", Release);
        if self.0.fetch_sub(bytes, release) != bytes {
            return false;
        }
        if !planted("chunk: the last does not acquire") {
            fence(Acquire);
        }
        true
    }

    /// The thread that took `bytes` in all takes no more.
    pub(crate) fn retire(&self, bytes: u32) -> bool {
        self.give_back(Self::TAKEN_FROM - bytes)
    }
}

/// What stands in front of the blocks.
#[repr(C)]
struct Chunk {
    left: Left,
}

/// Where the blocks of a chunk begin.
const FIRST: usize = size_of::<Chunk>().next_multiple_of(ALIGN);

impl Chunk {
    /// The chunk that `place` is in.
    fn of(place: *mut u8) -> *mut Self {
        place.map_addr(|address| address & !(SIZE - 1)).cast()
    }

    fn free(this: *mut Self) {
        // SAFETY: allocated by `refill` with this layout; whoever frees it is the last that knows it (`Left`).
        unsafe { dealloc(this.cast(), CHUNK) };
    }
}

/// What a thread has not given back yet. As long as there is something, the chunk stays.
#[derive(Clone, Copy)]
struct Owed {
    chunk: *mut Chunk,
    bytes: u32,
}

impl Owed {
    const NOTHING: Self = Self { chunk: ptr::null_mut(), bytes: 0 };

    fn pay(self) {
        // SAFETY: a chunk stays as long as a part of it was not given back.
        if self.bytes > 0 && unsafe { &(*self.chunk).left }.give_back(self.bytes) {
            Chunk::free(self.chunk);
        }
    }
}

/// Memory that [`take`] gave is not used any more.
///
/// # Safety
/// It was taken with this size, and is given back once.
#[inline]
pub(crate) unsafe fn give_back(place: NonNull<u8>, size: usize) {
    let (chunk, bytes) = (Chunk::of(place.as_ptr()), size.next_multiple_of(ALIGN) as u32);
    let owed = OWED.get();
    if owed.chunk == chunk {
        OWED.set(Owed { chunk, bytes: owed.bytes + bytes });
    } else {
        owe(Owed { chunk, bytes });
    }
}

/// Pays what was owed to another chunk.
#[inline(never)]
fn owe(new: Owed) {
    if END.try_with(|_| OWED.replace(new).pay()).is_err() {
        // The thread ends, and nothing would pay it later.
        new.pay();
    }
}

/// The chunk of a queue.
#[derive(Clone, Copy)]
struct Entry {
    /// The address of the queue; 0: none.
    queue: usize,
    /// What is taken next; null: there is no chunk yet. At the end of the chunk this is the address behind it.
    next: *mut u8,
}

impl Entry {
    /// How many bytes are left to take.
    #[inline]
    fn room(self) -> usize {
        self.next.addr().wrapping_neg() & (SIZE - 1)
    }

    /// Nothing is taken from the chunk any more.
    fn retire(self) {
        if !self.next.is_null() {
            let chunk = Chunk::of(self.next.wrapping_sub(1));
            let taken = self.next.addr() - chunk.addr() - FIRST;
            // SAFETY: it stays at least until it is retired.
            if unsafe { &(*chunk).left }.retire(taken as u32) {
                Chunk::free(chunk);
            }
        }
    }
}

/// Those whose addresses lead here: one line of the cache.
#[repr(align(64))]
struct Set([Cell<Entry>; WAYS]);

/// The chunks of a thread. All zero at the beginning, and its pages are not there before they are used.
struct Table {
    sets: [Set; SETS],
    /// Who found no place since somebody was driven out.
    passed: Cell<u32>,
}

impl Table {
    #[inline]
    fn set(&self, queue: usize) -> &Set {
        // Fibonacci hashing (Knuth): the high bits of the product depend on all of the address.
        let hash = (queue as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        &self.sets[(hash >> (u64::BITS - SETS.ilog2())) as usize]
    }

    /// Gives `queue` a place in its set, if there is one.
    #[cold]
    #[inline(never)]
    fn admit(&self, set: &Set, queue: usize) {
        let passed = self.passed.get();
        let without_chunk = set.0.iter().find(|entry| entry.get().next.is_null());
        let place = match without_chunk {
            Some(place) => place,
            None if passed < PATIENCE => return self.passed.set(passed + 1),
            None => {
                self.passed.set(0);
                &set.0[queue / ALIGN % WAYS]
            }
        };
        place.replace(Entry { queue, next: ptr::null_mut() }).retire();
    }
}

/// Memory for a block of `size` bytes, [`MOST`] at most, of the busy queue with that address; `None`: ask the allocator.
#[inline]
pub(crate) fn take(queue: usize, size: usize) -> Option<NonNull<u8>> {
    let size = size.next_multiple_of(ALIGN);
    // SAFETY: this thread's, until `End` takes it away.
    let Some(table) = (unsafe { HERE.get().as_ref() }) else {
        begin();
        return None;
    };
    let set = table.set(queue);
    let Some(place) = set.0.iter().find(|place| place.get().queue == queue) else {
        table.admit(set, queue);
        return None;
    };
    let entry = place.get();
    if entry.room() < size {
        return Some(refill(place, size));
    }
    // SAFETY: where there is room there is a chunk. What is next is within it, or right behind it.
    let (taken, next) = unsafe {
        let taken = NonNull::new_unchecked(entry.next);
        (taken, taken.add(size))
    };
    place.set(Entry { queue, next: next.as_ptr() });
    // By the next block of this queue it may be here: a submit waits for what it wrote (`Mailbox::push`).
    prefetch(Some(next));
    Some(taken)
}

/// The first `size` bytes of a new chunk.
#[cold]
#[inline(never)]
fn refill(place: &Cell<Entry>, size: usize) -> NonNull<u8> {
    let Entry { queue, .. } = place.get();
    // SAFETY: the layout has a size.
    let Some(chunk) = NonNull::new(unsafe { alloc(CHUNK) }) else { handle_alloc_error(CHUNK) };
    // SAFETY: fresh memory, large enough and aligned for the head and what follows.
    let first = unsafe {
        chunk.cast().write(Chunk { left: Left::new() });
        chunk.add(FIRST)
    };
    place.replace(Entry { queue, next: first.as_ptr().wrapping_add(size) }).retire();
    first
}

/// Makes the table of this thread, unless the thread is about to end.
#[cold]
#[inline(never)]
fn begin() {
    if END.try_with(|_| ()).is_ok() {
        let layout = Layout::new::<Table>();
        // SAFETY: the layout has a size. All zero is a table: no queue has the address 0, and null is no chunk.
        let table = unsafe { alloc_zeroed(layout) };
        if table.is_null() {
            handle_alloc_error(layout);
        }
        HERE.set(table.cast());
    }
}

/// Takes the table away when the thread ends, and pays what is owed.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        OWED.replace(Owed::NOTHING).pay();
        let table = HERE.replace(ptr::null()).cast_mut();
        if !table.is_null() {
            // SAFETY: made by `begin` with the layout of its type, as `Box` does; nobody else has it.
            let table = unsafe { Box::from_raw(table) };
            table.sets.iter().flat_map(|set| &set.0).for_each(|place| place.get().retire());
        }
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    /// Where `take` puts a block of that size, on a thread that has met the queue before.
    fn taken(queue: usize, size: usize) -> NonNull<u8> {
        let tries = (0..3).find_map(|_| take(queue, size));
        tries.expect("the first makes the table, the second gives the queue a place")
    }

    /// In a thread of its own, so that the table is fresh, and ends.
    fn on_a_thread(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().expect("the test holds");
    }

    #[test]
    fn blocks_of_a_queue_lie_beside_one_another() {
        on_a_thread(|| {
            let (a, b) = (taken(0x1000, 40), taken(0x2000, 40));
            let (second_a, second_b) = (taken(0x1000, 40), taken(0x2000, 33));
            assert_eq!((second_a.addr().get() - a.addr().get(), second_b.addr().get() - b.addr().get()), (48, 48));
            for (place, size) in [(a, 40), (second_a, 40), (b, 40), (second_b, 33)] {
                assert_eq!(place.addr().get() % ALIGN, 0);
                // SAFETY: taken above with that size.
                unsafe { give_back(place, size) };
            }
        });
    }

    #[test]
    fn what_is_taken_does_not_overlap_and_stays_in_its_chunk() {
        on_a_thread(|| {
            let mut all: Vec<_> = (0..200).map(|i| 1 + i * 37 % MOST).map(|size| (taken(0x1000, size), size)).collect();
            for &(place, size) in &all {
                let (first, last) = (place.as_ptr(), place.as_ptr().wrapping_add(size - 1));
                assert_eq!(Chunk::of(first), Chunk::of(last));
                assert!(first.addr() - Chunk::of(first).addr() >= FIRST, "behind the head");
            }
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0].0.addr().get() + pair[0].1 <= pair[1].0.addr().get()));
            for (place, size) in all {
                // SAFETY: taken above with that size.
                unsafe { give_back(place, size) };
            }
        });
    }

    #[test]
    fn a_queue_that_is_met_once_gets_no_chunk() {
        on_a_thread(|| {
            assert_eq!(take(0x1000, 32), None, "there is no table yet");
            for queue in 1..10_000 {
                assert_eq!(take(queue * 112, 32), None);
            }
        });
    }

    #[test]
    fn queues_share_the_table_and_the_busy_ones_keep_their_place() {
        on_a_thread(|| {
            let busy = taken(0x1000, 32);
            let mut last = busy;
            for round in 0..1_000 {
                let passers = (0..8).filter_map(|i| take(0x10_0000 + 112 * (round * 8 + i), 32));
                assert_eq!(passers.count(), 0, "each is met once");
                let next = taken(0x1000, 32);
                // SAFETY: taken with that size in the round before.
                unsafe { give_back(last, 32) };
                last = next;
            }
            // SAFETY: as above.
            unsafe { give_back(last, 32) };
        });
    }

    #[test]
    fn blocks_outlive_the_thread_that_took_them() {
        let place = std::thread::spawn(|| taken(0x1000, 64).expose_provenance()).join().expect("it takes");
        let place: *mut u8 = ptr::with_exposed_provenance_mut(place.get());
        // SAFETY: taken with that size and not given back.
        unsafe {
            place.write_bytes(7, 64);
            assert_eq!(place.add(63).read(), 7);
            give_back(NonNull::new_unchecked(place), 64);
        }
    }
}
