//! The list of workloads: names, metrics, sizes, and which method of a peer runs each.
//!
//! `actors`, `idle`, `tree`, `savina`, `blocks` and `round_trip` contain the workloads themselves;
//! this file has what `--help` and the report need. A new workload is a line in `CASES` and a
//! method of `Peer`.

use super::measure::Sample;
use super::peers::Peer;

/// How much work, on how many workers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) scale: f64,
    pub(crate) workers: usize,
}

impl Load {
    /// The scaled count: never less than two, so that every workload still has something to verify.
    pub(crate) fn of(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(2)
    }
}

/// One row of measurements.
pub(crate) struct Case {
    pub(crate) w: &'static str,
    pub(crate) metrics: &'static [&'static str],
    pub(crate) run: fn(&dyn Peer, &Load) -> Option<Sample>,
}

/// One line for each workload, for `--help`.
pub(crate) const ABOUT: &[(&str, &str)] = &[
    ("Q1", "one thread submits 5 M blocks to one serial queue"),
    ("Q2", "one thread, 5 M synchronous submits to an idle queue"),
    ("Q2c", "Q2 from two threads that contend"),
    ("Q2b", "100 blocks submitted and a sync behind them, again and again"),
    ("Q3", "1, 2, 4 and 8 threads submit 4 M blocks to one queue"),
    ("Q4", "two threads submit 4 M blocks to 10,000 queues"),
    ("Q5", "two queues bounce one message 1 M times"),
    ("Q6", "64 tokens make 2 M hops round 1,000 queues"),
    ("Q7", "1 M one-shot blocks, waited for together"),
    ("Q7o", "Q7 from a thread that is no worker"),
    ("Q8", "a tree of 1 M leaves, every node a task"),
    ("Q8j", "the same sum by a fork and join of halves"),
    ("Q8q", "the tree of Q8, every node a queue of its own"),
    ("Q9", "1 M transfers between 1,000 accounts, each a queue"),
    ("Q10", "two threads, 2 M reads (95 %) and writes"),
    ("Q11", "memory of 1 M idle queues, in a process of its own"),
    ("Q12", "from submit to the block's start on an idle runtime"),
    ("Q13", "a parallel loop of 50 M tiny iterations"),
    ("Q14", "100,000 timers within 2 s on one queue"),
    ("Q15", "1,000 blocks that sleep 10 ms and say so"),
    ("Q15u", "Q15 with blocks that do not say so"),
    ("Q16", "Savina's big: 120 queues, 2.4 M pings to random ones, answered"),
    ("Q17", "Savina's chameneos: 100 creatures, 400,000 meetings at one mall"),
    ("Q18", "Savina's bounded buffer: 40 producers, 40 consumers, 400,000 items"),
    ("Q19", "Savina's sieve: primes below 100,000, a growing line of filters"),
    ("Q20", "a thread outside asks an idle queue and waits: call(f).wait(), back to back"),
    ("Q20g", "Q20 with gaps of 200 us, which are not part of the time"),
];

const fn case(w: &'static str, metrics: &'static [&'static str], run: fn(&dyn Peer, &Load) -> Option<Sample>) -> Case {
    Case { w, metrics, run }
}

/// All measurements, in the order in which they run.
pub(crate) static CASES: &[Case] = &[
    case("Q1", &["ns/op"], |peer, load| peer.q1(load)),
    case("Q2", &["ns/op"], |peer, load| peer.q2(load)),
    case("Q2c", &["ns/op"], |peer, load| peer.q2c(load)),
    case("Q2b", &["ns/round"], |peer, load| peer.q2b(load)),
    case("Q3", &["Mops/s P=1"], |peer, load| peer.q3(load, 1)),
    case("Q3", &["Mops/s P=2"], |peer, load| peer.q3(load, 2)),
    case("Q3", &["Mops/s P=4"], |peer, load| peer.q3(load, 4)),
    case("Q3", &["Mops/s P=8"], |peer, load| peer.q3(load, 8)),
    case("Q4", &["Mops/s"], |peer, load| peer.q4(load)),
    case("Q5", &["ns/hop"], |peer, load| peer.q5(load)),
    case("Q6", &["Mhops/s"], |peer, load| peer.q6(load)),
    case("Q7", &["Mops/s"], |peer, load| peer.q7(load)),
    case("Q7o", &["Mops/s"], |peer, load| peer.q7o(load)),
    case("Q8", &["ms"], |peer, load| peer.q8(load)),
    case("Q8j", &["ms"], |peer, load| peer.q8j(load)),
    case("Q8q", &["ms"], |peer, load| peer.q8q(load)),
    case("Q9", &["Mtransfers/s"], |peer, load| peer.q9(load)),
    case("Q10", &["ns/op loose"], |peer, load| peer.q10(load, false)),
    case("Q10", &["ns/op pinned"], |peer, load| peer.q10(load, true)),
    case("Q11", &["B/queue"], |peer, load| peer.q11(load)),
    case("Q12", &["p50 us", "p99 us"], |peer, load| peer.q12(load)),
    case("Q13", &["ms"], |peer, load| peer.q13(load)),
    case("Q14", &["p50 us", "p99 us", "CPU s"], |peer, load| peer.q14(load)),
    case("Q15", &["ms", "peak threads"], |peer, load| peer.q15(load)),
    case("Q15u", &["ms", "peak threads"], |peer, load| peer.q15u(load)),
    case("Q16", &["Mmessages/s"], |peer, load| peer.q16(load)),
    case("Q17", &["Mmeetings/s"], |peer, load| peer.q17(load)),
    case("Q18", &["Mitems/s"], |peer, load| peer.q18(load)),
    case("Q19", &["ms"], |peer, load| peer.q19(load)),
    case("Q20", &["ns/op"], |peer, load| peer.q20(load)),
    case("Q20g", &["p50 ns", "CPU ns/op"], |peer, load| peer.q20g(load)),
];

/// The largest power of ten that is not above `count`.
pub(crate) fn power_of_ten(count: u64) -> u64 {
    10_u64.pow(count.max(1).ilog10())
}

/// The sum of all numbers below `count`.
pub(crate) fn sum_below(count: u64) -> u64 {
    count * (count - 1) / 2
}
