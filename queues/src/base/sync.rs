//! The only door to atomics, locks, threads and the clock: std's, or loom's under
//! `cfg(queues_loom)`.
//!
//! All modelled code takes its primitives from here, so that a model runs the same code that ships.
//! Not for: policy. Nothing in this file decides anything.

#[cfg(queues_loom)]
use loom::cell::UnsafeCell;
#[cfg(queues_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(queues_loom))]
use std::cell::UnsafeCell;
#[cfg(not(queues_loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(queues_loom)]
pub(crate) use loom::thread;
#[cfg(queues_loom)]
pub(crate) use per_thread as thread_local;
#[cfg(not(queues_loom))]
pub(crate) use std::{thread, thread_local};

use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

/// Locks `mutex`, whether or not a thread panicked while it held it. No user code runs under a lock
/// of this crate, so such a panic is a bug of ours that was reported already, and the data is
/// plain.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar`; may return spuriously.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` for at most `timeout`; may return spuriously.
pub(crate) fn wait_timeout<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
    condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
}

/// Reads the clock that timers, deadlines and limits on time go by. It is their only reading of it:
/// a program that measures its own steps by it is in step with them.
///
/// ```
/// use singletrack_queues::{Queue, now};
/// use std::time::Duration;
///
/// let (begin, delay) = (now(), Duration::from_millis(5));
/// let (tell, done) = std::sync::mpsc::channel();
/// let _timer = Queue::new("later").submit_after(delay, move || tell.send(now()).unwrap());
/// assert!(done.recv().unwrap() >= begin + delay);
/// ```
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The one reading of the wall clock, which may be set at any time.
pub(crate) fn wall_now() -> SystemTime {
    #[cfg(all(test, not(queues_loom)))]
    return SystemTime::now() + *lock(&WALL_CLOCK_AHEAD);
    #[cfg(not(all(test, not(queues_loom))))]
    SystemTime::now()
}

#[cfg(all(test, not(queues_loom)))]
static WALL_CLOCK_AHEAD: Mutex<Duration> = Mutex::new(Duration::ZERO);

/// Sets the wall clock, for the one unit test of such a change.
#[cfg(all(test, not(queues_loom)))]
pub(crate) fn set_wall_clock_ahead(of_the_real_one: Duration) {
    *lock(&WALL_CLOCK_AHEAD) = of_the_real_one;
}

/// One round of a loop that waits for another thread to take one more step of a few instructions.
pub(crate) fn spin(round: u32) {
    #[cfg(queues_loom)]
    {
        let _ = round;
        loom::thread::yield_now();
    }
    #[cfg(not(queues_loom))]
    if round < 64 {
        std::hint::spin_loop();
    } else {
        // The other thread lost its core between its two steps.
        std::thread::yield_now();
    }
}

/// One side of a handshake in which each thread stores one word, then loads the other's. With a
/// fence in between on both sides, at least one thread sees the other's store. This is the fence of
/// the frequent side. Where the system can make all threads of the process pass a barrier,
/// [`heavy_fence`] pays for both sides, and this fence costs no instruction.
#[inline(always)]
pub(crate) fn light_fence() {
    #[cfg(all(target_os = "linux", not(queues_loom)))]
    if barrier::IS_THERE.load(atomic::Ordering::Relaxed) {
        return std::sync::atomic::compiler_fence(atomic::Ordering::SeqCst);
    }
    atomic::fence(atomic::Ordering::SeqCst);
}

/// The fence of the rare side; see [`light_fence`]. It takes some microseconds.
pub(crate) fn heavy_fence() {
    #[cfg(all(target_os = "linux", not(queues_loom)))]
    if barrier::IS_THERE.load(atomic::Ordering::Relaxed) && barrier::all_threads_pass() {
        return;
    }
    atomic::fence(atomic::Ordering::SeqCst);
}

/// Called before the first [`light_fence`].
pub(crate) fn prepare_fences() {
    #[cfg(all(target_os = "linux", not(queues_loom)))]
    barrier::prepare();
}

/// Linux's `membarrier`.
#[cfg(all(target_os = "linux", not(queues_loom)))]
mod barrier {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    /// The process is registered. A fork child inherits that.
    pub(super) static IS_THERE: AtomicBool = AtomicBool::new(false);

    pub(super) fn prepare() {
        if !IS_THERE.load(Relaxed) {
            IS_THERE.store(call(REGISTER_PRIVATE_EXPEDITED), Relaxed);
        }
    }

    pub(super) fn all_threads_pass() -> bool {
        let passed = call(PRIVATE_EXPEDITED);
        if !passed {
            // A sandbox has forbidden it meanwhile.
            IS_THERE.store(false, Relaxed);
        }
        passed
    }

    fn call(command: libc::c_int) -> bool {
        // SAFETY: it takes no pointer, and a kernel that does not know it changes nothing.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

/// A hint that `place`, if there is one, will be read soon.
#[inline(always)]
pub(crate) fn prefetch<T>(place: Option<std::ptr::NonNull<T>>) {
    #[cfg(all(target_arch = "x86_64", not(queues_loom)))]
    if let Some(place) = place {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, wherever it points, and is part of every x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(queues_loom))))]
    let _ = place;
}

/// A hint that `place`, if there is one, will be written soon. A plain prefetch would leave the
/// cache line shared with the core that used it last, and the write would wait for that core.
#[inline(always)]
pub(crate) fn prefetch_to_write<T>(place: Option<std::ptr::NonNull<T>>) {
    #[cfg(all(target_arch = "x86_64", not(queues_loom)))]
    if let Some(place) = place {
        // SAFETY: a prefetch never faults, wherever it points. A processor without this one takes
        // it for nothing. (`_mm_prefetch` would emit it only for newer targets.)
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) place.as_ptr(), options(nostack, preserves_flags, readonly));
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(queues_loom))))]
    let _ = place;
}

/// Like std's `thread_local`. Loom's differs slightly: each thread of a model has its own.
#[cfg(queues_loom)]
macro_rules! per_thread {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const $init:block;)*) => {
        loom::thread_local! { $($(#[$attribute])* static $name: $type = $init;)* }
    };
}
#[cfg(queues_loom)]
pub(crate) use per_thread;

/// The operations of std's thread-local `Cell`.
#[cfg(queues_loom)]
pub(crate) trait CellKey<T: Copy> {
    fn get(&'static self) -> T;
    fn set(&'static self, new: T);
    fn replace(&'static self, new: T) -> T;
}

#[cfg(queues_loom)]
impl<T: Copy + 'static> CellKey<T> for thread::LocalKey<std::cell::Cell<T>> {
    fn get(&'static self) -> T {
        self.with(std::cell::Cell::get)
    }

    fn set(&'static self, new: T) {
        self.with(|cell| cell.set(new));
    }

    fn replace(&'static self, new: T) -> T {
        self.with(|cell| cell.replace(new))
    }
}

/// A value that another thread may free while this thread is in a method of it.
///
/// A reference to a plain value promises that the value outlives the call that it is passed to. A
/// reference to a cell promises nothing, as std's `Arc` relies on for its counts. So the methods
/// that give such a value up take a reference to this, and not to the content.
#[repr(transparent)]
pub(crate) struct MayEnd<T>(std::cell::UnsafeCell<T>);

// SAFETY: it gives shared references to the content, and nothing else.
unsafe impl<T: Send + Sync> Sync for MayEnd<T> {}

impl<T> MayEnd<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }
}

impl<T> std::ops::Deref for MayEnd<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: nothing makes a unique reference to the content.
        unsafe { &*self.0.get() }
    }
}

/// A value that only the owner of some right may touch. Loom checks every access against all
/// others.
#[derive(Debug)]
pub(crate) struct OwnerCell<T>(UnsafeCell<T>);

impl<T: Copy> OwnerCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// # Safety
    /// The caller holds the right that guards this cell, and got it in a way that happens after the
    /// last access.
    pub(crate) unsafe fn get(&self) -> T {
        #[cfg(queues_loom)]
        // SAFETY: the caller's promise; loom checks it.
        return self.0.with(|value| unsafe { *value });
        #[cfg(not(queues_loom))]
        // SAFETY: the caller's promise.
        return unsafe { *self.0.get() };
    }

    /// # Safety
    /// As for [`get`](Self::get).
    pub(crate) unsafe fn set(&self, new: T) {
        #[cfg(queues_loom)]
        // SAFETY: the caller's promise; loom checks it.
        self.0.with_mut(|value| unsafe { *value = new });
        #[cfg(not(queues_loom))]
        // SAFETY: the caller's promise.
        unsafe {
            *self.0.get() = new;
        }
    }
}
