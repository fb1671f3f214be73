//! The main thread's half of a main queue: what it took and has not run, and the values that live only there.
//!
//! Never leaves its thread (it is counted by `Rc`); blocks find it through a list of the thread's places, so a value that
//! is not `Send` is reached without any `unsafe`: the handle that travels holds a number.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::budget::Budget;
use super::entry::Entry;
use super::handle::Shared;
use crate::catch;
use crate::sync::atomic::Ordering::Relaxed;

thread_local! {
    /// The main queues that this thread made: one, in nearly every program.
    static HERE: RefCell<Vec<Weak<Place>>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    /// Taken from the inbox and not run yet.
    taken: RefCell<VecDeque<Entry>>,
    /// A turn is under way on this stack.
    draining: Cell<bool>,
    /// By number, that is by age.
    locals: RefCell<BTreeMap<u64, Rc<dyn Any>>>,
}

impl Place {
    pub(super) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let place =
            Rc::new(Self { shared, taken: RefCell::default(), draining: Cell::new(false), locals: RefCell::default() });
        HERE.with_borrow_mut(|here| here.push(Rc::downgrade(&place)));
        place
    }

    /// The place of `shared`, if this is its thread and its owner lives.
    pub(super) fn of(shared: &Arc<Shared>) -> Option<Rc<Self>> {
        // The list may be gone already while the thread ends.
        let find = |here: &RefCell<Vec<Weak<Self>>>| {
            here.borrow().iter().filter_map(Weak::upgrade).find(|place| Arc::ptr_eq(&place.shared, shared))
        };
        HERE.try_with(find).ok().flatten()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// How many entries were begun. Relaxed: only this thread counts them.
    fn done(&self) -> u64 {
        self.shared.counts.done.load(Relaxed)
    }

    /// Was it asked to stop, and has it run what came before that?
    pub(super) fn is_stopped(&self) -> bool {
        self.shared.inbox.stop_after().is_some_and(|after| self.done() >= after)
    }

    /// One turn: see [`MainQueue::drain`](super::MainQueue::drain). With `to_stop`, not beyond a stop.
    pub(super) fn turn(&self, budget: Budget, to_stop: bool) -> bool {
        if self.draining.get() {
            // In a block that runs an event loop of its own. The turn that goes on tells what is left.
            return false;
        }
        self.draining.set(true);
        let _done = Done(&self.draining);
        self.shared.inbox.take(&mut self.taken.borrow_mut());
        // What comes from now on waits for the next turn.
        let mut snapshot = self.taken.borrow().len();
        if let Some(after) = self.shared.inbox.stop_after().filter(|_| to_stop) {
            snapshot = snapshot.min(usize::try_from(after.saturating_sub(self.done())).unwrap_or(usize::MAX));
        }
        if snapshot == 0 {
            return self.shared.inbox.end_turn(!self.taken.borrow().is_empty());
        }
        let mut spending = budget.begin();
        for _ in 0..snapshot {
            // Not borrowed while it runs: a block may drop the last handle of something, and look at the queue.
            let Some(entry) = self.taken.borrow_mut().pop_front() else { break };
            self.shared.counts.done.fetch_add(1, Relaxed);
            match entry {
                Entry::Run(body) => {
                    let site = body.site();
                    if let Some(payload) = body.run() {
                        self.shared.counts.panics.fetch_add(1, Relaxed);
                        catch::report(self.shared.label(), site, payload);
                    }
                    self.shared.counts.ran.fetch_add(1, Relaxed);
                }
                Entry::Forget(number) => self.forget(number),
            }
            if !spending.spend_one() {
                break;
            }
        }
        self.shared.counts.turn(spending.so_far());
        let left = !self.taken.borrow().is_empty();
        self.shared.inbox.end_turn(left)
    }

    /// One turn that asks for the next if more waits: see [`MainQueue::turn`](super::MainQueue::turn).
    pub(super) fn turn_and_ask(&self, budget: Budget) -> bool {
        let more = self.turn(budget, false);
        if more {
            self.shared.inbox.wake_again();
        }
        more
    }

    /// Puts a value here.
    pub(super) fn keep<T: 'static>(&self, number: u64, value: T) {
        self.locals.borrow_mut().insert(number, Rc::new(RefCell::new(value)));
    }

    /// The value, if it was made, and lives.
    pub(super) fn local<T: 'static>(&self, number: u64) -> Option<Rc<RefCell<T>>> {
        let value = self.locals.borrow().get(&number)?.clone();
        value.downcast().ok()
    }

    fn forget(&self, number: u64) {
        // Dropped after the map was let go: its drop is foreign code.
        let value = self.locals.borrow_mut().remove(&number);
        catch::drop_quietly(value);
    }

    /// The owner goes: what waits is dropped, then what lives here, the oldest first.
    pub(super) fn close(&self) {
        let mut left = std::mem::take(&mut *self.taken.borrow_mut());
        self.shared.inbox.close(&mut left);
        self.shared.counts.done.fetch_add(left.len() as u64, Relaxed);
        let dropped = left.iter().filter(|entry| matches!(entry, Entry::Run(_))).count();
        if dropped > 0 {
            self.shared.counts.dropped.fetch_add(dropped as u64, Relaxed);
            log::warn!("main queue \"{}\" was dropped with {dropped} blocks that did not run", self.shared.label());
        }
        drop(left);
        let locals = std::mem::take(&mut *self.locals.borrow_mut());
        for value in locals.into_values() {
            catch::drop_quietly(value);
        }
        // While the thread ends the list may be gone already.
        let _ = HERE.try_with(|here| here.borrow_mut().retain(|place| !std::ptr::eq(place.as_ptr(), self)));
    }
}

/// Ends a turn, also when the log panics.
struct Done<'a>(&'a Cell<bool>);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
