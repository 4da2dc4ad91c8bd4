//! Histograms.

use std::time::Duration;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::{Kind, Representation};

use super::timer::{Timer, timed};
use super::{Buckets, cells};
use crate::backend::Value;
use crate::cells::Cells;
use crate::error::Result;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::metric::Metric;
use crate::metric::sealed::{Handle, TakesTime};

/// Counts of observations by upper bound, and their sum.
///
/// Shape: a word for each bucket and one for the sum, for each CPU that has observed. The count is the sum of
/// the buckets, so the `+Inf` bucket equals it always; the sum may trail by what is in flight.
#[derive(Clone, Debug)]
pub struct Histogram {
    cells: Cells,
    /// None: no bounds.
    buckets: Option<&'static Buckets>,
}

impl Histogram {
    /// Observes `value`, in the unit of the metric.
    ///
    /// A value equal to a bound belongs to that bound's bucket. NaN is dropped and counted; infinite values
    /// count in their bucket and stay out of the sum.
    /// Ordering: relaxed; any thread, any process, signal handlers too. Cost: a look into a table, a comparison and
    /// two restartable adds, no system call. Source: OpenMetrics 1.0, "Histogram".
    #[inline]
    pub fn observe(&self, value: f64) {
        // Finite, in one comparison: without its sign, it is below infinity as bits.
        if value.to_bits() << 1 >= f64::INFINITY.to_bits() << 1 {
            return self.observe_odd(value, 1);
        }
        if !self.cells.is_used() {
            if !self.cells.is_nowhere() {
                self.observe_unused(value, 1);
            }
            return;
        }
        self.cells.observe(self.bucket(value), self.bounds().len() + 1, value);
    }

    /// Observes `value` `count` times at once; where their sum is infinite, it is left out as an infinite value is.
    #[inline]
    pub fn observe_n(&self, value: f64, count: u64) {
        let sum = value * count as f64;
        if !sum.is_finite() || count == 0 {
            return self.observe_odd(value, count);
        }
        if !self.cells.is_used() {
            if !self.cells.is_nowhere() {
                self.observe_unused(value, count);
            }
            return;
        }
        self.cells.add_u64(self.bucket(value), count);
        self.cells.add_f64(self.bounds().len() + 1, sum);
    }

    /// Observes a finite value where there are no cells of this CPU, or none at all.
    #[inline(never)]
    fn observe_unused(&self, value: f64, count: u64) {
        if !self.cells.observe_elsewhere(value, count) {
            self.cells.add_u64(self.bucket(value), count);
            self.cells.add_f64(self.bounds().len() + 1, value * count as f64);
        }
    }

    #[cold]
    fn observe_odd(&self, value: f64, count: u64) {
        if value.is_nan() {
            self.cells.count(Statistic::DroppedNan);
        } else if count > 0 && !self.cells.observe_elsewhere(value, count) {
            self.cells.add_u64(self.bucket(value), count);
            self.cells.count(Statistic::InfiniteObservations);
        }
    }

    /// Index of the first bucket whose bound is not below `value`.
    #[inline]
    fn bucket(&self, value: f64) -> usize {
        self.buckets.map_or(0, |buckets| buckets.of(value))
    }

    /// Runs `work` and observes the seconds it took.
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        timed(self, work)
    }

    /// Starts a timer that observes the seconds until it is stopped or dropped.
    pub fn start_timer(&self) -> Timer<Self> {
        Timer::new(self.clone())
    }

    /// Upper bounds, without `+Inf`.
    #[must_use]
    pub const fn bounds(&self) -> &'static [f64] {
        Buckets::bounds_of(self.buckets)
    }

    /// Observations of all processes in each bucket, not cumulative; the last one is `+Inf`.
    #[must_use]
    pub fn buckets(&self) -> Vec<u64> {
        (0..=self.bounds().len()).map(|bucket| self.cells.sum_u64(bucket)).collect()
    }

    /// Observations of all processes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets().iter().fold(0, |sum: u64, bucket| sum.wrapping_add(*bucket))
    }

    /// Sum of the observations of all processes.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.cells.sum_f64(self.bounds().len() + 1)
    }
}

impl TakesTime for Histogram {
    fn take_time(&self, elapsed: Duration) {
        self.observe(elapsed.as_secs_f64());
    }
}

impl Metric for Histogram {
    const KIND: Kind = Kind::Histogram;
}

impl Handle for Histogram {
    const REPRESENTATION: Representation = Representation::Float;

    fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
        let cells = cells(core, series, Representation::Float)?;
        Ok(Self { cells, buckets: core.buckets.as_ref() })
    }

    fn of_foreign(series: &'static ForeignSeries) -> Self {
        Self { cells: series.cells(Representation::Float), buckets: series.family.buckets.as_ref() }
    }

    fn nowhere(buckets: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self { cells: Cells::nowhere(), buckets }
    }

    fn private(buckets: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self { cells: Cells::private(Buckets::bounds_of(buckets).len() + 2), buckets }
    }

    fn cells(&self) -> Option<Cells> {
        Some(self.cells)
    }

    fn reading(&self) -> Option<Value> {
        let buckets = self.buckets();
        let count = buckets.iter().fold(0, |sum: u64, bucket| sum.wrapping_add(*bucket));
        Some(Value::Distribution { buckets, count, sum: self.sum() })
    }

    fn buckets(&self) -> Option<&'static Buckets> {
        self.buckets
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::private(Buckets::default_bounds(), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_first_bound_that_is_not_below() {
        let histogram = Histogram::private(Some(Box::leak(Box::new(Buckets::new(&[0.1, 1.0, 10.0])))), &[]);
        for value in [-1.0, 0.1, 0.100_001, 1.0, 10.0, 10.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            histogram.observe(value);
        }
        histogram.observe_n(2.0, 3);
        assert_eq!(histogram.buckets(), [3, 2, 4, 2]);
        assert_eq!(histogram.count(), 11);
        histogram.observe_n(f64::MAX, 2); // finite, but not their sum
        assert_eq!(histogram.count(), 13);
        let expected = -1.0 + 0.1 + 0.100_001 + 1.0 + 10.0 + 10.1 + 6.0;
        assert!((histogram.sum() - expected).abs() < 1e-9);
    }
}
