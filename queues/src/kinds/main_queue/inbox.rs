//! The entries that wait for a thread with a foreign event loop, and its wake-up: many pushers, one
//! owner, one wake per burst.
//!
//! The owner sleeps in a foreign loop. A callback that may be expensive wakes it, so it is woken
//! once per burst. `owed` says that the owner was woken and has not ended its turn since:
//!
//! | owed | waiting | push | the owner's turn |
//! |---|---|---|---|
//! | no | empty | sets it and wakes | nothing to take |
//! | yes | any | appends only: a turn will come | takes all, runs; at its end, under the lock, looks again |
//!
//! Two cases prove that no entry is forgotten. A push before the last look: the look finds it,
//! `owed` stays set, and the turn's return value informs the owner. A push after the last look:
//! `owed` is clear, so the push wakes the owner.
//!
//! The inbox uses a lock and not an atomic list: the lock is held for an append or a swap, never
//! while foreign code runs, and it orders close, stop and bursts against one another. Not for: what
//! an entry is, running it, budgets.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::sync::{Condvar, Mutex, lock, wait};

/// Wakes the owner. Called on the pushing thread, without the lock.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// See the module.
pub(crate) struct Inbox<E> {
    inner: Mutex<Inner<E>>,
    /// Signalled for an owner that sleeps here and not in a loop of its own.
    arrived: Condvar,
}

struct Inner<E> {
    waiting: VecDeque<E>,
    /// The owner was woken, or knows already, that it must take a turn.
    owed: bool,
    closed: bool,
    /// The number of entries ever pushed.
    pushed: u64,
    /// The owner should stop after it ran this many entries.
    stop_after: Option<u64>,
    wake: Option<Wake>,
    /// The number of calls of `wake`.
    wakes: u64,
}

impl<E> Inner<E> {
    /// Records that a turn is needed; returns the callback to call if the owner does not know yet.
    fn owe(&mut self) -> (bool, Option<Wake>) {
        if self.owed {
            return (false, None);
        }
        self.owed = true;
        (true, self.call())
    }

    /// The callback to call after the lock is released; counts the call.
    fn call(&mut self) -> Option<Wake> {
        let wake = self.wake.clone();
        self.wakes += u64::from(wake.is_some());
        wake
    }
}

impl<E> Inbox<E> {
    pub(crate) fn new() -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            owed: false,
            closed: false,
            pushed: 0,
            stop_after: None,
            wake: None,
            wakes: 0,
        };
        Self { inner: Mutex::new(inner), arrived: Condvar::new() }
    }

    /// Appends the entry that `make` makes of `material`; gives `material` back if the owner is
    /// gone.
    pub(crate) fn push<M>(&self, material: M, make: impl FnOnce(M) -> E) -> Result<(), M> {
        let mut inner = lock(&self.inner);
        if inner.closed {
            return Err(material);
        }
        inner.waiting.push_back(make(material));
        inner.pushed += 1;
        let owe = inner.owe();
        drop(inner);
        self.tell(owe);
        Ok(())
    }

    fn tell(&self, (told, wake): (bool, Option<Wake>)) {
        if told {
            self.arrived.notify_all();
        }
        if let Some(wake) = wake {
            wake();
        }
    }

    /// The owner begins a turn: moves all waiting entries, in order, behind those that it already
    /// took.
    pub(crate) fn take(&self, taken: &mut VecDeque<E>) {
        let mut inner = lock(&self.inner);
        if taken.is_empty() {
            std::mem::swap(taken, &mut inner.waiting);
        } else {
            taken.append(&mut inner.waiting);
        }
    }

    /// The owner ends a turn, with entries `left` or not. Returns whether anything waits; if so,
    /// the owner owes another turn, and no wake comes for it.
    pub(crate) fn end_turn(&self, left: bool) -> bool {
        let mut inner = lock(&self.inner);
        let unseen = !inner.waiting.is_empty();
        inner.owed = left || unseen;
        inner.owed
    }

    /// Calls the callback once more: the owner's loop must come back although nothing was pushed.
    pub(crate) fn wake_again(&self) {
        let wake = lock(&self.inner).call();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Sets the callback to `wake`, and calls it at once if a turn is owed.
    pub(crate) fn set_wake(&self, wake: Wake) {
        let mut inner = lock(&self.inner);
        let before = inner.wake.replace(wake);
        let call = if inner.owed { inner.call() } else { None };
        drop(inner);
        // The drop is foreign code, so it happens outside the lock.
        drop(before);
        if let Some(wake) = call {
            wake();
        }
    }

    /// Asks the owner to stop after it ran the entries pushed so far.
    pub(crate) fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stop_after = Some(inner.stop_after.map_or(inner.pushed, |before| before.min(inner.pushed)));
        let (_, wake) = inner.owe();
        drop(inner);
        self.tell((true, wake));
    }

    /// The number of entries after which the owner was asked to stop.
    pub(crate) fn stop_after(&self) -> Option<u64> {
        lock(&self.inner).stop_after
    }

    /// The owner stopped: a later turn needs a new [`stop`](Self::stop).
    pub(crate) fn stopped(&self) {
        lock(&self.inner).stop_after = None;
    }

    /// Sleeps, on the owner's thread, until an entry is waiting or the owner is asked to stop.
    pub(crate) fn wait(&self) {
        let mut inner = lock(&self.inner);
        while inner.waiting.is_empty() && inner.stop_after.is_none() {
            inner = wait(&self.arrived, inner);
        }
    }

    /// Closes the inbox: the caller gets the waiting entries, and no more are accepted.
    pub(crate) fn close(&self, taken: &mut VecDeque<E>) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        taken.append(&mut inner.waiting);
        let wake = inner.wake.take();
        drop(inner);
        drop(wake);
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.inner).closed
    }

    /// The number of entries ever pushed, and the number of calls of the callback.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = lock(&self.inner);
        (inner.pushed, inner.wakes)
    }
}
