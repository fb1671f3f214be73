//! Quality of service: how urgent the work of a queue is, and which class the running thread works for.
//!
//! Five classes, as in Grand Central Dispatch. Under saturation a higher class goes first and a lower one still progresses
//! (`pool/find`); who waits in a `sync` lifts what it waits for.
//! Not for: priorities of threads in the kernel. All workers are equal there; the classes order what they take.

use std::cell::Cell;
use std::fmt;

/// How urgent work is. Ordered: a higher class is greater.
///
/// ```
/// use singletrack_queues::Qos;
///
/// assert!(Qos::UserInteractive > Qos::Background);
/// assert_eq!(Qos::current(), Qos::Default, "unless somebody said otherwise");
/// Qos::UserInitiated.run(|| assert_eq!(Qos::current(), Qos::UserInitiated));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Qos {
    /// Nobody waits for it: indexing, clean-up, backups.
    Background,
    /// Long work that somebody watches the progress of: downloads, imports.
    Utility,
    /// Whatever says nothing.
    #[default]
    Default,
    /// Somebody asked for it and waits: opening a document.
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

    /// The class that this thread works for now: that of the block it runs, or what [`run`](Self::run) said.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.get()
    }

    /// Until the result is dropped this thread counts as of this class, if that is higher than what it works for now.
    #[inline]
    pub(crate) fn at_least(self) -> Option<Back> {
        (self > Self::current()).then(|| Back(CURRENT.replace(self)))
    }

    /// From now on this thread works for this class.
    pub(crate) fn make_current(self) {
        CURRENT.set(self);
    }

    /// Runs `f` with this thread counted as of this class: what it waits for in a `sync` is lifted to it. For threads that
    /// are not workers, such as the one that draws.
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        let _back = Back(CURRENT.replace(self));
        f()
    }
}

/// Sets the class back, also when the closure panics.
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
