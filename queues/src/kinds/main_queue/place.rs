//! The main thread's half of a main queue: the entries that it took and has not run, and the values
//! that live only there.
//!
//! A place never leaves its thread (it is counted by `Rc`). Blocks find it through a list of the
//! thread's places. A handle that travels holds only a number, so a value that is not `Send` is
//! reached without any `unsafe`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::budget::Budget;
use super::entry::Entry;
use super::handle::Shared;
use crate::base::catch;
use crate::base::report;
use crate::base::sync::atomic::Ordering::Relaxed;
use crate::queue::OnMainThread;

thread_local! {
    /// The main queues that this thread made: one, in nearly every program.
    static HERE: RefCell<Vec<Weak<Place>>> = const { RefCell::new(Vec::new()) };
}

/// See the module.
pub(super) struct Place {
    pub(super) shared: Arc<Shared>,
    /// Taken from the inbox and not run yet.
    taken: RefCell<VecDeque<Entry>>,
    /// A turn is running further up on this stack.
    draining: Cell<bool>,
    /// The local values by number, which is by age.
    locals: RefCell<BTreeMap<u64, Rc<dyn Any>>>,
    /// Marks this thread as bound to a main queue: it runs no closures for other threads while it
    /// waits.
    _bound: OnMainThread,
}

impl Place {
    pub(super) fn new(shared: Arc<Shared>) -> Rc<Self> {
        let place = Rc::new(Self {
            shared,
            taken: RefCell::default(),
            draining: Cell::new(false),
            locals: RefCell::default(),
            _bound: OnMainThread::begin(),
        });
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

    /// The number of entries begun. Relaxed: only this thread counts them.
    fn done(&self) -> u64 {
        self.shared.counts.done.load(Relaxed)
    }

    /// Was it asked to stop, and has it run all entries pushed before that?
    pub(super) fn is_stopped(&self) -> bool {
        self.shared.inbox.stop_after().is_some_and(|after| self.done() >= after)
    }

    /// One turn: see [`MainQueue::drain`](super::MainQueue::drain). With `to_stop`, it does not run
    /// past a stop.
    pub(super) fn turn(&self, budget: Budget, to_stop: bool) -> bool {
        if self.draining.get() {
            // A block runs a nested event loop. The outer turn reports what is left.
            return false;
        }
        self.draining.set(true);
        let _done = Done(&self.draining);
        self.shared.inbox.take(&mut self.taken.borrow_mut());
        // Entries pushed from now on wait for the next turn.
        let mut snapshot = self.taken.borrow().len();
        if let Some(after) = self.shared.inbox.stop_after().filter(|_| to_stop) {
            snapshot = snapshot.min(usize::try_from(after.saturating_sub(self.done())).unwrap_or(usize::MAX));
        }
        if snapshot == 0 {
            return self.shared.inbox.end_turn(!self.taken.borrow().is_empty());
        }
        let mut spending = budget.begin();
        for _ in 0..snapshot {
            // Nothing is borrowed while the entry runs: a block may drop the last handle of a
            // value, or look at the queue.
            let Some(entry) = self.taken.borrow_mut().pop_front() else { break };
            self.shared.counts.done.fetch_add(1, Relaxed);
            match entry {
                Entry::Run(body) => {
                    let site = body.site();
                    if let Some(payload) = body.run() {
                        self.shared.report_panic(site, payload);
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

    /// One turn, which asks for the next one if more entries wait: see
    /// [`MainQueue::turn`](super::MainQueue::turn).
    pub(super) fn turn_and_ask(&self, budget: Budget) -> bool {
        let more = self.turn(budget, false);
        if more {
            self.shared.inbox.wake_again();
        }
        more
    }

    /// Stores a value here.
    pub(super) fn keep<T: 'static>(&self, number: u64, value: T) {
        self.locals.borrow_mut().insert(number, Rc::new(RefCell::new(value)));
    }

    /// The value, if it was made and still lives.
    pub(super) fn local<T: 'static>(&self, number: u64) -> Option<Rc<RefCell<T>>> {
        let value = self.locals.borrow().get(&number)?.clone();
        value.downcast().ok()
    }

    fn forget(&self, number: u64) {
        // Dropped after the borrow of the map ended: its drop is foreign code.
        let value = self.locals.borrow_mut().remove(&number);
        catch::drop_quietly(value);
    }

    /// Closes the place: drops the waiting entries, then the local values, the oldest first.
    pub(super) fn close(&self) {
        let mut left = std::mem::take(&mut *self.taken.borrow_mut());
        self.shared.inbox.close(&mut left);
        self.shared.counts.done.fetch_add(left.len() as u64, Relaxed);
        let dropped = left.iter().filter(|entry| matches!(entry, Entry::Run(_))).count();
        if dropped > 0 {
            self.shared.counts.dropped.fetch_add(dropped as u64, Relaxed);
            report::warn(format_args!(
                "main queue {:?} was dropped with {dropped} blocks that did not run",
                self.shared.label()
            ));
        }
        drop(left);
        let locals = std::mem::take(&mut *self.locals.borrow_mut());
        for value in locals.into_values() {
            catch::drop_quietly(value);
        }
        // While the thread ends, the list may be gone already.
        let _ = HERE.try_with(|here| here.borrow_mut().retain(|place| !std::ptr::eq(place.as_ptr(), self)));
    }
}

/// Ends a turn, even if the log panics.
struct Done<'a>(&'a Cell<bool>);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
