//! `Gauge`, `IntGauge` and `DurationGauge`.

use dyn_metrics::raw::{self, Number};
use dyn_metrics::{FloatGauge, GaugeMode, Opts};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::args::{self, ABSENT, Arguments, Given, plain_f64, plain_int, shown};
use crate::errors::invalid_value;
use crate::lane::update_lane;
use crate::metric::{Metric, class_of, construct};
use crate::on_scrape;
use crate::timing::{InprogressTracker, Sink, Timer};

/// The options that gauges and enums have beside the common ones.
pub(crate) const OPTIONS: [&str; 2] = ["multiprocess_mode", "keep_dead"];

/// Puts those options into `opts`.
pub(crate) fn options(arguments: &Arguments<'_>, mut opts: Opts, metric: &str) -> PyResult<Opts> {
    if let Some(given) = arguments.get("multiprocess_mode") {
        let name = args::text(given, "multiprocess_mode", metric)?;
        let modes = GaugeMode::EVERY.map(GaugeMode::name);
        let Some(mode) = GaugeMode::EVERY.into_iter().find(|mode| mode.name() == name) else {
            let (found, modes) = (shown(given), modes.join(", "));
            let text =
                format!("metric {metric:?}: multiprocess_mode: found {found}, expected one of {modes}");
            return Err(invalid_value(arguments.py(), text));
        };
        opts = opts.mode(mode);
    }
    if let Some(processes) = arguments.option("keep_dead", metric, "0 to 4294967295")? {
        opts = opts.keep_dead(processes);
    }
    Ok(opts)
}

/// The lanes of a gauge whose amounts `plain` takes from what is given.
macro_rules! gauge_lanes {
    ($Class:ident, $plain:ident, $Set:ident, $Inc:ident, $Dec:ident) => {
        update_lane!($Set: $Class.c"set", 1, |gauge, given| {
            let [one] = given else { return None };
            let value = $plain(*one)?;
            gauge.0.as_ref().map(|gauge| gauge.set(value))
        });

        update_lane!($Inc: $Class.c"inc", 0, |gauge, given| {
            let gauge = gauge.0.as_ref()?;
            match given {
                [] => gauge.inc(),
                [one] => gauge.add($plain(*one)?),
                _ => return None,
            }
            Some(())
        });

        update_lane!($Dec: $Class.c"dec", 0, |gauge, given| {
            let gauge = gauge.0.as_ref()?;
            match given {
                [] => gauge.dec(),
                [one] => gauge.sub($plain(*one)?),
                _ => return None,
            }
            Some(())
        });
    };
}

/// A number that goes up and down. Each process has its own; readers combine them.
///
/// multiprocess_mode says how: livesum (unless given), liveall, livemin, livemax, livemostrecent count processes
/// that live; sum, all, min, max, mostrecent the dead ones, too. keep_dead: in mode all, how many of the newest dead
/// processes keep their sample. A forked child gets its own value at its first update.
/// Errors: as Counter.
///
/// >>> depth = Gauge("doc_queue_depth", "Requests that wait", multiprocess_mode="livesum")
/// >>> depth.set(4)
/// >>> depth.dec(1.5)
/// >>> depth.value()
/// 2.5
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Gauge(Option<FloatGauge>);

class_of!(Gauge, Gauge);

impl Gauge {
    pub(crate) fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s FloatGauge> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }

    fn number(slf: &Bound<'_, Self>, amount: Option<&Bound<'_, PyAny>>) -> PyResult<f64> {
        amount.map_or(Ok(1.0), |amount| args::number(amount, slf.as_super().get().name()))
    }
}

#[pymethods]
impl Gauge {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, multiprocess_mode='livesum', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = Arguments::new("Gauge", &OPTIONS, args, keywords)?;
        construct(&arguments, |opts, metric| options(&arguments, opts, metric))
    }

    /// Sets this process's value: an int or a float.
    ///
    /// Threads, signal handlers, forked children: any. Cost: a store; no lock, no system call after the first.
    /// Errors: InvalidTypeError (a TypeError).
    fn set(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::handle(slf)?.set(Self::number(slf, Some(value))?);
        Ok(())
    }

    /// Adds `amount`; NaN is dropped, and counted. Threads, cost and errors: as set().
    #[pyo3(signature = (amount=ABSENT), text_signature = "($self, amount=1)")]
    fn inc<'py>(slf: &Bound<'py, Self>, amount: Given<'_, 'py>) -> PyResult<()> {
        Self::handle(slf)?.add(Self::number(slf, amount.0.as_deref())?);
        Ok(())
    }

    /// Subtracts `amount`; as inc().
    #[pyo3(signature = (amount=ABSENT), text_signature = "($self, amount=1)")]
    fn dec<'py>(slf: &Bound<'py, Self>, amount: Given<'_, 'py>) -> PyResult<()> {
        Self::handle(slf)?.sub(Self::number(slf, amount.0.as_deref())?);
        Ok(())
    }

    /// Sets this process's value to the time, in seconds since 1970.
    fn set_to_current_time(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::handle(slf)?.set_to_current_time();
        Ok(())
    }

    /// Has this process's value computed by `function` whenever somebody asks for it: when the exporter is scraped, or a page of this
    /// process is made. In place of an earlier function of this series; None ends that.
    ///
    /// The function runs on a thread of the library's, and gives a number. Who asks waits for it for a short time (100 ms unless
    /// the exporter is told otherwise), then reads what is there. What it raises goes to sys.unraisablehook. It ends with the
    /// process; a forked child has none of its parent's. Errors: InvalidTypeError.
    ///
    /// >>> waiting = Gauge("doc_waiting", "Requests that wait")
    /// >>> queue = [1, 2, 3]
    /// >>> waiting.set_function(lambda: len(queue))
    /// >>> REGISTRY.snapshot()["doc_waiting"]["series"]
    /// [{'labels': {}, 'value': 3.0}]
    /// >>> waiting.set_function(None)
    fn set_function(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) -> PyResult<()> {
        on_scrape::set_function(Self::handle(slf)?, function)
    }

    /// This process's value.
    fn value(slf: &Bound<'_, Self>) -> PyResult<f64> {
        Self::handle(slf).map(FloatGauge::value)
    }

    /// Adds 1 while a block or a function runs: a context manager and a decorator.
    ///
    /// >>> running = Gauge("doc_running", "Requests that run")
    /// >>> with running.track_inprogress():
    /// ...     running.value()
    /// 1.0
    fn track_inprogress(slf: &Bound<'_, Self>) -> PyResult<InprogressTracker> {
        Ok(InprogressTracker::new(Self::handle(slf)?.clone()))
    }

    /// Sets this process's value to the seconds that a block or a function took: a context manager and a decorator.
    fn time(slf: &Bound<'_, Self>) -> PyResult<Timer> {
        Ok(Timer::new(Sink::Gauge(Self::handle(slf)?.clone())))
    }
}

gauge_lanes!(Gauge, plain_f64, GaugeSet, GaugeInc, GaugeDec);

/// A Gauge of whole numbers, whose value is an int of 64 bits.
///
/// Cheaper than Gauge to add to: one atomic addition.
///
/// >>> free = IntGauge("doc_free_blocks", "Blocks that are free")
/// >>> free.inc(3)
/// >>> free.value()
/// 3
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct IntGauge(Option<dyn_metrics::Gauge>);

class_of!(IntGauge, Gauge);

impl IntGauge {
    pub(crate) fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s dyn_metrics::Gauge> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }

    fn number(slf: &Bound<'_, Self>, amount: Option<&Bound<'_, PyAny>>) -> PyResult<i64> {
        amount.map_or(Ok(1), |amount| args::whole(amount, slf.as_super().get().name()))
    }
}

#[pymethods]
impl IntGauge {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, multiprocess_mode='livesum', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = Arguments::new("IntGauge", &OPTIONS, args, keywords)?;
        construct(&arguments, |opts, metric| options(&arguments, opts, metric))
    }

    /// Sets this process's value, an int. Threads, cost and errors: as Gauge.set(), and an InvalidValueError (a
    /// ValueError) for what 64 bits don't hold.
    fn set(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        Self::handle(slf)?.set(Self::number(slf, Some(value))?);
        Ok(())
    }

    /// Adds `amount`, an int; wraps at 2^63. Otherwise as set().
    #[pyo3(signature = (amount=ABSENT), text_signature = "($self, amount=1)")]
    fn inc<'py>(slf: &Bound<'py, Self>, amount: Given<'_, 'py>) -> PyResult<()> {
        Self::handle(slf)?.add(Self::number(slf, amount.0.as_deref())?);
        Ok(())
    }

    /// Subtracts `amount`; as inc().
    #[pyo3(signature = (amount=ABSENT), text_signature = "($self, amount=1)")]
    fn dec<'py>(slf: &Bound<'py, Self>, amount: Given<'_, 'py>) -> PyResult<()> {
        Self::handle(slf)?.sub(Self::number(slf, amount.0.as_deref())?);
        Ok(())
    }

    /// Has this process's value computed by `function` whenever somebody asks for it: when the exporter is scraped, or a page of this
    /// process is made. In place of an earlier function of this series; None ends that.
    ///
    /// The function runs on a thread of the library's, and gives a number, which is rounded. Who asks waits for it for a short time (100 ms unless
    /// the exporter is told otherwise), then reads what is there. What it raises goes to sys.unraisablehook. It ends with the
    /// process; a forked child has none of its parent's. Errors: InvalidTypeError.
    fn set_function(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) -> PyResult<()> {
        on_scrape::set_function(Self::handle(slf)?, function)
    }

    /// This process's value.
    fn value(slf: &Bound<'_, Self>) -> PyResult<i64> {
        Self::handle(slf).map(dyn_metrics::Gauge::value)
    }

    /// Adds 1 while a block or a function runs: a context manager and a decorator.
    fn track_inprogress(slf: &Bound<'_, Self>) -> PyResult<InprogressTracker> {
        Ok(InprogressTracker::new(Self::handle(slf)?.clone()))
    }
}

gauge_lanes!(IntGauge, plain_int, IntGaugeSet, IntGaugeInc, IntGaugeDec);

/// A Gauge of time, exposed in seconds and kept in nanoseconds.
///
/// Values are timedeltas or seconds.
///
/// >>> from datetime import timedelta
/// >>> lag = DurationGauge("doc_lag_seconds", "How far behind", unit="seconds")
/// >>> lag.set(timedelta(milliseconds=1500))
/// >>> lag.value()
/// 1.5
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct DurationGauge(Option<dyn_metrics::DurationGauge>);

class_of!(DurationGauge, Gauge);

impl DurationGauge {
    fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s dyn_metrics::DurationGauge> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }

    /// Nanoseconds, saturating at 292 years.
    fn number(slf: &Bound<'_, Self>, amount: &Bound<'_, PyAny>) -> PyResult<i64> {
        let (is_negative, length) = args::seconds(amount, slf.as_super().get().name())?;
        let length = i64::try_from(length.as_nanos()).unwrap_or(i64::MAX);
        Ok(if is_negative { -length } else { length })
    }
}

#[pymethods]
impl DurationGauge {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, multiprocess_mode='livesum', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let arguments = Arguments::new("DurationGauge", &OPTIONS, args, keywords)?;
        construct(&arguments, |opts, metric| options(&arguments, opts, metric))
    }

    /// Sets this process's value: a timedelta, or seconds. Threads and cost: as Gauge.set(). Errors: InvalidTypeError,
    /// and InvalidValueError (a ValueError) for what is not finite.
    fn set(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        raw::set(Self::handle(slf)?, Number::Nanoseconds(Self::number(slf, value)?));
        Ok(())
    }

    /// Adds `amount`: a timedelta, or seconds. Otherwise as set().
    fn inc(slf: &Bound<'_, Self>, amount: &Bound<'_, PyAny>) -> PyResult<()> {
        raw::add(Self::handle(slf)?, Number::Nanoseconds(Self::number(slf, amount)?));
        Ok(())
    }

    /// Subtracts `amount`; as inc().
    fn dec(slf: &Bound<'_, Self>, amount: &Bound<'_, PyAny>) -> PyResult<()> {
        raw::add(Self::handle(slf)?, Number::Nanoseconds(-Self::number(slf, amount)?));
        Ok(())
    }

    /// Has this process's value computed by `function` whenever somebody asks for it: when the exporter is scraped, or a page of this
    /// process is made. In place of an earlier function of this series; None ends that.
    ///
    /// The function runs on a thread of the library's, and gives a timedelta or seconds. Who asks waits for it for a short time (100 ms unless
    /// the exporter is told otherwise), then reads what is there. What it raises goes to sys.unraisablehook. It ends with the
    /// process; a forked child has none of its parent's. Errors: InvalidTypeError.
    fn set_function(slf: &Bound<'_, Self>, function: &Bound<'_, PyAny>) -> PyResult<()> {
        on_scrape::set_time_function(Self::handle(slf)?, function)
    }

    /// This process's value, in seconds.
    fn value(slf: &Bound<'_, Self>) -> PyResult<f64> {
        Self::handle(slf).map(dyn_metrics::DurationGauge::value)
    }

    /// Sets this process's value to the time that a block or a function took: a context manager and a decorator.
    fn time(slf: &Bound<'_, Self>) -> PyResult<Timer> {
        Ok(Timer::new(Sink::DurationGauge(Self::handle(slf)?.clone())))
    }
}
