//! Which workers sleep, and which one to wake when work appears. The argument that no wake-up is
//! lost is in `SLEEP.md` beside this file.
//!
//! Sleepers are named by the parker they sleep at. A worker that looks for work is *searching*;
//! while one searches nobody else is woken, and the last searcher that finds something passes the
//! wake-up on. Not for: where work waits (`find`), how a thread sleeps (`park`).

use std::time::Instant;

use super::{Pool, STOPPED, choose};
use crate::base::catch;
use crate::base::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::base::sync::{Mutex, lock};
use crate::time::timer::{Fire, Key, Leeway};

const SEARCHING: u64 = 1;
const ASLEEP: u64 = 1 << 32;

/// See the module.
#[derive(Default)]
pub(crate) struct Sleep {
    /// Low half: how many search. High half: how many sleep; changed under the lock, with the list.
    word: AtomicU64,
    sleepers: Mutex<Vec<usize>>,
}

impl Sleep {
    /// Work was made visible just now: the parker to unpark, if a worker must be woken. It counts
    /// as searching from now on.
    #[inline]
    pub(crate) fn notify(&self) -> Option<usize> {
        // Partner: the fence in `fall_asleep`. Either we see the sleeper, or the sleeper sees the
        // work.
        fence(SeqCst);
        let word = self.word.load(Relaxed);
        if word & (ASLEEP - 1) != 0 || word < ASLEEP { None } else { self.take(false) }
    }

    /// As [`notify`](Self::notify), for what its thread will come back to itself: it may miss a
    /// worker that is falling asleep. A sleeper is taken only if there `are_threads`.
    #[inline]
    pub(super) fn hint(&self, are_threads: impl FnOnce() -> bool) -> Option<usize> {
        let word = self.word.load(Relaxed);
        if word & (ASLEEP - 1) != 0 || word < ASLEEP || !are_threads() { None } else { self.take(false) }
    }

    /// Takes a sleeper. It counts as searching from now on. `any`: whether or not others search,
    /// for changes that a search would not see (a timer, an end).
    #[cold]
    #[inline(never)]
    pub(crate) fn take(&self, any: bool) -> Option<usize> {
        let mut sleepers = lock(&self.sleepers);
        // Somebody may have started to search, or been woken, before we got the lock: then it will
        // look behind our push, because both happen on this word after it.
        if !any && self.word.load(SeqCst) & (ASLEEP - 1) != 0 {
            return None;
        }
        let parker = choose::sleeper(&mut sleepers)?;
        self.word.fetch_add(SEARCHING.wrapping_sub(ASLEEP), SeqCst);
        Some(parker)
    }

    /// A running worker starts to search.
    pub(crate) fn begin_search(&self) {
        self.word.fetch_add(SEARCHING, SeqCst);
    }

    /// A searcher found something (or leaves). `true`: it was the last, and must pass the wake-up
    /// on if there is more.
    pub(crate) fn end_search(&self) -> bool {
        let last = self.word.fetch_sub(SEARCHING, SeqCst) & (ASLEEP - 1) == SEARCHING;
        // Partner: the fence in `notify`, for the look at the work that the last one takes next.
        fence(SeqCst);
        last
    }

    /// A searcher becomes a sleeper at `parker`. It must look once more for work before it really
    /// sleeps.
    pub(crate) fn fall_asleep(&self, parker: usize) {
        let mut sleepers = lock(&self.sleepers);
        sleepers.push(parker);
        self.word.fetch_add(ASLEEP - SEARCHING, SeqCst);
        drop(sleepers);
        // Partner: the fence in `notify`.
        fence(SeqCst);
    }

    /// The sleeper at `parker` is awake, and searching: whether it was woken (then it is counted
    /// already) or not.
    pub(crate) fn wake_up(&self, parker: usize) {
        let mut sleepers = lock(&self.sleepers);
        if let Some(at) = sleepers.iter().position(|&sleeper| sleeper == parker) {
            sleepers.remove(at);
            self.word.fetch_add(SEARCHING.wrapping_sub(ASLEEP), SeqCst);
        }
    }
}

impl Pool {
    /// Work was made visible: wakes a sleeper if that is needed.
    #[inline]
    pub(super) fn notify(&self) {
        if let Some(parker) = self.sleep.notify() {
            self.unpark(parker);
        }
    }

    #[cold]
    pub(super) fn unpark(&self, parker: usize) {
        self.counts.wakes.fetch_add(1, Relaxed);
        // The worker is no sleeper any more: if a panic of the parker passed through here, nothing
        // would wake that worker.
        catch::never_unwinds(|| self.parkers[parker].unpark());
    }

    /// A sleeper must look, whether or not others search.
    pub(super) fn wake_any(&self) {
        if let Some(parker) = self.sleep.take(true) {
            self.unpark(parker);
        }
    }

    /// Adds a timer; see [`Timers::add_at`](crate::time::timer::Timers::add_at).
    pub(crate) fn add_timer_at(&self, at: Option<Instant>, leeway: Leeway, fire: Fire) -> Key {
        let (key, sleeper) = self.timers.add_at(at, leeway, fire);
        // Relaxed: the lock of the timers orders this add with the `clear` of the thread that ended
        // the pool.
        if self.phase.load(Relaxed) == STOPPED {
            self.counts.dropped.fetch_add(self.timers.clear(), Relaxed);
        }
        match sleeper {
            Some(Some(keeper)) => self.unpark(keeper),
            // Nobody keeps the time: a sleeper must take the role; running workers check timers
            // anyway.
            Some(None) => self.wake_any(),
            None => {}
        }
        key
    }
}
