//! The only door to atomics, locks, threads and the clock: std's, or loom's under `cfg(queues_loom)`.
//!
//! Everything above that is modelled takes its primitives from here, so that a model runs the very code that ships.
//! Not for: policy. Nothing in this file decides anything.

#[cfg(queues_loom)]
pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard, atomic};
#[cfg(not(queues_loom))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, atomic};

#[cfg(queues_loom)]
pub(crate) use loom::thread;
#[cfg(not(queues_loom))]
pub(crate) use std::thread;

use std::time::{Duration, Instant, SystemTime};

/// Locks `mutex`, whether or not a thread panicked while it held it: no user code runs under a lock of this crate, so a
/// panic there is a bug of ours that has been reported already, and the data is plain.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.lock() {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Waits on `condvar`; may return spuriously.
pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    match condvar.wait(guard) {
        Ok(guard) => guard,
        Err(poisoned) => poisoned.into_inner(),
    }
}

/// Waits on `condvar` for at most `timeout`; may return spuriously.
pub(crate) fn wait_timeout<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
    match condvar.wait_timeout(guard, timeout) {
        Ok((guard, _)) => guard,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

/// The one reading of the clock in this crate. A simulated clock will stand here.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The one reading of the clock on the wall, which may be set at any time.
pub(crate) fn wall_now() -> SystemTime {
    #[cfg(all(test, not(queues_loom)))]
    return SystemTime::now() + *lock(&WALL_AHEAD);
    #[cfg(not(all(test, not(queues_loom))))]
    SystemTime::now()
}

#[cfg(all(test, not(queues_loom)))]
static WALL_AHEAD: Mutex<Duration> = Mutex::new(Duration::ZERO);

/// Sets the clock on the wall, for the one unit test that asks what happens then.
#[cfg(all(test, not(queues_loom)))]
pub(crate) fn set_the_wall_ahead(of_the_real_one: Duration) {
    *lock(&WALL_AHEAD) = of_the_real_one;
}

/// A turn of a loop that waits for another thread to take one more step of a few instructions.
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
        // The other thread lost its processor between its two steps.
        std::thread::yield_now();
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

/// Is the bug called `name` planted? Models plant one at a time, to show that they would find it; anywhere else this is
/// `false` when it compiles.
#[cfg(not(all(test, queues_loom)))]
#[inline(always)]
pub(crate) const fn planted(_name: &str) -> bool {
    false
}

#[cfg(all(test, queues_loom))]
pub(crate) use plant::planted;

/// `order`, or `Relaxed` where the bug called `name` is [`planted`].
#[inline(always)]
pub(crate) fn order_unless(name: &str, order: atomic::Ordering) -> atomic::Ordering {
    if planted(name) { atomic::Ordering::Relaxed } else { order }
}

/// The bug that a model runs with. Loom runs a model's threads on one thread of the system, so a thread-local serves.
#[cfg(all(test, queues_loom))]
pub(crate) mod plant {
    use std::cell::Cell;

    thread_local! {
        static BUG: Cell<&'static str> = const { Cell::new("") };
        static MET: Cell<bool> = const { Cell::new(false) };
    }

    pub(crate) fn planted(name: &str) -> bool {
        let here = BUG.get() == name;
        MET.set(MET.get() || here);
        here
    }

    /// Runs `f` with `bug`; tells whether the code came to it.
    pub(crate) fn with<R>(bug: &'static str, f: impl FnOnce() -> R) -> (R, bool) {
        BUG.set(bug);
        MET.set(false);
        let result = f();
        BUG.set("");
        (result, MET.get())
    }
}

/// A value that only the owner of some right may touch. Under loom every access is checked against all others.
#[derive(Debug)]
pub(crate) struct OwnerCell<T> {
    #[cfg(queues_loom)]
    value: loom::cell::UnsafeCell<T>,
    #[cfg(not(queues_loom))]
    value: std::cell::UnsafeCell<T>,
}

impl<T: Copy> OwnerCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            #[cfg(queues_loom)]
            value: loom::cell::UnsafeCell::new(value),
            #[cfg(not(queues_loom))]
            value: std::cell::UnsafeCell::new(value),
        }
    }

    /// # Safety
    /// The caller holds the right that guards this cell, and got it in a way that happens-after the last access.
    pub(crate) unsafe fn get(&self) -> T {
        #[cfg(queues_loom)]
        // SAFETY: the caller's promise; loom checks it.
        return self.value.with(|value| unsafe { *value });
        #[cfg(not(queues_loom))]
        // SAFETY: the caller's promise.
        return unsafe { *self.value.get() };
    }

    /// # Safety
    /// As for [`get`](Self::get).
    pub(crate) unsafe fn set(&self, new: T) {
        #[cfg(queues_loom)]
        // SAFETY: the caller's promise; loom checks it.
        self.value.with_mut(|value| unsafe { *value = new });
        #[cfg(not(queues_loom))]
        // SAFETY: the caller's promise.
        unsafe {
            *self.value.get() = new;
        }
    }
}
