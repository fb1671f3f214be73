//! Ways in which a queue can be broken on purpose, and the check that must notice each.
//!
//! Not for: breaking anything, which `subject` does.

use std::fmt;
use std::str::FromStr;

/// The table, with one line per fault: its variant, its name on the command line, the check that
/// must notice it, and a description.
macro_rules! faults {
    ($($fault:ident $name:literal $caught_by:literal $what:literal;)*) => {
        /// A promise that is broken on purpose, now and then unless the description says more.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            $(#[doc = $what] $fault,)*
        }

        impl Fault {
            /// All of them, as `--help` lists them.
            pub(crate) const ALL: &[Fault] = &[$(Fault::$fault),*];

            /// Its name on the command line.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Fault::$fault => $name),* }
            }

            /// The check that must notice it. Others may, too: two blocks at once are in no order.
            pub(crate) fn caught_by(self) -> &'static str {
                match self { $(Fault::$fault => $caught_by),* }
            }

            /// A description of the fault.
            pub(crate) fn what(self) -> &'static str {
                match self { $(Fault::$fault => $what),* }
            }
        }
    };
}

faults! {
    TwoAtOnce "two-at-once" "one-at-a-time" "a block goes to a second queue";
    OrderSwapped "order-swapped" "order" "a block is submitted behind the next";
    BlockLost "block-lost" "no-loss" "a block is dropped";
    BlockTwice "block-twice" "no-duplicate" "a block runs twice";
    BarrierOvertaken "barrier-overtaken" "barriers" "a reader goes around a barrier";
    WidthExceeded "width-exceeded" "widths" "a block is one more than a width up its chain allows";
    BarrierBypassed "barrier-bypassed" "chains" "a block runs beside a barrier up its chain";
    ResumeLost "resume-lost" "suspend" "a resume does nothing";
    TimerEarly "timer-early" "timers" "a timer gets half its delay";
    SignalLost "signal-lost" "sources" "a signal is not merged";
    ClassIgnored "class-ignored" "classes" "a queue forgets its class";
    LowStarved "low-starved" "ageing" "low blocks wait until all else ran";
    BoostLost "boost-lost" "boosts" "a waiting thread says the lowest class";
    UrgencyIgnored "urgency-ignored" "urgency" "a workloop forgets a block's class";
    ClassSwapped "class-swapped" "class-order" "two blocks of a class change places";
    LowForgotten "low-forgotten" "no-starvation" "low blocks of a workloop come last";
    CancelIgnored "cancel-ignored" "work-items" "a cancelled item runs all the same";
    CapturesKept "captures-kept" "item-captures" "captures of a work item are held on to";
    NotifyTwice "notify-twice" "item-notify" "the end of a work item is reported twice";
    PermitTwice "permit-twice" "semaphores" "a semaphore is signalled twice";
    PermitLost "permit-lost" "semaphore-line" "a semaphore is not signalled";
    ActivatedEarly "activated-early" "inactive" "an inactive queue is active";
    ValueMissing "value-missing" "specifics" "a queue is not given its value";
    TickEarly "tick-early" "tickers" "a ticker gets half its interval";
    TickLost "tick-lost" "ticks-counted" "a call of a ticker is swallowed";
    AdditionTwice "addition-twice" "merged-sums" "a number is added twice";
    ReplacementLost "replacement-lost" "last-values" "a value does not replace another";
    EndTwice "end-twice" "source-end" "the end of a source is reported twice";
    EventLost "event-lost" "event-bytes" "bytes are read by no handler";
    EventBeside "event-beside" "event-exclusion" "an event handler is called twice";
    EventEndTwice "event-end-twice" "event-ends" "a cancel handler runs twice";
    BytesLost "bytes-lost" "channel-bytes" "a write lacks its last byte";
    WaterIgnored "water-ignored" "channel-water" "a high water is not heard of";
    ChannelOvertaken "channel-overtaken" "channel-barriers" "a write goes around a barrier";
    MainSwapped "main-swapped" "main-order" "as order-swapped, on a main queue";
    MainLost "main-lost" "main-no-loss" "as block-lost, on a main queue";
    WakeLost "wake-lost" "main-wakes" "a main thread is not woken";
    WakeTwice "wake-twice" "main-wakes" "a main thread is woken though it knows";
    LocalAstray "local-astray" "main-values" "a main thread's value is made elsewhere";
    MemberForgotten "member-forgotten" "groups" "a group does not wait for a member";
    NumberSkipped "number-skipped" "apply" "a parallel for leaves a number out";
    PieceSkipped "piece-skipped" "scopes" "a scope leaves a piece out";
    BlockNested "block-nested" "scope-alone" "a block runs in the middle of another";
    TargetIgnored "target-ignored" "targets" "a queue is built without its target";
    OnceTwice "once-twice" "once" "a value is made twice";
    DeadlineEarly "deadline-early" "deadlines" "a point in time comes early";
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
