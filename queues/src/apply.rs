//! Parallel for on our pool: chunks claimed from one counter, the caller takes part, helpers are ordinary runnables.
//!
//! Nothing of any queue runs nested on the caller's stack: a helper runs chunks of this loop and nothing else, and the
//! caller, when no chunk is left, waits only for helpers that are in one.

use std::ops::Range;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;

use crate::block;
use crate::catch::{self, Payload};
use crate::concurrent::ConcurrentQueue;
use crate::handoff::{Ended, Waiter};
use crate::pool::{self, Pool};
use crate::qos::Qos;
use crate::queue::{Queue, Whereabouts};
use crate::runtime::Runtime;
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::{Mutex, lock, order_unless, planted};

/// Chunks per thread: enough that a slow core does not hold the others up, few enough that claiming costs nothing.
const CHUNKS: usize = 8;
/// The caller has left: helpers that come now find nothing. Below it: how many helpers are in the loop.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Calls `f` for each number below `n`, on the workers of the current runtime (the default one, from other threads) and on
/// this thread, and returns when all calls have returned. The order is not defined. `f` may borrow.
///
/// # Panics
/// With a panic of `f`, after the calls that had begun have returned; calls that had not begun are left out.
///
/// ```
/// let squares: Vec<_> = (0..100).map(|_| std::sync::atomic::AtomicUsize::new(0)).collect();
/// singletrack_queues::apply(100, |i| squares[i].store(i * i, std::sync::atomic::Ordering::Relaxed));
/// assert_eq!(squares[9].load(std::sync::atomic::Ordering::Relaxed), 81);
/// ```
#[track_caller]
pub fn apply<F: Fn(usize) + Sync>(n: usize, f: F) {
    apply_chunks(n, |range| range.for_each(&f));
}

/// As [`apply`], for loops whose body is tiny: `f` gets a range of numbers at a time.
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

impl Runtime {
    /// As [`apply`], on the workers of this runtime.
    ///
    /// # Panics
    /// As [`apply`].
    #[track_caller]
    pub fn apply<F: Fn(usize) + Sync>(&self, n: usize, f: F) {
        on(self.pool(), n, &|range| range.for_each(&f), Location::caller());
    }
}

/// What the caller and its helpers share; on the heap, because helpers may come after the caller has left.
pub(crate) struct Loop {
    n: usize,
    chunk: usize,
    /// The next chunk, by number: a number below `n` itself could overflow.
    next: AtomicUsize,
    helpers: AtomicUsize,
    /// The body and the caller's waiter, on the caller's stack: followed only by a helper that is counted in `helpers`.
    body: *const (dyn Fn(Range<usize>) + Sync),
    left: *const Waiter,
    /// Where the caller is: a helper is a part of its block.
    place: Whereabouts,
    panic: Mutex<Option<Payload>>,
}

// SAFETY: `body` is `Sync`, `left` and `place` are made to be used by others, and all are followed only while the caller waits.
unsafe impl Send for Loop {}
// SAFETY: as above.
unsafe impl Sync for Loop {}

impl Queue {
    /// Calls `f` for each number below `n`, one after the other, as one [`sync`](Self::sync) of this queue: nothing else of the
    /// queue runs in between. For code that is given either kind of queue; alone it is a loop in a `sync`.
    ///
    /// # Panics
    /// As `sync`, also with a sentence when this thread is in a block of this queue.
    #[track_caller]
    pub fn apply<F: Fn(usize) + Sync>(&self, n: usize, f: F) {
        self.sync(|| (0..n).for_each(&f));
    }
}

impl ConcurrentQueue {
    /// As [`apply`], as part of this queue: the caller takes part as in a [`sync`](Self::sync), helpers as blocks do, within
    /// the width and between the same barriers; below a serial queue there are none.
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
        let (threads, body) = (self.room().min(self.runtime().workers()), |range: Range<usize>| range.for_each(&f));
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

/// `threads` of them, this one included; `help` sends another one, which may come late or never.
fn share(threads: usize, n: usize, body: &(dyn Fn(Range<usize>) + Sync), help: &dyn Fn(Arc<Loop>)) {
    let chunk = n.div_ceil(threads * CHUNKS).max(1);
    let helpers = (threads - 1).min(n.div_ceil(chunk).saturating_sub(1));
    let left = Waiter::new();
    let shared = Loop::new(n, chunk, body, &left);
    // Helpers use this stack until they are told that they must not, and the last of them has left.
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
    /// `body` and `left` must stay until [`close`](Self::close) said that no helper is in, or `left` has ended.
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

    /// No helper comes in any more. `true`: some are still in, and the last one will end `left`.
    pub(crate) fn close(&self) -> bool {
        // Acquire: what helpers did. Release is not needed, but the word is one.
        self.helpers.fetch_or(CLOSED, order_unless("apply: the caller does not acquire", AcqRel)) != 0
    }

    /// Runs chunks until none is left.
    pub(crate) fn run(&self) {
        // SAFETY: the caller is in `on`, or waits there for this helper.
        let body = unsafe { &*self.body };
        loop {
            // Relaxed: a ticket; what the chunks share is `f`'s business, and joining is `helpers`'.
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
            let open = helpers & CLOSED == 0 || planted("apply: a helper enters a closed loop");
            if open { Some(helpers + 1) } else { None }
        };
        // Acquire: the caller is still there.
        if self.helpers.fetch_update(Acquire, Relaxed, enter).is_err() {
            return;
        }
        // SAFETY: the caller waits for this helper where it is.
        let inside = unsafe { self.place.enter() };
        self.run();
        drop(inside);
        // AcqRel: the caller sees what this helper did; the last one sees what the others did.
        if self.helpers.fetch_sub(1, order_unless("apply: a helper does not release", AcqRel)) == CLOSED + 1 {
            // SAFETY: the caller waits, and only the last helper out of a closed loop ends it.
            unsafe { Waiter::end(self.left, Ended::Ran) };
        }
    }
}
