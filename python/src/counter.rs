//! `Counter`, `IntCounter` and `DurationCounter`.

use std::sync::OnceLock;
use std::time::Duration;

use dyn_metrics::raw;
use dyn_metrics::{Family, FloatCounter, Kind, Opts};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::args::{self, ABSENT, Amount, Arguments, Given, plain_amount, plain_f64, plain_int, shown};
use crate::errors::invalid_value;
use crate::lane::update_lane;
use crate::metric::{Class, Made, Metric, class_of, construct};
use crate::timing::{ExceptionCounter, Sink, Timer, exceptions};

/// The error for an amount below 0.
#[cold]
fn negative(metric: &Metric, found: &Bound<'_, PyAny>) -> PyErr {
    let (name, found_text) = (metric.name(), shown(found));
    let text = format!("metric {name:?}: found an increment of {found_text}, expected 0 or more");
    invalid_value(found.py(), text)
}

/// A total that only grows, over all processes. Unit: events, or what the name says.
///
/// The exposed name ends in `_total`, which may be left out. Whole amounts are counted exactly up to 2^64, others as
/// doubles. Errors: InvalidValueError, InvalidTypeError, ConflictError (the segment has another family of this
/// name), SegmentError.
///
/// >>> tokens = Counter("doc_tokens", "Tokens generated")
/// >>> tokens.inc()
/// >>> tokens.inc(16)
/// >>> tokens.value()
/// 17.0
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Counter {
    /// None: it has labels.
    whole: Option<dyn_metrics::Counter>,
    /// Other amounts than whole ones: registered by the first.
    fraction: OnceLock<FloatCounter>,
    fractions: Option<(Family<FloatCounter>, Box<[String]>)>,
    /// Whether both handles read the series' total: a segment has a number for each of them, other registries one.
    has_one_number: bool,
}

impl Counter {
    fn fraction(&self) -> &FloatCounter {
        if let Some(fraction) = self.fraction.get() {
            return fraction;
        }
        let made = self.fractions.as_ref().map(|(family, values)| {
            // The whole amounts' family may have moved to a new segment; what can't be had counts privately.
            let _ = raw::follow(family);
            family.with(&values.iter().map(String::as_str).collect::<Vec<_>>())
        });
        self.fraction.get_or_init(|| made.unwrap_or_default())
    }
}

impl Counter {
    /// What counts whole amounts, and what counts others.
    pub(crate) fn handles(slf: &Bound<'_, Self>) -> PyResult<(dyn_metrics::Counter, FloatCounter)> {
        let counter = slf.get();
        let Some(whole) = &counter.whole else { return Err(slf.as_super().get().has_labels(slf.py())) };
        Ok((whole.clone(), counter.fraction().clone()))
    }
}

impl Class for Counter {
    const KIND: Kind = Kind::Counter;

    fn family(
        registry: &dyn_metrics::Registry,
        opts: &Opts,
        names: &[&str],
    ) -> dyn_metrics::Result<impl Fn(&[&str]) -> dyn_metrics::Result<Made<Self>> + Send + Sync + 'static>
    {
        let wholes = registry.family::<dyn_metrics::Counter>(opts, names)?;
        let fractions = registry.family::<FloatCounter>(opts, names)?;
        let has_one_number = registry.kind() != "shm";
        Ok(move |values: &[&str]| {
            let texts = values.iter().map(|value| (*value).to_owned()).collect();
            let fractions = Some((fractions.clone(), texts));
            let counter =
                |whole| Self { whole: Some(whole), fraction: OnceLock::new(), fractions, has_one_number };
            Made::of(&wholes, values, counter)
        })
    }

    fn without_series() -> Self {
        Self { whole: None, fraction: OnceLock::new(), fractions: None, has_one_number: false }
    }
}

#[pymethods]
impl Counter {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        construct(&Arguments::new("Counter", &[], args, keywords)?, |opts, _| Ok(opts))
    }

    /// Adds `amount`: an int or a float, 0 or more; NaN and infinity are dropped, and counted.
    ///
    /// Threads, signal handlers, forked children: any. Cost: one addition in this CPU's cell; no lock, no system call.
    /// Errors: InvalidValueError (a ValueError) when it is negative, InvalidTypeError (a TypeError).
    #[pyo3(signature = (amount=ABSENT), text_signature = "($self, amount=1)")]
    fn inc<'py>(slf: &Bound<'py, Self>, amount: Given<'_, 'py>) -> PyResult<()> {
        let (counter, metric) = (slf.get(), slf.as_super().get());
        let Some(whole) = &counter.whole else { return Err(metric.has_labels(slf.py())) };
        let Some(given) = amount.0.as_deref() else {
            whole.inc();
            return Ok(());
        };
        match args::amount(given, metric.name())? {
            Amount::Whole(n) => whole.inc_by(u64::try_from(n).map_err(|_| negative(metric, given))?),
            Amount::Fraction(x) if x < 0.0 => return Err(negative(metric, given)),
            Amount::Fraction(x) => counter.fraction().inc_by(x),
        }
        Ok(())
    }

    /// The total over all processes.
    fn value(slf: &Bound<'_, Self>) -> PyResult<f64> {
        let counter = slf.get();
        let Some(whole) = &counter.whole else { return Err(slf.as_super().get().has_labels(slf.py())) };
        let fraction = counter.fraction().value();
        Ok(if counter.has_one_number { fraction } else { whole.value() as f64 + fraction })
    }

    /// Counts exceptions of these types that leave a block or a function, which go on as they are.
    ///
    /// >>> failures = Counter("doc_failures", "Failures")
    /// >>> with failures.count_exceptions(KeyError):
    /// ...     {}["a"]
    /// Traceback (most recent call last):
    /// KeyError: 'a'
    /// >>> failures.value()
    /// 1.0
    #[pyo3(signature = (exception=None), text_signature = "($self, exception=Exception)")]
    fn count_exceptions(
        slf: &Bound<'_, Self>,
        exception: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<ExceptionCounter> {
        let metric = slf.as_super().get();
        let Some(whole) = &slf.get().whole else { return Err(metric.has_labels(slf.py())) };
        Ok(ExceptionCounter::new(whole.clone(), exceptions(slf.py(), exception, metric.name())?))
    }
}

update_lane!(CounterInc: Counter.c"inc", 0, |counter, given| {
    let whole = counter.whole.as_ref()?;
    match given {
        [] => whole.inc(),
        [one] => match plain_amount(*one)? {
            Amount::Whole(n) => whole.inc_by(u64::try_from(n).ok()?),
            Amount::Fraction(x) if x < 0.0 => return None,
            Amount::Fraction(x) => counter.fraction.get()?.inc_by(x),
        },
        _ => return None,
    }
    Some(())
});

/// A Counter of whole amounts only, whose value is an int.
///
/// >>> IntCounter("doc_bytes", "Bytes sent", unit="bytes").name
/// 'doc_bytes_total'
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct IntCounter(Option<dyn_metrics::Counter>);

class_of!(IntCounter, Counter);

impl IntCounter {
    pub(crate) fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s dyn_metrics::Counter> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }
}

#[pymethods]
impl IntCounter {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        construct(&Arguments::new("IntCounter", &[], args, keywords)?, |opts, _| Ok(opts))
    }

    /// Adds `amount`, an int, 0 or more. Threads, cost and errors: as Counter.inc().
    #[pyo3(signature = (amount=ABSENT), text_signature = "($self, amount=1)")]
    fn inc<'py>(slf: &Bound<'py, Self>, amount: Given<'_, 'py>) -> PyResult<()> {
        let metric = slf.as_super().get();
        let Some(counter) = &slf.get().0 else { return Err(metric.has_labels(slf.py())) };
        let Some(given) = amount.0.as_deref() else {
            counter.inc();
            return Ok(());
        };
        let n = args::whole(given, metric.name())?;
        counter.inc_by(u64::try_from(n).map_err(|_| negative(metric, given))?);
        Ok(())
    }

    /// The total over all processes, as far as it was counted in whole amounts.
    fn value(slf: &Bound<'_, Self>) -> PyResult<u64> {
        Self::handle(slf).map(dyn_metrics::Counter::value)
    }
}

update_lane!(IntCounterInc: IntCounter.c"inc", 0, |counter, given| {
    let counter = counter.0.as_ref()?;
    match given {
        [] => counter.inc(),
        [one] => counter.inc_by(u64::try_from(plain_int(*one)?).ok()?),
        _ => return None,
    }
    Some(())
});

/// A total of time that only grows, over all processes; counted in nanoseconds, exposed in seconds.
///
/// >>> busy = DurationCounter("doc_busy_seconds", "Time at work", unit="seconds")
/// >>> busy.inc(0.25)
/// >>> with busy.time():
/// ...     pass
/// >>> busy.value() >= 0.25
/// True
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct DurationCounter(Option<dyn_metrics::DurationCounter>);

class_of!(DurationCounter, Counter);

impl DurationCounter {
    fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s dyn_metrics::DurationCounter> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }
}

#[pymethods]
impl DurationCounter {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        construct(&Arguments::new("DurationCounter", &[], args, keywords)?, |opts, _| Ok(opts))
    }

    /// Adds `amount`: a timedelta, or seconds; 0 or more. Threads, cost and errors: as Counter.inc(), and an
    /// InvalidValueError for what is not finite.
    fn inc(slf: &Bound<'_, Self>, amount: &Bound<'_, PyAny>) -> PyResult<()> {
        let (counter, metric) = (Self::handle(slf)?, slf.as_super().get());
        let (is_negative, length) = args::seconds(amount, metric.name())?;
        if is_negative {
            return Err(negative(metric, amount));
        }
        counter.inc_by(length);
        Ok(())
    }

    /// The total over all processes, in seconds, as far as it was counted as time.
    fn value(slf: &Bound<'_, Self>) -> PyResult<f64> {
        Self::handle(slf).map(|counter| counter.value().as_secs_f64())
    }

    /// Adds the time that a block or a function takes: a context manager and a decorator.
    fn time(slf: &Bound<'_, Self>) -> PyResult<Timer> {
        Ok(Timer::new(Sink::DurationCounter(Self::handle(slf)?.clone())))
    }
}

update_lane!(DurationCounterInc: DurationCounter.c"inc", 1, |counter, given| {
    let [one] = given else { return None };
    let (is_negative, length): (bool, Duration) = args::duration(plain_f64(*one)?)?;
    (!is_negative).then(|| counter.0.as_ref().map(|counter| counter.inc_by(length)))?
});
