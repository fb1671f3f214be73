//! A source that a clock signals: repeating ticks on a queue, counted.
//!
//! The runtime's timers hold one entry, for the next tick only. When it fires, it signals a
//! [`Source`]. The run of that source on the queue counts the ticks that are due by then, adds the
//! entry for the next tick, and calls the handler. So a queue that is busy or suspended costs no
//! wake-ups, and gets one call with the count. Only that run changes the schedule, so the changes
//! come one after another. No tick allocates.
//! Not for: the arithmetic of ticks (`schedule`), a single block later ([`Queue::submit_after`]).

mod schedule;

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use super::builder::SourceBuilder;
use super::handle::{Source, WeakSource};
use crate::base::catch;
use crate::base::sync::{Mutex, lock};
use crate::kinds::Isolated;
use crate::kinds::submit::Submit;
use crate::pool::runtime::Runtime;
use crate::queue::{NotSuspended, Queue};
use crate::time::timer::{Fire, Key, Leeway, Rings};
use crate::time::when::When;

pub use schedule::Schedule;
use schedule::{Course, Start};

/// The flags of the source: the entry fired, or there is a new schedule.
const FIRED: u64 = 1;
const SET: u64 = 2;

/// Calls a handler on a queue at regular times, with the number of ticks since its last call.
///
/// The n-th tick is due at start + n intervals and is never early; a late tick delays no later
/// tick. The handler gets 1 as long as the queue keeps up. After the queue was busy or suspended,
/// it gets one call with the number of ticks that came meanwhile. The handler never runs twice at
/// once.
///
/// This is a handle. When the last one is dropped, the ticker ends as if [cancelled](Self::cancel).
/// A ticker does not prevent the shutdown of its runtime; after that there are no ticks.
///
/// ```
/// use singletrack_queues::{Queue, Schedule, Ticker};
/// use std::sync::mpsc;
/// use std::time::Duration;
///
/// let (tell, told) = mpsc::channel();
/// let every = Schedule::every(Duration::from_millis(1));
/// let ticker = Ticker::new(&Queue::new("ticks"), every, move |ticks| tell.send(ticks).unwrap());
/// let mut seen = 0;
/// while seen < 5 {
///     seen += told.recv().unwrap();
/// }
/// ticker.cancel();
/// ```
///
/// A schedule with one tick that is set again and again debounces: it ticks when no more calls
/// come.
///
/// ```
/// # use singletrack_queues::{Queue, Schedule, Ticker};
/// # use std::sync::mpsc;
/// # use std::time::Duration;
/// # let (tell, told) = mpsc::channel();
/// let quiet = Schedule::once(Duration::from_millis(20));
/// let save = Ticker::new(&Queue::new("editor"), quiet, move |_| tell.send("saved").unwrap());
/// for _key in "hello".chars() {
///     save.set(quiet);
/// }
/// assert_eq!(told.recv(), Ok("saved"));
/// ```
#[doc(alias = "DISPATCH_SOURCE_TYPE_TIMER")]
#[doc(alias = "DISPATCH_SOURCE_TYPE_INTERVAL")]
#[derive(Clone)]
#[must_use = "a ticker ends when its last handle is dropped"]
pub struct Ticker {
    source: Source,
    orders: Arc<Orders>,
}

/// The state that is changed from outside the ticker's queue. The part for the timers holds no
/// handle, so that it does not keep the ticker.
struct Orders {
    source: OnceLock<WeakSource>,
    next: Mutex<Option<Plan>>,
}

/// A schedule, and the time of its first tick.
#[derive(Clone, Copy)]
struct Plan {
    schedule: Schedule,
    first: When,
}

impl Plan {
    fn new(schedule: Schedule) -> Self {
        let first = match schedule.start {
            Start::After(delay) => When::from(delay),
            Start::At(time) => When::from(time),
        };
        Self { schedule, first }
    }
}

impl Rings for Orders {
    fn ring(&self) {
        if let Some(source) = self.source.get().and_then(WeakSource::upgrade) {
            source.merge(FIRED);
            // The program may have dropped its last handle meanwhile.
            catch::drop_quietly(source);
        }
    }
}

/// The state that only the queue touches; dropped with the handler.
struct Clockwork {
    /// Keeps the time.
    runtime: Runtime,
    orders: Arc<Orders>,
    course: Option<(Plan, Course)>,
    entry: Option<Key>,
}

impl Clockwork {
    /// Takes the ticks that are due, and sets the timer for the next one.
    fn turn(&mut self, signals: u64) -> u64 {
        if signals & SET != 0
            && let Some(plan) = lock(&self.orders.next).take()
        {
            self.course = Some((plan, Course::new(&plan.schedule)));
        }
        let Some((plan, course)) = &mut self.course else { return 0 };
        let due = course.take_due(plan.first.since());
        let next = course.next().and_then(|after| plan.first.plus(after).next_look());
        let leeway = Leeway::new(plan.schedule.most_leeway(), plan.schedule.interval.is_some());
        // An entry may still be there: from the previous schedule, or because the signal came
        // before it fired.
        self.stop();
        let pool = self.runtime.pool();
        if let Some(next) = next.filter(|_| pool.is_open()) {
            self.entry = Some(pool.add_timer_at(Some(next), leeway, Fire::Again(self.orders.clone())));
        }
        due
    }

    fn stop(&mut self) {
        if let Some(entry) = self.entry.take() {
            drop(self.runtime.pool().timers.cancel(entry));
        }
    }
}

impl Drop for Clockwork {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Ticker {
    /// Makes a ticker whose `handler` runs on `on` with the number of ticks since its last run.
    /// `on` is a queue of any kind, see [`Source::new`].
    ///
    /// A main queue has no workers. The runtime that it was
    /// [given](crate::MainQueue::with_runtime), or the default one, keeps the time.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let main = MainQueue::new("main");
    /// let handle = main.handle();
    /// let frame = Schedule::every(Duration::from_millis(16));
    /// let ticker = Ticker::new(&main.handle(), frame, move |_| handle.stop());
    /// main.run();
    /// ticker.cancel();
    /// ```
    ///
    /// # Panics
    /// If the default runtime is needed and cannot be started, see [`Runtime::global`].
    #[track_caller]
    pub fn new<D: Submit, F: FnMut(u64) + Send + 'static>(on: &D, schedule: Schedule, handler: F) -> Self {
        Source::builder(on).ticking(schedule, handler)
    }

    /// Makes a ticker whose `handler` runs on the queue of `state`. It borrows the value, as a
    /// block of it does, and gets the number of ticks since its last run.
    ///
    /// The ticker keeps the value until it has ended. A value that holds such a ticker keeps itself
    /// alive for ever, unless it [cancels](Self::cancel) the ticker.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let seen = Isolated::new(&Queue::new("ticks"), 0);
    /// let ticker = Ticker::on(&seen, Schedule::every(Duration::from_millis(1)), |seen, ticks| *seen += ticks);
    /// while seen.sync(|seen| *seen) < 3 {
    ///     std::thread::yield_now();
    /// }
    /// ticker.cancel();
    /// ```
    #[track_caller]
    pub fn on<T, F>(state: &Isolated<T>, schedule: Schedule, handler: F) -> Self
    where
        T: Send + 'static,
        F: FnMut(&mut T, u64) + Send + 'static,
    {
        // SAFETY: the handler of a ticker runs in the runs of its source, which are blocks of its
        // queue.
        Self::new(state.queue(), schedule, unsafe { state.handler(handler) })
    }

    /// Replaces the schedule: the new one counts from now on, and ticks of the old one that were
    /// not handled yet never come. Nothing happens once the ticker has ended.
    ///
    /// It may be called from any thread, also in the handler. Another call before the queue has
    /// seen the first one costs a few instructions.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let in_an_hour = Schedule::once(Duration::from_secs(3600));
    /// let alarm = Ticker::new(&Queue::new("alarm"), in_an_hour, move |_| tell.send("rings").unwrap());
    /// alarm.set(Schedule::once(Duration::ZERO)); // earlier
    /// assert_eq!(told.recv(), Ok("rings"));
    /// ```
    #[doc(alias = "dispatch_source_set_timer")]
    pub fn set(&self, schedule: Schedule) {
        *lock(&self.orders.next) = Some(Plan::new(schedule));
        self.source.merge(SET);
    }

    /// The name of the queue that the handler runs on.
    ///
    /// ```
    /// use singletrack_queues::{MainQueue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let main = MainQueue::new("main");
    /// let ticker = Ticker::new(&main.handle(), Schedule::every(Duration::from_secs(1)), |_| ());
    /// assert_eq!(ticker.label(), "main");
    /// ```
    #[must_use]
    pub fn label(&self) -> &str {
        self.source.label()
    }

    /// The serial queue that the handler runs on; see [`Source::queue`].
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new("frames");
    /// let ticker = Ticker::new(&queue, Schedule::every(Duration::from_secs(1)), |_| ());
    /// assert_eq!(ticker.queue(), Some(&queue));
    /// ```
    #[must_use]
    pub fn queue(&self) -> Option<&Queue> {
        self.source.queue()
    }

    /// Suspends the handler until [`resume`](Self::resume). Ticks that come meanwhile are counted.
    /// See [`Source::suspend`].
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let frames = Ticker::new(&Queue::new("frames"), Schedule::every(Duration::from_millis(16)), |_| ());
    /// frames.suspend(); // the window is hidden
    /// frames.resume().unwrap();
    /// ```
    ///
    /// # Panics
    /// When it is suspended 2^31 - 1 times already.
    pub fn suspend(&self) {
        self.source.suspend();
    }

    /// Takes one [`suspend`](Self::suspend) back: if ticks came meanwhile, the handler runs once
    /// with their number.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let soon = Schedule::once(Duration::from_millis(1));
    /// let ticker = Ticker::new(&Queue::new("alarm"), soon, move |ticks| tell.send(ticks).unwrap());
    /// ticker.suspend();
    /// ticker.resume().unwrap();
    /// assert!(ticker.resume().is_err(), "it is not suspended");
    /// assert_eq!(told.recv(), Ok(1), "no tick was lost");
    /// ```
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.source.resume()
    }

    /// Ends the ticker, as [`Source::cancel`] does a source.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel::<u64>();
    /// let hourly = Schedule::every(Duration::from_secs(3600));
    /// let ticker = Ticker::new(&Queue::new("hourly"), hourly, move |ticks| tell.send(ticks).unwrap());
    /// ticker.cancel();
    /// assert!(told.recv().is_err(), "the handler is dropped");
    /// ```
    #[track_caller]
    pub fn cancel(&self) {
        self.source.cancel();
    }

    /// Whether it was cancelled.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let ticker = Ticker::new(&Queue::new("hourly"), Schedule::every(Duration::from_secs(3600)), |_| ());
    /// assert!(!ticker.is_cancelled());
    /// ticker.cancel();
    /// assert!(ticker.is_cancelled());
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.source.is_cancelled()
    }
}

impl SourceBuilder {
    /// Makes a ticker with the given handlers for its beginning and its end. It ignores the
    /// builder's way of merging.
    ///
    /// ```
    /// # use singletrack_queues::{Queue, Schedule, Source};
    /// # use std::sync::mpsc;
    /// # use std::time::Duration;
    /// # let (tell, told) = mpsc::channel();
    /// let schedule = Schedule::once(Duration::from_secs(3600));
    /// let ticker = Source::builder(&Queue::new("end"))
    ///     .on_cancel(move || tell.send("ended").unwrap())
    ///     .ticking(schedule, |_| unreachable!());
    /// drop(ticker);
    /// assert_eq!(told.recv(), Ok("ended"));
    /// ```
    #[track_caller]
    pub fn ticking<F: FnMut(u64) + Send + 'static>(self, schedule: Schedule, mut handler: F) -> Ticker {
        let orders = Arc::new(Orders { source: OnceLock::new(), next: Mutex::new(None) });
        let mut clockwork = Clockwork { runtime: self.runtime(), orders: orders.clone(), course: None, entry: None };
        let handler = move |signals| {
            // The timer for the next tick is set before the handler can panic.
            let due = clockwork.turn(signals);
            if due > 0 {
                handler(due);
            }
        };
        let source = self.made_by_flags(handler, Location::caller());
        orders.source.get_or_init(|| source.downgrade());
        let ticker = Ticker { source, orders };
        ticker.set(schedule);
        ticker
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("queue", &self.label()).field("cancelled", &self.is_cancelled()).finish()
    }
}
