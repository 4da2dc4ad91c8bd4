//! A service's levels, each a registry: runtime, namespace, component, endpoint.

use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::args::label_pairs;
use crate::errors::raise;
use crate::registry::{Below, Registry};

/// How levels show in names and labels.
///
/// By default names begin with "dynamo_", and series have the labels namespace, component and endpoint. Values are what
/// the levels are called, to the letter; a level without a name has no label.
///
/// prefix: another beginning of names. worker_id: a label of that name on every series. labels: a dict of further
/// ones. Errors: InvalidTypeError, InvalidValueError.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct Scheme {
    is_upstream: bool,
    prefix: Option<String>,
    labels: Vec<(String, String)>,
}

impl Scheme {
    fn make(
        is_upstream: bool,
        prefix: Option<String>,
        worker_id: Option<String>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut all: Vec<_> = worker_id.map(|id| ("worker_id".to_owned(), id)).into_iter().collect();
        if let Some(labels) = labels {
            all.extend(label_pairs(labels, "labels", "Scheme()")?);
        }
        Ok(Self { is_upstream, prefix, labels: all })
    }

    fn of_writer(&self) -> dyn_metrics::Scheme {
        let preset =
            if self.is_upstream { dyn_metrics::Scheme::upstream() } else { dyn_metrics::Scheme::default() };
        let scheme = self.prefix.iter().fold(preset, |scheme, prefix| scheme.prefix(prefix));
        self.labels.iter().fold(scheme, |scheme, (name, value)| scheme.label(name, value))
    }
}

#[pymethods]
impl Scheme {
    #[new]
    #[pyo3(signature = (*, prefix=None, worker_id=None, labels=None))]
    fn new(
        prefix: Option<String>,
        worker_id: Option<String>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Self::make(false, prefix, worker_id, labels)
    }

    /// The names and labels of NVIDIA Dynamo's own runtime: prefix "dynamo_component_", labels dynamo_namespace,
    /// dynamo_component and dynamo_endpoint.
    #[staticmethod]
    #[pyo3(signature = (*, prefix=None, worker_id=None, labels=None))]
    fn upstream(
        prefix: Option<String>,
        worker_id: Option<String>,
        labels: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        Self::make(true, prefix, worker_id, labels)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let labels = PyDict::new(py);
        self.labels.iter().try_for_each(|(name, value)| labels.set_item(name, value))?;
        let rebuild = py.import("dyn_metrics._native")?.getattr("rebuild_scheme")?;
        Ok((rebuild, (self.is_upstream, &self.prefix, labels).into_pyobject(py)?))
    }
}

/// Makes a scheme anew; what pickled ones call.
#[pyfunction]
pub(crate) fn rebuild_scheme(
    is_upstream: bool,
    prefix: Option<String>,
    labels: &Bound<'_, PyDict>,
) -> PyResult<Scheme> {
    Scheme::make(is_upstream, prefix, None, Some(labels.as_any()))
}

/// The runtime: the level of everything that a process does, and a registry.
///
/// registry: by default the process's own, which is attached now. scheme: how levels show in names and labels.
/// Errors: as Registry.open(); InvalidValueError for a prefix or label that is not allowed.
///
/// >>> runtime = DistributedRuntime(Registry(path=segment))
/// >>> generate = runtime.namespace("prod").component("backend").endpoint("generate")
/// >>> generate.create_counter("doc_requests_total", "Requests answered", {"model": "llama"}).inc()
/// >>> print(generate.prometheus_format_str().splitlines()[-1])
/// dynamo_doc_requests_total{component="backend",endpoint="generate",model="llama",namespace="prod"} 1
#[pyclass(frozen, extends = Registry, module = "dyn_metrics")]
pub(crate) struct DistributedRuntime(dyn_metrics::DistributedRuntime);

#[pymethods]
impl DistributedRuntime {
    #[new]
    #[pyo3(signature = (registry=None, scheme=None))]
    fn new(
        py: Python<'_>,
        registry: Option<&Bound<'_, Registry>>,
        scheme: Option<&Bound<'_, Scheme>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let home = match registry {
            Some(registry) => registry.clone(),
            None => Registry::root(py)?.clone_ref(py).into_bound(py),
        };
        let of_writer = scheme.map_or_else(dyn_metrics::Scheme::default, |scheme| scheme.get().of_writer());
        let attached = home.get().attached(py, None)?;
        let runtime = dyn_metrics::DistributedRuntime::with_registry(attached, of_writer)
            .map_err(|error| raise(py, &error, None))?;
        let home = Registry::reduced(&home.unbind(), py)?;
        let args = (home, scheme.map(|scheme| scheme.clone().unbind())).into_pyobject(py)?.unbind();
        let module = py.import("dyn_metrics._native")?.into_any().unbind();
        Ok(level(Self(runtime.clone()), &runtime, (module, "DistributedRuntime", args)))
    }

    /// What it is called: nothing.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// A namespace of it: what belongs together, an application or a tenant for instance. Errors: InvalidValueError.
    fn namespace(slf: &Bound<'_, Self>, name: &str) -> PyResult<Py<Namespace>> {
        below(slf, "namespace", name, slf.get().0.namespace(name), Namespace)
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let (_, _, args) = slf.as_super().get().below().ok_or_else(unpickled)?;
        Ok((slf.get_type().into_any(), args.bind(slf.py()).clone()))
    }
}

fn unpickled() -> PyErr {
    pyo3::exceptions::PyTypeError::new_err("a runtime without arguments")
}

/// A part of a runtime, an application or a tenant for instance, and a registry: DistributedRuntime.namespace() gives it.
#[pyclass(frozen, extends = Registry, module = "dyn_metrics")]
pub(crate) struct Namespace(dyn_metrics::Namespace);

#[pymethods]
impl Namespace {
    /// What it is called.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// A component of it: what does one thing, in one or many processes. Errors: InvalidValueError.
    fn component(slf: &Bound<'_, Self>, name: &str) -> PyResult<Py<Component>> {
        below(slf, "component", name, slf.get().0.component(name), Component)
    }
}

/// A part of a namespace that does one thing, and a registry: Namespace.component() gives it.
#[pyclass(frozen, extends = Registry, module = "dyn_metrics")]
pub(crate) struct Component(dyn_metrics::Component);

#[pymethods]
impl Component {
    /// What it is called.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// An endpoint of it: a way to ask it for something. Errors: InvalidValueError.
    fn endpoint(slf: &Bound<'_, Self>, name: &str) -> PyResult<Py<Endpoint>> {
        below(slf, "endpoint", name, slf.get().0.endpoint(name), Endpoint)
    }
}

/// A way to ask a component for something, and a registry: Component.endpoint() gives it.
#[pyclass(frozen, extends = Registry, module = "dyn_metrics")]
pub(crate) struct Endpoint(dyn_metrics::Endpoint);

#[pymethods]
impl Endpoint {
    /// What it is called.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }
}

/// The object of a level, which is a registry.
fn level<T>(own: T, of: &impl dyn_metrics::MetricsRegistry, below: Below) -> PyClassInitializer<T>
where
    T: PyClass<BaseType = Registry>,
{
    PyClassInitializer::from(Registry::given(of.registry().clone(), below)).add_subclass(own)
}

/// The level below `parent` that its `method` makes.
fn below<P, L, T>(
    parent: &Bound<'_, P>,
    method: &'static str,
    name: &str,
    made: dyn_metrics::Result<L>,
    object: impl FnOnce(L) -> T,
) -> PyResult<Py<T>>
where
    L: dyn_metrics::MetricsRegistry + Clone,
    T: PyClass<BaseType = Registry>,
{
    let py = parent.py();
    let made = made.map_err(|error| raise(py, &error, None))?;
    let args = PyTuple::new(py, [name])?.unbind();
    let below = (parent.clone().into_any().unbind(), method, args);
    Py::new(py, level(object(made.clone()), &made, below))
}

pub(crate) fn classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Scheme>()?;
    module.add_class::<DistributedRuntime>()?;
    module.add_class::<Namespace>()?;
    module.add_class::<Component>()?;
    module.add_class::<Endpoint>()?;
    module.add_function(wrap_pyfunction!(rebuild_scheme, module)?)
}
