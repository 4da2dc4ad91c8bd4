//! Tallies.

use std::time::Duration;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::{Kind, Representation};

use super::Buckets;
use super::cells;
use super::timer::{Timer, timed};
use crate::backend::Value;
use crate::cells::Cells;
use crate::error::Result;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::metric::Metric;
use crate::metric::sealed::{Handle, TakesTime};

/// Count and sum of observations: an OpenMetrics summary without quantiles.
///
/// Shape: two words for each CPU that has observed; the sum may trail the count by what is in flight.
#[derive(Clone, Debug)]
pub struct Tally(Cells);

impl Tally {
    /// Observes `value`. NaN is dropped and counted; infinite values count but stay out of the sum; negative
    /// ones are allowed (the sum is no counter then).
    #[inline]
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            return self.0.count(Statistic::DroppedNan);
        }
        if !self.0.is_used() {
            if !self.0.is_nowhere() {
                self.observe_unused(value);
            }
            return;
        }
        self.observe_here(value);
    }

    #[inline(always)]
    fn observe_here(&self, value: f64) {
        self.0.add_u64(0, 1);
        if value.is_finite() {
            self.0.add_f64(1, value);
        } else {
            self.0.count(Statistic::InfiniteObservations);
        }
    }

    /// Observes where there are no cells of this CPU, or none at all.
    #[inline(never)]
    fn observe_unused(&self, value: f64) {
        if !self.0.observe_elsewhere(value, 1) {
            self.observe_here(value);
        }
    }

    /// Runs `work` and observes the seconds it took.
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        timed(self, work)
    }

    /// Starts a timer that observes the seconds until it is stopped or dropped.
    pub fn start_timer(&self) -> Timer<Self> {
        Timer::new(self.clone())
    }

    /// Observations of all processes.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.sum_u64(0)
    }

    /// Sum of the observations of all processes.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.0.sum_f64(1)
    }
}

impl TakesTime for Tally {
    fn take_time(&self, elapsed: Duration) {
        self.observe(elapsed.as_secs_f64());
    }
}

impl Metric for Tally {
    const KIND: Kind = Kind::Tally;
}

impl Handle for Tally {
    const REPRESENTATION: Representation = Representation::Float;

    fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
        cells(core, series, Representation::Float).map(Self)
    }

    fn of_foreign(series: &'static ForeignSeries) -> Self {
        Self(series.cells(Representation::Float))
    }

    fn nowhere(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self(Cells::nowhere())
    }

    fn private(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
        Self(Cells::private(2))
    }

    fn cells(&self) -> Option<Cells> {
        Some(self.0)
    }

    fn reading(&self) -> Option<Value> {
        Some(Value::Distribution { buckets: Vec::new(), count: self.count(), sum: self.sum() })
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::private(None, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_observations_never_spoil_the_sum() {
        let tally = Tally::default();
        for value in [1.5, f64::NAN, f64::INFINITY, -0.5] {
            tally.observe(value);
        }
        assert_eq!((tally.count(), tally.sum()), (3, 1.0));
    }
}
