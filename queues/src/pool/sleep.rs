//! Who sleeps, and whom to wake when work appears. The argument that no wake-up is lost is in `SLEEP.md` beside this file.
//!
//! Sleepers are named by the parker they sleep at. A worker that looks for work is *searching*; while one searches nobody
//! else is woken, and the last searcher that finds something passes the wake-up on.
//! Not for: where work waits (`find`), how a thread sleeps (`park`).

use crate::sync::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use crate::sync::{Mutex, lock, planted};

const SEARCHING: u64 = 1;
const ASLEEP: u64 = 1 << 32;

/// See the module.
pub(crate) struct Sleep {
    /// Low half: how many search. High half: how many sleep; changed under the lock, with the list.
    word: AtomicU64,
    sleepers: Mutex<Vec<usize>>,
}

impl Sleep {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(0), sleepers: Mutex::new(Vec::new()) }
    }

    /// Work was made visible just now: the parker to unpark, if somebody must be woken. The woken counts as searching.
    #[inline]
    pub(crate) fn notify(&self) -> Option<usize> {
        // Partner: the fence in `fall_asleep`. Either we see the sleeper, or the sleeper sees the work.
        if !planted("sleep: notify has no fence") {
            fence(SeqCst);
        }
        let word = self.word.load(Relaxed);
        if word & (ASLEEP - 1) != 0 || word < ASLEEP { None } else { self.take() }
    }

    /// As [`notify`](Self::notify), for what its thread will come back to itself: it may miss who falls asleep just now. A
    /// sleeper is taken only if there `are_threads`.
    #[inline]
    pub(super) fn hint(&self, are_threads: impl FnOnce() -> bool) -> Option<usize> {
        let word = self.word.load(Relaxed);
        if word & (ASLEEP - 1) != 0 || word < ASLEEP || !are_threads() { None } else { self.take() }
    }

    #[cold]
    #[inline(never)]
    fn take(&self) -> Option<usize> {
        let mut sleepers = lock(&self.sleepers);
        // Somebody may have started to search, or been woken, before we got the lock: then it will look behind our push,
        // because both happen on this word after it.
        if self.word.load(SeqCst) & (ASLEEP - 1) != 0 {
            return None;
        }
        let parker = sleepers.pop()?;
        self.word.fetch_add(SEARCHING.wrapping_sub(ASLEEP), SeqCst);
        Some(parker)
    }

    /// Wakes one sleeper whether or not somebody searches: for changes that a search would not see (a timer, an end).
    pub(crate) fn take_any(&self) -> Option<usize> {
        let mut sleepers = lock(&self.sleepers);
        let parker = sleepers.pop()?;
        self.word.fetch_add(SEARCHING.wrapping_sub(ASLEEP), SeqCst);
        Some(parker)
    }

    /// A running worker starts to search.
    pub(crate) fn begin_search(&self) {
        self.word.fetch_add(SEARCHING, SeqCst);
    }

    /// A searcher found something (or leaves). `true`: it was the last, and must pass the wake-up on if there is more.
    pub(crate) fn end_search(&self) -> bool {
        let last = self.word.fetch_sub(SEARCHING, SeqCst) & (ASLEEP - 1) == SEARCHING;
        // Partner: the fence in `notify`, for the look at the work that the last one takes next.
        if !planted("sleep: the last searcher has no fence") {
            fence(SeqCst);
        }
        last && !planted("sleep: the last searcher tells nobody")
    }

    /// A searcher becomes a sleeper at `parker`. It must look once more for work before it really sleeps.
    pub(crate) fn fall_asleep(&self, parker: usize) {
        let mut sleepers = lock(&self.sleepers);
        sleepers.push(parker);
        self.word.fetch_add(ASLEEP - SEARCHING, SeqCst);
        drop(sleepers);
        // Partner: the fence in `notify`.
        if !planted("sleep: the sleeper has no fence") {
            fence(SeqCst);
        }
    }

    /// The sleeper at `parker` is awake, and searching: whether it was woken (then it is counted already) or not.
    pub(crate) fn wake_up(&self, parker: usize) {
        let mut sleepers = lock(&self.sleepers);
        let at = sleepers.iter().position(|&sleeper| sleeper == parker);
        if let Some(at) = at.filter(|_| !planted("sleep: who wakes by itself stays listed")) {
            sleepers.remove(at);
            self.word.fetch_add(SEARCHING.wrapping_sub(ASLEEP), SeqCst);
        }
    }
}
