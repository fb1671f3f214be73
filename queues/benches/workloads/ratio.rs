//! Compares figures of two builds: lines of JSON come in, medians and ratios come out.
//!
//! It starts no process and prints nothing; `against` does. Rules: figures of one round are divided
//! by each other first, and the median of those ratios counts, because a machine that changes its
//! speed between rounds changes both figures of a round alike.

/// The median; of an even number of values, the mean of the middle two.
///
/// # Panics
/// When there is no value.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// A figure that a bench printed, and the row that it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) row: Row,
    pub(crate) value: f64,
    /// CPU time of the whole process.
    pub(crate) cpu_s: f64,
}

/// A row of the comparison.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Row {
    pub(crate) w: String,
    pub(crate) metric: String,
    pub(crate) allocator: String,
}

impl Row {
    /// Whether more of it is better: true for rates; everything else is a time or a size.
    pub(crate) fn is_rate(&self) -> bool {
        self.metric.split(' ').any(|word| word.ends_with("/s"))
    }
}

impl Line {
    /// Reads a line of `--json`: our own fields, whose text holds neither quotes nor commas.
    pub(crate) fn parse(line: &str) -> Option<Line> {
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
            let end = rest.find([',', '}'])?;
            Some(rest[..end].trim().trim_matches('"'))
        };
        let text = |name| field(name).map(str::to_owned);
        let row = Row { w: text("w")?, metric: text("metric")?, allocator: text("allocator")? };
        let number = |name| field(name)?.parse().ok();
        Some(Line { row, value: number("value")?, cpu_s: number("cpu_s")? })
    }
}

/// The result of several rounds of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    /// Median of our figures.
    pub(crate) ours: f64,
    /// Median of theirs.
    pub(crate) theirs: f64,
    /// Median of ours divided by theirs, round by round; half of those ratios are from `lower` to
    /// `upper`.
    pub(crate) ratio: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Comparison {
    /// Compares rounds, each with our figure and theirs.
    ///
    /// # Panics
    /// When there is no round.
    pub(crate) fn of(rounds: &[(f64, f64)]) -> Comparison {
        let mut ratios: Vec<f64> = rounds.iter().map(|&(ours, theirs)| divided(ours, theirs)).collect();
        ratios.sort_by(f64::total_cmp);
        let (last, quarter) = (ratios.len() - 1, (ratios.len() - 1) / 4);
        Comparison {
            ours: median(rounds.iter().map(|round| round.0).collect()),
            theirs: median(rounds.iter().map(|round| round.1).collect()),
            lower: ratios[quarter],
            upper: ratios[last - quarter],
            ratio: median(ratios),
        }
    }

    /// "better" or "worse" if the median differs by more than a twentieth and three quarters of the
    /// rounds agree, "unclear" if they do not; empty otherwise.
    pub(crate) fn verdict(&self, row: &Row) -> &'static str {
        match self.ratio {
            0.95..=1.05 => "",
            _ if (self.lower..=self.upper).contains(&1.0) => "unclear",
            ratio if (ratio > 1.0) == row.is_rate() => "better",
            _ => "worse",
        }
    }
}

/// Nothing divided by nothing is no difference.
fn divided(ours: f64, theirs: f64) -> f64 {
    if ours == theirs { 1.0 } else { ours / theirs }
}
