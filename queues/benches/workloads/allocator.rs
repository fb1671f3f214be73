//! The allocator of the process: glibc's malloc or mimalloc, chosen by an environment variable.
//!
//! An allocator belongs to a process, so each measurement runs in a process of its own, whose
//! parent sets the variable. One binary holds both allocators, so both run the same code at the
//! same addresses. The first allocation, before `main`, makes the choice, which holds for the whole
//! life of the process: memory is freed where it came from. From then on an allocation reads one
//! byte that never changes, a branch that is always predicted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::CStr;
use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::ValueEnum;
use mimalloc::MiMalloc;

/// The environment variable that a parent sets for the process that measures.
pub(crate) const VARIABLE: &str = "SINGLETRACK_WORKLOADS_ALLOCATOR";
const VARIABLE_FOR_C: &CStr = c"SINGLETRACK_WORKLOADS_ALLOCATOR";

/// An allocator to choose.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Allocator {
    /// The malloc of the C library (on Linux, glibc's).
    Glibc,
    /// mimalloc.
    Mimalloc,
}

impl Allocator {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Allocator::Glibc => "glibc",
            Allocator::Mimalloc => "mimalloc",
        }
    }

    /// The allocator of this process.
    pub(crate) fn of_this_process() -> Allocator {
        if is_glibc() { Allocator::Glibc } else { Allocator::Mimalloc }
    }
}

impl fmt::Display for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const UNDECIDED: u8 = 0;
const GLIBC: u8 = 1;
const MIMALLOC: u8 = 2;

/// Decided by the first allocation.
static CHOICE: AtomicU8 = AtomicU8::new(UNDECIDED);

#[inline]
fn is_glibc() -> bool {
    // Relaxed: there is nothing else to read, and every thread that decides comes to the same
    // decision.
    match CHOICE.load(Ordering::Relaxed) {
        UNDECIDED => decide() == GLIBC,
        choice => choice == GLIBC,
    }
}

/// Allocates nothing, so it asks the C library and not std.
#[cold]
fn decide() -> u8 {
    // SAFETY: the name ends with a zero byte, and nothing in this program changes its environment.
    let value = unsafe { libc::getenv(VARIABLE_FOR_C.as_ptr()) };
    let is_glibc = !value.is_null() && {
        // SAFETY: a non-null result of getenv is a string that ends with a zero byte; it is not
        // changed.
        let value = unsafe { CStr::from_ptr(value) };
        value == c"glibc"
    };
    let choice = if is_glibc { GLIBC } else { MIMALLOC };
    CHOICE.store(choice, Ordering::Relaxed);
    choice
}

/// The global allocator: passes everything on to the chosen one.
pub(crate) struct Chosen;

// SAFETY: each call goes to one of two correct allocators, and always to the same one in a process.
unsafe impl GlobalAlloc for Chosen {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is the same for both.
        unsafe { if is_glibc() { System.alloc(layout) } else { MiMalloc.alloc(layout) } }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe { if is_glibc() { System.alloc_zeroed(layout) } else { MiMalloc.alloc_zeroed(layout) } }
    }

    #[inline]
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`; the choice never changes, so the
        // memory goes back to the allocator that it came from.
        unsafe { if is_glibc() { System.dealloc(pointer, layout) } else { MiMalloc.dealloc(pointer, layout) } }
    }

    #[inline]
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as for `dealloc`.
        unsafe {
            if is_glibc() { System.realloc(pointer, layout, size) } else { MiMalloc.realloc(pointer, layout, size) }
        }
    }
}
