//! Wait for many blocks, on whatever queues: a count and what happens when it reaches zero.
//!
//! The count is one word, with a bit that says that somebody wants to know when it reaches zero. Only the last one to leave
//! a watched group takes the lock; all others just count.
//!
//! | word | enter | leave | somebody watches |
//! |---|---|---|---|
//! | 0, watched or not | counts | refused | is told at once |
//! | n | counts | counts | sets `WATCHED`, under the lock |
//! | 1, watched | counts | takes the lock, then to 0, and tells | |
//! | n > 1, watched | counts | counts | |
//!
//! So a watched group becomes empty under the lock only, and whoever watches under the lock misses nothing.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catch;
use crate::pool;
use crate::queue::Queue;
use crate::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::{Condvar, Mutex, lock, now, planted, wait, wait_timeout};

/// Somebody waits, or left something to submit.
const WATCHED: usize = 1;
/// One member.
const ONE: usize = 2;

/// Counts blocks that have not ended; waits for all of them, or submits a block when the last one ended. Reusable: it may
/// become busy again after it was empty. A handle; clones share the count.
///
/// ```
/// use singletrack_queues::{Group, Queue};
///
/// let group = Group::new();
/// let queues = [Queue::new("a"), Queue::new("b")];
/// for queue in &queues {
///     group.submit(queue, || println!("work"));
/// }
/// group.wait();
/// ```
#[derive(Clone, Default)]
pub struct Group {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    word: AtomicUsize,
    inner: Mutex<Inner>,
    empty: Condvar,
}

#[derive(Default)]
struct Inner {
    /// How often the group became empty while watched: who waits is let go even if somebody enters right after.
    emptied: u64,
    waiting: usize,
    notify: Vec<Box<dyn FnOnce() + Send>>,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more; [`leave`](Self::leave) takes it back.
    pub fn enter(&self) {
        // Relaxed: a count; what the members do is published when they leave.
        self.shared.word.fetch_add(ONE, Relaxed);
    }

    /// One has ended. The last one lets waiters go and submits what [`notify`](Self::notify) was given.
    ///
    /// # Errors
    /// [`UnbalancedLeave`] when nothing is left to leave; nothing happens then.
    pub fn leave(&self) -> Result<(), UnbalancedLeave> {
        let mut word = self.shared.word.load(Relaxed);
        loop {
            if word < ONE {
                return Err(UnbalancedLeave);
            }
            if word == ONE | WATCHED && !planted("group: the last one forgets to tell") {
                if self.leave_watched() {
                    return Ok(());
                }
                // Who entered may have left again: what was seen above must not be taken to zero here, where nobody tells.
                if !planted("group: who saw itself last counts by what it saw") {
                    word = self.shared.word.load(Relaxed);
                    continue;
                }
            }
            // AcqRel: what this member did is visible to whoever finds the group empty; partner: `watch`, and the last one.
            word = match self.shared.word.compare_exchange_weak(word, word - ONE, AcqRel, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => now,
            };
        }
    }

    /// The last one leaves a watched group, and tells. `false`: somebody entered meanwhile.
    #[cold]
    fn leave_watched(&self) -> bool {
        let mut inner = lock(&self.shared.inner);
        // AcqRel: as in `leave`; the lock passes it on to those who wait.
        if self.shared.word.compare_exchange(ONE | WATCHED, 0, AcqRel, Relaxed).is_err() {
            return false;
        }
        inner.emptied += 1;
        let notify = std::mem::take(&mut inner.notify);
        if inner.waiting > 0 && !planted("group: the last one rings no bell") {
            self.shared.empty.notify_all();
        }
        drop(inner);
        for submit in notify {
            submit();
        }
        true
    }

    /// From now on the last one tells. `false`: the group is empty. Called under the lock.
    fn watch(&self) -> bool {
        let step = |word| if word >= ONE { Some(word | WATCHED) } else { None };
        // Acquire on failure: what the members did; partner: the AcqRel in `leave`.
        self.shared.word.fetch_update(AcqRel, Acquire, step).is_ok()
    }

    /// Submits `f` to `queue` as part of the group: entered now, left when `f` ended, panicked, or was dropped unrun.
    #[track_caller]
    pub fn submit<F: FnOnce() + Send + 'static>(&self, queue: &Queue, f: F) {
        let member = self.member();
        queue.submit_at(
            move || {
                let _member = member;
                f();
            },
            Location::caller(),
        );
    }

    /// Enters now; leaves when the result is dropped.
    fn member(&self) -> Member {
        self.enter();
        Member(self.clone())
    }

    /// Submits `f` to `queue` when the group is empty: at once if it is now. Several may be given; each is submitted once.
    #[track_caller]
    pub fn notify<F: FnOnce() + Send + 'static>(&self, queue: &Queue, f: F) {
        let (queue, site) = (queue.clone(), Location::caller());
        self.when_empty(move || queue.submit_at(f, site));
    }

    /// Calls `submit` when the group is empty: now, or by the last one to leave.
    pub(crate) fn when_empty(&self, submit: impl FnOnce() + Send + 'static) {
        let mut inner = lock(&self.shared.inner);
        if self.watch() {
            inner.notify.push(Box::new(submit));
        } else {
            drop(inner);
            submit();
        }
    }

    /// Waits until the group is empty.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits until the group is empty, for at most `timeout`; `true` if it is.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let inner = lock(&self.shared.inner);
        if !self.watch() {
            return true;
        }
        let before = inner.emptied;
        pool::blocking(|| {
            let mut inner = inner;
            inner.waiting += 1;
            while inner.emptied == before {
                inner = match deadline {
                    None => wait(&self.shared.empty, inner),
                    Some(deadline) => {
                        let left = deadline.saturating_duration_since(now());
                        if left.is_zero() {
                            break;
                        }
                        wait_timeout(&self.shared.empty, inner, left)
                    }
                };
            }
            inner.waiting -= 1;
            inner.emptied != before
        })
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("entered", &(self.shared.word.load(Relaxed) / ONE)).finish_non_exhaustive()
    }
}

struct Member(Group);

impl Drop for Member {
    fn drop(&mut self) {
        // Errs only if somebody left too often; then this one was taken already, and that call was told nothing wrong.
        if let Err(error) = self.0.leave() {
            log::error!("{error}");
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for submit in std::mem::take(&mut lock(&self.inner).notify) {
            log::warn!("a group was dropped with a notify that waits for blocks that never left");
            catch::drop_quietly(submit);
        }
    }
}

/// [`Group::leave`] without an [`Group::enter`] to take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnbalancedLeave;

impl fmt::Display for UnbalancedLeave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a group was left more often than entered; call enter before each leave")
    }
}

impl std::error::Error for UnbalancedLeave {}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_let_go_even_if_somebody_enters_right_after() {
        let group = Group::new();
        group.enter();
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| group.wait_timeout(Duration::from_secs(60)));
            while lock(&group.shared.inner).waiting == 0 {
                std::thread::yield_now();
            }
            group.leave().expect("entered above");
            group.enter();
            assert!(waiter.join().expect("no panic"), "it was empty for a moment");
        });
    }
}
