//! The threads of a pool: when they start and end, and which parker each one holds. With extra
//! threads, a thousand blocks that sleep 10 ms take 0.2 s instead of 0.7 s. With spare ones, a
//! hundred bursts of eight blocks that sleep start 17 threads instead of 400.
//!
//! A *worker* holds a parker; there are as many as parkers. An *extra thread* runs without one.
//! Extra threads exist only while blocks are stuck: a thread that sits in a block is *replaced*,
//! which means that another thread gets its parker, and it is an extra thread itself from then on;
//! and others are called while runnables wait and most threads are blocked, so that many blocking
//! blocks overlap. An extra thread that finds nothing to do, or is one too many, is *spare*: it
//! waits for a post; after [`SPARE_TIME`] it ends.
//!
//! Not for: which thread is stuck (`monitor`), the loop of a thread (`worker`).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Pool;
use super::worker;
use crate::base::catch;
use crate::base::report;
use crate::base::sync::atomic::Ordering::{Relaxed, Release};
use crate::base::sync::{Condvar, Mutex, MutexGuard, lock, now, wait_timeout};

/// How many threads are named where the cap of threads is reported.
const MOST_NAMED: usize = 8;

/// How long a thread waits to be needed again.
const SPARE_TIME: Duration = Duration::from_secs(2);

/// What a thread runs with: a parker, or none (an extra thread).
pub(super) type Post = Option<usize>;

/// See the module.
pub(super) struct Threads {
    roster: Mutex<Roster>,
    /// There is a post, a thread ended, or the pool ends. Rare, so one condition for all.
    changed: Condvar,
}

/// Which threads there are.
pub(super) struct Roster {
    cap: usize,
    /// The slots without a thread.
    vacant: Vec<usize>,
    pub(super) peak: usize,
    /// Threads that wait for a post.
    spare: usize,
    /// Posts that no thread has taken yet. There are more of them than spare threads only if no
    /// thread could be started for a parker; the monitor attends to such a parker meanwhile.
    posts: Vec<Post>,
}

impl Roster {
    /// The number of threads.
    pub(super) fn live(&self) -> usize {
        self.cap - self.vacant.len()
    }

    /// The threads that do not wait for a post.
    pub(super) fn busy(&self) -> usize {
        self.live() - self.spare
    }

    fn has_spare(&self) -> bool {
        self.spare > self.posts.len()
    }

    /// Is there a spare thread, or room for one more?
    pub(super) fn has_room(&self) -> bool {
        self.has_spare() || !self.vacant.is_empty()
    }
}

impl Threads {
    pub(super) fn new(cap: usize) -> Self {
        let roster = Roster { cap, vacant: (0..cap).rev().collect(), peak: 0, spare: 0, posts: Vec::new() };
        Self { roster: Mutex::new(roster), changed: Condvar::new() }
    }

    pub(super) fn roster(&self) -> MutexGuard<'_, Roster> {
        lock(&self.roster)
    }

    pub(super) fn wake_all(&self) {
        // Under the lock: a spare thread that has looked at the phase is in its wait.
        let _roster = self.roster();
        self.changed.notify_all();
    }

    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut roster = self.roster();
        while roster.live() > 0 {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            roster = wait_timeout(&self.changed, roster, left);
        }
        true
    }
}

impl Pool {
    /// Gives `post` to a spare thread, or to a new one.
    pub(super) fn call(self: &Arc<Self>, post: Post) -> std::io::Result<()> {
        let mut roster = self.threads.roster();
        if roster.has_spare() {
            roster.posts.push(post);
            self.threads.changed.notify_all();
            return Ok(());
        }
        let slot = roster.vacant.pop().ok_or_else(|| std::io::Error::other("the cap of threads is reached"))?;
        roster.peak = roster.peak.max(roster.live());
        drop(roster);
        // Release: the slot is complete since `start`; partner: the Acquire in `slots`.
        self.used.fetch_max(slot + 1, Release);
        let pool = self.clone();
        self.spawn(slot, move || worker::run(pool, slot, post)).inspect_err(|_| self.thread_ended(slot))
    }

    /// Starts a thread that is called after the pool and `name`.
    pub(super) fn spawn(&self, name: impl fmt::Display, f: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(format!("{}-{name}", self.name));
        thread.spawn(|| catch::never_unwinds(f)).map(drop)
    }

    /// A thread has ended, or never began.
    pub(super) fn thread_ended(&self, slot: usize) {
        self.threads.roster().vacant.push(slot);
        self.threads.changed.notify_all();
    }

    /// Replaces a thread: another one gets the parker that `take` takes from it. `false`: there is
    /// no other.
    pub(super) fn replace(self: &Arc<Self>, take: impl FnOnce() -> Option<usize>) -> bool {
        let possible = self.threads.roster().has_room();
        if possible && let Some(parker) = take() {
            self.counts.replaced.fetch_add(1, Relaxed);
            self.attend(parker);
        }
        possible
    }

    /// Finds a thread for `parker`.
    fn attend(self: &Arc<Self>, parker: usize) {
        if let Err(error) = self.call(Some(parker)) {
            report::warn(format_args!("no thread replaces a blocked one of {:?}: {error}", self.name));
            self.threads.roster().posts.push(Some(parker));
        }
    }

    /// The parkers that still have no thread, after another try to find one for one of them.
    pub(super) fn unattended(self: &Arc<Self>) -> Vec<usize> {
        let none = |roster: &Roster| roster.posts.len() <= roster.spare;
        let mut roster = self.threads.roster();
        if !none(&roster)
            && roster.has_room()
            && let Some(Some(parker)) = roster.posts.pop_if(|post| post.is_some())
        {
            drop(roster);
            self.attend(parker);
            roster = self.threads.roster();
        }
        if none(&roster) { Vec::new() } else { roster.posts.iter().flatten().copied().collect() }
    }

    /// Says that blocks wait because the cap of threads is reached, and who holds the threads.
    pub(super) fn report_cap(self: &Arc<Self>) {
        let pool = self.clone();
        // The logger is a program's code, and may wait for a queue of this very pool: the monitor
        // must not.
        let say = move || {
            let holders: String = pool
                .stuck()
                .iter()
                .take(MOST_NAMED)
                .map(|stuck| match stuck.site {
                    Some(site) => format!("; {:?} holds one, in a block submitted at {site}", stuck.label),
                    None => format!("; {:?} holds one", stuck.label),
                })
                .collect();
            report::warn(format_args!(
                "runtime {:?} has as many threads as its thread_cap of {} allows, nearly all are blocked, and blocks have \
                 waited for a second{holders}; raise the thread_cap, or have fewer blocks wait at a time",
                pool.name,
                pool.slots.len()
            ));
        };
        // Refused, it is not said: there are other worries then.
        let _refused = self.spawn("report", say);
    }

    /// The thread in `slot` has no parker and nothing to do: it waits for a post. `false`: none
    /// came, and it must end.
    pub(super) fn wait_for_post(&self, slot: usize) -> bool {
        let place = &self.slots[slot];
        let until = now() + SPARE_TIME;
        let mut roster = self.threads.roster();
        roster.spare += 1;
        loop {
            if let Some(post) = roster.posts.pop() {
                roster.spare -= 1;
                place.run_with(post);
                return true;
            }
            let left = until.saturating_duration_since(now());
            if left.is_zero() || self.is_stopped() {
                roster.spare -= 1;
                return false;
            }
            if place.is_running() {
                place.rest();
                if self.is_abandoned() {
                    // It may have been the last to rest: a sleeper must look.
                    self.wake_any();
                }
            }
            roster = wait_timeout(&self.threads.changed, roster, left);
        }
    }
}
