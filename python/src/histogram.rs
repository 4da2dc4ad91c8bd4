//! `Histogram` and `Summary`.

use dyn_metrics::{Opts, Tally};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::args::{self, Arguments, plain_f64, wrong_type};
use crate::lane::update_lane;
use crate::metric::{Metric, class_of, construct};
use crate::timing::{Sink, Timer};

/// Observations counted by upper bound, and their sum, over all processes. Unit: that of the name.
///
/// buckets: upper bounds, ascending, at most 256; `+Inf` may be given and is there anyway. Without them those of
/// Prometheus' Go library, for seconds: 0.005 to 10. Errors: as Counter.
///
/// >>> wait = Histogram("doc_wait_seconds", "Time in the queue", buckets=(0.01, 0.1, 1))
/// >>> wait.observe(0.02)
/// >>> with wait.time():
/// ...     pass
/// >>> wait.count()
/// 2
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Histogram(Option<dyn_metrics::Histogram>);

class_of!(Histogram, Histogram);

/// Puts `buckets` into `opts`.
fn bounds(arguments: &Arguments<'_>, opts: Opts, metric: &str) -> PyResult<Opts> {
    let Some(given) = arguments.get("buckets") else { return Ok(opts) };
    let wrong = || wrong_type(metric, "buckets", given, "a sequence of numbers");
    let items = given.try_iter().map_err(|error| args::of_type(error, given, wrong))?;
    let mut bounds = Vec::new();
    for item in items {
        bounds.push(args::number(&item?, metric)?);
    }
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
    }
    Ok(opts.bounds(&bounds))
}

impl Histogram {
    fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s dyn_metrics::Histogram> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }
}

#[pymethods]
impl Histogram {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, buckets=None, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = Arguments::new("Histogram", &["buckets"], args, keywords)?;
        construct(&arguments, |opts, metric| bounds(&arguments, opts, metric))
    }

    /// Observes `amount`, an int or a float; one equal to a bound belongs to that bound's bucket.
    ///
    /// NaN is dropped, and counted; infinite ones count in their bucket and stay out of the sum. Threads, signal
    /// handlers, forked children: any. Cost: two additions in this CPU's cells; no lock, no system call. Errors:
    /// InvalidTypeError (a TypeError).
    fn observe(slf: &Bound<'_, Self>, amount: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::handle(slf)?.observe(args::number(amount, slf.as_super().get().name())?);
        Ok(())
    }

    /// Observes the seconds that a block or a function takes: a context manager and a decorator.
    fn time(slf: &Bound<'_, Self>) -> PyResult<Timer> {
        Ok(Timer::new(Sink::Histogram(Self::handle(slf)?.clone())))
    }

    /// Observations of all processes.
    fn count(slf: &Bound<'_, Self>) -> PyResult<u64> {
        Self::handle(slf).map(dyn_metrics::Histogram::count)
    }

    /// Sum of the observations of all processes.
    fn sum(slf: &Bound<'_, Self>) -> PyResult<f64> {
        Self::handle(slf).map(dyn_metrics::Histogram::sum)
    }

    /// Observations of all processes by upper bound, not cumulative; the last is `inf`.
    fn buckets<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyDict>> {
        let (histogram, buckets) = (Self::handle(slf)?, PyDict::new(slf.py()));
        let bounds = histogram.bounds().iter().copied().chain([f64::INFINITY]);
        bounds.zip(histogram.buckets()).try_for_each(|(bound, count)| buckets.set_item(bound, count))?;
        Ok(buckets)
    }
}

update_lane!(HistogramObserve: Histogram.c"observe", 1, |histogram, given| {
    let [one] = given else { return None };
    let value = plain_f64(*one)?;
    histogram.0.as_ref().map(|histogram| histogram.observe(value))
});

/// Count and sum of observations, over all processes: a summary without quantiles. Unit: that of the name.
///
/// >>> size = Summary("doc_batch_requests", "Requests in a batch")
/// >>> size.observe(8)
/// >>> size.count(), size.sum()
/// (1, 8.0)
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Summary(Option<Tally>);

class_of!(Summary, Tally);

impl Summary {
    fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s Tally> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }
}

#[pymethods]
impl Summary {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        construct(&Arguments::new("Summary", &[], args, keywords)?, |opts, _| Ok(opts))
    }

    /// Observes `amount`, an int or a float. NaN, infinities, threads, cost, errors: as Histogram.observe().
    fn observe(slf: &Bound<'_, Self>, amount: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::handle(slf)?.observe(args::number(amount, slf.as_super().get().name())?);
        Ok(())
    }

    /// Observes the seconds that a block or a function takes: a context manager and a decorator.
    fn time(slf: &Bound<'_, Self>) -> PyResult<Timer> {
        Ok(Timer::new(Sink::Summary(Self::handle(slf)?.clone())))
    }

    /// Observations of all processes.
    fn count(slf: &Bound<'_, Self>) -> PyResult<u64> {
        Self::handle(slf).map(Tally::count)
    }

    /// Sum of the observations of all processes.
    fn sum(slf: &Bound<'_, Self>) -> PyResult<f64> {
        Self::handle(slf).map(Tally::sum)
    }
}

update_lane!(SummaryObserve: Summary.c"observe", 1, |summary, given| {
    let [one] = given else { return None };
    let value = plain_f64(*one)?;
    summary.0.as_ref().map(|summary| summary.observe(value))
});
