//! A source that a clock signals: repeating ticks on a queue, counted.
//!
//! One entry among the runtime's timers, for the next tick alone. When it fires, it signals a [`Source`]; the run of that on
//! the queue counts the ticks that are due by then, adds the entry for the next one, and calls the handler. So a queue that
//! is busy or suspended costs no wake-ups, and gets one call with the count; and all that happens to the schedule happens
//! in that run, one after another. No tick allocates.
//! Not for: the arithmetic of ticks (`schedule`), a single block later ([`Queue::submit_after`]).

mod schedule;

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, OnceLock};

use crate::catch;
use crate::queue::{NotSuspended, Queue};
use crate::source::{Source, SourceBuilder, WeakSource};
use crate::sync::{Mutex, lock};
use crate::time::When;
use crate::timer::{Fire, Key, Rings};

pub use schedule::Schedule;
use schedule::{Course, Start};

/// What the source is signalled: the entry fired, or there is a new schedule.
const FIRED: u64 = 1;
const SET: u64 = 2;

/// Calls a handler on a queue at regular times, with the number of ticks since its last call.
///
/// The n-th tick is due at start + n intervals and is never early; being late delays no later tick. The handler gets 1 as
/// long as the queue keeps up; after it was busy or suspended, one call with the number of ticks that came meanwhile. The
/// handler never runs twice at once.
///
/// A handle. When the last one is dropped the ticker ends as if [cancelled](Self::cancel). It does not keep its runtime from
/// being shut down: there are no ticks from then on.
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
/// Set again and again, a schedule with one tick waits until it is quiet:
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
#[derive(Clone)]
#[must_use = "a ticker ends when its last handle is dropped"]
pub struct Ticker {
    source: Source,
    orders: Arc<Orders>,
}

/// What reaches the ticker from outside its queue. What is there for the timers holds no handle, so as not to keep it.
struct Orders {
    source: OnceLock<WeakSource>,
    next: Mutex<Option<Plan>>,
}

/// A schedule, and when its first tick is due.
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

/// What the queue keeps of a ticker; dropped with the handler.
struct Clockwork {
    queue: Queue,
    orders: Arc<Orders>,
    course: Option<(Plan, Course)>,
    entry: Option<Key>,
}

impl Clockwork {
    /// Takes the ticks that are due, and sees to the next one.
    fn turn(&mut self, signals: u64) -> u64 {
        if signals & SET != 0
            && let Some(plan) = lock(&self.orders.next).take()
        {
            self.course = Some((plan, Course::new(&plan.schedule)));
        }
        let Some((plan, course)) = &mut self.course else { return 0 };
        let due = course.take_due(plan.first.since());
        let next = course.next().and_then(|after| plan.first.plus(after).next_look());
        let leeway = plan.schedule.most_leeway();
        // An entry may still be there: of the schedule before, or because we were signalled ahead of it.
        self.stop();
        let runtime = self.queue.runtime();
        if let Some(next) = next.filter(|_| runtime.pool().is_open()) {
            self.entry = Some(runtime.pool().add_timer_at(Some(next), leeway, Fire::Again(self.orders.clone())));
        }
        due
    }

    fn stop(&mut self) {
        if let Some(entry) = self.entry.take() {
            drop(self.queue.runtime().pool().timers.cancel(entry));
        }
    }
}

impl Drop for Clockwork {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Ticker {
    /// Makes a ticker whose `handler` runs on `queue` with the number of ticks since its last run.
    #[track_caller]
    pub fn new<F: FnMut(u64) + Send + 'static>(queue: &Queue, schedule: Schedule, handler: F) -> Self {
        Source::builder(queue).ticking(schedule, handler)
    }

    /// Replaces the schedule: the new one counts from now on, and ticks of the old one that were not handled yet never come.
    /// Nothing happens once the ticker has ended.
    ///
    /// From any thread, also from the handler. Setting again before the queue came to it costs a few instructions.
    pub fn set(&self, schedule: Schedule) {
        *lock(&self.orders.next) = Some(Plan::new(schedule));
        self.source.merge(SET);
    }

    /// The queue that the handler runs on.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        self.source.queue()
    }

    /// Holds the handler until [`resume`](Self::resume); ticks that come meanwhile are counted. See [`Source::suspend`].
    ///
    /// # Panics
    /// When it is suspended 2^31 - 1 times already.
    pub fn suspend(&self) {
        self.source.suspend();
    }

    /// Takes one [`suspend`](Self::suspend) back: if ticks came meanwhile, the handler runs once with their number.
    ///
    /// # Errors
    /// [`NotSuspended`] when it was resumed as often as suspended.
    pub fn resume(&self) -> Result<(), NotSuspended> {
        self.source.resume()
    }

    /// Ends the ticker, as [`Source::cancel`] does a source.
    #[track_caller]
    pub fn cancel(&self) {
        self.source.cancel();
    }

    /// Was it cancelled?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.source.is_cancelled()
    }
}

impl SourceBuilder {
    /// Makes a ticker with the handlers for its beginning and its end that were given; how it merges is its own business.
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
        let mut clockwork =
            Clockwork { queue: self.queue().clone(), orders: orders.clone(), course: None, entry: None };
        let handler = move |signals| {
            // The next tick is seen to before the handler has a chance to panic.
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
        f.debug_struct("Ticker").field("queue", self.queue()).field("cancelled", &self.is_cancelled()).finish()
    }
}
