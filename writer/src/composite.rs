//! Composites: one number made of many series, asked for at any time, by any process, without a scrape.
//!
//! ```
//! # fn main() -> Result<(), dyn_metrics::Error> {
//! # let dir = tempfile::tempdir_in("/dev/shm").unwrap();
//! # let registry = dyn_metrics::Registry::open_at(dir.path().join("s"))?;
//! use std::time::Duration;
//! use dyn_metrics::composite::{Composite, Reading};
//!
//! let depth = registry.family::<dyn_metrics::Gauge>(&dyn_metrics::Opts::new("queue_depth", "Waiting"), &["model"])?;
//! depth.with(&["llama"]).set(3);
//!
//! let mut deepest = registry.composite(&Composite::max("queue_depth").matching("model", "llama").over_processes())?;
//! assert_eq!(deepest.read(), Reading::Value(3.0));
//!
//! let slow = Composite::quantile("latency_seconds", 0.99).window(Duration::from_secs(60));
//! assert_eq!(registry.composite(&slow)?.read(), Reading::Unknown); // nobody has registered it yet
//! # Ok(())
//! # }
//! ```
//!
//! # What is composed
//!
//! A composite has one family and those of its series whose labels match. Of counters and gauges each series is a number;
//! [`Composite::over_processes`] takes what each living process has set instead, and so do gauges of the modes `all` and
//! `liveall`. Of tallies and histograms all observations of all series together count.
//!
//! | | counter | gauge | tally | histogram |
//! | --- | --- | --- | --- | --- |
//! | `avg` | of the totals | of the values | mean observation | mean observation |
//! | `min`, `max` | of the totals | of the values | | |
//! | `sum` | of the totals | of the values | of the observations | of the observations |
//! | `count` | series | series or processes that have a value | observations | observations |
//! | `rate` (needs a window) | increase per second | | observations per second | observations per second |
//! | `quantile` | | of the values | | of the observations |
//!
//! Quantiles of values are interpolated between the two nearest, those of observations within their bucket, as Prometheus's
//! `quantile` and `histogram_quantile` do: beyond the last bound they are that bound. Where a table cell is empty, the
//! composite is an error.
//!
//! # Windows
//!
//! With [`Composite::window`] it is about what happened lately, as far as the composite saw it: it takes a sample at each
//! [`LiveComposite::read`], and at each [`LiveComposite::sample`], which a ticker of its owner's may call. Time is monotonic.
//!
//! - Counters, tallies and histograms: increases since the newest sample that is as old as the window, or older; while there
//!   is none, since the first. `rate` divides by the time from that sample until now, whichever it is. A number that fell
//!   began anew from zero; a series that appears after the first sample began at zero.
//! - Gauges: `avg`, `min`, `max` and `quantile` are of all values in all samples in the window; `sum` and `count` would
//!   depend on how often samples are taken, and are errors.
//! - At most 256 samples are kept; of more, neighbours are joined: sums, counts, smallest and largest values stay exact, base
//!   samples are up to 1/128 of the window older, and quantiles of gauges leave joined samples out.
//!
//! # What a reading says
//!
//! See [`Reading`]. An answer is never NaN: values of gauges that are NaN are left out.

mod live;
mod numbers;
mod shared;
mod source;
mod window;

use std::fmt;
use std::time::Duration;

use dyn_metrics_layout::Kind;
use dyn_metrics_reader::select::{Matcher, Selector};

pub use live::LiveComposite;
#[doc(hidden)]
pub use shared::SharedComposite;

use crate::error::{Error, Result};

/// What is to be composed of which series: a description, without any segment.
#[derive(Clone, Debug, PartialEq)]
pub struct Composite {
    operation: Operation,
    selector: Selector,
    over_processes: bool,
    window: Option<Duration>,
}

/// How numbers become one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operation {
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Rate,
    Quantile(f64),
}

/// What a composite says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A number, never NaN.
    Value(f64),
    /// The series are there, and there is nothing to make a number of: nothing was observed (in the window), or no process
    /// has set anything. Sums, counts and rates of nothing are 0 instead, except where no process has set a gauge.
    Idle,
    /// Not known yet: no such family or series, or a window that needs another sample. [`LiveComposite::trouble`] may say more.
    Unknown,
    /// Whoever wrote has died. Gauges: every process that had set one of them. Other kinds, whose numbers belong to no
    /// process: no process has any of the files open; so never where the process that asks has.
    Dead,
}

impl Reading {
    /// The number, if there is one.
    #[must_use]
    pub const fn value(self) -> Option<f64> {
        match self {
            Self::Value(value) => Some(value),
            Self::Idle | Self::Unknown | Self::Dead => None,
        }
    }

    /// `value`, `idle`, `unknown` or `dead`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Value(_) => "value",
            Self::Idle => "idle",
            Self::Unknown => "unknown",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            other => f.write_str(other.name()),
        }
    }
}

impl Composite {
    fn new(operation: Operation, family: impl Into<String>) -> Self {
        Self { operation, selector: Selector::new(family), over_processes: false, window: None }
    }

    /// Average.
    #[must_use]
    pub fn avg(family: impl Into<String>) -> Self {
        Self::new(Operation::Avg, family)
    }

    /// Smallest.
    #[must_use]
    pub fn min(family: impl Into<String>) -> Self {
        Self::new(Operation::Min, family)
    }

    /// Largest.
    #[must_use]
    pub fn max(family: impl Into<String>) -> Self {
        Self::new(Operation::Max, family)
    }

    /// Sum.
    #[must_use]
    pub fn sum(family: impl Into<String>) -> Self {
        Self::new(Operation::Sum, family)
    }

    /// How many.
    #[must_use]
    pub fn count(family: impl Into<String>) -> Self {
        Self::new(Operation::Count, family)
    }

    /// Increase per second; needs a [`Self::window`].
    #[must_use]
    pub fn rate(family: impl Into<String>) -> Self {
        Self::new(Operation::Rate, family)
    }

    /// The value below which the part `q`, 0 to 1, of all lies.
    #[must_use]
    pub fn quantile(family: impl Into<String>, q: f64) -> Self {
        Self::new(Operation::Quantile(q), family)
    }

    /// Of the series only those whose label has this value; a label that is missing is empty.
    #[must_use]
    pub fn matching(self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.only(Matcher::Equal(label.into(), value.into()))
    }

    /// Of the series only those whose label has another value.
    #[must_use]
    pub fn not_matching(self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.only(Matcher::NotEqual(label.into(), value.into()))
    }

    /// Of the series only those whose label has one of these values.
    #[must_use]
    pub fn matching_any<V: Into<String>>(
        self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        self.only(Matcher::OneOf(label.into(), values.into_iter().map(Into::into).collect()))
    }

    /// Of the series only those that have this label, whatever its value.
    #[must_use]
    pub fn having(self, label: impl Into<String>) -> Self {
        self.only(Matcher::Any(label.into()))
    }

    fn only(mut self, matcher: Matcher) -> Self {
        self.selector = self.selector.matching(matcher);
        self
    }

    /// Takes what each living process has set, instead of what the gauge's mode makes of it.
    #[must_use]
    pub const fn over_processes(mut self) -> Self {
        self.over_processes = true;
        self
    }

    /// About what happened in this time before a reading, instead of since ever.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    /// The family's name.
    #[must_use]
    pub fn family(&self) -> &str {
        self.selector.family()
    }

    /// As a child registry means it: with its prefix, and of its labels.
    pub(crate) fn scoped(&self, prefix: &str, labels: &[(String, String)]) -> Self {
        let mut selector = Selector::new(prefix.to_owned() + self.family());
        for (name, value) in labels {
            selector = selector.equal(name, value);
        }
        let selector = self.selector.matchers().iter().cloned().fold(selector, Selector::matching);
        Self { selector, ..self.clone() }
    }

    /// Checks what can be checked without any series.
    pub(crate) fn check(&self) -> Result<()> {
        use dyn_metrics_layout::name::{check_label_name, check_metric_name};
        let family = self.family();
        let name = |what, name: &str, reason| Error::Name { what, name: name.to_owned(), reason };
        check_metric_name(family).map_err(|reason| name("metric name", family, reason))?;
        for matcher in self.selector.matchers() {
            let label = matcher.label();
            check_label_name(label).map_err(|reason| name("label name", label, reason))?;
        }
        match self.operation {
            Operation::Quantile(q) if !(0.0..=1.0).contains(&q) => {
                Err(self.error("quantile", q.to_string(), "0 to 1"))
            }
            _ if self.window == Some(Duration::ZERO) => {
                Err(self.error("window", "0 s".to_owned(), "more than 0 s"))
            }
            Operation::Rate if self.window.is_none() => {
                Err(self.error("window", "none".to_owned(), "one: a rate is of a window"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that it can be made of this kind of metric.
    fn check_kind(&self, kind: Kind) -> Result<()> {
        let expected = match self.operation {
            Operation::Avg => &[Kind::Counter, Kind::Gauge, Kind::Tally, Kind::Histogram][..],
            Operation::Sum | Operation::Count if self.window.is_some() => {
                &[Kind::Counter, Kind::Tally, Kind::Histogram]
            }
            Operation::Sum | Operation::Count => &[Kind::Counter, Kind::Gauge, Kind::Tally, Kind::Histogram],
            Operation::Min | Operation::Max => &[Kind::Counter, Kind::Gauge],
            Operation::Rate => &[Kind::Counter, Kind::Tally, Kind::Histogram],
            Operation::Quantile(_) => &[Kind::Gauge, Kind::Histogram],
        };
        let names = |kinds: &[Kind]| kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(" or ");
        if !expected.contains(&kind) {
            return Err(self.error(self.operation.name(), kind.name().to_owned(), &names(expected)));
        }
        if self.over_processes && kind != Kind::Gauge {
            return Err(self.error("over_processes", kind.name().to_owned(), "gauge"));
        }
        Ok(())
    }

    fn error(&self, option: &'static str, found: String, expected: &str) -> Error {
        let metric = self.family().to_owned();
        Error::MetricOption { metric, option, found, expected: expected.to_owned() }
    }
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::Avg => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Sum => "sum",
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Quantile(_) => "quantile",
        }
    }
}

// Reads a file's mapping, which Miri can't.
#[cfg(all(test, not(miri)))]
mod tests;
