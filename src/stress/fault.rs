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
    /// Now and then a work item that was cancelled runs all the same.
    CancelIgnored,
    /// Now and then somebody else holds what a work item captured.
    CapturesKept,
    /// Now and then the end of a work item is told twice.
    NotifyTwice,
    /// Now and then a semaphore is signalled twice.
    PermitTwice,
    /// Now and then a semaphore is not signalled.
    PermitLost,
    /// Now and then an inactive queue is activated when it is made.
    ActivatedEarly,
    /// Now and then a queue is not given its value.
    ValueMissing,
    /// Now and then a ticker gets half its interval.
    TickEarly,
    /// Now and then a call of a ticker is swallowed.
    TickLost,
    /// Now and then a number is added twice.
    AdditionTwice,
    /// Now and then a value does not replace the one before.
    ReplacementLost,
    /// Now and then the end of a source is told twice.
    EndTwice,
}

impl Fault {
    /// All of them, as `--help` lists them.
    pub(crate) const ALL: &[Fault] = &[
        Fault::TwoAtOnce,
        Fault::OrderSwapped,
        Fault::BlockLost,
        Fault::BlockTwice,
        Fault::BarrierOvertaken,
        Fault::ResumeLost,
        Fault::TimerEarly,
        Fault::SignalLost,
        Fault::CancelIgnored,
        Fault::CapturesKept,
        Fault::NotifyTwice,
        Fault::PermitTwice,
        Fault::PermitLost,
        Fault::ActivatedEarly,
        Fault::ValueMissing,
        Fault::TickEarly,
        Fault::TickLost,
        Fault::AdditionTwice,
        Fault::ReplacementLost,
        Fault::EndTwice,
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
            Fault::CancelIgnored => "cancel-ignored",
            Fault::CapturesKept => "captures-kept",
            Fault::NotifyTwice => "notify-twice",
            Fault::PermitTwice => "permit-twice",
            Fault::PermitLost => "permit-lost",
            Fault::ActivatedEarly => "activated-early",
            Fault::ValueMissing => "value-missing",
            Fault::TickEarly => "tick-early",
            Fault::TickLost => "tick-lost",
            Fault::AdditionTwice => "addition-twice",
            Fault::ReplacementLost => "replacement-lost",
            Fault::EndTwice => "end-twice",
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
            Fault::CancelIgnored => "work-items",
            Fault::CapturesKept => "item-captures",
            Fault::NotifyTwice => "item-notify",
            Fault::PermitTwice => "semaphores",
            Fault::PermitLost => "semaphore-line",
            Fault::ActivatedEarly => "inactive",
            Fault::ValueMissing => "specifics",
            Fault::TickEarly => "tickers",
            Fault::TickLost => "ticks-counted",
            Fault::AdditionTwice => "merged-sums",
            Fault::ReplacementLost => "last-values",
            Fault::EndTwice => "source-end",
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
        Fault::ALL.iter().copied().find(|fault| fault.name() == name).ok_or_else(|| {
            let names = Fault::ALL.iter().map(|fault| fault.name()).collect::<Vec<_>>().join(", ");
            format!("no way to break a queue has this name; use one of {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_an_unknown_one_gets_the_list() {
        for &fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
            let error = "nonsense".parse::<Fault>().unwrap_err();
            assert!(error.contains(fault.name()), "{error}");
        }
    }
}
