//! What waits for a thread that is not ours, and who tells it: many pushers, one owner, one wake per burst.
//!
//! The owner sleeps in a loop that we do not know, and is told through a callback that may be expensive, so it is told
//! once per burst. `owed` says that the owner was told and has not come to an end since:
//!
//! | owed | waiting | push | the owner's turn |
//! |---|---|---|---|
//! | no | empty | sets it and wakes | nothing to take |
//! | yes | any | just appends: a turn will come | takes all, runs; at its end, under the lock, looks again |
//!
//! Two cases prove that nothing is forgotten. A push before the last look: the look finds it, `owed` stays, and the owner
//! is told by what the turn returns. A push after it: `owed` is off, so the push wakes.
//!
//! A lock and not a list of atomics: it is held for an append or a swap, never while foreign code runs, and the close, the
//! stop and the burst are then one story. Not for: what an entry is, running it, budgets.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::sync::{Condvar, Mutex, lock, planted, wait};

/// Tells the owner to come. Called on whatever thread pushes, without the lock.
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;

/// See the module.
pub(crate) struct Inbox<E> {
    inner: Mutex<Inner<E>>,
    /// For an owner that waits here and not in a loop of its own.
    arrived: Condvar,
}

struct Inner<E> {
    waiting: VecDeque<E>,
    /// The owner was told, or knows, that it has to take a turn.
    owed: bool,
    closed: bool,
    /// How many entries were ever pushed.
    pushed: u64,
    /// The owner is asked to stop once it ran so many.
    stop_after: Option<u64>,
    wake: Option<Wake>,
    /// How often that was called.
    wakes: u64,
}

impl<E> Inner<E> {
    /// A turn is needed: whom to call, if the owner does not know yet.
    fn owe(&mut self) -> (bool, Option<Wake>) {
        if self.owed && !planted("main queue: every push wakes") {
            return (false, None);
        }
        self.owed = true;
        (true, self.call())
    }

    /// What to call once the lock is let go; counted.
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

    /// Appends what `make` makes of `material`; gives that back when the owner is gone.
    pub(crate) fn push<M>(&self, material: M, make: impl FnOnce(M) -> E) -> Result<(), M> {
        let mut inner = lock(&self.inner);
        if inner.closed && !planted("main queue: pushed after the close") {
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
        if told && !planted("main queue: nobody rings the bell") {
            self.arrived.notify_all();
        }
        if let Some(wake) = wake {
            wake();
        }
    }

    /// The owner begins a turn: takes what waits, in order, behind what it has.
    pub(crate) fn take(&self, taken: &mut VecDeque<E>) {
        let mut inner = lock(&self.inner);
        if taken.is_empty() {
            std::mem::swap(taken, &mut inner.waiting);
        } else {
            taken.append(&mut inner.waiting);
        }
    }

    /// The owner ends a turn, with entries `left` or not: does anything wait? If so it owes another turn, unasked.
    pub(crate) fn end_turn(&self, left: bool) -> bool {
        let mut inner = lock(&self.inner);
        let unseen = !inner.waiting.is_empty() && !planted("main queue: a turn ends without a last look");
        inner.owed = left || unseen;
        inner.owed
    }

    /// Calls the callback once more: the owner's loop shall come back though nothing was pushed.
    pub(crate) fn wake_again(&self) {
        let wake = lock(&self.inner).call();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// From now on `wake` is called; at once, if a turn is owed.
    pub(crate) fn set_wake(&self, wake: Wake) {
        let mut inner = lock(&self.inner);
        let before = inner.wake.replace(wake);
        let call = if inner.owed { inner.call() } else { None };
        drop(inner);
        // Foreign code, so outside the lock.
        drop(before);
        if let Some(wake) = call {
            wake();
        }
    }

    /// Asks the owner to stop once it ran what was pushed so far.
    pub(crate) fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stop_after = Some(inner.stop_after.map_or(inner.pushed, |before| before.min(inner.pushed)));
        let (_, wake) = inner.owe();
        drop(inner);
        self.tell((true, wake));
    }

    /// After how many entries the owner was asked to stop.
    pub(crate) fn stop_after(&self) -> Option<u64> {
        lock(&self.inner).stop_after
    }

    /// The owner stopped: a later turn needs a new [`stop`](Self::stop).
    pub(crate) fn stopped(&self) {
        lock(&self.inner).stop_after = None;
    }

    /// Waits, on the owner's thread, until something waits or it is asked to stop.
    pub(crate) fn wait(&self) {
        let mut inner = lock(&self.inner);
        while inner.waiting.is_empty() && inner.stop_after.is_none() {
            inner = wait(&self.arrived, inner);
        }
    }

    /// The owner goes: what waits is the caller's, and nothing is taken any more.
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

    /// How many were ever pushed, and how often the callback was called.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let inner = lock(&self.inner);
        (inner.pushed, inner.wakes)
    }
}
