//! Ways in which a queue can be broken on purpose, and the check that has to notice each.
//!
//! Not for: breaking anything; `subject` does that.

use std::fmt;
use std::str::FromStr;

/// A promise that is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Now and then a block goes to a second queue.
    TwoAtOnce,
    /// Now and then a block is held back and submitted behind the next one.
    OrderSwapped,
    /// Now and then a block is dropped.
    BlockLost,
    /// Now and then a block's body runs twice.
    BlockTwice,
    /// Now and then a barrier is submitted behind the reader that follows it.
    BarrierOvertaken,
    /// Now and then a `resume` does nothing.
    ResumeLost,
    /// Now and then a timer gets half its delay.
    TimerEarly,
    /// Now and then a signal is not merged.
    SignalLost,
    /// Now and then a queue is of the lowest class, whatever was asked for.
    ClassIgnored,
    /// Blocks of the lowest class wait until the others are over.
    LowStarved,
    /// A thread that waits says nothing of its class.
    LiftLost,
    /// Now and then a block for the main thread is submitted behind the next one.
    MainSwapped,
    /// Now and then a block for the main thread is dropped.
    MainLost,
    /// Now and then the main thread is not woken.
    WakeLost,
    /// Now and then the main thread is woken though it knows already.
    WakeTwice,
    /// Now and then a visitor gets a value on its own thread.
    LocalAstray,
}

impl Fault {
    /// All of them, as `--help` lists them.
    pub(crate) const ALL: [Fault; 16] = [
        Fault::TwoAtOnce,
        Fault::OrderSwapped,
        Fault::BlockLost,
        Fault::BlockTwice,
        Fault::BarrierOvertaken,
        Fault::ResumeLost,
        Fault::TimerEarly,
        Fault::SignalLost,
        Fault::ClassIgnored,
        Fault::LowStarved,
        Fault::LiftLost,
        Fault::MainSwapped,
        Fault::MainLost,
        Fault::WakeLost,
        Fault::WakeTwice,
        Fault::LocalAstray,
    ];

    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::TwoAtOnce => "two-at-once",
            Fault::OrderSwapped => "order-swapped",
            Fault::BlockLost => "block-lost",
            Fault::BlockTwice => "block-twice",
            Fault::BarrierOvertaken => "barrier-overtaken",
            Fault::ResumeLost => "resume-lost",
            Fault::TimerEarly => "timer-early",
            Fault::SignalLost => "signal-lost",
            Fault::ClassIgnored => "class-ignored",
            Fault::LowStarved => "low-starved",
            Fault::LiftLost => "lift-lost",
            Fault::MainSwapped => "main-swapped",
            Fault::MainLost => "main-lost",
            Fault::WakeLost => "wake-lost",
            Fault::WakeTwice => "wake-twice",
            Fault::LocalAstray => "local-astray",
        }
    }

    /// The check that has to notice it. Others may, too: two blocks at once are in no order.
    pub(crate) fn caught_by(self) -> &'static str {
        match self {
            Fault::TwoAtOnce => "one-at-a-time",
            Fault::OrderSwapped => "order",
            Fault::BlockLost => "no-loss",
            Fault::BlockTwice => "no-duplicate",
            Fault::BarrierOvertaken => "barriers",
            Fault::ResumeLost => "suspend",
            Fault::TimerEarly => "timers",
            Fault::SignalLost => "sources",
            Fault::ClassIgnored => "classes",
            Fault::LowStarved => "ageing",
            Fault::LiftLost => "lifts",
            Fault::MainSwapped => "main-order",
            Fault::MainLost => "main-no-loss",
            Fault::WakeLost | Fault::WakeTwice => "main-wakes",
            Fault::LocalAstray => "main-values",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Fault, String> {
        Fault::ALL.into_iter().find(|fault| fault.name() == name).ok_or_else(|| {
            let names = Fault::ALL.map(Fault::name).join(", ");
            format!("no way to break a queue has this name; use one of {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_an_unknown_one_gets_the_list() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
            let error = "nonsense".parse::<Fault>().unwrap_err();
            assert!(error.contains(fault.name()), "{error}");
        }
    }
}
