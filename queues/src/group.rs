//! Wait for many blocks, on whatever queues: a count and what happens when it reaches zero.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::catch;
use crate::pool;
use crate::queue::Queue;
use crate::sync::{Condvar, Mutex, lock, now, planted, wait, wait_timeout};

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
    inner: Mutex<Inner>,
    empty: Condvar,
}

#[derive(Default)]
struct Inner {
    entered: usize,
    /// How often the group became empty: who waits is let go even if somebody enters right after.
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
        lock(&self.shared.inner).entered += 1;
    }

    /// One has ended. The last one lets waiters go and submits what [`notify`](Self::notify) was given.
    ///
    /// # Errors
    /// [`UnbalancedLeave`] when nothing is left to leave; nothing happens then.
    pub fn leave(&self) -> Result<(), UnbalancedLeave> {
        let mut inner = lock(&self.shared.inner);
        inner.entered = inner.entered.checked_sub(1).ok_or(UnbalancedLeave)?;
        if inner.entered == 0 {
            inner.emptied += 1;
            let notify = std::mem::take(&mut inner.notify);
            if inner.waiting > 0 && !planted("group: the last one rings no bell") {
                self.shared.empty.notify_all();
            }
            drop(inner);
            for submit in notify {
                submit();
            }
        }
        Ok(())
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
        let site = Location::caller();
        let mut inner = lock(&self.shared.inner);
        if inner.entered > 0 {
            let queue = queue.clone();
            inner.notify.push(Box::new(move || queue.submit_at(f, site)));
        } else {
            drop(inner);
            queue.submit_at(f, site);
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
        if lock(&self.shared.inner).entered == 0 {
            return true;
        }
        pool::blocking(|| {
            let mut inner = lock(&self.shared.inner);
            let before = inner.emptied;
            inner.waiting += 1;
            while inner.entered > 0 && inner.emptied == before {
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
            inner.entered == 0 || inner.emptied != before
        })
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("entered", &lock(&self.shared.inner).entered).finish_non_exhaustive()
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
