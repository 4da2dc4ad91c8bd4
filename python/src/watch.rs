//! Callbacks on changes and thresholds: Python callables on the watcher's threads, or in an asyncio loop.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, UNIX_EPOCH};

use dyn_metrics::watch::{self, Threshold, Watched};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::args::{label_pairs, shown, wrong_type};
use crate::errors::{invalid_type, invalid_value, raise};
use crate::metric::Metric;
use crate::registry::Registry;

const CALL: &str = "on_change()";

/// Longest wait for calls under way when the interpreter ends.
const AT_END: Duration = Duration::from_secs(1);

/// Set when the interpreter ends: from then on nothing is called.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What has to end before the interpreter does.
static ALL: Mutex<Vec<Weak<watch::Subscription>>> = Mutex::new(Vec::new());

/// A value that has changed, or has crossed a threshold.
///
/// name: the family's exposed name, or that of the function that computes it. labels: a dict. old, value: before and
/// now, as floats; None where there is no such series, or nobody has set it. time: when it was seen, seconds since 1970.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct Event(watch::Event);

#[pymethods]
impl Event {
    /// The family's exposed name, or that of the function that computes the value.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// The series' labels, without the segment's common ones.
    #[getter]
    fn labels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let labels = PyDict::new(py);
        self.0.labels().iter().try_for_each(|(name, value)| labels.set_item(name, value))?;
        Ok(labels)
    }

    /// The value before, in seconds for durations; None where there was none.
    #[getter]
    const fn old(&self) -> Option<f64> {
        self.0.old()
    }

    /// The value now; None where there is none any more.
    #[getter]
    const fn value(&self) -> Option<f64> {
        self.0.value()
    }

    /// When it was seen, seconds since 1970.
    #[getter]
    fn time(&self) -> f64 {
        self.0.time().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    fn __repr__(&self) -> String {
        let labels: Vec<_> =
            self.0.labels().iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let shown = |value: Option<f64>| value.map_or_else(|| "None".to_owned(), |value| value.to_string());
        let (old, value) = (shown(self.0.old()), shown(self.0.value()));
        format!("Event({:?}, {{{}}}, {old} -> {value})", self.0.name(), labels.join(", "))
    }
}

/// A subscription: it ends with `cancel()`, at the end of a `with` block, or when nothing refers to it any more.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct Subscription {
    own: Arc<watch::Subscription>,
    exceptions: Arc<AtomicU64>,
}

#[pymethods]
impl Subscription {
    /// Ends it: no call begins any more. Waits at most timeout seconds for one that is under way, unless called by
    /// the callback itself; returns whether none is. A coroutine of the thread that waits can't end meanwhile.
    #[pyo3(signature = (timeout=0.0))]
    fn cancel(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let Ok(most) = Duration::try_from_secs_f64(timeout) else {
            let text = format!("cancel(): timeout: found {timeout}, expected seconds, 0 or more");
            return Err(invalid_value(py, text));
        };
        // At first with the interpreter: what was handed over is let go of here.
        self.own.cancel();
        Ok(py.detach(|| self.own.cancel_and_wait(most)))
    }

    /// Whether it hasn't ended.
    #[getter]
    fn active(&self) -> bool {
        self.own.is_active()
    }

    /// Calls that have ended; events that later ones have replaced before the callback was free (coalesced);
    /// exceptions; for how many seconds the call under way has been running, or None.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = self.own.counts();
        let counts = PyDict::new(py);
        counts.set_item("calls", found.calls)?;
        counts.set_item("coalesced", found.coalesced)?;
        counts.set_item("exceptions", found.panics + self.exceptions.load(Ordering::Relaxed))?;
        counts.set_item("running", found.running.map(|running| running.as_secs_f64()))?;
        Ok(counts)
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, _exception: &Bound<'_, pyo3::types::PyTuple>) {
        self.own.cancel();
    }

    fn __repr__(&self) -> &'static str {
        if self.own.is_active() { "<Subscription, active>" } else { "<Subscription, ended>" }
    }
}

/// What a call subscribes to.
enum Rule {
    Change,
    Threshold(Threshold),
}

/// `Registry.on_change()`.
pub(crate) fn on_change(
    registry: &Bound<'_, Registry>,
    watched: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    labels: Option<&Bound<'_, PyAny>>,
    home: Option<&Bound<'_, PyAny>>,
) -> PyResult<Subscription> {
    subscribe(registry, watched, callback, labels, home, Rule::Change)
}

/// `Registry.on_threshold()`.
pub(crate) fn on_threshold(
    registry: &Bound<'_, Registry>,
    watched: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    (above, below, hysteresis): (Option<f64>, Option<f64>, f64),
    labels: Option<&Bound<'_, PyAny>>,
    home: Option<&Bound<'_, PyAny>>,
) -> PyResult<Subscription> {
    let threshold = match (above, below) {
        (Some(limit), None) => Threshold::above(limit),
        (None, Some(limit)) => Threshold::below(limit),
        _ => {
            let text = "on_threshold(): found both or none of above and below, expected one of them";
            return Err(invalid_type(registry.py(), text));
        }
    };
    let rule = Rule::Threshold(threshold.hysteresis(hysteresis));
    subscribe(registry, watched, callback, labels, home, rule)
}

fn subscribe(
    registry: &Bound<'_, Registry>,
    what: &Bound<'_, PyAny>,
    callback: &Bound<'_, PyAny>,
    labels: Option<&Bound<'_, PyAny>>,
    home: Option<&Bound<'_, PyAny>>,
    rule: Rule,
) -> PyResult<Subscription> {
    let py = registry.py();
    if !callback.is_callable() {
        return Err(wrong_type(CALL, "callback", callback, "a callable"));
    }
    // Coroutine functions, and callables for a loop, become callables that have the loop run them and wait.
    let callback = py.import("dyn_metrics._watch")?.getattr("in_loop")?.call1((callback, home))?.unbind();
    let exceptions = Arc::new(AtomicU64::new(0));
    let (of, watched) = watched_of(registry, what, &exceptions)?;
    let watched = match labels {
        Some(labels) => {
            let pairs = label_pairs(labels, "labels", CALL)?;
            pairs.iter().fold(watched, |watched, (name, value)| watched.matching(name, value))
        }
        None => watched,
    };
    let failed = Arc::clone(&exceptions);
    let tell = move |event: &watch::Event| {
        attached(|py| {
            let event = Event(event.clone());
            if let Err(error) = callback.bind(py).call1((event,)) {
                failed.fetch_add(1, Ordering::Relaxed);
                error.write_unraisable(py, Some(callback.bind(py)));
            }
        });
    };
    let subscribed = py.detach(|| match rule {
        Rule::Change => of.on_change(watched, tell),
        Rule::Threshold(threshold) => of.on_threshold(watched, threshold, tell),
    });
    let own = Arc::new(subscribed.map_err(|error| raise(py, &error, None))?);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|known| known.upgrade().is_some_and(|known| known.is_active()));
    all.push(Arc::downgrade(&own));
    drop(all);
    Ok(Subscription { own, exceptions })
}

/// The registry that is asked, and what it is asked to watch: a metric, the name of a family, or a function.
fn watched_of(
    registry: &Bound<'_, Registry>,
    what: &Bound<'_, PyAny>,
    exceptions: &Arc<AtomicU64>,
) -> PyResult<(dyn_metrics::Registry, Watched)> {
    let py = registry.py();
    if let Ok(metric) = what.cast::<Metric>() {
        let (registry, watched) = metric.get().watched(py)?;
        return Ok((registry.clone(), watched));
    }
    let of = registry.get().attached(py, None)?.clone();
    if let Ok(name) = what.cast::<PyString>() {
        return Ok((of, Watched::family(name.to_str()?)));
    }
    if what.is_callable() {
        let name = what.getattr("__name__").and_then(|name| name.extract()).unwrap_or_else(|_| shown(what));
        let (function, failed) = (what.clone().unbind(), Arc::clone(exceptions));
        let compute = move || attached(|py| value_of(py, &function, &failed)).flatten();
        return Ok((of, Watched::computed(&name, compute)));
    }
    Err(wrong_type(
        CALL,
        "watched",
        what,
        "a metric, the name of a family, or a callable that gives a number or None",
    ))
}

/// What a function of the application gives now.
fn value_of(py: Python<'_>, function: &Py<PyAny>, failed: &AtomicU64) -> Option<f64> {
    match function.bind(py).call0().and_then(|value| value.extract::<Option<f64>>()) {
        Ok(value) => value,
        Err(error) => {
            failed.fetch_add(1, Ordering::Relaxed);
            error.write_unraisable(py, Some(function.bind(py)));
            None
        }
    }
}

/// Runs `body` with the interpreter, unless that ends.
fn attached<R>(body: impl FnOnce(Python<'_>) -> R) -> Option<R> {
    if ENDING.load(Ordering::Acquire) { None } else { Python::try_attach(body) }
}

/// What `atexit` calls: ends all subscriptions, and waits a little for calls under way.
#[pyfunction]
pub(crate) fn end_watching(py: Python<'_>) {
    ENDING.store(true, Ordering::Release);
    let all = std::mem::take(&mut *ALL.lock().unwrap_or_else(PoisonError::into_inner));
    let all: Vec<_> = all.iter().filter_map(Weak::upgrade).collect();
    all.iter().for_each(|own| own.cancel());
    py.detach(|| {
        let until = std::time::Instant::now() + AT_END;
        for own in &all {
            own.cancel_and_wait(until.saturating_duration_since(std::time::Instant::now()));
        }
    });
}
