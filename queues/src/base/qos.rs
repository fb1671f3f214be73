//! Quality of service: how urgent the work of a queue is, and which class the running thread works
//! for.
//!
//! There are five classes, as in Grand Central Dispatch. Under saturation a higher class goes
//! first, and a lower one still progresses (`pool/find`). A thread that waits in a `sync` boosts
//! the queue that it waits for. Not for: priorities of threads in the kernel. All workers are equal
//! there; the classes order the work that they take.

use std::cell::Cell;
use std::fmt;

/// The urgency of work. Ordered: a higher class is greater.
///
/// ```
/// use singletrack_queues::Qos;
///
/// assert!(Qos::UserInteractive > Qos::Background);
/// assert_eq!(Qos::current(), Qos::Default, "unless somebody said otherwise");
/// Qos::UserInitiated.run(|| assert_eq!(Qos::current(), Qos::UserInitiated));
/// ```
#[doc(alias = "dispatch_qos_class_t")]
#[doc(alias = "qos_class_t")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Qos {
    /// No user waits for it: indexing, clean-up, backups.
    Background,
    /// Long work whose progress a user watches: downloads, imports.
    Utility,
    /// The class of everything that names none.
    #[default]
    Default,
    /// A user asked for it and waits: opening a document.
    UserInitiated,
    /// The next frame depends on it: animation, input.
    UserInteractive,
}

thread_local! {
    static CURRENT: Cell<Qos> = const { Cell::new(Qos::Default) };
}

impl Qos {
    /// All classes, the lowest first.
    pub const ALL: [Self; 5] =
        [Self::Background, Self::Utility, Self::Default, Self::UserInitiated, Self::UserInteractive];

    /// The class that this thread works for now: that of the block that it runs, or of
    /// [`run`](Self::run).
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue};
    ///
    /// let index = Queue::builder("index").qos(Qos::Background).build();
    /// assert_eq!(index.sync(Qos::current), Qos::Default); // this thread waits for it
    /// assert_eq!(Qos::UserInitiated.run(Qos::current), Qos::UserInitiated);
    /// ```
    #[must_use]
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Until the result is dropped, this thread counts as of this class, if that is higher than the
    /// class it works for now.
    #[inline]
    pub(crate) fn at_least(self) -> Option<Back> {
        (self > Self::current()).then(|| Back(CURRENT.replace(self)))
    }

    /// From now on this thread works for this class.
    pub(crate) fn make_current(self) {
        CURRENT.set(self);
    }

    /// Runs `f` with this thread counted as of this class: a queue that it waits for in a `sync` is
    /// boosted to it. For threads that are not workers, such as the one that draws.
    ///
    /// ```
    /// use singletrack_queues::{Qos, Queue};
    ///
    /// let model = Queue::builder("model").qos(Qos::Background).build();
    /// // A window that draws waits for the model, which is as urgent as the window meanwhile.
    /// let lines = Qos::UserInteractive.run(|| model.sync(|| vec!["first", "second"]));
    /// assert_eq!(lines.len(), 2);
    /// ```
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        let _back = Back(CURRENT.replace(self));
        f()
    }
}

/// Restores the class, also when the closure panics.
pub(crate) struct Back(Qos);

impl Drop for Back {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Background => "background",
            Self::Utility => "utility",
            Self::Default => "default",
            Self::UserInitiated => "user-initiated",
            Self::UserInteractive => "user-interactive",
        })
    }
}

#[cfg(all(test, not(queues_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_a_thread_comes_back_also_after_a_panic() {
        Qos::Utility.run(|| {
            assert!(Qos::Background.at_least().is_none(), "it is higher already");
            let higher = Qos::UserInteractive.at_least();
            assert_eq!((higher.is_some(), Qos::current()), (true, Qos::UserInteractive));
            drop(higher);
            let sour = std::panic::catch_unwind(|| Qos::Background.run(|| panic!("sour")));
            assert_eq!((sour.is_err(), Qos::current()), (true, Qos::Utility));
        });
        assert_eq!(Qos::current(), Qos::Default);
    }
}
