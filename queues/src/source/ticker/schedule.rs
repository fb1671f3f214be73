//! When a ticker is due: the schedule that the program asks for, and the arithmetic of ticks.
//!
//! This is pure data. Time is an argument: nanoseconds since the first tick. The n-th tick is due
//! after n intervals, even if earlier ones were noticed late, so nothing drifts.

use std::time::{Duration, SystemTime};

/// When a [`Ticker`](super::Ticker) is due: its interval, its first tick, and its leeway.
///
/// ```
/// use singletrack_queues::Schedule;
/// use std::time::Duration;
///
/// // 60 times a second, from now on; a millisecond late is fine.
/// let frames = Schedule::every(Duration::from_nanos(16_666_667))
///     .first_after(Duration::ZERO)
///     .leeway(Duration::from_millis(1));
/// assert_ne!(frames, Schedule::once(Duration::ZERO));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it is for Ticker::new or Ticker::set"]
pub struct Schedule {
    pub(super) start: Start,
    pub(super) interval: Option<Duration>,
    pub(super) leeway: Duration,
}

/// When the first tick is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// This long after the schedule was set, by the monotonic clock.
    After(Duration),
    /// At a wall-clock time. The wall clock may be set while the ticker waits.
    At(SystemTime),
}

impl Schedule {
    /// One tick per `interval`, the first one after one interval.
    ///
    /// ```
    /// use singletrack_queues::{Isolated, Queue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// let seconds = Isolated::new(&Queue::new("clock"), 0_u64);
    /// let ticker = Ticker::on(&seconds, Schedule::every(Duration::from_secs(1)), |seconds, ticks| *seconds += ticks);
    /// assert!(!ticker.is_cancelled());
    /// ```
    ///
    /// # Panics
    /// When `interval` is zero.
    #[track_caller]
    pub fn every(interval: Duration) -> Self {
        assert!(
            !interval.is_zero(),
            "a ticker with an interval of zero is always due: submit a block that submits itself"
        );
        Self { start: Start::After(interval), interval: Some(interval), leeway: Duration::ZERO }
    }

    /// One tick, after `delay`.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// let soon = Schedule::once(Duration::from_millis(1));
    /// let ticker = Ticker::new(&Queue::new("alarm"), soon, move |ticks| tell.send(ticks).unwrap());
    /// assert_eq!(told.recv(), Ok(1));
    /// ticker.set(soon); // and once more
    /// assert_eq!(told.recv(), Ok(1));
    /// ```
    pub const fn once(delay: Duration) -> Self {
        Self { start: Start::After(delay), interval: None, leeway: Duration::ZERO }
    }

    /// The first tick comes after `delay`, the others follow at the interval.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::{sync::mpsc, time::Duration};
    ///
    /// let (tell, told) = mpsc::channel();
    /// // Now, and then every hour.
    /// let hourly = Schedule::every(Duration::from_secs(3600)).first_after(Duration::ZERO);
    /// let _ticker = Ticker::new(&Queue::new("hourly"), hourly, move |ticks| tell.send(ticks).unwrap());
    /// assert_eq!(told.recv(), Ok(1));
    /// ```
    pub const fn first_after(mut self, delay: Duration) -> Self {
        self.start = Start::After(delay);
        self
    }

    /// The first tick comes when the wall clock shows `time`, the others follow at the interval.
    /// Ticks whose time has passed are due at once, in one run.
    ///
    /// When the wall clock is set, the ticks move with it; it is checked once a minute. No tick is
    /// repeated when the clock is set back.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::{sync::mpsc, time::{Duration, SystemTime}};
    ///
    /// let (tell, told) = mpsc::channel();
    /// // Every day at this time, since yesterday: one tick is due at once.
    /// let day = Duration::from_secs(86_400);
    /// let daily = Schedule::every(day).first_at(SystemTime::now() - day / 2);
    /// let _ticker = Ticker::new(&Queue::new("daily"), daily, move |ticks| tell.send(ticks).unwrap());
    /// assert_eq!(told.recv(), Ok(1));
    /// ```
    pub const fn first_at(mut self, time: SystemTime) -> Self {
        self.start = Start::At(time);
        self
    }

    /// A tick may come up to `leeway` late, but not more than half an interval, so that one wake-up
    /// serves several timers. If there is no timer to share with, a single tick is not late. A
    /// repeated tick is late only to coincide with other timers.
    ///
    /// ```
    /// use singletrack_queues::{Queue, Schedule, Ticker};
    /// use std::time::Duration;
    ///
    /// // A cleaning that may come half a second late, together with other timers.
    /// let minutely = Schedule::every(Duration::from_secs(60)).leeway(Duration::from_millis(500));
    /// let cleaning = Ticker::new(&Queue::new("cache"), minutely, |_| println!("clean up"));
    /// assert!(!cleaning.is_cancelled());
    /// ```
    pub const fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    pub(super) fn most_leeway(&self) -> Duration {
        self.interval.map_or(self.leeway, |interval| self.leeway.min(interval / 2))
    }
}

/// The ticks that have come: computed from the time since the first one was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Course {
    /// `None`: there is one tick.
    interval: Option<u64>,
    taken: u64,
}

impl Course {
    pub(super) fn new(schedule: &Schedule) -> Self {
        Self { interval: schedule.interval.map(nanos), taken: 0 }
    }

    /// Takes the ticks that are due and were not taken yet; `None`: the first one is not due.
    pub(super) fn take_due(&mut self, since_first: Option<Duration>) -> u64 {
        let Some(since) = since_first.map(nanos) else { return 0 };
        let all = self.interval.map_or(0, |interval| since / interval).saturating_add(1);
        let due = all.saturating_sub(self.taken);
        self.taken += due;
        due
    }

    /// How long after the first tick the next one is due; `None`: never.
    pub(super) fn next(&self) -> Option<Duration> {
        let after = match self.interval {
            _ if self.taken == 0 => 0,
            None => return None,
            Some(interval) => interval.checked_mul(self.taken)?,
        };
        Some(Duration::from_nanos(after))
    }
}

/// 584 years fit; a later time counts as never.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn course(schedule: Schedule) -> Course {
        Course::new(&schedule)
    }

    #[test]
    fn each_tick_is_taken_once_and_the_next_one_is_due_on_the_grid() {
        let mut course = course(Schedule::every(SECOND));
        assert_eq!((course.take_due(None), course.next()), (0, Some(Duration::ZERO)));
        assert_eq!((course.take_due(Some(SECOND / 3)), course.next()), (1, Some(SECOND)));
        assert_eq!((course.take_due(Some(SECOND / 2)), course.next()), (0, Some(SECOND)));
        assert_eq!((course.take_due(Some(SECOND)), course.next()), (1, Some(2 * SECOND)));
        assert_eq!((course.take_due(Some(SECOND * 9 / 2)), course.next()), (3, Some(5 * SECOND)));
    }

    #[test]
    fn a_clock_that_goes_back_repeats_no_tick() {
        let mut course = course(Schedule::every(SECOND));
        assert_eq!(course.take_due(Some(5 * SECOND)), 6);
        assert_eq!((course.take_due(Some(2 * SECOND)), course.next()), (0, Some(6 * SECOND)));
        assert_eq!((course.take_due(None), course.next()), (0, Some(6 * SECOND)));
    }

    #[test]
    fn one_tick_is_one() {
        let mut course = course(Schedule::once(SECOND));
        assert_eq!((course.take_due(Some(9 * SECOND)), course.next()), (1, None));
        assert_eq!((course.take_due(Some(99 * SECOND)), course.next()), (0, None));
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let mut fast = course(Schedule::every(Duration::from_nanos(1)));
        assert_eq!((fast.take_due(Some(Duration::MAX)), fast.next()), (u64::MAX, Some(Duration::from_nanos(u64::MAX))));
        let mut slow = course(Schedule::every(Duration::MAX));
        assert_eq!((slow.take_due(Some(SECOND)), slow.next()), (1, Some(Duration::from_nanos(u64::MAX))));
    }

    #[test]
    fn leeway_ends_at_half_an_interval() {
        assert_eq!(Schedule::every(SECOND).leeway(SECOND).most_leeway(), SECOND / 2);
        assert_eq!(Schedule::once(SECOND).leeway(9 * SECOND).most_leeway(), 9 * SECOND);
    }
}
