//! Counts what one thread does from `begin` to `end`: allocations and their bytes here,
//! instructions and system calls by callgrind, which learns from requests when to count.
//!
//! For: stretches of a known number of operations. Not for: comparing (`limits`), starting valgrind
//! (`callgrind`). Rules: a stretch begins and ends on one thread, and one stretch is open at a
//! time. The allocator's own instructions are left out, since a program chooses its allocator: the
//! cost of an allocation there comes on top. Without valgrind a request is a handful of
//! instructions that do nothing, so an ordinary test can count allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// The result of `count`: `ops` operations, all together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) name: &'static str,
    pub(crate) ops: u64,
    pub(crate) allocations: u64,
    pub(crate) bytes: u64,
}

/// The name of a stretch that did not go as planned; callgrind has it in its file all the same.
pub(crate) const DISCARDED: &str = "discarded";

static STRETCHES: Mutex<Vec<Stretch>> = Mutex::new(Vec::new());

thread_local! {
    static OPEN: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

/// Counts from now on, on this thread.
#[inline(never)]
pub(crate) fn begin() {
    ALLOCATIONS.set(0);
    BYTES.set(0);
    OPEN.set(true);
    callgrind_request(TOGGLE_COLLECT, 0);
}

/// Ends what `begin` began, on the same thread: it did `ops` operations.
#[inline(never)]
pub(crate) fn end(name: &'static str, ops: u64) {
    plant_fault(ops);
    callgrind_request(TOGGLE_COLLECT, 0);
    OPEN.set(false);
    let stretch = Stretch { name, ops, allocations: ALLOCATIONS.get(), bytes: BYTES.get() };
    STRETCHES.lock().unwrap_or_else(PoisonError::into_inner).push(stretch);
    let name = format!("{name}\0");
    callgrind_request(DUMP_STATS_AT, name.as_ptr().expose_provenance());
}

/// Counts `ops` calls of `each`.
pub(crate) fn count(name: &'static str, ops: u64, mut each: impl FnMut()) {
    begin();
    for _ in 0..ops {
        each();
    }
    end(name, ops);
}

/// The stretches so far, in order.
pub(crate) fn take() -> Vec<Stretch> {
    std::mem::take(&mut *STRETCHES.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The faults that can be added to each operation, to see that they are found.
pub(crate) const FAULTS: [&str; 3] = ["extra-allocation", "extra-atomic", "extra-system-call"];
/// One more than the index into `FAULTS`, or 0.
static FAULT: AtomicU8 = AtomicU8::new(0);

/// From now on every operation also costs what the fault of that name adds.
pub(crate) fn plan_fault(name: &str) {
    let index = FAULTS.iter().position(|fault| *fault == name);
    FAULT.store(index.map_or(0, |index| index as u8 + 1), Relaxed);
}

/// Runs at the end of a stretch, once for each operation: the sum is the same as if each operation
/// did it.
fn plant_fault(ops: u64) {
    static WORK: AtomicU64 = AtomicU64::new(0);
    match FAULT.load(Relaxed) {
        1 => (0..ops).for_each(|op| drop(std::hint::black_box(Box::new(op)))),
        2 => (0..ops).for_each(|_| _ = WORK.fetch_add(1, Relaxed)),
        3 => (0..ops).for_each(|_| std::thread::yield_now()),
        _ => {}
    }
}

/// The system's allocator, with counters.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocates(bytes: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    BYTES.set(BYTES.get() + bytes as u64);
}

/// Runs the allocator, whose instructions are not counted.
fn aside<R>(f: impl FnOnce() -> R) -> R {
    if !OPEN.get() {
        return f();
    }
    callgrind_request(TOGGLE_COLLECT, 0);
    let result = f();
    callgrind_request(TOGGLE_COLLECT, 0);
    result
}

// SAFETY: the system's allocator does all the work; the counters are plain cells that allocate
// nothing and are never dropped.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        allocates(layout.size());
        // SAFETY: the caller's promise.
        aside(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        allocates(layout.size());
        // SAFETY: the caller's promise.
        aside(|| unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        allocates(size);
        // SAFETY: the caller's promise.
        aside(|| unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        aside(|| unsafe { System.dealloc(block, layout) });
    }
}

/// The numbers of callgrind's requests, from its `callgrind.h`: "CT", then the number of the
/// request.
const TOGGLE_COLLECT: usize = 0x4354_0002;
const DUMP_STATS_AT: usize = 0x4354_0003;

/// Sends a request to valgrind; nothing happens where the program runs without it.
///
/// A crate for this needs valgrind's headers and a C compiler at every build of the tests. The
/// request is one instruction sequence that valgrind recognises and that has no effect on a
/// processor.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn callgrind_request(request: usize, argument: usize) {
    let arguments = [request, argument, 0, 0, 0, 0];
    // SAFETY: the rotations add up to 128 bits, so `rdi` is as before, and the exchange of a
    // register with itself does nothing. Under valgrind `rax` points to the arguments, which are
    // read, and the result arrives in `rdx`.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") arguments.as_ptr(), inout("rdx") 0usize => _, options(nostack)
        );
    }
}

/// Allocations are counted everywhere, instructions on x86-64.
#[cfg(not(target_arch = "x86_64"))]
fn callgrind_request(_: usize, _: usize) {}
