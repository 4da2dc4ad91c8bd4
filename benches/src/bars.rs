//! The bars: what the measured ratios should not exceed. Source: DESIGN.md, "Targets".

use crate::rows::OpRow;

/// The contender that the bars are for.
pub const OURS: &str = "dyn-metrics";
/// The same on the path without restartable sequences.
pub const FALLBACK: &str = "dyn-metrics-fallback";

/// Contender, operation, threads, most that its ratio to `fetch_add` should be.
pub const BARS: [(&str, &str, usize, f64); 14] = [
    (OURS, "counter_inc", 1, 0.12),
    (OURS, "counter_inc", 2, 0.06),
    (OURS, "counter_inc_f64", 1, 0.65),
    (OURS, "counter_inc_f64", 2, 0.22),
    (OURS, "gauge_set", 1, 0.12),
    (OURS, "gauge_set_mostrecent", 1, 0.8),
    (OURS, "hist_observe", 1, 0.75),
    (OURS, "hist_observe", 2, 0.30),
    (OURS, "counter_labels", 1, 1.4),
    (OURS, "counter_labels", 2, 0.5),
    (OURS, "counter_labels_static", 1, 0.6),
    (OURS, "counter_labels_static", 2, 0.2),
    (FALLBACK, "counter_inc", 1, 1.1),
    (FALLBACK, "counter_inc", 2, 1.1),
];

/// Operation, contender, what it is compared with, most that it should take of that one's time: in one thread.
///
/// The metrics proposal's struct holds `Box<dyn MetricCounter>` of fractional amounts.
pub const BESIDE_BARS: [(&str, &str, &str, f64); 5] = [
    ("counter_inc", "dyn-metrics-derived", OURS, 1.3),
    ("counter_inc_f64", "dyn-metrics-derived", OURS, 1.3),
    ("counter_inc_f64", "dyn-metrics-object", OURS, 1.3),
    ("counter_inc", "dyn-metrics-null", "empty-loop", 2.0),
    ("counter_inc_f64", "dyn-metrics-null", "empty-loop", 2.0),
];

/// The same for the C++ header.
pub const CPP_BARS: [(&str, &str, usize, f64); 4] = [
    (OURS, "counter_inc", 1, 0.12),
    (OURS, "counter_inc", 2, 0.06),
    (OURS, "hist_observe", 1, 0.75),
    (OURS, "counter_labels", 1, 1.5),
];

/// Most nanoseconds that a series should take to render, with two CPU blocks: kind, series, limit.
pub const RENDER_BARS: [(&str, usize, f64); 2] = [("counter", 100_000, 30.0), ("histogram", 10_000, 400.0)];

/// The bar of a row, if `bars` has one.
#[must_use]
pub fn bar(bars: &[(&str, &str, usize, f64)], row: &OpRow) -> Option<f64> {
    let same = |(contender, op, threads, _): &&(&str, &str, usize, f64)| {
        (*contender, *op, *threads) == (row.contender.as_str(), row.op.as_str(), row.threads)
    };
    bars.iter().find(same).map(|bar| bar.3)
}

/// `met`, or by which factor the bar is exceeded.
#[must_use]
pub fn verdict(measured: f64, bar: f64) -> String {
    if measured <= bar { "met".to_owned() } else { format!("missed {:.2}x", measured / bar) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Summary;

    #[test]
    fn a_bar_is_found_by_contender_operation_and_threads() {
        let ns = Summary { median: 1.0, min: 1.0, max: 1.0 };
        let row = |contender: &str, threads| OpRow {
            contender: contender.to_owned(),
            op: "counter_inc".to_owned(),
            threads,
            ns,
            ratio: 0.1,
            median_ratio: 0.1,
        };
        assert_eq!(bar(&BARS, &row(OURS, 2)), Some(0.06));
        assert_eq!(bar(&BARS, &row("prometheus", 2)), None);
        assert_eq!(bar(&BARS, &row(OURS, 3)), None);
    }

    #[test]
    fn a_missed_bar_says_by_how_much() {
        assert_eq!(verdict(0.12, 0.12), "met");
        assert_eq!(verdict(0.3, 0.12), "missed 2.50x");
    }
}
