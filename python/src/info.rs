//! `Info` and `Enum`: facts and states.

use std::sync::OnceLock;

use dyn_metrics::{Kind, Opts, StateSet};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::args::{self, Arguments, label_pairs, shown, texts};
use crate::errors::{invalid_value, raise};
use crate::gauge;
use crate::metric::{Class, Made, Metric, Origin, construct};

/// Facts that don't change, such as a version: labels of a series whose value is 1.
///
/// The exposed name ends in `_info`, which may be left out. Errors: as Counter.
///
/// >>> build = Info("doc_build", "What runs")
/// >>> build.info({"version": "1.2", "commit": "ab12"})
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Info {
    /// The registry, and the family with the labels that the series has so far.
    home: Option<(dyn_metrics::Registry, Opts)>,
    given: OnceLock<Vec<(String, String)>>,
}

impl Class for Info {
    const KIND: Kind = Kind::Info;

    fn family(
        registry: &dyn_metrics::Registry,
        opts: &Opts,
        names: &[&str],
    ) -> dyn_metrics::Result<impl Fn(&[&str]) -> dyn_metrics::Result<Made<Self>> + Send + Sync + 'static>
    {
        // For what it refuses.
        registry.family::<dyn_metrics::Info>(opts, names)?;
        let (registry, opts) = (registry.clone(), opts.clone());
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(move |values: &[&str]| {
            let labels = names.iter().zip(values);
            let opts = labels.fold(opts.clone(), |opts, (name, value)| opts.label(name, value));
            let own = Self { home: Some((registry.clone(), opts)), given: OnceLock::new() };
            Ok(Made { own, number: 1, origin: Origin::default() })
        })
    }

    fn without_series() -> Self {
        Self { home: None, given: OnceLock::new() }
    }
}

#[pymethods]
impl Info {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        construct(&Arguments::new("Info", &[], args, keywords)?, |opts, _| Ok(opts))
    }

    /// States the facts, a dict of str to str, once; the same again does nothing.
    ///
    /// What is stated stays as long as the segment. Errors: InvalidValueError (a ValueError) when other facts were
    /// stated before; as Counter().
    fn info(slf: &Bound<'_, Self>, val: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, info, metric) = (slf.py(), slf.get(), slf.as_super().get());
        let name = metric.name();
        let Some((registry, opts)) = &info.home else { return Err(metric.has_labels(py)) };
        let mut given = label_pairs(val, "info", name)?;
        given.sort();
        if let Some(known) = info.given.get().filter(|known| **known != given) {
            let text =
                format!("metric {name:?}: found other facts than {known:?}, which can't be taken back");
            return Err(invalid_value(py, text));
        }
        let opts = given.iter().fold(opts.clone(), |opts, (name, value)| opts.label(name, value));
        registry.create::<dyn_metrics::Info>(&opts).map_err(|error| raise(py, &error, Some(name)))?;
        info.given.get_or_init(|| given);
        Ok(())
    }
}

/// One of several named states, of this process; readers combine the processes.
///
/// states: at most 63 names. multiprocess_mode: livemostrecent unless given; livemax is on in any process, livemin on
/// in all. Starts with the first state. Errors: as Counter.
///
/// >>> phase = Enum("doc_phase", "What it does", states=["starting", "running", "stopping"])
/// >>> phase.state("running")
/// >>> phase.value()
/// 'running'
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Enum(Option<StateSet>);

impl Class for Enum {
    const KIND: Kind = Kind::StateSet;

    fn family(
        registry: &dyn_metrics::Registry,
        opts: &Opts,
        names: &[&str],
    ) -> dyn_metrics::Result<impl Fn(&[&str]) -> dyn_metrics::Result<Made<Self>> + Send + Sync + 'static>
    {
        let family = registry.family::<StateSet>(opts, names)?;
        Ok(move |values: &[&str]| {
            let made = Made::of(&family, values, |states| states)?;
            let states = &made.own;
            if !states.states().iter().any(|state| states.is_on(state))
                && let Some(first) = states.states().first()
            {
                states.set(first);
            }
            Ok(Made { own: Self(Some(made.own)), number: made.number, origin: made.origin })
        })
    }

    fn without_series() -> Self {
        Self(None)
    }
}

impl Enum {
    fn handle<'s>(slf: &'s Bound<'_, Self>) -> PyResult<&'s StateSet> {
        slf.get().0.as_ref().ok_or_else(|| slf.as_super().get().has_labels(slf.py()))
    }
}

#[pymethods]
impl Enum {
    #[new]
    #[pyo3(signature = (*args, **keywords), text_signature = "(name, documentation, labelnames=(), namespace='', subsystem='', unit='', registry=None, *, states=(), multiprocess_mode='livemostrecent', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn new(
        args: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let own = [gauge::OPTIONS[0], gauge::OPTIONS[1], "states"];
        let arguments = Arguments::new("Enum", &own, args, keywords)?;
        construct(&arguments, |opts, metric| {
            let opts = gauge::options(&arguments, opts, metric)?;
            let Some(given) = arguments.get("states") else { return Ok(opts) };
            let states = texts(given, "states", metric)?;
            Ok(opts.states(&states.iter().map(String::as_str).collect::<Vec<_>>()))
        })
    }

    /// Switches this process to `state`. Cost: a store. Errors: InvalidValueError (a ValueError) for an unknown one.
    fn state(slf: &Bound<'_, Self>, state: &Bound<'_, PyAny>) -> PyResult<()> {
        let (set, name) = (Self::handle(slf)?, slf.as_super().get().name());
        if set.set(&args::text(state, "state", name)?) {
            return Ok(());
        }
        let (found, states) = (shown(state), set.states());
        Err(invalid_value(
            slf.py(),
            format!("metric {name:?}: found state {found}, expected one of {states:?}"),
        ))
    }

    /// The state of this process.
    fn value(slf: &Bound<'_, Self>) -> PyResult<Option<String>> {
        let set = Self::handle(slf)?;
        Ok(set.states().iter().find(|state| set.is_on(state)).cloned())
    }

    /// Names of the states.
    #[getter]
    fn states<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyTuple>> {
        let states: &[String] = slf.get().0.as_ref().map_or(&[], |set| set.states());
        PyTuple::new(slf.py(), states)
    }
}
