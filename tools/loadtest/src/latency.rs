//! Latencies, counted in a histogram of three digits.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest latency that is told apart from longer ones.
const MICROS_MAX: u64 = 600_000_000;

/// Counts latencies.
pub(crate) struct Latencies(Histogram<u64>);

/// What was counted, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean_micros: f64,
    pub(crate) p50_micros: u64,
    pub(crate) p90_micros: u64,
    pub(crate) p99_micros: u64,
    pub(crate) p999_micros: u64,
    pub(crate) max_micros: u64,
}

impl Latencies {
    /// Nothing counted.
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("the bounds are valid"))
    }

    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX));
    }

    /// What was counted so far.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            count: self.0.len(),
            mean_micros: self.0.mean(),
            p50_micros: self.0.value_at_quantile(0.5),
            p90_micros: self.0.value_at_quantile(0.9),
            p99_micros: self.0.value_at_quantile(0.99),
            p999_micros: self.0.value_at_quantile(0.999),
            max_micros: self.0.max(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |micros: u64| micros as f64 / 1000.0;
        write!(
            f,
            "p50 {:.3}  p90 {:.3}  p99 {:.3}  p99.9 {:.3}  max {:.3} ms",
            millis(self.p50_micros),
            millis(self.p90_micros),
            millis(self.p99_micros),
            millis(self.p999_micros),
            millis(self.max_micros)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_counted() {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record(Duration::from_micros(micros));
        }
        let summary = latencies.summary();
        assert_eq!(
            (summary.count, summary.p50_micros, summary.p99_micros),
            (1000, 500, 990)
        );
        assert_eq!(summary.max_micros, 1000);
        assert_eq!(
            summary.to_string(),
            "p50 0.500  p90 0.900  p99 0.990  p99.9 0.999  max 1.000 ms"
        );
    }

    #[test]
    fn what_is_beyond_the_bounds_is_counted_at_them() {
        let mut latencies = Latencies::new();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(100_000));
        let summary = latencies.summary();
        assert_eq!(summary.count, 2);
        assert!(summary.max_micros >= MICROS_MAX);
    }
}
