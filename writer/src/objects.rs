//! Metrics as trait objects, for code that holds several kinds behind one interface.
//!
//! A handle is cheaper: an update through an object costs a call more.

use std::fmt::Debug;
use std::time::Duration;

use dyn_metrics_layout::Kind;
use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::kind::Number;

use crate::backend::Descriptor;
use crate::error::Result;
use crate::metric::Metric;
use crate::metric::sealed::Handle;
use crate::metrics::{
    Counter, DurationCounter, DurationGauge, FloatCounter, FloatGauge, Gauge, Histogram, Tally, add, set,
};
use crate::raw;
use crate::render::series_text;

/// What every metric is, whatever its kind; every handle implements it.
///
/// Private handles and those of the null registry belong to no series: their name and description are empty.
pub trait AnyMetric: Debug + Send + Sync {
    /// Its exposed name.
    fn name(&self) -> &str;

    /// Its type.
    fn metric_type(&self) -> Kind;

    /// Its help.
    fn description(&self) -> &str;

    /// Its labels, sorted by name.
    fn labels(&self) -> Vec<(String, String)>;

    /// The series with its value as Prometheus text 0.0.4: of a gauge this process's value, of other kinds the total
    /// of all processes, as far as it was counted as this handle counts. Empty where it belongs to no series.
    ///
    /// # Errors
    /// [`crate::Error::Unsupported`] where the crate's feature `render` is off.
    fn output(&self) -> Result<String>;
}

/// A total that only grows. See [`FloatCounter`]; in a counter of whole events amounts are rounded, in one of time
/// they are seconds.
pub trait MetricCounter: AnyMetric {
    /// Adds 1.
    fn inc(&self);

    /// Adds `amount`; what is negative, infinite or NaN is dropped and counted.
    fn inc_by(&self, amount: f64);

    /// The total.
    fn value(&self) -> f64;

    /// As [`Self::inc`].
    fn increment(&self) {
        self.inc();
    }

    /// As [`Self::inc_by`].
    fn add(&self, amount: f64) {
        self.inc_by(amount);
    }
}

/// A number that goes up and down. See [`FloatGauge`]; in a gauge of whole numbers values are rounded, in one of time
/// they are seconds.
pub trait MetricGauge: AnyMetric {
    /// Sets it.
    fn set(&self, value: f64);

    /// Adds `amount`; NaN is dropped and counted.
    fn inc(&self, amount: f64);

    /// Its value in this process.
    fn value(&self) -> f64;

    /// Subtracts `amount`.
    fn dec(&self, amount: f64) {
        self.inc(-amount);
    }

    /// Adds 1.
    fn increment(&self) {
        self.inc(1.0);
    }

    /// Subtracts 1.
    fn decrement(&self) {
        self.dec(1.0);
    }
}

/// Observations: how many, their sum, and of a histogram how they are spread. See [`Histogram`] and [`Tally`].
pub trait MetricHistogram: AnyMetric {
    /// Observes `value`.
    fn observe(&self, value: f64);

    /// How many values were observed.
    fn count(&self) -> u64;

    /// The sum of the finite ones.
    fn sum(&self) -> f64;
}

impl<M: Metric> AnyMetric for M {
    fn name(&self) -> &str {
        self.identity().map_or("", |identity| identity.texts().0)
    }

    fn metric_type(&self) -> Kind {
        M::KIND
    }

    fn description(&self) -> &str {
        self.identity().map_or("", |identity| identity.texts().1)
    }

    fn labels(&self) -> Vec<(String, String)> {
        raw::describe(self).map_or_else(Vec::new, |description| description.labels)
    }

    fn output(&self) -> Result<String> {
        let Some(described) = raw::describe(self) else { return Ok(String::new()) };
        let raw::Description { name, help, unit, kind, mode, level, labels } = described;
        let descriptor = Descriptor {
            name: name.to_owned(),
            help: help.to_owned(),
            unit: unit.to_owned(),
            kind,
            representation: M::REPRESENTATION,
            labels,
            bounds: crate::metrics::Buckets::bounds_of(self.buckets()).to_vec(),
            states: self.states().to_vec(),
            mode,
            level,
            max_series: 1, // nothing is registered with it
        };
        series_text(&descriptor, self.reading())
    }
}

/// Whether a counter may grow by `amount`; counts what it may not. Nothing is to be done for 0.
fn may_add<M: Metric>(counter: &M, amount: f64) -> bool {
    let statistic = match amount {
        _ if amount.is_finite() && amount >= 0.0 => return true,
        _ if amount < 0.0 => Statistic::DroppedNegative,
        _ => Statistic::DroppedNan,
    };
    if let Some(cells) = counter.cells() {
        cells.count(statistic);
    }
    false
}

impl MetricCounter for FloatCounter {
    fn inc(&self) {
        Self::inc(self);
    }

    fn inc_by(&self, amount: f64) {
        Self::inc_by(self, amount);
    }

    fn value(&self) -> f64 {
        Self::value(self)
    }
}

impl MetricCounter for Counter {
    fn inc(&self) {
        Self::inc(self);
    }

    fn inc_by(&self, amount: f64) {
        if may_add(self, amount) {
            Self::inc_by(self, amount.round() as u64);
        }
    }

    fn value(&self) -> f64 {
        Self::value(self) as f64
    }
}

impl MetricCounter for DurationCounter {
    fn inc(&self) {
        Self::inc_by(self, Duration::from_secs(1));
    }

    fn inc_by(&self, amount: f64) {
        if may_add(self, amount) {
            Self::inc_by(self, Duration::try_from_secs_f64(amount).unwrap_or(Duration::MAX));
        }
    }

    fn value(&self) -> f64 {
        Self::value(self).as_secs_f64()
    }
}

macro_rules! gauge_objects {
    ($($gauge:ident)*) => {$(
        impl MetricGauge for $gauge {
            fn set(&self, value: f64) {
                set(self.gauge(), Number::Float(value).convert(Self::REPRESENTATION));
            }

            fn inc(&self, amount: f64) {
                match self.gauge() {
                    Some(core) if amount.is_nan() => core.count(Statistic::DroppedNan),
                    core => add(core, Number::Float(amount).convert(Self::REPRESENTATION)),
                }
            }

            fn value(&self) -> f64 {
                crate::metrics::value(self.gauge(), Self::REPRESENTATION).as_f64()
            }
        }
    )*};
}

gauge_objects! { Gauge FloatGauge DurationGauge }

macro_rules! histogram_objects {
    ($($histogram:ident)*) => {$(
        impl MetricHistogram for $histogram {
            fn observe(&self, value: f64) {
                Self::observe(self, value);
            }

            fn count(&self) -> u64 {
                Self::count(self)
            }

            fn sum(&self) -> f64 {
                Self::sum(self)
            }
        }
    )*};
}

histogram_objects! { Histogram Tally }

macro_rules! boxed {
    ($($object:ident: $($handle:ident)*;)*) => {$($(
        impl From<$handle> for Box<dyn $object> {
            fn from(handle: $handle) -> Self {
                Box::new(handle)
            }
        }
    )*)*};
}

boxed! {
    MetricCounter: FloatCounter Counter DurationCounter;
    MetricGauge: FloatGauge Gauge DurationGauge;
    MetricHistogram: Histogram Tally;
}
