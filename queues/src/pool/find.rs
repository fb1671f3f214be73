//! Where runnables wait for a worker, and the steps by which one is taken: the only door to
//! crossbeam-deque.
//!
//! Four places. Each thread has a *next* slot (the runnable it submitted last: run next, while its
//! data is warm), a FIFO deque, and a line of deferred runnables; all share an injector for what
//! comes from other threads. A thread takes from its slot, its deque, the injector, then steals
//! half of another thread's deque; last of all it moves the deferred runnables into its deque.
//!
//! That is the line of the default class. Each other class of service has a line of its own, shared
//! by all: few runnables stand in the higher ones, and the lower ones may wait. A program that uses
//! no classes pays one load of a flag for them.
//!
//! The slot cannot be stolen by a searching worker: a message that hops between two queues stays on
//! one core. So that it never hides work, a displaced runnable goes to the deque, the deque goes
//! first now and then, and the monitor empties the slot of a thread that sits in one block for
//! long.
//!
//! Deferred runnables ([`Place::Deferred`](super::Place::Deferred)) are those that others may still
//! add to, such as output: one that 64 queues signal runs for each eighth signal, and for each
//! second one if it just goes behind what waits. They cannot be stolen. Their *round* comes when
//! their thread has nothing else, after one more look at the parker. So a server reads everything
//! before it distributes it, and distributes everything before it writes. Under constant load that
//! moment never comes: then the round is due after some looks around, and goes behind what waits by
//! then. The monitor takes those of a thread that sits in one block.
//!
//! What a running block left for others (`forked`) stands in one more deque of its thread: it is no
//! runnable, and a thread that looks for one comes to it last, because its own thread comes back to
//! it anyway. Not for: what goes first (`choose`), waking anybody (`sleep`).

use std::ptr::{self, NonNull};

use crossbeam_deque::{Injector, Steal, Stealer, Worker};

use crate::base::block::{Node, Runnable};
use crate::base::qos::Qos;
use crate::base::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

/// The part that all threads may take from.
#[derive(Default)]
pub(super) struct Shared {
    injector: Injector<Runnable>,
    /// The lines of the classes, by number; that of the default class stays empty.
    lines: [Injector<Runnable>; Qos::ALL.len()],
}

/// The part of one thread that others may take from.
pub(crate) struct Exposed {
    stealer: Stealer<Runnable>,
    forked: Stealer<Runnable>,
    /// For the monitor alone.
    deferred: Stealer<Runnable>,
    /// Set by the owner alone (from null), taken by the thread that swaps it to null.
    next: AtomicPtr<Node>,
}

/// The part that only its thread touches.
pub(crate) struct Own {
    pub(super) deque: Worker<Runnable>,
    /// Last in, first out for its thread; the oldest, which is the largest, for others.
    pub(super) forked: Worker<Runnable>,
    pub(super) deferred: Worker<Runnable>,
}

/// Takes until it is clear whether there is something.
#[inline]
fn settled<T>(mut steal: impl FnMut() -> Steal<T>) -> Option<T> {
    loop {
        match steal() {
            Steal::Success(taken) => return Some(taken),
            Steal::Empty => return None,
            Steal::Retry => {}
        }
    }
}

impl Own {
    pub(crate) fn new() -> (Self, Exposed) {
        let (deque, deferred, forked) = (Worker::new_fifo(), Worker::new_fifo(), Worker::new_lifo());
        let next = AtomicPtr::new(ptr::null_mut());
        let exposed =
            Exposed { stealer: deque.stealer(), deferred: deferred.stealer(), forked: forked.stealer(), next };
        (Self { deque, deferred, forked }, exposed)
    }

    /// The deferred runnables go behind everything else of this thread, where others can take it.
    pub(super) fn begin_round(&self) {
        while let Some(runnable) = self.deferred.pop() {
            self.deque.push(runnable);
        }
    }

    /// Moves what only this thread would find where others can take it; `true` if there was
    /// something.
    pub(super) fn show(&self, exposed: &Exposed) -> bool {
        let any = !self.deferred.is_empty();
        self.begin_round();
        let next = exposed.take_next();
        let shown = next.is_some();
        next.into_iter().for_each(|runnable| self.deque.push(runnable));
        any || shown
    }

    /// Makes `runnable` the next; `true` if another one was displaced into the deque, where others
    /// can see it.
    pub(super) fn push_next(&self, exposed: &Exposed, runnable: Runnable) -> bool {
        if exposed.set_next(runnable) {
            return false;
        }
        // Release as in `set_next`; Acquire is not needed, what comes back was put there by this
        // thread.
        match NonNull::new(exposed.next.swap(runnable.0.as_ptr(), Release)) {
            Some(displaced) => {
                self.deque.push(Runnable(displaced));
                true
            }
            None => false,
        }
    }

    /// The first runnable of this thread's deque; if there is none, that in the slot.
    #[inline]
    pub(crate) fn pop(&self, exposed: &Exposed) -> Option<Runnable> {
        self.deque.pop().or_else(|| exposed.take_next())
    }

    /// Takes from the injector: one, and some more into the deque.
    pub(super) fn pop_shared(&self, shared: &Shared) -> Option<Runnable> {
        settled(|| shared.injector.steal_batch_and_pop(&self.deque))
    }

    /// Takes from the other threads' deques: one, and half of the rest into the own deque.
    pub(super) fn steal<'a>(&self, victims: impl Iterator<Item = &'a Exposed> + Clone) -> Option<Runnable> {
        settled(|| victims.clone().map(|victim| victim.stealer.steal_batch_and_pop(&self.deque)).collect())
    }

    /// Moves everything of this thread where all can see it; `true` if there was something.
    pub(super) fn give_away(&self, exposed: &Exposed, shared: &Shared) -> bool {
        self.begin_round();
        std::iter::from_fn(|| self.pop(exposed)).map(|runnable| shared.push(runnable)).count() > 0
    }
}

impl Exposed {
    /// Makes `runnable` the next, if there is none. By its thread alone.
    #[inline]
    pub(super) fn set_next(&self, runnable: Runnable) -> bool {
        // Relaxed: only this thread sets it, and a thief only empties it.
        let free = self.next.load(Relaxed).is_null();
        if free {
            // Release: partner is the Acquire of a thief's `take_next`.
            self.next.store(runnable.0.as_ptr(), Release);
        }
        free
    }

    /// Takes what the slot holds.
    #[inline]
    pub(crate) fn take_next(&self) -> Option<Runnable> {
        // Relaxed peek: saves the locked instruction; the swap decides.
        if self.next.load(Relaxed).is_null() {
            return None;
        }
        // Acquire: what the owner wrote before it put it there; partner: the Release in
        // `push_next`.
        NonNull::new(self.next.swap(ptr::null_mut(), Acquire)).map(Runnable)
    }

    /// Takes one that its thread hides, and does not come to.
    pub(crate) fn take_hidden(&self) -> Option<Runnable> {
        self.take_next().or_else(|| settled(|| self.deferred.steal()))
    }

    /// Has its thread something that nobody else can take?
    pub(crate) fn has_own(&self) -> bool {
        !self.next.load(Relaxed).is_null() || !self.deferred.is_empty()
    }

    /// About how many runnables wait for its thread, forked tasks aside.
    pub(super) fn len(&self) -> usize {
        self.stealer.len() + self.deferred.len() + usize::from(!self.next.load(Relaxed).is_null())
    }

    pub(super) fn has_stealable(&self) -> bool {
        !self.stealer.is_empty()
    }

    /// Takes the forked task that was left first.
    pub(super) fn steal_forked(&self) -> Option<Runnable> {
        settled(|| self.forked.steal())
    }

    pub(super) fn has_forked(&self) -> bool {
        !self.forked.is_empty()
    }
}

impl Shared {
    /// Puts `runnable` into the line of a class other than the default one.
    pub(super) fn push_as(&self, runnable: Runnable, qos: Qos) {
        debug_assert_ne!(qos, Qos::Default, "its line is the injector");
        self.lines[qos as usize].push(runnable);
    }

    /// Takes the first of a line.
    pub(super) fn pop_as(&self, qos: Qos) -> Option<Runnable> {
        let line = &self.lines[qos as usize];
        if line.is_empty() { None } else { settled(|| line.steal()) }
    }

    pub(super) fn push(&self, runnable: Runnable) {
        self.injector.push(runnable);
    }

    fn all(&self) -> impl Iterator<Item = &Injector<Runnable>> {
        std::iter::once(&self.injector).chain(&self.lines)
    }

    pub(super) fn has_any(&self) -> bool {
        self.all().any(|line| !line.is_empty())
    }

    /// About how many runnables wait here.
    pub(super) fn len(&self) -> usize {
        self.all().map(Injector::len).sum()
    }

    /// Takes one, without a deque to put more into.
    pub(super) fn pop(&self) -> Option<Runnable> {
        self.all().find_map(|line| settled(|| line.steal()))
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use crate::base::block;
    use std::panic::Location;

    fn runnables(count: usize) -> Vec<Runnable> {
        (0..count).map(|_| Runnable(block::block(|| {}, Location::caller()))).collect()
    }

    fn free(all: Vec<Runnable>) {
        for runnable in all {
            // SAFETY: made by `runnables`, never run.
            unsafe { (runnable.0.as_ref().vtable.discard)(runnable.0) };
        }
    }

    #[test]
    fn the_last_submitted_goes_first_and_the_displaced_ones_in_order() {
        let (own, exposed) = Own::new();
        let all = runnables(3);
        assert!(!own.push_next(&exposed, all[0]), "nothing to displace");
        assert!(own.push_next(&exposed, all[1]));
        assert!(own.push_next(&exposed, all[2]));
        let order: Vec<_> = exposed.take_next().into_iter().chain(std::iter::from_fn(|| own.pop(&exposed))).collect();
        assert_eq!(order, [all[2], all[0], all[1]]);
        free(all);
    }

    #[test]
    fn the_deque_may_go_before_the_slot() {
        let (own, exposed) = Own::new();
        let all = runnables(2);
        own.deque.push(all[0]);
        own.push_next(&exposed, all[1]);
        let order = [own.pop(&exposed), own.pop(&exposed), own.pop(&exposed)];
        assert_eq!(order, [Some(all[0]), Some(all[1]), None]);
        free(all);
    }

    #[test]
    fn deferred_ones_wait_for_their_round_and_then_go_behind_the_rest() {
        let (own, exposed) = Own::new();
        let all = runnables(4);
        own.deferred.push(all[0]);
        own.deferred.push(all[1]);
        own.deque.push(all[2]);
        assert!(exposed.has_own());
        assert_eq!((own.pop(&exposed), own.pop(&exposed)), (Some(all[2]), None));
        assert!(!exposed.has_stealable());
        own.deque.push(all[3]);
        own.begin_round();
        assert!(!exposed.has_own() && exposed.has_stealable());
        let order: Vec<_> = std::iter::from_fn(|| own.pop(&exposed)).collect();
        assert_eq!(order, [all[3], all[0], all[1]]);
        own.deferred.push(all[0]);
        assert_eq!((exposed.take_hidden(), exposed.take_hidden()), (Some(all[0]), None));
        free(all);
    }

    #[test]
    fn what_is_given_away_is_found_by_others() {
        let shared = Shared::default();
        let (own, exposed) = Own::new();
        let all = runnables(3);
        own.deque.push(all[0]);
        own.deferred.push(all[1]);
        own.push_next(&exposed, all[2]);
        assert!(own.give_away(&exposed, &shared));
        assert!(!own.give_away(&exposed, &shared));
        let (other, _) = Own::new();
        let mut found = vec![other.pop_shared(&shared).expect("three were given")];
        found.extend(std::iter::from_fn(|| other.deque.pop()));
        found.extend(std::iter::from_fn(|| shared.pop()));
        found.sort_by_key(|runnable| runnable.0);
        let mut expected = all.clone();
        expected.sort_by_key(|runnable| runnable.0);
        assert_eq!(found, expected);
        free(all);
    }
}
