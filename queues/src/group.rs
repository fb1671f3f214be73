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
//!
//! Blocks and what was entered by hand are counted apart, in one word: the n above is both. The blocks keep the group's memory
//! together, by one handle that the first of them takes and the last one lets go; so each of them counts once when it is
//! submitted and once when it has ended, and touches no other shared word. What was entered by hand keeps nothing.

use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::catch;
use crate::pool;
use crate::qos::Qos;
use crate::runtime::Runtime;
use crate::submit::{Behind, Submit};
use crate::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::sync::{Condvar, Mutex, lock, order_unless, planted};
use crate::time::When;

/// Somebody waits, or left something to submit.
const WATCHED: u64 = 1;
/// One block. More than fit would not fit into memory.
const MEMBER: u64 = 1 << 1;
const MEMBERS: u64 = ENTERED - MEMBER;
/// One that was entered by hand.
const ENTERED: u64 = 1 << 32;
/// So often at most.
const MOST: u64 = ENTERED * (u32::MAX as u64);

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
    word: AtomicU64,
    inner: Mutex<Inner>,
    empty: Condvar,
}

#[derive(Default)]
struct Inner {
    /// How often the group became empty while watched: who waits is let go even if somebody enters right after.
    emptied: u64,
    waiting: usize,
    notify: Vec<Box<dyn FnOnce() + Send>>,
    /// Members that cannot run before the block that submitted them has ended: a wait in that block would never end.
    behind: Vec<Note>,
    /// How many were ever put in there.
    noted: u64,
}

/// About a member that runs after the block that submitted it.
struct Note {
    /// Two members may be from the same place, on different queues.
    number: NonZeroU64,
    behind: Behind,
    submitted: &'static Location<'static>,
}

impl Group {
    /// An empty group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more; [`leave`](Self::leave) takes it back.
    ///
    /// # Panics
    /// When it was entered four billion times and not left.
    pub fn enter(&self) {
        // Relaxed: a count; what the members do is published when they leave.
        if self.shared.word.fetch_add(ENTERED, Relaxed) >= MOST {
            self.shared.word.fetch_sub(ENTERED, Relaxed);
            panic!("a group was entered {} times and not left: somebody forgets to leave", u32::MAX);
        }
    }

    /// One has ended. The last one lets waiters go and submits what [`notify`](Self::notify) was given.
    ///
    /// # Errors
    /// [`UnbalancedLeave`] when nothing is left to leave; nothing happens then.
    pub fn leave(&self) -> Result<(), UnbalancedLeave> {
        self.shared.leave(ENTERED).map(drop)
    }

    /// One more block.
    pub(crate) fn member(&self, note: Option<NonZeroU64>) -> Member {
        // Relaxed: as in `enter`.
        let before = self.shared.word.fetch_add(MEMBER, Relaxed);
        if before & MEMBERS == 0 || planted("group: every block takes a handle") {
            // The first: for all of them, until the last one has left. This one cannot have left yet.
            std::mem::forget(self.shared.clone());
        }
        Member { shared: Arc::as_ptr(&self.shared), note }
    }

    /// How many handles there are, one for all blocks included.
    #[cfg(all(test, queues_loom))]
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// From now on the last one tells. `false`: the group is empty. Called under the lock.
    fn watch(&self) -> bool {
        let step = |word| if word >= MEMBER { Some(word | WATCHED) } else { None };
        // Acquire on failure: what the members did; partner: the AcqRel in `leave`.
        let acquire = order_unless("group: who finds it empty does not acquire", Acquire);
        self.shared.word.fetch_update(AcqRel, acquire, step).is_ok()
    }

    /// Submits `f` as part of the group, to a queue of any kind: entered now, left when `f` ended, panicked, or was dropped
    /// unrun.
    #[track_caller]
    pub fn submit<S: Submit, F: FnOnce() + Send + 'static>(&self, on: &S, f: F) {
        let site = Location::caller();
        let note = on.behind_this_thread().map(|behind| self.shared.note(behind, site));
        on.submit_from(self.member(note).with(f), site);
    }

    /// As [`submit`](Self::submit), straight to the workers of `runtime`; see [`Runtime::spawn`].
    #[track_caller]
    pub fn spawn<F: FnOnce() + Send + 'static>(&self, runtime: &Runtime, f: F) {
        runtime.spawn_at(Qos::Default, self.member(None).with(f), Location::caller());
    }

    /// As [`spawn`](Self::spawn), with a class; see [`Runtime::spawn_as`].
    #[track_caller]
    pub fn spawn_as<F: FnOnce() + Send + 'static>(&self, runtime: &Runtime, qos: Qos, f: F) {
        runtime.spawn_at(qos, self.member(None).with(f), Location::caller());
    }

    /// Submits `f`, to a queue of any kind, when the group is empty: at once if it is now. Several may be given; each is
    /// submitted once.
    #[track_caller]
    pub fn notify<S: Submit, F: FnOnce() + Send + 'static>(&self, on: &S, f: F) {
        let (on, site) = (on.clone(), Location::caller());
        self.when_empty(move || on.submit_from(f, site));
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
    ///
    /// # Panics
    /// With a sentence that names the queue and both places, instead of waiting for ever, when this block submitted a member
    /// that can only run after it. What else keeps a member from leaving is not known to a group: a wait in a block of a queue
    /// that somebody else's member waits in hangs, and so does one in a block of a concurrent queue for a member behind a
    /// barrier that waits there for this block. Use [`notify`](Self::notify) in blocks.
    #[track_caller]
    pub fn wait(&self) {
        if self.is_empty() {
            return;
        }
        let behind = {
            let inner = lock(&self.shared.inner);
            let note = inner.behind.iter().find(|note| note.behind.waits_for_this_thread());
            note.map(|note| (note.behind.label().to_owned(), note.submitted))
        };
        if let Some((label, submitted)) = behind {
            panic!(
                "deadlock: the wait at {} for a group would never end, because the member that was submitted to \"{label}\" at \
                 {submitted} runs after this block; use notify",
                Location::caller()
            );
        }
        self.wait_within(When::NEVER);
    }

    /// Waits until the group is empty, for at most `timeout`; `true` if it is.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_within(When::from(timeout))
    }

    /// As [`wait_timeout`](Self::wait_timeout), with a point in time: by either clock, see [`When`].
    #[must_use]
    pub fn wait_until(&self, when: impl Into<When>) -> bool {
        self.wait_within(when.into())
    }

    /// Is it empty now?
    fn is_empty(&self) -> bool {
        // Acquire: what the members did; partner: the AcqRel in `leave`.
        self.shared.word.load(order_unless("group: who looks whether it is empty does not acquire", Acquire)) < MEMBER
    }

    fn wait_within(&self, deadline: When) -> bool {
        if self.is_empty() {
            return true;
        }
        let inner = lock(&self.shared.inner);
        if !self.watch() {
            return true;
        }
        let before = inner.emptied;
        pool::blocking(|| {
            let mut inner = inner;
            inner.waiting += 1;
            while inner.emptied == before {
                if deadline.since().is_some() {
                    break;
                }
                inner = deadline.wait(&self.shared.empty, inner);
            }
            inner.waiting -= 1;
            inner.emptied != before
        })
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.shared.word.load(Relaxed);
        let entered = (word & MEMBERS) / MEMBER + word / ENTERED;
        f.debug_struct("Group").field("entered", &entered).finish_non_exhaustive()
    }
}

impl Shared {
    #[cold]
    fn note(&self, behind: Behind, submitted: &'static Location<'static>) -> NonZeroU64 {
        let mut inner = lock(&self.inner);
        inner.noted += 1;
        let number = NonZeroU64::MIN.saturating_add(inner.noted);
        inner.behind.push(Note { number, behind, submitted });
        number
    }

    /// One leaves, which counts as `one`; what the word is after it.
    fn leave(&self, one: u64) -> Result<u64, UnbalancedLeave> {
        let mut word = self.word.load(Relaxed);
        loop {
            if word < one {
                return Err(UnbalancedLeave);
            }
            if word == one | WATCHED && !planted("group: the last one forgets to tell") {
                if self.leave_watched(one) {
                    return Ok(0);
                }
                // Who entered may have left again: what was seen above must not be taken to zero here, where nobody tells.
                if !planted("group: who saw itself last counts by what it saw") {
                    word = self.word.load(Relaxed);
                    continue;
                }
            }
            // AcqRel: what this member did is visible to whoever finds the group empty; partner: `watch`, and the last one.
            let release = order_unless("group: who leaves does not release", AcqRel);
            word = match self.word.compare_exchange_weak(word, word - one, release, Relaxed) {
                Ok(_) => return Ok(word - one),
                Err(now) => now,
            };
        }
    }

    /// The last one leaves a watched group, and tells. `false`: somebody entered meanwhile.
    #[cold]
    fn leave_watched(&self, one: u64) -> bool {
        let mut inner = lock(&self.inner);
        // AcqRel: as in `leave`; the lock passes it on to those who wait.
        let acquire = order_unless("group: the last one does not acquire", AcqRel);
        if self.word.compare_exchange(one | WATCHED, 0, acquire, Relaxed).is_err() {
            return false;
        }
        inner.emptied += 1;
        let notify = std::mem::take(&mut inner.notify);
        if inner.waiting > 0 && !planted("group: the last one rings no bell") {
            self.empty.notify_all();
        }
        drop(inner);
        for submit in notify {
            submit();
        }
        true
    }
}

/// A block that has not ended.
pub(crate) struct Member {
    /// Kept by all members together.
    shared: *const Shared,
    /// The number of what [`Inner::behind`] says about it, if it does.
    note: Option<NonZeroU64>,
}

// SAFETY: as a `Group`, which is `Send`.
unsafe impl Send for Member {}

impl Member {
    /// `f`, and then the end of the block.
    fn with<F: FnOnce()>(self, f: F) -> impl FnOnce() + use<F> {
        move || {
            let _member = self;
            f();
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // SAFETY: the members keep the group, and this is one of them until it has left.
        let shared = unsafe { &*self.shared };
        if let Some(number) = self.note {
            lock(&shared.inner).behind.retain(|note| note.number != number);
        }
        if shared.leave(MEMBER).is_ok_and(|word| word & MEMBERS == 0) {
            // SAFETY: the last one; the first one forgot a handle.
            drop(unsafe { Arc::from_raw(self.shared) });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // By hand: of the blocks none is left.
        let entered = self.word.load(Relaxed) / ENTERED;
        if entered > 0 {
            log::warn!(
                "a group lost its last handle while {entered} had entered and not left: call leave for each enter"
            );
        }
        for submit in std::mem::take(&mut lock(&self.inner).notify) {
            log::warn!("a block that was to be submitted when a group is empty was dropped with it");
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
