//! What `time()`, `count_exceptions()` and `track_inprogress()` give: context managers that also decorate
//! functions, those of `async def` too.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dyn_metrics::{Counter, DurationCounter, DurationGauge, FloatGauge, Histogram, Tally};
use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::args::wrong_type;

/// Where a measured time goes.
#[derive(Clone)]
pub(crate) enum Sink {
    Histogram(Histogram),
    Summary(Tally),
    Gauge(FloatGauge),
    DurationCounter(DurationCounter),
    DurationGauge(DurationGauge),
}

impl Sink {
    fn take(&self, time: Duration) {
        match self {
            Self::Histogram(histogram) => histogram.observe(time.as_secs_f64()),
            Self::Summary(tally) => tally.observe(time.as_secs_f64()),
            Self::Gauge(gauge) => gauge.set(time.as_secs_f64()),
            Self::DurationCounter(counter) => counter.inc_by(time),
            Self::DurationGauge(gauge) => gauge.set(time),
        }
    }
}

/// Nanoseconds since this was first asked, plus 1.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed();
    u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX - 1) + 1
}

/// Wraps `function` so that each call runs in a context manager of its own, a copy of `manager`.
fn decorate<'py>(manager: Bound<'py, PyAny>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    manager.py().import("dyn_metrics._decorate")?.getattr("decorate")?.call1((manager, function))
}

/// Measures the time of a block, or as a decorator that of each call.
///
/// Clock: the monotonic one. Used again, a timer measures anew; for blocks within each other take several.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct Timer {
    sink: Sink,
    /// 0: not started.
    start: AtomicU64,
}

impl Timer {
    pub(crate) fn new(sink: Sink) -> Self {
        Self { sink, start: AtomicU64::new(0) }
    }
}

#[pymethods]
impl Timer {
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf.get().start.store(now(), Ordering::Relaxed);
        slf
    }

    /// Records the time, also when an exception leaves the block, which goes on as it is.
    fn __exit__(
        &self,
        class_: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (class_, exception, traceback);
        let start = self.start.swap(0, Ordering::Relaxed);
        if start > 0 {
            self.sink.take(Duration::from_nanos(now().saturating_sub(start)));
        }
    }

    fn __call__<'py>(slf: Bound<'py, Self>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decorate(slf.into_any(), function)
    }

    /// Another one of the same metric.
    fn __copy__(&self) -> Self {
        Self::new(self.sink.clone())
    }
}

/// Counts exceptions that leave a block, or as a decorator a function.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct ExceptionCounter {
    counter: Counter,
    exceptions: Py<PyAny>,
}

impl ExceptionCounter {
    pub(crate) fn new(counter: Counter, exceptions: Py<PyAny>) -> Self {
        Self { counter, exceptions }
    }
}

/// The classes in `given`, one or a tuple; `Exception` when it is none.
pub(crate) fn exceptions(
    py: Python<'_>,
    given: Option<&Bound<'_, PyAny>>,
    metric: &str,
) -> PyResult<Py<PyAny>> {
    let Some(given) = given else { return Ok(py.get_type::<PyException>().into_any().unbind()) };
    let is_class = |object: &Bound<'_, PyAny>| {
        object.cast::<PyType>().is_ok_and(|class| class.is_subclass_of::<PyBaseException>().unwrap_or(false))
    };
    let is_right = match given.cast::<PyTuple>() {
        Ok(tuple) => tuple.iter().all(|class| is_class(&class)),
        Err(_) => is_class(given),
    };
    if is_right {
        return Ok(given.clone().unbind());
    }
    Err(wrong_type(metric, "exception", given, "exception classes"))
}

#[pymethods]
impl ExceptionCounter {
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        py: Python<'_>,
        class_: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let _ = traceback;
        if !class_.is_none() && exception.is_instance(self.exceptions.bind(py))? {
            self.counter.inc();
        }
        Ok(())
    }

    fn __call__<'py>(slf: Bound<'py, Self>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decorate(slf.into_any(), function)
    }

    /// Another one of the same metric.
    fn __copy__(&self, py: Python<'_>) -> Self {
        Self::new(self.counter.clone(), self.exceptions.clone_ref(py))
    }
}

/// Where running blocks are counted.
#[derive(Clone)]
pub(crate) enum Running {
    Float(FloatGauge),
    Whole(dyn_metrics::Gauge),
}

impl From<FloatGauge> for Running {
    fn from(gauge: FloatGauge) -> Self {
        Self::Float(gauge)
    }
}

impl From<dyn_metrics::Gauge> for Running {
    fn from(gauge: dyn_metrics::Gauge) -> Self {
        Self::Whole(gauge)
    }
}

/// Adds 1 to a gauge while a block or a function runs.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct InprogressTracker(Running);

impl InprogressTracker {
    pub(crate) fn new(gauge: impl Into<Running>) -> Self {
        Self(gauge.into())
    }

    fn add(&self, n: i8) {
        match &self.0 {
            Running::Float(gauge) => gauge.add(n.into()),
            Running::Whole(gauge) => gauge.add(n.into()),
        }
    }
}

#[pymethods]
impl InprogressTracker {
    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf.get().add(1);
        slf
    }

    fn __exit__(
        &self,
        class_: &Bound<'_, PyAny>,
        exception: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (class_, exception, traceback);
        self.add(-1);
    }

    fn __call__<'py>(slf: Bound<'py, Self>, function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        decorate(slf.into_any(), function)
    }

    /// Another one of the same metric.
    fn __copy__(&self) -> Self {
        Self(self.0.clone())
    }
}
