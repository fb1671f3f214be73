//! The presentation of figures: the title of a workload, the number of digits, a table for a
//! terminal.
//!
//! Not for: Markdown, which is `readme`. Rule: a workload without a title here is shown by its
//! number, so that a new one is never left out.

use crate::results::{Part, Row};

/// Workload, metric, and its title in the tables.
const TITLES: &[(&str, &str, &str)] = &[
    ("Q1", "ns/op", "submit to one queue"),
    ("Q2", "ns/op", "`sync` on an idle queue"),
    ("Q2c", "ns/op", "`sync`, two threads contending"),
    ("Q2b", "ns/round", "100 blocks and a `sync` behind them"),
    ("Q3", "Mops/s P=1", "1 thread submits to one queue"),
    ("Q3", "Mops/s P=2", "2 threads submit to one queue"),
    ("Q3", "Mops/s P=4", "4 threads submit to one queue"),
    ("Q3", "Mops/s P=8", "8 threads submit to one queue"),
    ("Q4", "Mops/s", "2 threads submit to 10,000 queues"),
    ("Q5", "ns/hop", "message between two queues"),
    ("Q6", "Mhops/s", "64 messages round 1,000 queues"),
    ("Q7", "Mops/s", "a million tasks, forked in a scope"),
    ("Q7o", "Mops/s", "a million one-shot blocks, from outside"),
    ("Q8", "ms", "tree of a million tasks"),
    ("Q8j", "ms", "its sum by fork and join of halves"),
    ("Q8q", "ms", "tree of a million queues"),
    ("Q9", "Mtransfers/s", "transfers between 1,000 accounts"),
    ("Q10", "ns/op loose", "95 % reads, 5 % writes, two threads"),
    ("Q10", "ns/op pinned", "95 % reads, each thread on its core"),
    ("Q11", "B/queue", "memory of an idle queue"),
    ("Q12", "p50 us", "wake-up of an idle runtime"),
    ("Q12", "p99 us", "wake-up of an idle runtime"),
    ("Q13", "ms", "parallel for, 50 M tiny steps"),
    ("Q14", "CPU s", "100,000 timers"),
    ("Q14", "", "lateness of 100,000 timers"),
    ("Q15", "", "1,000 blocks that sleep 10 ms and say so"),
    ("Q15u", "", "1,000 blocks that sleep without a word"),
    ("Q16", "Mmessages/s", "Savina's big: 120 actors, pings to random ones"),
    ("Q17", "Mmeetings/s", "Savina's chameneos: 100 creatures, one mall"),
    ("Q18", "Mitems/s", "Savina's bounded buffer, 40 to 40"),
    ("Q19", "ms", "Savina's sieve, primes below 100,000"),
    ("Q20", "ns/op", "`call(f).wait()` on an idle queue, from outside"),
    ("Q20g", "p50 ns", "the same after a pause of 200 us"),
    ("Q20g", "CPU ns/op", "CPU of the same, pause included"),
    ("S1-64", "", "echo, 64 connections"),
    ("S1-1000", "", "echo, 1,000 connections"),
    ("S1-10000", "", "echo, 10,000 connections"),
    ("S2", "", "10 rooms of 100, one sends"),
    ("S3", "", "100 rooms of 10, all send"),
    ("S4-10000", "", "10,000 idle beside echo-64"),
    ("S4-19000", "", "19,000 idle beside echo-64"),
    ("S5", "", "S3, one of each room reads nothing"),
    ("S1-free", "", "echo-64, server on all cores"),
    ("S3-free", "", "S3, server on all cores"),
];

/// "submit to one queue, ns/op".
pub(crate) fn title(row: &Row<'_>) -> String {
    let is_it = |(w, metric, _): &&(&str, &str, &str)| *w == row.w && (metric.is_empty() || *metric == row.metric);
    let name = TITLES.iter().find(is_it).map_or(row.w, |(_, _, title)| title);
    // The unit, without what the name already contains: "ns/op loose", "Mops/s P=8".
    let unit = row.metric.split_once(" P=").map_or(row.metric, |(unit, _)| unit);
    let unit = unit.trim_end_matches(" loose").trim_end_matches(" pinned");
    format!("{name}, {unit}")
}

/// Three significant digits, with commas between thousands.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        1000.0.. => {
            let unit = 10_f64.powi(value.abs().log10() as i32 - 2);
            thousands(((value / unit).round() * unit) as i64)
        }
        99.95.. => format!("{value:.0}"),
        9.995.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: i64) -> String {
    let digits = value.abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The rows of a part, or of one workload in it, as lines of a table under the names of `peers`.
pub(crate) fn table(part: &Part, peers: &[&str]) -> String {
    let width = peers.iter().map(|peer| peer.len()).max().unwrap_or_default().max(9);
    let mut text = format!("{:<26}", "");
    peers.iter().for_each(|peer| text += &format!("  {peer:>width$}"));
    text.push('\n');
    for row in part.rows() {
        text += &format!("{:<9} {:<16}", row.w, row.metric);
        for peer in peers {
            text += &format!("  {:>width$}", row.of(peer).map_or_else(|| "-".to_owned(), number));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{number, title};
    use crate::results::Row;

    #[test]
    fn numbers_have_three_digits_that_count() {
        for (value, text) in [
            (0.7149, "0.71"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (83.16, "83.2"),
            (99.96, "100"),
            (999.4, "999"),
            (1234.0, "1,230"),
            (137_049.0, "137,000"),
            (1_164_999.0, "1,160,000"),
            (-2500.0, "-2,500"),
            (0.0, "0.00"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_new_workload_is_shown_by_its_number() {
        let title = |w, metric| title(&Row { w, metric, figures: Vec::new() });
        assert_eq!(title("Q3", "Mops/s P=8"), "8 threads submit to one queue, Mops/s");
        assert_eq!(title("Q10", "ns/op pinned"), "95 % reads, each thread on its core, ns/op");
        assert_eq!(title("S3", "p99 us"), "100 rooms of 10, all send, p99 us");
        assert_eq!(title("Q99", "furlongs"), "Q99, furlongs");
    }
}
