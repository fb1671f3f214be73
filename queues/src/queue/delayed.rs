//! A block that waits for its time, and the handle that cancels it.
//!
//! By the monotonic clock, the block is one entry among the timers of the runtime. By the wall
//! clock, the entry fires to look again, until that clock shows the time. If the time has come
//! already, the block is submitted here and now, unless an earlier block has not been submitted
//! yet. If the time never comes, the entry is fired by nothing, until it is cancelled, its
//! [`Timer`] is dropped, or the runtime ends.
//!
//! Not for: repeating (`ticker`).

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};

use super::Queue;
use crate::base::catch;
use crate::base::sync::{Mutex, lock};
use crate::pool::runtime::Runtime;
use crate::time::timer::{Fire, Key, Leeway, Rings};
use crate::time::when::When;

type Submits = Box<dyn FnOnce() + Send>;

/// A block that waits for its time, see [`Queue::submit_after`]. Dropping this does not cancel the
/// block, unless its time never comes: then the block is dropped too.
///
/// ```
/// use singletrack_queues::Queue;
/// use std::time::Duration;
///
/// let session = Queue::new("session");
/// let expiry = session.submit_after(Duration::from_secs(900), || println!("logged out"));
/// // The user did something.
/// assert!(expiry.cancel());
/// assert!(!expiry.cancel(), "only once");
/// ```
#[derive(Debug)]
pub struct Timer {
    runtime: Runtime,
    entry: Entry,
}

#[derive(Debug)]
enum Entry {
    /// Its time came, or it was never added.
    None,
    Once(Key),
    /// Its time never comes. The block is dropped with the timer: after that nothing could cancel
    /// it, and nothing would end its runtime.
    Never(Key),
    /// Only the timers keep it, so that a shutdown frees the captures of the block.
    Wall(Weak<Wall>),
}

impl Timer {
    /// Calls `submits`, which is short, when the time has come: here and now if it has come
    /// already.
    pub(crate) fn start<F: FnOnce() + Send + 'static>(runtime: Runtime, when: When, submits: F) -> Self {
        // If this thread lost its core on the way here, a short delay may be over. Delays of
        // earlier calls may be over, too, and those blocks go first.
        let behind = |at| !when.is_by_wall_clock() && runtime.pool().timers.is_behind(at);
        if when.since().is_some() && !when.next_look().is_some_and(behind) {
            submits();
            return Self { runtime, entry: Entry::None };
        }
        let entry = if when.is_by_wall_clock() {
            Entry::Wall(Wall::start(&runtime, when, Box::new(submits)))
        } else {
            let (at, fire) = (when.next_look(), Fire::Once(Box::new(submits)));
            let key = runtime.pool().add_timer_at(at, Leeway::NONE, fire);
            if at.is_some() { Entry::Once(key) } else { Entry::Never(key) }
        };
        Self { runtime, entry }
    }

    /// A timer whose block was not taken.
    pub(crate) fn refused(runtime: Runtime) -> Self {
        Self { runtime, entry: Entry::None }
    }

    /// Cancels the block, and drops it with all its captures, here and now. `false`: its time came
    /// already.
    ///
    /// ```
    /// use singletrack_queues::Queue;
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let queue = Queue::new("alarms");
    /// let alarm = queue.submit_after(Duration::from_millis(1), move || tell.send("rings").unwrap());
    /// assert_eq!(told.recv(), Ok("rings"));
    /// assert!(!alarm.cancel(), "its time has come");
    /// ```
    pub fn cancel(&self) -> bool {
        match &self.entry {
            Entry::None => false,
            Entry::Once(key) | Entry::Never(key) => {
                self.runtime.pool().timers.cancel(*key).map(catch::drop_quietly).is_some()
            }
            Entry::Wall(wall) => wall.upgrade().is_some_and(|wall| wall.cancel()),
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Entry::Never(_) = self.entry {
            self.cancel();
        }
    }
}

/// A block that waits for the wall clock.
struct Wall {
    /// A reference for the next entry.
    own: Weak<Self>,
    runtime: Runtime,
    when: When,
    /// The thread that takes this submits or drops it.
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
            // A shutdown drops the entries that are not due. The entry that fired is no longer
            // among those.
            if let Some(submits) = self.take() {
                catch::drop_quietly(submits);
                pool.count_dropped(1);
            }
            return;
        }
        let key = pool.add_timer_at(self.when.next_look(), Leeway::NONE, Fire::Again(own));
        *lock(&self.entry) = Some(key);
        // Cancelled in between, by a thread that did not see the entry.
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
    /// Submits a block after `delay`, or at a point in time by either clock: a
    /// [`Duration`](std::time::Duration), an [`Instant`](std::time::Instant) and a
    /// [`SystemTime`](std::time::SystemTime) become a [`When`]. Dropping the [`Timer`] does not
    /// cancel the block.
    ///
    /// Blocks are submitted in the order of their times, and those of the same time in the order of
    /// the calls. A time that has passed means at once; a delay beyond what the clock can tell,
    /// such as `Duration::MAX`, means never.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// let queue = singletrack_queues::Queue::new("ticks");
    /// let timer = queue.submit_after(Duration::from_secs(3600), || unreachable!());
    /// assert!(timer.cancel());
    /// let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    /// assert!(queue.submit_after(tomorrow, || unreachable!()).cancel());
    /// ```
    #[doc(alias = "dispatch_after")]
    #[doc(alias = "dispatch_after_f")]
    #[track_caller]
    pub fn submit_after<F: FnOnce() + Send + 'static>(&self, delay: impl Into<When>, f: F) -> Timer {
        let (queue, site) = (self.kept(), Location::caller());
        self.fire_when(delay.into(), site, move || queue.submit(f, site))
    }

    /// Calls `submits` when the time has come. `submits` is short, and submits what was given at
    /// `site`.
    pub(crate) fn fire_when<F: FnOnce() + Send + 'static>(
        &self,
        when: When,
        site: &'static Location<'static>,
        submits: F,
    ) -> Timer {
        if self.refused(site) {
            catch::drop_quietly(submits);
            return Timer::refused(self.runtime());
        }
        Timer::start(self.runtime(), when, submits)
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;
    use crate::base::sync::set_wall_clock_ahead;
    use std::sync::mpsc::{TryRecvError, channel};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_block_by_the_wall_comes_when_that_clock_is_set_ahead_and_not_before() {
        const HOUR: Duration = Duration::from_secs(3600);
        let runtime = Runtime::builder().workers(1).build().expect("a few threads");
        let (tell, told) = channel();
        let own = tell.clone();
        let queue = runtime.queue("wall");
        let _due = queue.submit_after(SystemTime::now() + HOUR, move || own.send("due").expect("the test waits"));
        let _far = queue.submit_after(SystemTime::now() + 9 * HOUR, move || tell.send("far").expect("the test waits"));
        assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "looked at ten times, and not due");
        assert_eq!(runtime.stats().timers, 2);
        set_wall_clock_ahead(2 * HOUR);
        assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok("due"));
        set_wall_clock_ahead(Duration::ZERO);
        assert!(told.try_recv().is_err());
        let report = runtime.shutdown(Duration::from_secs(10));
        assert_eq!(report.dropped, 1, "{report}");
        assert_eq!(told.try_recv(), Err(TryRecvError::Disconnected), "what was dropped freed its captures");
    }

    /// Its entry fires while it is cancelled: the look that follows must leave no entry behind.
    #[test]
    fn a_block_by_the_wall_that_is_cancelled_while_its_entry_rings_leaves_none() {
        let runtime = Runtime::builder().workers(1).build().expect("a few threads");
        let queue = runtime.queue("wall");
        let timer = queue.submit_after(SystemTime::now() + Duration::from_secs(3600), || ());
        let Entry::Wall(wall) = &timer.entry else { unreachable!("by that clock") };
        let wall = wall.upgrade().expect("the timers keep it");
        assert!(timer.cancel());
        wall.look_again();
        assert_eq!(runtime.stats().timers, 0);
    }
}
