//! Counters.

use std::time::Duration;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Number;
use dyn_metrics_layout::{Kind, Representation};

use super::Buckets;
use super::timer::{Timer, timed};
use super::{cells, nanoseconds};
use crate::backend::Value;
use crate::cells::Cells;
use crate::error::Result;
use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::metric::Metric;
use crate::metric::sealed::{Handle, TakesTime};

/// A total of whole events that only grows.
///
/// Shape: one word for each CPU that has counted, shared by all processes.
#[derive(Clone, Debug)]
pub struct Counter(Cells);

/// A total of fractional amounts that only grows.
#[derive(Clone, Debug)]
pub struct FloatCounter(Cells);

/// A total of time that only grows; exposed in seconds, counted in nanoseconds.
#[derive(Clone, Debug)]
pub struct DurationCounter(Cells);

impl Counter {
    /// Adds 1. Cost, ordering: as [`Self::inc_by`].
    #[inline]
    pub fn inc(&self) {
        self.0.add_one(0);
    }

    /// Adds `n` events.
    ///
    /// Unit: events; wraps at 2^64. Ordering: relaxed; any thread, any process, signal handlers too.
    /// Cost: one restartable add, no system call; an atomic add where there are no restartable sequences.
    /// Errors, panics: none. Source: FORMAT.md, "Kinds"; OpenMetrics 1.0, "Counter".
    #[inline]
    pub fn inc_by(&self, n: u64) {
        self.0.add_u64(0, n);
    }

    /// The total over all processes, as far as it was counted in whole events.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.sum_u64(0)
    }

    /// Whether nobody else sees this counter.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.0.is_private()
    }
}

impl FloatCounter {
    /// Adds 1.
    #[inline]
    pub fn inc(&self) {
        self.0.add_f64(0, 1.0);
    }

    /// Adds `amount`; negative, infinite and NaN amounts are dropped and counted.
    #[inline]
    pub fn inc_by(&self, amount: f64) {
        // Doubles from +0 to the largest finite one are the lowest as bits: one comparison.
        if amount.to_bits() < f64::INFINITY.to_bits() {
            self.0.add_f64(0, amount);
        } else {
            self.drop_odd(amount);
        }
    }

    #[cold]
    fn drop_odd(&self, amount: f64) {
        if amount != 0.0 {
            let nan = amount.is_nan() || amount > 0.0;
            self.0.count(if nan { Statistic::DroppedNan } else { Statistic::DroppedNegative });
        }
    }

    /// The total over all processes, as far as it was counted in doubles.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.0.sum_f64(0)
    }
}

impl DurationCounter {
    /// Adds `duration`; wraps at 584 years.
    #[inline]
    pub fn inc_by(&self, duration: Duration) {
        self.0.add_u64(0, nanoseconds(duration));
    }

    /// Runs `work` and adds the time it took.
    pub fn time<R>(&self, work: impl FnOnce() -> R) -> R {
        timed(self, work)
    }

    /// Starts a timer that adds the time until it is stopped or dropped.
    pub fn start_timer(&self) -> Timer<Self> {
        Timer::new(self.clone())
    }

    /// The total over all processes, as far as it was counted as time.
    #[must_use]
    pub fn value(&self) -> Duration {
        Duration::from_nanos(self.0.sum_u64(0))
    }
}

impl TakesTime for DurationCounter {
    fn take_time(&self, elapsed: Duration) {
        self.inc_by(elapsed);
    }
}

macro_rules! counter_handle {
    ($handle:ident, $representation:expr) => {
        impl Metric for $handle {
            const KIND: Kind = Kind::Counter;
        }

        impl Handle for $handle {
            const REPRESENTATION: Representation = $representation;

            fn attach(core: &'static FamilyCore, series: u64) -> Result<Self> {
                cells(core, series, $representation).map(Self)
            }

            fn of_foreign(series: &'static ForeignSeries) -> Self {
                Self(series.cells($representation))
            }

            fn nowhere(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
                Self(Cells::nowhere())
            }

            fn private(_: Option<&'static Buckets>, _: &'static [String]) -> Self {
                Self(Cells::private(1))
            }

            fn cells(&self) -> Option<Cells> {
                Some(self.0)
            }

            fn reading(&self) -> Option<Value> {
                let bits = match $representation {
                    Representation::Float => self.0.sum_f64(0).to_bits(),
                    _ => self.0.sum_u64(0),
                };
                Some(Value::Number(Number::from_bits(bits, $representation)))
            }
        }

        impl Default for $handle {
            fn default() -> Self {
                Self::private(None, &[])
            }
        }
    };
}

counter_handle!(Counter, Representation::Integer);
counter_handle!(FloatCounter, Representation::Float);
counter_handle!(DurationCounter, Representation::Nanoseconds);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_counters_count_alone() {
        let (a, b) = (Counter::default(), Counter::default());
        a.inc();
        a.inc_by(2);
        assert_eq!((a.value(), b.value()), (3, 0));
        assert!(a.is_private());
    }

    #[test]
    fn what_would_make_a_counter_fall_is_dropped() {
        let counter = FloatCounter::default();
        for amount in [0.5, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.25] {
            counter.inc_by(amount);
        }
        assert_eq!(counter.value(), 0.75);
    }

    #[test]
    fn durations_add_up_to_the_nanosecond() {
        let counter = DurationCounter::default();
        counter.inc_by(Duration::new(1, 1));
        counter.inc_by(Duration::from_nanos(2));
        assert_eq!(counter.value(), Duration::new(1, 3));
        counter.time(|| ());
        counter.start_timer().stop();
        assert!(counter.value() >= Duration::new(1, 3));
    }
}
