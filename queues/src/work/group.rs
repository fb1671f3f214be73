//! A group of blocks on any queues: a count, and what happens when it reaches zero.
//!
//! The count is one word. A bit in it, `WATCHED`, is set when a thread or a closure waits for zero.
//! Only the last member to leave a watched group takes the lock; all others only count.
//!
//! | word | enter | leave | a watcher comes |
//! |---|---|---|---|
//! | 0, watched or not | counts | refused | is notified at once |
//! | n | counts | counts | sets `WATCHED`, under the lock |
//! | 1, watched | counts | takes the lock, goes to 0, and notifies | |
//! | n > 1, watched | counts | counts | |
//!
//! So a watched group becomes empty under the lock only, and a watcher that registers under the
//! lock misses nothing.
//!
//! Blocks and manual entries are counted separately in that word; the n above is their sum. The
//! blocks together keep the group's memory by one handle: the first block takes it and the last one
//! releases it. So each block changes the count once when it is submitted and once when it has
//! ended, and touches no other shared word. A manual entry keeps nothing.

mod empty;
mod member;

use std::fmt;
use std::num::NonZeroU64;
use std::panic::Location;
use std::sync::Arc;

use crate::base::catch;
use crate::base::qos::Qos;
use crate::base::report;
use crate::base::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{AcqRel, Acquire, Relaxed},
};
use crate::base::sync::{Condvar, Mutex, lock};
use crate::kinds::submit::Submit;
use crate::pool::runtime::Runtime;
use crate::pool::{self, Gone, fork};
use crate::queue::origin::Origin;
use crate::queue::{Frame, is_part_of};
use crate::time::when::When;

pub use empty::Empty;
pub use member::Member;

/// A thread waits, or a block is to be submitted at zero.
const WATCHED: u64 = 1;
/// One block. The field cannot overflow: so many blocks do not fit into memory.
const MEMBER: u64 = 1 << 1;
const MEMBERS: u64 = ENTERED - MEMBER;
/// One manual entry.
const ENTERED: u64 = 1 << 32;
/// The largest number of manual entries.
const MOST: u64 = ENTERED * (u32::MAX as u64);

/// Counts blocks that have not ended. It can wait for all of them, or submit a block when the last
/// one has ended. It is reusable: it may become busy again after it was empty. This is a handle;
/// clones share the count.
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
    /// The process that the blocks belong to: its number of forks since the first process.
    forks: AtomicU32,
    inner: Mutex<Inner>,
    empty: Condvar,
}

#[derive(Default)]
struct Inner {
    /// How often the group became empty while watched. A change releases the waiters even if a
    /// member enters right after.
    emptied: u64,
    waiting: usize,
    notify: Vec<Box<dyn FnOnce() + Send>>,
    /// Members that cannot run before the block that submitted them has ended: a wait in that block
    /// would never end.
    behind: Vec<Note>,
    /// How many entries `behind` has ever received.
    noted: u64,
}

/// A note about a member that runs after the block that submitted it.
struct Note {
    /// A sequence number: two members may come from the same place, on different queues.
    number: NonZeroU64,
    /// The member removes the note, under the lock, before it is freed.
    origin: Origin,
    submitted: &'static Location<'static>,
}

impl Group {
    /// An empty group.
    ///
    /// ```
    /// use singletrack_queues::Group;
    ///
    /// let group = Group::new();
    /// group.wait(); // it is empty: at once
    /// ```
    #[doc(alias = "dispatch_group_create")]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one to the count; [`leave`](Self::leave) takes it back.
    ///
    /// ```
    /// use singletrack_queues::Group;
    /// use std::thread;
    ///
    /// let downloads = Group::new();
    /// for _file in 0..3 {
    ///     downloads.enter();
    ///     let downloads = downloads.clone();
    ///     thread::spawn(move || downloads.leave().unwrap());
    /// }
    /// downloads.wait();
    /// ```
    ///
    /// # Panics
    /// When it was entered four billion times without a leave.
    #[doc(alias = "dispatch_group_enter")]
    pub fn enter(&self) {
        // Relaxed: a count; what the members do is published when they leave.
        if self.shared.word.fetch_add(ENTERED, Relaxed) >= MOST {
            self.shared.word.fetch_sub(ENTERED, Relaxed);
            panic!("a group was entered {} times and not left: somebody forgets to leave", u32::MAX);
        }
    }

    /// Takes one from the count. The last one releases the waiters and submits the closures given
    /// to [`notify`](Self::notify).
    ///
    /// ```
    /// use singletrack_queues::Group;
    ///
    /// let group = Group::new();
    /// group.enter();
    /// assert!(group.leave().is_ok());
    /// assert!(group.leave().is_err(), "there is no entry");
    /// ```
    ///
    /// # Errors
    /// [`UnbalancedLeave`] when there is no entry to take back; nothing happens then.
    #[doc(alias = "dispatch_group_leave")]
    pub fn leave(&self) -> Result<(), UnbalancedLeave> {
        self.shared.leave(ENTERED).map(drop)
    }

    /// Counts one more block.
    pub(crate) fn block(&self, note: Option<NonZeroU64>) -> Block {
        // Relaxed: as in `enter`.
        let before = self.shared.word.fetch_add(MEMBER, Relaxed);
        if before & MEMBERS == 0 {
            // The first block takes the handle for all blocks, until the last one has left. This
            // block cannot have left yet.
            std::mem::forget(self.shared.clone());
            // Relaxed: a thread that reads another value is in another process.
            self.shared.forks.store(fork::forks(), Relaxed);
        }
        Block { shared: Arc::as_ptr(&self.shared), note }
    }

    /// The number of handles, including the one for all blocks.
    #[cfg(all(test, queues_loom))]
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.shared)
    }

    /// Sets `WATCHED`, so that the last member notifies. `false`: the group is empty. Called under
    /// the lock.
    fn watch(&self) -> bool {
        let step = |word| if word >= MEMBER { Some(word | WATCHED) } else { None };
        // Acquire on failure: what the members did; partner: the AcqRel in `leave`.
        self.shared.word.fetch_update(AcqRel, Acquire, step).is_ok()
    }

    /// Submits `f` as part of the group, to a queue of any kind. It enters the group now, and
    /// leaves it when `f` has ended, panicked, or was dropped unrun.
    ///
    /// ```
    /// use singletrack_queues::{ConcurrentQueue, Group};
    /// use std::sync::{Arc, atomic::{AtomicU32, Ordering::Relaxed}};
    ///
    /// let (group, words) = (Group::new(), Arc::new(AtomicU32::new(0)));
    /// let readers = ConcurrentQueue::new("readers");
    /// for page in ["to be", "or not to be"] {
    ///     let words = words.clone();
    ///     group.submit(&readers, move || {
    ///         words.fetch_add(page.split(' ').count() as u32, Relaxed);
    ///     });
    /// }
    /// group.wait();
    /// assert_eq!(words.load(Relaxed), 6);
    /// ```
    #[doc(alias = "dispatch_group_async")]
    #[doc(alias = "dispatch_group_async_f")]
    #[track_caller]
    pub fn submit<S: Submit, F: FnOnce() + Send + 'static>(&self, on: &S, f: F) {
        let site = Location::caller();
        let note = on.behind_this_thread().map(|behind| self.shared.note(behind.0, site));
        on.submit_from(self.block(note).with(f), site);
    }

    /// Like [`submit`](Self::submit), but directly to the workers of `runtime`; see
    /// [`Runtime::spawn`].
    ///
    /// ```
    /// use singletrack_queues::{Group, Runtime};
    /// use std::sync::mpsc;
    ///
    /// let (group, (tell, told)) = (Group::new(), mpsc::channel());
    /// for n in 1..=3 {
    ///     let tell = tell.clone();
    ///     group.spawn(&Runtime::global(), move || tell.send(n * n).unwrap());
    /// }
    /// group.wait();
    /// assert_eq!(told.try_iter().sum::<i32>(), 14);
    /// ```
    #[track_caller]
    pub fn spawn<F: FnOnce() + Send + 'static>(&self, runtime: &Runtime, f: F) {
        runtime.spawn_at(Qos::Default, self.block(None).with(f), Location::caller());
    }

    /// Like [`spawn`](Self::spawn), with a class; see [`Runtime::spawn_as`].
    ///
    /// ```
    /// use singletrack_queues::{Group, Qos, Runtime};
    /// use std::sync::mpsc;
    ///
    /// let (group, (tell, told)) = (Group::new(), mpsc::channel());
    /// group.spawn_as(&Runtime::global(), Qos::Background, move || tell.send(Qos::current()).unwrap());
    /// group.wait();
    /// assert_eq!(told.try_recv(), Ok(Qos::Background));
    /// ```
    #[track_caller]
    pub fn spawn_as<F: FnOnce() + Send + 'static>(&self, runtime: &Runtime, qos: Qos, f: F) {
        runtime.spawn_at(qos, self.block(None).with(f), Location::caller());
    }

    /// Submits `f`, to a queue of any kind, when the group is empty: at once if it is now. It may
    /// be called several times; each closure is submitted once.
    ///
    /// ```
    /// use singletrack_queues::{Group, Queue};
    /// use std::sync::mpsc;
    ///
    /// let (tell, told) = mpsc::channel();
    /// let (group, ui) = (Group::new(), Queue::new("ui"));
    /// let part = tell.clone();
    /// group.submit(&Queue::new("parts"), move || part.send("part").unwrap());
    /// group.notify(&ui, move || tell.send("all parts").unwrap());
    /// assert_eq!(told.iter().collect::<Vec<_>>(), ["part", "all parts"]);
    /// ```
    #[doc(alias = "dispatch_group_notify")]
    #[doc(alias = "dispatch_group_notify_f")]
    #[track_caller]
    pub fn notify<S: Submit, F: FnOnce() + Send + 'static>(&self, on: &S, f: F) {
        let (on, site) = (on.clone(), Location::caller());
        self.when_empty(move || on.submit_from(f, site));
    }

    /// Calls `submit` when the group is empty: now, or in the last member's leave.
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
    /// ```
    /// use singletrack_queues::{Group, Isolated, Queue};
    ///
    /// let total = Isolated::new(&Queue::new("total"), 0);
    /// let group = Group::new();
    /// for n in 1..=4 {
    ///     let total = total.clone();
    ///     group.submit(&Queue::new(format!("part.{n}")), move || total.sync(|total| *total += n));
    /// }
    /// group.wait();
    /// assert_eq!(total.sync(|total| *total), 10);
    /// ```
    ///
    /// # Panics
    /// When this block is a member itself, or has submitted a member that can only run after it
    /// (behind a barrier, for example): the panic names the queue and both places, instead of
    /// waiting for ever. A group knows no other reason that keeps a member from leaving. So a wait
    /// hangs if it is in a block of a queue in which a member that another block submitted waits.
    /// Use [`notify`](Self::notify) in blocks. It panics too in a fork child, when the members are
    /// blocks of the parent.
    #[doc(alias = "dispatch_group_wait")]
    #[track_caller]
    pub fn wait(&self) {
        if self.is_empty() {
            return;
        }
        if let Some(sentence) = self.hopeless(Location::caller()) {
            panic!("{sentence}");
        }
        self.wait_within(When::NEVER);
    }

    /// The reason why a wait without a limit would never end, if there is one.
    #[cold]
    fn hopeless(&self, site: &'static Location<'static>) -> Option<String> {
        let member = is_part_of(Arc::as_ptr(&self.shared));
        let inner = lock(&self.shared.inner);
        // SAFETY: the block lives as long as the note; see there.
        let note = inner.behind.iter().find(|note| unsafe { note.origin.waits_for_this_thread() });
        if let Some(Note { origin, submitted, .. }) = note {
            // SAFETY: as above.
            let label = unsafe { origin.label() }.unwrap_or_default();
            return Some(format!(
                "deadlock: the wait at {site} for a group would never end, because the member that was submitted to {label:?} \
                 at {submitted} runs after this block; use notify"
            ));
        }
        if member {
            return Some(format!(
                "deadlock: the wait at {site} for a group is in a member of that very group, which has to leave first; use \
                 notify"
            ));
        }
        let blocks = self.shared.word.load(Relaxed) & MEMBERS != 0;
        (blocks && self.shared.forks.load(Relaxed) != fork::forks()).then(|| {
            format!(
                "the wait at {site} for a group would never end, because its members were submitted before the fork, and {}",
                Gone::ForkChild
            )
        })
    }

    /// Waits until the group is empty, or until `timeout`: a duration or a point in time, see
    /// [`When`]. `true`: it is empty.
    ///
    /// ```
    /// use singletrack_queues::Group;
    /// use std::time::Duration;
    ///
    /// let group = Group::new();
    /// group.enter();
    /// assert!(!group.wait_timeout(Duration::from_millis(1)), "one is left");
    /// group.leave().unwrap();
    /// assert!(group.wait_timeout(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn wait_timeout(&self, timeout: impl Into<When>) -> bool {
        self.wait_within(timeout.into())
    }

    /// Whether it is empty now.
    fn is_empty(&self) -> bool {
        // Acquire: what the members did; partner: the AcqRel in `leave`.
        self.shared.word.load(Acquire) < MEMBER
    }

    fn wait_within(&self, deadline: When) -> bool {
        if self.is_empty() {
            return true;
        }
        // The lock is released: `blocking` may drop user blocks, members of this group among them.
        let before = {
            let inner = lock(&self.shared.inner);
            if !self.watch() {
                return true;
            }
            inner.emptied
        };
        pool::blocking(|| {
            let mut inner = lock(&self.shared.inner);
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
    fn note(&self, origin: Origin, submitted: &'static Location<'static>) -> NonZeroU64 {
        let mut inner = lock(&self.inner);
        inner.noted += 1;
        let number = NonZeroU64::MIN.saturating_add(inner.noted);
        inner.behind.push(Note { number, origin, submitted });
        number
    }

    /// One member leaves, which counts as `one`. Returns the word after it.
    fn leave(&self, one: u64) -> Result<u64, UnbalancedLeave> {
        let mut word = self.word.load(Relaxed);
        loop {
            if word < one {
                return Err(UnbalancedLeave);
            }
            if word == one | WATCHED {
                if self.leave_watched(one) {
                    return Ok(0);
                }
                // A new member may have entered and left meanwhile. The value seen above must not
                // go to zero here, where nothing notifies.
                word = self.word.load(Relaxed);
                continue;
            }
            // AcqRel: what this member did is visible to every thread that finds the group empty;
            // partner: `watch`, and the last one.
            word = match self.word.compare_exchange_weak(word, word - one, AcqRel, Relaxed) {
                Ok(_) => return Ok(word - one),
                Err(now) => now,
            };
        }
    }

    /// The last member leaves a watched group, and notifies. `false`: another member entered
    /// meanwhile.
    #[cold]
    fn leave_watched(&self, one: u64) -> bool {
        let mut inner = lock(&self.inner);
        // AcqRel: as in `leave`; the lock passes it on to the waiters.
        if self.word.compare_exchange(one | WATCHED, 0, AcqRel, Relaxed).is_err() {
            return false;
        }
        inner.emptied += 1;
        let notify = std::mem::take(&mut inner.notify);
        if inner.waiting > 0 {
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
pub(crate) struct Block {
    /// All members together keep it.
    shared: *const Shared,
    /// The number of its note in [`Inner::behind`], if it has one.
    note: Option<NonZeroU64>,
}

// SAFETY: as a `Group`, which is `Send`.
unsafe impl Send for Block {}

impl Block {
    /// Runs `f`, then ends the block.
    fn with<F: FnOnce()>(self, f: F) -> impl FnOnce() + use<F> {
        move || {
            let member = self;
            let frame = Frame::part_of(member.shared);
            let _inside = frame.enter();
            f();
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: the members keep the group, and this is one of them until it has left.
        let shared = unsafe { &*self.shared };
        if let Some(number) = self.note {
            lock(&shared.inner).behind.retain(|note| note.number != number);
        }
        if shared.leave(MEMBER).is_ok_and(|word| word & MEMBERS == 0) {
            // SAFETY: this is the last block; the first one forgot a handle.
            drop(unsafe { Arc::from_raw(self.shared) });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Manual entries only: no block is left.
        let entered = self.word.load(Relaxed) / ENTERED;
        if entered > 0 {
            report::warn(format_args!(
                "a group lost its last handle while {entered} had entered and not left: call leave for each enter"
            ));
        }
        for submit in std::mem::take(&mut lock(&self.inner).notify) {
            report::warn(format_args!("a block that was to be submitted when a group is empty was dropped with it"));
            catch::drop_quietly(submit);
        }
    }
}

/// A [`Group::leave`] without a [`Group::enter`] to take back.
///
/// ```
/// use singletrack_queues::{Group, UnbalancedLeave};
///
/// assert_eq!(Group::new().leave(), Err(UnbalancedLeave));
/// ```
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
            let waiter = scope.spawn(|| group.wait_timeout(std::time::Duration::from_secs(60)));
            while lock(&group.shared.inner).waiting == 0 {
                std::thread::yield_now();
            }
            group.leave().expect("entered above");
            group.enter();
            assert!(waiter.join().expect("no panic"), "it was empty for a moment");
        });
    }

    #[test]
    fn a_group_that_is_full_refuses_one_more_and_stays_full() {
        let group = Group::new();
        group.shared.word.store(MOST - ENTERED, Relaxed);
        group.enter();
        let one_more = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| group.enter()));
        assert!(one_more.is_err(), "it was entered once more than it counts");
        assert_eq!(group.shared.word.load(Relaxed), MOST);
        group.leave().expect("entered above");
        group.enter();
    }

    #[test]
    fn the_last_block_gives_the_handle_of_all_blocks_back_beside_a_manual_entry() {
        let group = Group::new();
        group.enter();
        let blocks = [group.block(None), group.block(None), group.block(None)];
        assert_eq!(Arc::strong_count(&group.shared), 2);
        drop(blocks);
        assert_eq!(Arc::strong_count(&group.shared), 1);
        group.leave().expect("entered above");
    }
}
