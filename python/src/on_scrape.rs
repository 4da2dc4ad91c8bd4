//! Values that are computed when somebody asks: callables of Python's, called by threads of the library's.

use std::time::Duration;

use dyn_metrics::raw;
use dyn_metrics::{CALLBACK_LIMIT, Metric, Registry};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::args::{seconds, shown};
use crate::calls::Calls;
use crate::errors::invalid_type;

/// How long the end of the interpreter waits for callbacks that run.
const AT_EXIT: Duration = Duration::from_secs(1);

static CALLS: Calls = Calls::new();

/// A callback that runs when somebody asks for values; see Registry.on_scrape().
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct OnScrape(usize);

#[pymethods]
impl OnScrape {
    /// Ends it: no further run begins. False when it had ended, and in a forked child. Threads: any, also from the callback.
    fn cancel(&self) -> bool {
        raw::end_callback(self.0)
    }
}

/// Registers a callback.
pub(crate) fn on_scrape(registry: &Registry, callback: &Bound<'_, PyAny>) -> PyResult<OnScrape> {
    let callback = callable(callback)?;
    let work = move || call(&callback, |_| Ok(())).is_some();
    Ok(OnScrape(raw::on_scrape(registry, Box::new(work))))
}

/// Has a metric's value computed by `function`; None ends that.
pub(crate) fn set_function<M: Metric>(handle: &M, function: &Bound<'_, PyAny>) -> PyResult<()> {
    set_function_of(handle, function, |value| value.extract())
}

/// As [`set_function`], of a time: a timedelta, or seconds.
pub(crate) fn set_time_function<M: Metric>(handle: &M, function: &Bound<'_, PyAny>) -> PyResult<()> {
    set_function_of(handle, function, |value| {
        let (is_negative, length) = seconds(value, "set_function()")?;
        Ok(if is_negative { -length.as_secs_f64() } else { length.as_secs_f64() })
    })
}

fn set_function_of<M: Metric>(
    handle: &M,
    function: &Bound<'_, PyAny>,
    take: fn(&Bound<'_, PyAny>) -> PyResult<f64>,
) -> PyResult<()> {
    if function.is_none() {
        raw::clear_function(handle);
        return Ok(());
    }
    let function = callable(function)?;
    raw::set_function(handle, Box::new(move || call(&function, take)));
    Ok(())
}

/// Runs this process's callbacks, for a page of its own. Other threads of Python go on, and the callbacks.
pub(crate) fn run(py: Python<'_>, registry: &Registry) {
    py.detach(|| registry.run_callbacks(CALLBACK_LIMIT));
}

fn callable(given: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    if !given.is_callable() {
        return Err(invalid_type(given.py(), format!("found {}, expected a callable", shown(given))));
    }
    end_at_exit(given.py())?;
    Ok(given.clone().unbind())
}

/// What the callable gives; what it raises goes to `sys.unraisablehook`. None also when the interpreter is ending.
fn call<T>(callable: &Py<PyAny>, take: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> Option<T> {
    let called = CALLS.attached(|py| {
        let callable = callable.bind(py);
        let taken = callable.call0().and_then(|given| take(&given));
        let tell = |error: PyErr| {
            if !CALLS.is_ending() {
                error.write_unraisable(py, Some(callable));
            }
        };
        taken.map_err(tell).ok()
    });
    called.flatten()
}

/// No thread of ours may want the interpreter when it is no more.
fn end_at_exit(py: Python<'_>) -> PyResult<()> {
    static REGISTERED: PyOnceLock<()> = PyOnceLock::new();
    REGISTERED.get_or_try_init(py, || {
        let end = wrap_pyfunction!(end_callbacks, py)?;
        py.import("atexit")?.call_method1("register", (end,)).map(drop)
    })?;
    Ok(())
}

#[pyfunction]
fn end_callbacks(py: Python<'_>) {
    py.detach(|| raw::end_callbacks(AT_EXIT));
    CALLS.end(py, AT_EXIT);
}
