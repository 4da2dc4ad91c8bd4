//! Checks as Python gives them to a system: its own, and those that come with the crate.

use std::path::PathBuf;
use std::time::Duration;

use dyn_metrics_system::checks::{Etcd, Nats, Progress, Space};
use dyn_metrics_system::{Beat, Check, Context, Outcome, Probe, Spec, from_fn};
use pyo3::prelude::*;

use crate::args::shown;
use crate::counter::{Counter, IntCounter};
use crate::errors::{invalid_type, invalid_value};
use crate::gauge::{Gauge, IntGauge};
use crate::system::raise;
use crate::system_calls::{Caller, SystemCalls};

/// A loop's pulse: `beat()` on every turn. See `dyn_metrics.system.add_beat`.
///
/// Cost of a beat: reading a clock, and a store. Threads: any. Errors: none.
#[pyclass(frozen, module = "dyn_metrics.system", name = "Beat")]
pub(crate) struct SystemBeat(Beat);

#[pymethods]
impl SystemBeat {
    #[new]
    fn new() -> Self {
        Self(Beat::new())
    }

    /// The loop still turns.
    fn beat(&self) {
        self.0.beat();
    }

    /// Seconds since the last beat.
    fn silence(&self) -> f64 {
        self.0.silence().as_secs_f64()
    }
}

/// How to make a check.
type Make = Box<dyn Fn() -> Box<dyn Check> + Send + Sync>;

/// A check that a system can be given; again and again, since a forked child starts anew.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct SystemCheck(Make);

impl SystemCheck {
    fn of<C: Check>(make: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self(Box::new(move || Box::new(make())))
    }

    pub(crate) fn make(&self) -> Box<dyn Check> {
        (self.0)()
    }
}

/// A function of Python, which runs on a thread of its own.
struct Called(Caller);

impl Check for Called {
    fn check(&self, context: &Context) -> Outcome {
        let seconds = context.remaining().as_secs_f64().to_string();
        match self.0.call(seconds) {
            Some(answer) if answer.is_ok => Ok(answer.text),
            Some(answer) => Err(answer.text),
            None => Err("nobody runs it any more".to_owned()),
        }
    }
}

#[pymethods]
impl SystemCheck {
    /// Whatever answers these calls.
    #[staticmethod]
    fn called(calls: Py<SystemCalls>) -> Self {
        Self::of(move || Called(calls.get().caller()))
    }

    #[staticmethod]
    fn beat(py: Python<'_>, beat: &SystemBeat, limit: f64) -> PyResult<Self> {
        let (beat, limit) = (beat.0.clone(), length(py, "beat", "limit", limit)?);
        Ok(Self(Box::new(move || Box::new(beat.stalls_after(limit)))))
    }

    #[staticmethod]
    fn progress(done: &Bound<'_, PyAny>, pending: &Bound<'_, PyAny>, limit: f64) -> PyResult<Self> {
        let limit = length(done.py(), "progress", "limit", limit)?;
        let (done, pending) = (count_of(done)?, level_of(pending)?);
        Ok(Self::of(move || {
            let (done, pending) = (done(), pending());
            Progress::of(done, pending, limit)
        }))
    }

    #[staticmethod]
    #[pyo3(signature = (url, lease, keep_alive, key_prefix))]
    fn etcd(
        py: Python<'_>,
        url: &str,
        lease: Option<i64>,
        keep_alive: bool,
        key_prefix: Option<&str>,
    ) -> PyResult<Self> {
        let mut etcd = Etcd::new(url).map_err(|error| raise(py, &error))?;
        if let Some(lease) = lease {
            etcd = etcd.lease(lease);
        } else if keep_alive {
            return Err(invalid_value(py, "etcd: found keep_alive without a lease, expected both"));
        }
        if keep_alive {
            etcd = etcd.keep_alive();
        }
        if let Some(prefix) = key_prefix {
            etcd = etcd.key_prefix(prefix);
        }
        Ok(Self::of(move || etcd.clone()))
    }

    #[staticmethod]
    #[pyo3(signature = (url, service, instance))]
    fn nats(py: Python<'_>, url: &str, service: Option<&str>, instance: Option<&str>) -> PyResult<Self> {
        let nats = Nats::new(url);
        let nats = match (service, instance) {
            (None, None) => nats,
            (Some(service), None) => nats.and_then(|nats| nats.service(service)),
            (Some(service), Some(id)) => nats.and_then(|nats| nats.service_instance(service, id)),
            (None, Some(_)) => {
                return Err(invalid_value(py, "NATS: found an instance without its service, expected both"));
            }
        };
        let nats = nats.map_err(|error| raise(py, &error))?;
        Ok(Self::of(move || nats.clone()))
    }

    #[staticmethod]
    fn space(path: PathBuf, least_bytes: u64) -> Self {
        Self::of(move || Space::new(&path, least_bytes))
    }

    /// Refuses what no system would take; `check` None: a function.
    #[staticmethod]
    #[allow(clippy::too_many_arguments, reason = "the fields of a Spec")]
    fn validate(
        py: Python<'_>,
        check: Option<&Self>,
        name: &str,
        probe: &str,
        required: bool,
        interval: f64,
        timeout: f64,
        failures: i64,
        successes: i64,
    ) -> PyResult<()> {
        let spec = spec(py, name, probe, required, (interval, timeout), (failures, successes))?;
        let check =
            check.map_or_else(|| Box::new(from_fn(|| Ok::<_, String>(()))) as Box<dyn Check>, Self::make);
        spec.validate(&*check).map_err(|error| raise(py, &error))
    }
}

type Count = Box<dyn Fn() -> u64 + Send + Sync>;
type Level = Box<dyn Fn() -> f64 + Send + Sync>;

/// Reads a counter without the interpreter; of fractions, whole units.
fn count_of(done: &Bound<'_, PyAny>) -> PyResult<impl Fn() -> Count + Send + Sync + 'static> {
    let made: Box<dyn Fn() -> Count + Send + Sync> = if let Ok(counter) = done.cast::<IntCounter>() {
        let handle = IntCounter::handle(counter)?.clone();
        Box::new(move || {
            let handle = handle.clone();
            Box::new(move || handle.value())
        })
    } else if let Ok(counter) = done.cast::<Counter>() {
        let (whole, fraction) = Counter::handles(counter)?;
        Box::new(move || {
            let (whole, fraction) = (whole.clone(), fraction.clone());
            Box::new(move || whole.value().wrapping_add(fraction.value() as u64))
        })
    } else {
        let found = shown(done);
        return Err(invalid_type(
            done.py(),
            format!("progress: done: found {found}, expected a Counter or an IntCounter"),
        ));
    };
    Ok(made)
}

/// Reads a gauge without the interpreter.
fn level_of(pending: &Bound<'_, PyAny>) -> PyResult<impl Fn() -> Level + Send + Sync + 'static> {
    let made: Box<dyn Fn() -> Level + Send + Sync> = if let Ok(gauge) = pending.cast::<Gauge>() {
        let handle = Gauge::handle(gauge)?.clone();
        Box::new(move || {
            let handle = handle.clone();
            Box::new(move || handle.value())
        })
    } else if let Ok(gauge) = pending.cast::<IntGauge>() {
        let handle = IntGauge::handle(gauge)?.clone();
        Box::new(move || {
            let handle = handle.clone();
            Box::new(move || handle.value() as f64)
        })
    } else {
        let found = shown(pending);
        return Err(invalid_type(
            pending.py(),
            format!("progress: pending: found {found}, expected a Gauge or an IntGauge"),
        ));
    };
    Ok(made)
}

/// Seconds as a time. What is out of every range is one, so that the text of its refusal names it.
fn length(py: Python<'_>, name: &str, what: &str, seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        let found = format!("check {name:?}: found {what} {seconds} s");
        invalid_value(py, format!("{found}, expected seconds, 0 or more"))
    })
}

/// The options of a check.
pub(crate) fn spec(
    py: Python<'_>,
    name: &str,
    probe: &str,
    required: bool,
    (interval, timeout): (f64, f64),
    (failures, successes): (i64, i64),
) -> PyResult<Spec> {
    let Some(probe) = Probe::from_name(probe) else {
        let expected = "expected liveness, readiness or health";
        return Err(invalid_value(py, format!("check {name:?}: found probe {probe:?}, {expected}")));
    };
    // Those that don't fit are out of the range, too.
    let count = |found: i64| u32::try_from(found).unwrap_or(if found < 0 { 0 } else { u32::MAX });
    let spec = Spec::new(name)
        .probe(probe)
        .every(length(py, name, "interval", interval)?)
        .timeout(length(py, name, "timeout", timeout)?)
        .failures(count(failures))
        .successes(count(successes));
    Ok(if required { spec } else { spec.informative() })
}
