//! Parallel for on our pool. Chunks are claimed from one counter, the caller takes part, and
//! helpers are ordinary runnables.
//!
//! No block of any queue runs nested on the caller's stack. A helper runs chunks of this loop and
//! nothing else. When no chunk is left, the caller waits only for helpers that are in one.

use std::ops::Range;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;

use crate::base::block;
use crate::base::catch::{self, Payload};
use crate::base::handoff::{Ended, Waiter};
use crate::base::qos::Qos;
use crate::base::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::base::sync::{Mutex, lock};
use crate::kinds::concurrent::ConcurrentQueue;
use crate::pool::runtime::Runtime;
use crate::pool::{self, Pool};
use crate::queue::{Queue, Whereabouts};

/// Chunks per thread: enough that a slow core does not hold up the others, few enough that claiming
/// them costs next to nothing.
const CHUNKS: usize = 8;
/// The number of calls between two checks for a panic on another thread.
const LOOK_UP: usize = 64;
/// The caller has left: a helper that comes now finds nothing. The bits below count the helpers in
/// the loop.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Calls `f` for each number below `n`, and returns when all calls have returned. The calls run on
/// the workers of the current runtime (the default one, from other threads) and on this thread.
/// Their order is not defined. `f` may borrow.
///
/// # Panics
/// With a panic of `f`, after the calls that had begun have returned. Calls that had not begun are
/// left out, except for the next few (at most 63) of each thread.
///
/// ```
/// let squares: Vec<_> = (0..100).map(|_| std::sync::atomic::AtomicUsize::new(0)).collect();
/// singletrack_queues::apply(100, |i| squares[i].store(i * i, std::sync::atomic::Ordering::Relaxed));
/// assert_eq!(squares[9].load(std::sync::atomic::Ordering::Relaxed), 81);
/// ```
#[doc(alias = "dispatch_apply")]
#[doc(alias = "dispatch_apply_f")]
#[doc(alias = "DISPATCH_APPLY_AUTO")]
#[track_caller]
pub fn apply<F: Fn(usize) + Sync>(n: usize, f: F) {
    apply_chunks(n, each(f));
}

/// As [`apply`], for loops with a tiny body: `f` gets a range of numbers at a time.
///
/// ```
/// use singletrack_queues::apply_chunks;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// let numbers: Vec<u64> = (1..=1_000).collect();
/// let sum = AtomicU64::new(0);
/// // One addition to the shared sum per chunk.
/// apply_chunks(numbers.len(), |range| {
///     sum.fetch_add(numbers[range].iter().sum(), Relaxed);
/// });
/// assert_eq!(sum.into_inner(), 500_500);
/// ```
///
/// # Panics
/// As [`apply`].
#[track_caller]
pub fn apply_chunks<F: Fn(Range<usize>) + Sync>(n: usize, f: F) {
    match pool::current() {
        Some((pool, _)) => on(&pool, n, &f, Location::caller()),
        None => on(Runtime::global().pool(), n, &f, Location::caller()),
    }
}

/// Calls `map` for each number below `n` as [`apply`] does, and puts the results together:
/// `identity` first, then those of 0, 1, 2 and so on, from left to right.
///
/// So `reduce` need not be commutative. It need be associative, because neighbours are put together
/// in up to 256 parts. Where the parts end depends on `n` alone, neither on the machine nor on what
/// else runs, so that even sums of floating-point numbers are the same each time.
///
/// ```
/// use singletrack_queues::apply_reduce;
///
/// let squares = apply_reduce(1_000, 0, |i| i * i, |a, b| a + b);
/// assert_eq!(squares, 332_833_500);
/// let digits = apply_reduce(10, String::new(), |i| i.to_string(), |a, b| a + &b);
/// assert_eq!(digits, "0123456789");
/// ```
///
/// # Panics
/// With a panic of `map` or `reduce`, as [`apply`].
#[track_caller]
pub fn apply_reduce<T, M, R>(n: usize, identity: T, map: M, reduce: R) -> T
where
    T: Send,
    M: Fn(usize) -> T + Sync,
    R: Fn(T, T) -> T + Sync,
{
    reduced(n, identity, map, reduce, |n, f| apply(n, f))
}

/// The most parts that are put together by themselves.
const PARTS: usize = 256;

/// As [`apply_reduce`]; `apply` calls a closure for each number.
fn reduced<T, M, R>(n: usize, identity: T, map: M, reduce: R, apply: impl FnOnce(usize, &(dyn Fn(usize) + Sync))) -> T
where
    T: Send,
    M: Fn(usize) -> T + Sync,
    R: Fn(T, T) -> T + Sync,
{
    let size = n.div_ceil(PARTS).max(1);
    let parts: Vec<Mutex<Option<T>>> = (0..n.div_ceil(size)).map(|_| Mutex::new(None)).collect();
    apply(parts.len(), &|part| {
        let begin = part * size;
        let of_part = (begin..begin.saturating_add(size).min(n)).map(&map).reduce(&reduce);
        *lock(&parts[part]) = of_part;
    });
    parts.iter().filter_map(|part| lock(part).take()).fold(identity, reduce)
}

impl Runtime {
    /// As [`apply_reduce`], on the workers of this runtime.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(2).build().unwrap();
    /// let words = ["to", "be", "or", "not"];
    /// let longest = runtime.apply_reduce(words.len(), 0, |i| words[i].len(), usize::max);
    /// assert_eq!(longest, 3);
    /// ```
    ///
    /// # Panics
    /// As [`apply_reduce`].
    #[track_caller]
    pub fn apply_reduce<T, M, R>(&self, n: usize, identity: T, map: M, reduce: R) -> T
    where
        T: Send,
        M: Fn(usize) -> T + Sync,
        R: Fn(T, T) -> T + Sync,
    {
        reduced(n, identity, map, reduce, |n, f| self.apply(n, f))
    }

    /// As [`apply`], on the workers of this runtime.
    ///
    /// ```
    /// use singletrack_queues::Runtime;
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    ///
    /// let runtime = Runtime::builder().workers(2).build().unwrap();
    /// let calls = AtomicUsize::new(0);
    /// runtime.apply(100, |_| {
    ///     calls.fetch_add(1, Relaxed);
    /// });
    /// assert_eq!(calls.into_inner(), 100);
    /// ```
    ///
    /// # Panics
    /// As [`apply`].
    #[track_caller]
    pub fn apply<F: Fn(usize) + Sync>(&self, n: usize, f: F) {
        on(self.pool(), n, &each(f), Location::caller());
    }
}

/// Calls `f` for each number of a range, until another call has panicked.
fn each<F: Fn(usize) + Sync>(f: F) -> impl Fn(Range<usize>) + Sync {
    let panicked = AtomicBool::new(false);
    move |range: Range<usize>| {
        let tell = OnUnwind(&panicked);
        if range.end - range.start <= LOOK_UP {
            range.for_each(&f);
        } else {
            each_of_many(range, &f, &panicked);
        }
        std::mem::forget(tell);
    }
}

#[inline(never)]
fn each_of_many<F: Fn(usize) + Sync>(range: Range<usize>, f: &F, panicked: &AtomicBool) {
    let mut next = range.start;
    // Relaxed: the caller waits for the calls that have begun anyway.
    while next < range.end && !panicked.load(Relaxed) {
        let end = if range.end - next > LOOK_UP { next + LOOK_UP } else { range.end };
        (next..end).for_each(f);
        next = end;
    }
}

/// Sets the flag when it is dropped, that is, when a call panics.
struct OnUnwind<'a>(&'a AtomicBool);

impl Drop for OnUnwind<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// The state that the caller shares with its helpers. On the heap, because helpers may come after
/// the caller has left.
pub(crate) struct Loop {
    n: usize,
    chunk: usize,
    /// The index of the next chunk. A number below `n` itself could overflow.
    next: AtomicUsize,
    helpers: AtomicUsize,
    /// The body and the caller's waiter, on the caller's stack. Only a helper that is counted in
    /// `helpers` follows them.
    body: *const (dyn Fn(Range<usize>) + Sync),
    left: *const Waiter,
    /// The frames of the caller: a helper is a part of its block.
    place: Whereabouts,
    panic: Mutex<Option<Payload>>,
}

// SAFETY: `body` is `Sync`, `left` and `place` are made to be used by other threads, and all are
// followed only while the caller waits.
unsafe impl Send for Loop {}
// SAFETY: as above.
unsafe impl Sync for Loop {}

impl Queue {
    /// Calls `f` for each number below `n`, one after the other, as one [`sync`](Self::sync) of
    /// this queue: nothing else of the queue runs in between. For code that works with either kind
    /// of queue. Used alone, it is a loop in a `sync`.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::sync::Mutex;
    ///
    /// let (queue, order) = (Queue::new("rows"), Mutex::new(Vec::new()));
    /// queue.apply(4, |row| order.lock().unwrap().push(row));
    /// assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3]);
    /// ```
    ///
    /// # Panics
    /// As `sync`, also with a sentence when this thread is in a block of this queue.
    #[track_caller]
    pub fn apply<F: Fn(usize) + Sync>(&self, n: usize, f: F) {
        if let Some(error) = self.deadlock("apply", Location::caller()) {
            panic!("{error}");
        }
        self.sync(|| (0..n).for_each(&f));
    }
}

impl ConcurrentQueue {
    /// As [`apply`], as part of this queue. The caller takes part as in a [`sync`](Self::sync), and
    /// helpers as blocks do, within the width and between the same barriers. Below a serial queue
    /// there are no helpers.
    ///
    /// ```
    /// use singletrack_queues::ConcurrentQueue;
    /// use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    ///
    /// let two = ConcurrentQueue::builder("two").width(2).build();
    /// let sum = AtomicUsize::new(0);
    /// two.apply(100, |i| {
    ///     sum.fetch_add(i, Relaxed);
    /// });
    /// assert_eq!(sum.into_inner(), 4_950);
    /// ```
    ///
    /// # Panics
    /// As `sync`, and as [`apply`].
    #[track_caller]
    pub fn apply<F: Fn(usize) + Sync>(&self, n: usize, f: F) {
        let site = Location::caller();
        if let Some(error) = self.deadlock("apply", site) {
            panic!("{error}");
        }
        let (threads, body) = (self.room().min(self.runtime().workers()), each(f));
        self.sync_at(|| share(threads, n, &body, &|shared| self.submit_at(move || shared.help(), site)), site);
    }
}

fn on(pool: &Arc<Pool>, n: usize, body: &(dyn Fn(Range<usize>) + Sync), site: &'static Location<'static>) {
    let help = |shared: Arc<Loop>| {
        if pool.accepts() {
            // Helpers are as urgent as the caller.
            pool.spawn_as(block::block(move || shared.help(), site), Qos::current());
        }
    };
    share(pool.workers(), n, body, &help);
}

/// Runs the loop on `threads` threads, this one included. `help` sends another helper, which may
/// come late or never.
fn share(threads: usize, n: usize, body: &(dyn Fn(Range<usize>) + Sync), help: &dyn Fn(Arc<Loop>)) {
    let chunk = n.div_ceil(threads * CHUNKS).max(1);
    let helpers = (threads - 1).min(n.div_ceil(chunk).saturating_sub(1));
    let left = Waiter::new();
    let shared = Loop::new(n, chunk, body, &left);
    // Helpers use this stack until the loop is closed to them and the last of them has left.
    catch::never_unwinds(|| {
        (0..helpers).for_each(|_| help(shared.clone()));
        shared.run();
        if shared.close() {
            pool::wait_for(&left);
        }
    });
    let panic = lock(&shared.panic).take();
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

impl Loop {
    /// `body` and `left` must stay until [`close`](Self::close) has said that no helper is in, or
    /// `left` has ended.
    pub(crate) fn new(n: usize, chunk: usize, body: &(dyn Fn(Range<usize>) + Sync), left: &Waiter) -> Arc<Self> {
        // SAFETY: only the lifetime changes; see the field.
        let body = unsafe {
            std::mem::transmute::<
                *const (dyn Fn(Range<usize>) + Sync + '_),
                *const (dyn Fn(Range<usize>) + Sync + 'static),
            >(body)
        };
        let (next, helpers, panic) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(None));
        let place = Whereabouts::here();
        Arc::new(Self { n, chunk, next, helpers, body, left, place, panic })
    }

    /// Keeps further helpers out. `true`: some are still in, and the last one will end `left`.
    pub(crate) fn close(&self) -> bool {
        // Acquire: the helpers' work. Release is not needed, but comes with the same word.
        self.helpers.fetch_or(CLOSED, AcqRel) != 0
    }

    /// Runs chunks until none is left.
    pub(crate) fn run(&self) {
        // SAFETY: the caller is in `on`, or waits there for this helper.
        let body = unsafe { &*self.body };
        loop {
            // Relaxed: a ticket. What the chunks share is the business of `f`, and `helpers` does
            // the joining.
            let begin = match self.next.fetch_add(1, Relaxed).checked_mul(self.chunk) {
                Some(begin) if begin < self.n => begin,
                _ => return,
            };
            let end = begin.saturating_add(self.chunk).min(self.n);
            if let Err(payload) = catch::catch(|| body(begin..end)) {
                self.next.store(self.n.div_ceil(self.chunk), Relaxed);
                let late = lock(&self.panic).replace(payload);
                catch::drop_quietly(late);
            }
        }
    }

    pub(crate) fn help(&self) {
        let enter = |helpers: usize| {
            if helpers & CLOSED == 0 { Some(helpers + 1) } else { None }
        };
        // Acquire: the caller is still there.
        if self.helpers.fetch_update(Acquire, Relaxed, enter).is_err() {
            return;
        }
        // SAFETY: the caller waits for this helper where it is.
        let inside = unsafe { self.place.enter() };
        self.run();
        drop(inside);
        // AcqRel: the caller sees what this helper did, and the last helper sees what the others
        // did.
        if self.helpers.fetch_sub(1, AcqRel) == CLOSED + 1 {
            // SAFETY: the caller waits, and only the last helper out of a closed loop ends it.
            unsafe { Waiter::end(self.left, Ended::Ran) };
        }
    }
}
