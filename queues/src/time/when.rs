//! A point in time, by either clock, or never. For waits, and for work that begins later.
//!
//! A monotonic deadline never moves. The wall clock may be set during a wait, so a wait for a
//! wall-clock deadline looks at that clock again after [`LOOK_AT_WALL_CLOCK`] at the latest.
//!
//! Not for: order among points (`timer`), repeating ones (`ticker`).

use std::time::{Duration, Instant, SystemTime};

use crate::base::sync::{Condvar, MutexGuard, now, wait, wait_timeout, wall_now};

/// How long a change of the wall clock may go unnoticed. Unit tests are less patient.
const LOOK_AT_WALL_CLOCK: Duration = if cfg!(test) { Duration::from_millis(5) } else { Duration::from_secs(60) };

/// A point in time: the end of a wait, or the beginning of a block.
///
/// Made from a [`Duration`] (from now on; one that ends beyond the range of the clock is never), an
/// [`Instant`], or a [`SystemTime`]. A [`SystemTime`] follows the wall clock when that is set,
/// which is noticed within a minute. A point in the past is at once. [`NEVER`](Self::NEVER) never
/// comes: a wait has no end, and a block does not run, but can be cancelled.
///
/// ```
/// use singletrack_queues::{Queue, When};
/// use std::time::{Duration, Instant, SystemTime};
///
/// let queue = Queue::new("calendar");
/// let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
/// let reminder = queue.submit_after(tomorrow, || println!("good morning"));
/// assert!(reminder.cancel());
/// assert!(queue.submit_after(When::NEVER, || unreachable!()).cancel());
///
/// let mut task = queue.call(|| 7);
/// assert_eq!(task.wait_timeout(Instant::now() + Duration::from_secs(60)).unwrap().unwrap(), 7);
/// ```
#[doc(alias = "dispatch_time")]
#[doc(alias = "dispatch_walltime")]
#[doc(alias = "dispatch_time_t")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(Point);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    At(Instant),
    AtWall(SystemTime),
    Never,
}

impl When {
    /// Never comes.
    pub const NEVER: Self = Self(Point::Never);

    /// Later by `delay`, by the same clock. A point beyond the range of the clock is never.
    ///
    /// ```
    /// use singletrack_queues::When;
    /// use std::time::{Duration, Instant};
    ///
    /// let begin = When::from(Instant::now());
    /// let end = begin.plus(Duration::from_secs(60));
    /// assert_ne!(begin, end);
    /// assert_eq!(end.plus(Duration::MAX), When::NEVER);
    /// ```
    #[must_use]
    pub fn plus(self, delay: Duration) -> Self {
        Self(match self.0 {
            Point::At(at) => at.checked_add(delay).map_or(Point::Never, Point::At),
            Point::AtWall(at) => at.checked_add(delay).map_or(Point::Never, Point::AtWall),
            Point::Never => Point::Never,
        })
    }

    /// How long ago the point came. `None`: it has not come yet.
    ///
    /// ```
    /// use singletrack_queues::When;
    /// use std::time::{Duration, Instant};
    ///
    /// let past = When::from(Instant::now());
    /// assert!(past.since().is_some(), "it has come");
    /// assert_eq!(past.plus(Duration::from_secs(3600)).since(), None);
    /// ```
    #[must_use]
    pub fn since(self) -> Option<Duration> {
        match self.0 {
            Point::At(at) => now().checked_duration_since(at),
            Point::AtWall(at) => wall_now().duration_since(at).ok(),
            Point::Never => None,
        }
    }

    pub(crate) fn is_by_wall_clock(self) -> bool {
        matches!(self.0, Point::AtWall(_))
    }

    /// When to check whether the point has come. `None`: there is no need to.
    pub(crate) fn next_look(self) -> Option<Instant> {
        match self.0 {
            Point::At(at) => Some(at),
            Point::AtWall(at) => {
                let left = at.duration_since(wall_now()).unwrap_or_default();
                Some(now() + left.min(LOOK_AT_WALL_CLOCK))
            }
            Point::Never => None,
        }
    }

    /// Waits on `condvar` until it is notified or it is time to look again. May return spuriously.
    pub(crate) fn wait<'a, T>(self, condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        match self.next_look() {
            None => wait(condvar, guard),
            Some(look) => wait_timeout(condvar, guard, look.saturating_duration_since(now())),
        }
    }
}

impl From<Duration> for When {
    /// This long from now on.
    fn from(delay: Duration) -> Self {
        Self(Point::At(now())).plus(delay)
    }
}

impl From<Instant> for When {
    fn from(at: Instant) -> Self {
        Self(Point::At(at))
    }
}

impl From<SystemTime> for When {
    fn from(at: SystemTime) -> Self {
        Self(Point::AtWall(at))
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn what_has_passed_has_come_by_each_clock_and_the_rest_has_not() {
        assert!(When::from(Duration::ZERO).since().is_some() && When::from(HOUR).since().is_none());
        assert!(When::from(Instant::now()).since().is_some() && When::from(Instant::now() + HOUR).since().is_none());
        assert!(When::from(SystemTime::UNIX_EPOCH).since().is_some_and(|since| since > HOUR));
        assert_eq!((When::NEVER.since(), When::NEVER.next_look()), (None, None));
    }

    #[test]
    fn beyond_the_end_of_a_clock_is_never() {
        assert_eq!(When::from(Duration::MAX), When::NEVER);
        assert_eq!(When::from(SystemTime::now()).plus(Duration::MAX), When::NEVER);
        assert_eq!(When::NEVER.plus(HOUR), When::NEVER);
        let now = Instant::now();
        assert_eq!(When::from(now).plus(HOUR), When::from(now + HOUR));
    }

    #[test]
    fn the_wall_is_looked_at_again_and_again_and_the_other_clock_once() {
        let far = When::from(Instant::now() + HOUR).next_look().expect("it comes");
        assert!(far > Instant::now() + HOUR / 2);
        let look = When::from(SystemTime::now() + 9 * HOUR).next_look().expect("it comes");
        assert!(look <= Instant::now() + LOOK_AT_WALL_CLOCK);
    }
}
