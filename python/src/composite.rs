//! `Composite` and `Reading`: one number of many series.

use std::time::Duration;

use dyn_metrics::composite::{self as native, LiveComposite, SharedComposite};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyString};

use crate::args::shown;
use crate::errors::{invalid_type, raise, segment_busy};
use crate::registry::Registry;

/// One number made of the series of one family, read at any time without a scrape, with what other processes count.
///
/// operation: "avg", "min", "max", "sum", "count", "rate" (needs a window) or "quantile" (needs q). name: the family as it
/// is exposed, so of a Counter with "_total". matching: labels that series must have, a dict from name to value or to a list
/// of values. not_matching: a dict of values that they must not have. having: names of labels that must be there. q: 0 to 1.
/// over_processes: takes what each living process has set, instead of what the gauge's mode makes of it. window: in seconds
/// or a timedelta; about what happened since that long ago, as far as this object saw it. registry: by default REGISTRY; of
/// a child those series that it could have registered. path: reads the segment there instead, without attaching to it.
///
/// Each read() and each sample() is a sample for the window: docs/COMPOSITES.md says what that means. Errors:
/// InvalidValueError, InvalidTypeError; SegmentError where the registry's segment can't be attached.
///
/// >>> depth = Gauge("doc_composite_depth", "Waiting", ["model"])
/// >>> depth.labels("llama").set(3)
/// >>> depth.labels("qwen").set(4)
/// >>> Composite("avg", "doc_composite_depth").read()
/// Reading('value', 3.5)
/// >>> Composite("sum", "doc_composite_depth", matching={"model": "llama"}).read().value
/// 3.0
/// >>> Composite("rate", "doc_composite_nothing_total", window=60).read()
/// Reading('unknown', None)
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct Composite {
    shared: SharedComposite,
    name: String,
}

/// What a Composite says: state is "value", "idle" (the series are there, and there is nothing to make a number of),
/// "unknown" (no such series yet, or a window that needs another sample) or "dead" (whoever wrote has died); value is the
/// number, never NaN, and None unless state is "value".
#[pyclass(frozen, eq, module = "dyn_metrics")]
#[derive(PartialEq)]
pub(crate) struct Reading(native::Reading);

#[pymethods]
impl Composite {
    #[new]
    #[pyo3(signature = (operation, name, registry=None, *, matching=None, not_matching=None, having=None, q=None, over_processes=false, window=None, path=None), text_signature = "(operation, name, registry=None, *, matching=None, not_matching=None, having=(), q=None, over_processes=False, window=None, path=None)")]
    #[allow(clippy::too_many_arguments, reason = "keywords of Python")]
    fn py_new(
        py: Python<'_>,
        operation: &str,
        name: &str,
        registry: Option<Py<Registry>>,
        matching: Option<&Bound<'_, PyDict>>,
        not_matching: Option<&Bound<'_, PyDict>>,
        having: Option<&Bound<'_, PyAny>>,
        q: Option<f64>,
        over_processes: bool,
        window: Option<&Bound<'_, PyAny>>,
        path: Option<std::path::PathBuf>,
    ) -> PyResult<Self> {
        let refused = |error| raise(py, &error, Some(name));
        let window = window.map(seconds).transpose()?;
        let mut composite = native::Composite::from_parts(operation, name, q, window).map_err(refused)?;
        for (label, value) in matching.into_iter().flatten() {
            composite = match value.cast::<PyString>() {
                Ok(value) => composite.matching(text(&label)?, text(value)?),
                Err(_) => composite.matching_any(text(&label)?, texts(&value)?),
            };
        }
        for (label, value) in not_matching.into_iter().flatten() {
            composite = composite.not_matching(text(&label)?, text(&value)?);
        }
        for label in having.map(texts).transpose()?.unwrap_or_default() {
            composite = composite.having(label);
        }
        if over_processes {
            composite = composite.over_processes();
        }
        let live = match (path, registry) {
            (Some(_), Some(_)) => {
                return Err(invalid_type(py, "Composite(): found registry and path, expected one of them"));
            }
            (Some(path), None) => py.detach(|| composite.open_at(path)),
            (None, registry) => {
                let registry = registry.as_ref().map_or_else(|| Registry::root(py), Ok)?;
                let attached = registry.get().attached(py, None)?;
                py.detach(|| attached.composite(&composite))
            }
        };
        Ok(Self { shared: SharedComposite::new(live.map_err(refused)?), name: name.to_owned() })
    }

    /// The number of now; with a window this takes a sample, too. Cost: some microseconds for a thousand series.
    ///
    /// Errors: SegmentBusyError where other threads have been reading this object for a second.
    fn read(&self, py: Python<'_>) -> PyResult<Reading> {
        self.with(py, LiveComposite::read).map(Reading)
    }

    /// Takes a sample for the window and says nothing: for a ticker. Errors: as read().
    fn sample(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, LiveComposite::sample)
    }

    /// Why the last reading was unknown, where there is more to say than that there is nothing yet; otherwise None.
    #[getter]
    fn trouble(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |live| live.trouble().map(ToString::to_string))
    }

    /// The family's name.
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }
}

impl Composite {
    fn with<T: Send>(&self, py: Python<'_>, act: impl FnOnce(&mut LiveComposite) -> T + Send) -> PyResult<T> {
        let done = py.detach(|| self.shared.with(|live| live.map(act)));
        let busy = || format!("composite of {}: another thread is reading it, and did not finish", self.name);
        done.flatten().ok_or_else(|| segment_busy(py, busy()))
    }
}

#[pymethods]
impl Reading {
    /// "value", "idle", "unknown" or "dead".
    #[getter]
    fn state(&self) -> &'static str {
        self.0.name()
    }

    /// The number; None unless state is "value".
    #[getter]
    fn value(&self) -> Option<f64> {
        self.0.value()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let value = self.value().into_pyobject(py)?.repr()?.to_string_lossy().into_owned();
        Ok(format!("Reading('{}', {value})", self.state()))
    }
}

/// A window: seconds, or a timedelta.
fn seconds(value: &Bound<'_, PyAny>) -> PyResult<f64> {
    if let Ok(seconds) = value.extract::<f64>() {
        return Ok(seconds);
    }
    let wrong = || {
        let found = format!("Composite(): window: found {}, expected seconds or a timedelta", shown(value));
        invalid_type(value.py(), found)
    };
    match value.extract::<Duration>() {
        Ok(time) => Ok(time.as_secs_f64()),
        // A negative timedelta is no Duration.
        Err(_) => value.call_method0("total_seconds").and_then(|s| s.extract()).map_err(|_| wrong()),
    }
}

fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let wrong = |_| invalid_type(value.py(), format!("Composite(): found {}, expected a str", shown(value)));
    value.extract().map_err(wrong)
}

/// Strings; one alone would be taken for its characters.
fn texts(value: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let wrong = || invalid_type(value.py(), format!("Composite(): found {}, expected strs", shown(value)));
    if value.is_instance_of::<PyString>() {
        return Err(wrong());
    }
    let items = PyIterator::from_object(value).map_err(|_| wrong())?;
    items.map(|item| text(&item?)).collect()
}
