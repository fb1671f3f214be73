//! A block that waits for its time, and the handle that takes it back.
//!
//! By the monotonic clock that is one entry among the timers of the runtime. By the clock on the wall the entry comes back to
//! look again, until that clock shows the time. What has come already is submitted here and now, unless something that is
//! due earlier has not been submitted yet;
//! what never comes is an entry that nothing fires, until it is cancelled or the runtime ends.
//!
//! Not for: repeating (`ticker`).

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::Queue;
use crate::catch;
use crate::runtime::Runtime;
use crate::sync::{Mutex, lock};
use crate::time::When;
use crate::timer::{Fire, Key, Rings};

type Submits = Box<dyn FnOnce() + Send>;

/// A block that waits for its time, see [`Queue::submit_after`]. Dropping it does not cancel the block.
#[derive(Debug)]
pub struct Timer {
    runtime: Runtime,
    entry: Entry,
}

#[derive(Debug)]
enum Entry {
    /// Its time came, or it never was added.
    None,
    Once(Key),
    /// The timers alone keep it, so that a shutdown frees what the block captured.
    Wall(Weak<Wall>),
}

impl Timer {
    /// Calls `submits`, which is short, when the time has come: here and now if it has.
    pub(crate) fn start<F: FnOnce() + Send + 'static>(runtime: Runtime, when: When, submits: F) -> Self {
        // Who lost the processor on the way here finds that a short delay is over: that of calls before may be, too, and
        // they go first.
        let behind = |at| !when.is_by_the_wall() && runtime.pool().timers.is_behind(at);
        if when.since().is_some() && !when.next_look().is_some_and(behind) {
            submits();
            return Self { runtime, entry: Entry::None };
        }
        Self::later(runtime, when, submits)
    }

    /// As `start`, through the timers also if the time has come.
    fn later<F: FnOnce() + Send + 'static>(runtime: Runtime, when: When, submits: F) -> Self {
        let entry = if when.is_by_the_wall() {
            Entry::Wall(Wall::start(&runtime, when, Box::new(submits)))
        } else {
            let fire = Fire::Once(Box::new(submits));
            Entry::Once(runtime.pool().add_timer_at(when.next_look(), Duration::ZERO, fire))
        };
        Self { runtime, entry }
    }

    /// One that was not taken.
    pub(crate) fn refused(runtime: Runtime) -> Self {
        Self { runtime, entry: Entry::None }
    }

    /// Takes the block back, and drops it with all it captured, here and now. `false`: its time came already.
    pub fn cancel(&self) -> bool {
        match &self.entry {
            Entry::None => false,
            Entry::Once(key) => self.runtime.pool().timers.cancel(*key).map(catch::drop_quietly).is_some(),
            Entry::Wall(wall) => wall.upgrade().is_some_and(|wall| wall.cancel()),
        }
    }
}

/// A block that waits for the clock on the wall.
struct Wall {
    /// For the next entry.
    own: Weak<Self>,
    runtime: Runtime,
    when: When,
    /// Whoever takes it submits or drops it.
    submits: Mutex<Option<Submits>>,
    entry: Mutex<Option<Key>>,
}

impl Wall {
    fn start(runtime: &Runtime, when: When, submits: Submits) -> Weak<Self> {
        let wall = Arc::new_cyclic(|own| Self {
            own: own.clone(),
            runtime: runtime.clone(),
            when,
            submits: Mutex::new(Some(submits)),
            entry: Mutex::new(None),
        });
        wall.look_again();
        Arc::downgrade(&wall)
    }

    fn look_again(&self) {
        let Some(own) = self.own.upgrade() else { return };
        let pool = self.runtime.pool();
        if !pool.is_open() {
            // A shutdown drops what is not due; the entry that rang is not among that any more.
            if let Some(submits) = self.take() {
                catch::drop_quietly(submits);
                pool.count_dropped(1);
            }
            return;
        }
        let key = pool.add_timer_at(self.when.next_look(), Duration::ZERO, Fire::Again(own));
        *lock(&self.entry) = Some(key);
        // Cancelled in between, by one who did not see the entry.
        if lock(&self.submits).is_none() {
            drop(pool.timers.cancel(key));
        }
    }

    fn take(&self) -> Option<Submits> {
        lock(&self.submits).take()
    }

    fn cancel(&self) -> bool {
        let Some(submits) = self.take() else { return false };
        let key = lock(&self.entry).take();
        drop(key.and_then(|key| self.runtime.pool().timers.cancel(key)));
        catch::drop_quietly(submits);
        true
    }
}

impl Rings for Wall {
    fn ring(&self) {
        if self.when.since().is_none() {
            self.look_again();
        } else if let Some(submits) = self.take() {
            submits();
        }
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wall").field("when", &self.when).finish_non_exhaustive()
    }
}

impl Queue {
    /// Submits a block once `delay` has passed. Dropping the [`Timer`] does not cancel it.
    ///
    /// Blocks are submitted in the order of their times, and those of the same time in the order of the calls.
    /// Without a delay it is submitted at once; after a delay beyond what the clock can tell, such as [`Duration::MAX`],
    /// never.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let queue = singletrack_queues::Queue::new("ticks");
    /// let timer = queue.submit_after(Duration::from_secs(3600), || unreachable!());
    /// assert!(timer.cancel());
    /// ```
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, delay: Duration, f: F) -> Timer {
        if delay.is_zero() || !self.accepts() {
            return self.submit_when(delay, f);
        }
        let (queue, site) = (self.clone(), Location::caller());
        Timer::later(self.runtime(), When::from(delay), move || queue.submit_at(f, site))
    }

    /// Submits a block when the time has come, by either clock; see [`When`]. What has passed is submitted at once.
    #[track_caller]
    pub fn submit_when<F: FnOnce() + Send + 'static>(&self, when: impl Into<When>, f: F) -> Timer {
        let (queue, site) = (self.clone(), Location::caller());
        self.fire_when(when.into(), site, move || queue.submit_at(f, site))
    }

    /// Calls `submits`, which is short and submits what was given at `site`, when the time has come.
    pub(crate) fn fire_when<F: FnOnce() + Send + 'static>(
        &self,
        when: When,
        site: &'static Location<'static>,
        submits: F,
    ) -> Timer {
        if !self.accepts() {
            self.refuse(site);
            catch::drop_quietly(submits);
            return Timer::refused(self.runtime());
        }
        Timer::start(self.runtime(), when, submits)
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use crate::sync::set_the_wall_ahead;
    use std::sync::mpsc::{TryRecvError, channel};
    use std::time::SystemTime;

    #[test]
    fn a_block_by_the_wall_comes_when_that_clock_is_set_ahead_and_not_before() {
        const HOUR: Duration = Duration::from_secs(3600);
        let runtime = Runtime::builder().workers(1).build().expect("a few threads");
        let (tell, told) = channel();
        let own = tell.clone();
        let queue = runtime.queue("wall");
        let _due = queue.submit_when(SystemTime::now() + HOUR, move || own.send("due").expect("the test waits"));
        let _far = queue.submit_when(SystemTime::now() + 9 * HOUR, move || tell.send("far").expect("the test waits"));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "looked at ten times, and not due");
        assert_eq!(runtime.stats().timers, 2);
        set_the_wall_ahead(2 * HOUR);
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok("due"));
        set_the_wall_ahead(Duration::ZERO);
        assert!(told.try_recv().is_err());
        let report = runtime.shutdown(Duration::from_secs(10));
        assert_eq!(report.dropped, 1, "{report}");
        assert_eq!(told.try_recv(), Err(TryRecvError::Disconnected), "what was dropped freed its captures");
    }
}
