//! The committed costs, and the check whether a count differs from them.
//!
//! For: reading `queues/benches/counts/limits.txt`, and a sentence for each difference. Not for:
//! counting. Rules: a cost that grew is a fault. A cost that fell and was not written down is a
//! fault too, because the next change could lose the gain unnoticed. So costs only go down, unless
//! a commit says otherwise.

/// The costs of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    /// The instructions among them that lock the bus: atomic read-modify-writes.
    pub(crate) locked: f64,
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    /// NaN where it is unknown, which matches everything.
    pub(crate) system_calls: f64,
}

/// The parsed file.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// The compiler of the counted code; empty if the file is empty.
    pub(crate) rustc: String,
    pub(crate) rows: Vec<(String, Cost)>,
}

impl Limits {
    /// Reads the text of the file: comments, one line with the compiler, and a row for each
    /// operation.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        for (number, line) in text.lines().enumerate() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if line.trim().is_empty() || line.starts_with('#') {
            } else if line.starts_with("rustc ") {
                limits.rustc = line.trim().to_owned();
            } else {
                let row =
                    row(&cells).ok_or_else(|| format!("line {} is no name and five numbers: {line}", number + 1))?;
                limits.rows.push(row);
            }
        }
        Ok(limits)
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Cost> {
        self.rows.iter().find(|(known, _)| known == name).map(|(_, cost)| cost)
    }
}

/// How the file writes an unknown number.
pub(crate) const UNKNOWN: &str = "-";

fn row(cells: &[&str]) -> Option<(String, Cost)> {
    let [name, numbers @ ..] = cells else { return None };
    let numbers: Vec<f64> = numbers
        .iter()
        .map(|cell| if *cell == UNKNOWN { Some(f64::NAN) } else { cell.parse().ok() })
        .collect::<Option<_>>()?;
    let [instructions, locked, allocations, bytes, system_calls] = numbers[..] else { return None };
    Some(((*name).to_owned(), Cost { instructions, locked, allocations, bytes, system_calls }))
}

/// How far a count may be from its limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tolerance {
    /// As a share of the limit.
    pub(crate) share: f64,
    /// And at least this much.
    pub(crate) least: f64,
    /// Whether a cost that fell is a fault too.
    pub(crate) both_ways: bool,
}

impl Tolerance {
    /// For allocations. A deque that grows under a thread that was kept waiting adds a few
    /// hundredths to each operation.
    pub(crate) const ALLOCATIONS: Self = Self { share: 0.0, least: 0.03, both_ways: true };
}

/// The command that writes the counts down as the new limits.
pub(crate) const UPDATE: &str = "cargo bench -p singletrack-queues --bench counts -- --update";

/// Returns `None` if `is` is near enough to `limit`. Otherwise returns what happened to the
/// operation `name`, and what to do about it.
pub(crate) fn difference(name: &str, unit: &str, limit: f64, is: f64, tolerance: Tolerance) -> Option<String> {
    let margin = (limit * tolerance.share).max(tolerance.least);
    let [was, is_now] = [limit, is].map(short);
    if is > limit + margin {
        return Some(format!(
            "\"{name}\" costs more {unit}: {was} before, {is_now} now. Find what was added; if it is worth that, write it down: {UPDATE}"
        ));
    }
    (tolerance.both_ways && is < limit - margin).then(|| {
        format!("\"{name}\" costs fewer {unit}: {was} before, {is_now} now. Well done; so that it stays: {UPDATE}")
    })
}

/// Up to three digits behind the point.
pub(crate) fn short(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
