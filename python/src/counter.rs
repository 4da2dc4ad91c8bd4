//! `Counter`.

use std::sync::{Arc, OnceLock};

use dyn_metrics::{FloatCounter, Kind};
use pyo3::prelude::*;

use crate::args::{Amount, amount};
use crate::errors::{invalid_value, raise};
use crate::metric::Metric;
use crate::registry::Registry;
use crate::spec::{Parts, Spec};

/// A total that only grows. See the stub.
#[pyclass(frozen, extends = Metric, module = "dyn_metrics")]
pub(crate) struct Counter {
    /// None: it has labels.
    whole: Option<dyn_metrics::Counter>,
    /// Fractional amounts; made by the first.
    fraction: OnceLock<FloatCounter>,
    make_fraction: Box<dyn Fn() -> FloatCounter + Send + Sync>,
}

impl Counter {
    fn none() -> Self {
        Self { whole: None, fraction: OnceLock::new(), make_fraction: Box::new(FloatCounter::default) }
    }

    #[cold]
    fn inc_odd(slf: &Bound<'_, Self>, found: &Bound<'_, PyAny>) -> PyErr {
        let (name, text) = (slf.as_super().get().name(), found.str());
        let found = text.map_or_else(|_| "?".to_owned(), |text| text.to_string_lossy().into_owned());
        invalid_value(slf.py(), format!("metric {name:?}: found increment {found}, expected 0 or more"))
    }
}

#[pymethods]
impl Counter {
    #[new]
    #[pyo3(signature = (name, documentation, labelnames=None, namespace="", subsystem="", unit="", registry=None))]
    fn new<'py>(
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        documentation: &Bound<'py, PyAny>,
        labelnames: Option<&Bound<'py, PyAny>>,
        namespace: &str,
        subsystem: &str,
        unit: &str,
        registry: Option<&Bound<'py, Registry>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let parts = Parts { name, documentation, labelnames, namespace, subsystem, unit };
        let spec = Arc::new(Spec::new(Kind::Counter, &parts)?);
        let registry = match registry {
            Some(registry) => registry.get(),
            None => Registry::root(py)?.get(),
        };
        let registry = registry.attached(py, Some(&spec.name))?.clone();
        let refused = |error| raise(py, &error, Some(&spec.name));
        if spec.labelnames.is_empty() {
            let whole = registry.create(&spec.opts()).map_err(refused)?;
            let opts = spec.opts();
            let counter = Self {
                whole: Some(whole),
                make_fraction: Box::new(move || registry.create(&opts).unwrap_or_default()),
                ..Self::none()
            };
            return Ok(PyClassInitializer::from(Metric::series(spec)).add_subclass(counter));
        }
        let names: Vec<&str> = spec.labelnames.iter().map(String::as_str).collect();
        let wholes = registry.family::<dyn_metrics::Counter>(&spec.opts(), &names).map_err(refused)?;
        let fractions = registry.family::<FloatCounter>(&spec.opts(), &names).map_err(refused)?;
        let make = move |py: Python<'_>, spec: &Arc<Spec>, values: &[&str]| {
            let whole = wholes.try_with(values).map_err(|error| raise(py, &error, Some(&spec.name)))?;
            let (fractions, values): (_, Vec<String>) =
                (fractions.clone(), values.iter().map(|v| (*v).to_owned()).collect());
            let make_fraction = move || {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                fractions.with(&values)
            };
            let counter = Self { whole: Some(whole), make_fraction: Box::new(make_fraction), ..Self::none() };
            let init = PyClassInitializer::from(Metric::series(Arc::clone(spec))).add_subclass(counter);
            Ok(Py::new(py, init)?.into_any())
        };
        Ok(PyClassInitializer::from(Metric::family(spec, Box::new(make))).add_subclass(Self::none()))
    }

    /// Adds `amount`. See the stub.
    #[pyo3(signature = (amount=None), text_signature = "($self, amount=1)")]
    fn inc(slf: &Bound<'_, Self>, amount: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let counter = slf.get();
        let Some(whole) = &counter.whole else { return Err(slf.as_super().get().has_labels(slf.py())) };
        let Some(given) = amount else {
            whole.inc();
            return Ok(());
        };
        match self::amount(given, &|| slf.as_super().get().name().to_owned())? {
            Amount::Whole(n) => match u64::try_from(n) {
                Ok(n) => whole.inc_by(n),
                Err(_) => return Err(Self::inc_odd(slf, given)),
            },
            Amount::Fraction(x) if x < 0.0 => return Err(Self::inc_odd(slf, given)),
            Amount::Fraction(x) => counter.fraction.get_or_init(&counter.make_fraction).inc_by(x),
        }
        Ok(())
    }

    /// The total over all processes. See the stub.
    fn value(slf: &Bound<'_, Self>) -> PyResult<f64> {
        let counter = slf.get();
        let Some(whole) = &counter.whole else { return Err(slf.as_super().get().has_labels(slf.py())) };
        Ok(whole.value() as f64 + counter.fraction.get_or_init(&counter.make_fraction).value())
    }
}
