//! Durations as a histogram: every one is counted, in constant memory. The only door to
//! hdrhistogram.
//!
//! Not for: reading a clock. Times are nanoseconds; percentiles are exact to three digits. Rules:
//! counting a time takes a few nanoseconds and never fails. A time beyond the longest is counted as
//! the longest.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Shorter times are not distinguished.
const SHORTEST: u64 = 128;
/// Ten minutes.
const LONGEST: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// A histogram of times.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

/// The reported figures, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Latency {
    /// # Panics
    /// Never: the bounds above are valid for a histogram.
    pub(crate) fn new() -> Latency {
        #[expect(clippy::expect_used, reason = "constants, and a test makes one")]
        Latency(Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS).expect("the bounds make a histogram"))
    }

    /// Counts one time.
    pub(crate) fn count(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Adds the counts of another histogram.
    pub(crate) fn add(&mut self, other: &Latency) {
        // Both have the same bounds, so nothing of one is beyond those of the other.
        let added = self.0.add(&other.0);
        debug_assert!(added.is_ok());
    }

    /// The figures to report.
    pub(crate) fn percentiles(&self) -> Percentiles {
        if self.0.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile| self.at(quantile);
        Percentiles {
            count: self.0.len(),
            mean: tenths(self.0.mean()),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: tenths(self.0.max() as f64),
        }
    }

    /// The time that this share of all times did not exceed, in microseconds.
    pub(crate) fn at(&self, quantile: f64) -> f64 {
        // The upper end of a step of the histogram may lie beyond the longest counted time.
        tenths(self.0.value_at_quantile(quantile).min(self.0.max()) as f64)
    }

    /// The number of counted times.
    pub(crate) fn len(&self) -> u64 {
        self.0.len()
    }
}

/// Microseconds, to a tenth.
fn tenths(nanoseconds: f64) -> f64 {
    (nanoseconds / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_thousand_known_times() {
        let (mut low, mut high) = (Latency::new(), Latency::new());
        for microseconds in 1..=1000 {
            if microseconds % 2 == 0 { &mut low } else { &mut high }.count(microseconds * 1000);
        }
        low.add(&high);
        let told = low.percentiles();
        assert_eq!(told.count, 1000);
        for (value, expected) in [(told.p50, 500.0), (told.p90, 900.0), (told.p99, 990.0), (told.p999, 999.0)] {
            assert!((value - expected).abs() <= expected / 1000.0 + 0.2, "{value} instead of {expected}");
        }
        assert!((told.max - 1000.0).abs() <= 1.0 && (told.mean - 500.5).abs() < 1.0);
        assert!(told.p999 <= told.max);
    }

    #[test]
    fn nothing_and_beyond_everything() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentiles(), Percentiles::default());
        latency.count(0);
        latency.count(u64::MAX);
        let told = latency.percentiles();
        assert_eq!(told.count, 2);
        assert!(told.max >= LONGEST as f64 / 1000.0 && told.max < LONGEST as f64 / 1000.0 * 1.01);
    }
}
