//! Registries: a segment, attached at the first metric.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use dyn_metrics::Builder;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::errors::raise;

/// A segment, and what metrics registered through it get: a prefix and labels. See the stub.
#[pyclass(frozen, module = "dyn_metrics")]
pub(crate) struct Registry {
    home: Arc<Home>,
}

/// How a segment is opened, and the one that was.
struct Home {
    options: Box<dyn Fn() -> Builder + Send + Sync>,
    opened: OnceLock<dyn_metrics::Registry>,
}

impl Registry {
    fn new(options: impl Fn() -> Builder + Send + Sync + 'static) -> Self {
        Self { home: Arc::new(Home { options: Box::new(options), opened: OnceLock::new() }) }
    }

    /// The registry that metrics without one belong to.
    pub(crate) fn root(py: Python<'_>) -> PyResult<&Py<Self>> {
        static ROOT: PyOnceLock<Py<Registry>> = PyOnceLock::new();
        // Looked up when it is attached: the environment may change until then.
        ROOT.get_or_try_init(py, || Py::new(py, Self::new(Builder::default)))
    }

    /// The segment, attached by the first call, on behalf of `metric`.
    pub(crate) fn attached(&self, py: Python<'_>, metric: Option<&str>) -> PyResult<&dyn_metrics::Registry> {
        if let Some(opened) = self.home.opened.get() {
            return Ok(opened);
        }
        let opened = (self.home.options)().open().map_err(|error| raise(py, &error, metric))?;
        // Of two threads one's: both lead to one segment.
        Ok(self.home.opened.get_or_init(|| opened))
    }
}

#[pymethods]
impl Registry {
    #[new]
    #[pyo3(signature = (path=None))]
    fn py_new(path: Option<PathBuf>) -> Self {
        Self::new(move || match &path {
            Some(path) => Builder::default().path(path),
            None => Builder::default(),
        })
    }
}
