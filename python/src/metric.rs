//! The base of all metric classes: what a metric is called, and `labels()`.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::args::label_value;
use crate::errors::invalid_value;
use crate::identity::{Identities, MOST};
use crate::spec::Spec;

/// Most label objects that are remembered for one child: who makes new texts for every call fills no memory.
const MOST_ALIASES: u32 = 8;

/// What makes the child of a series; called once for each.
pub(crate) type Maker = dyn Fn(Python<'_>, &Arc<Spec>, &[&str]) -> PyResult<Py<PyAny>> + Send + Sync;

/// The children of a metric with labels.
struct Children {
    make: Box<Maker>,
    by_identity: Identities,
    by_values: RwLock<HashMap<Box<[String]>, Arc<Child>>>,
}

struct Child {
    object: Py<PyAny>,
    aliases: AtomicU32,
}

/// The base of all metric classes. See the stub.
#[pyclass(frozen, subclass, module = "dyn_metrics")]
pub(crate) struct Metric {
    spec: Arc<Spec>,
    children: Option<Box<Children>>,
}

impl Metric {
    /// A series.
    pub(crate) fn series(spec: Arc<Spec>) -> Self {
        Self { spec, children: None }
    }

    /// A metric with labels.
    pub(crate) fn family(spec: Arc<Spec>, make: Box<Maker>) -> Self {
        let children = Children { make, by_identity: Identities::new(), by_values: RwLock::default() };
        Self { spec, children: Some(Box::new(children)) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The error for an update of a metric that has labels.
    #[cold]
    pub(crate) fn has_labels(&self, py: Python<'_>) -> PyErr {
        let Spec { name, labelnames, .. } = &*self.spec;
        invalid_value(
            py,
            format!("metric {name:?}: has labels {labelnames:?}, expected a call of labels() first"),
        )
    }

    fn children(&self, py: Python<'_>) -> PyResult<&Children> {
        let no_labels = || {
            invalid_value(py, format!("metric {:?}: found a call of labels(), but it has none", self.name()))
        };
        self.children.as_deref().ok_or_else(no_labels)
    }

    /// The child with these values.
    fn child(&self, py: Python<'_>, values: Vec<String>) -> PyResult<Arc<Child>> {
        let children = self.children(py)?;
        let expected = self.spec.labelnames.len();
        if values.len() != expected {
            let (name, found) = (self.name(), values.len());
            return Err(invalid_value(
                py,
                format!("metric {name:?}: found {found} label values, expected {expected}"),
            ));
        }
        let read = children.by_values.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&*values) {
            return Ok(Arc::clone(known));
        }
        drop(read);
        let given: Vec<&str> = values.iter().map(String::as_str).collect();
        let object = (children.make)(py, &self.spec, &given)?;
        let made = Arc::new(Child { object, aliases: AtomicU32::new(0) });
        let mut write = children.by_values.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(write.entry(values.into()).or_insert(made)))
    }

    /// The values of keyword arguments, in the order of the label names.
    fn by_keyword(&self, given: &Bound<'_, PyDict>) -> PyResult<Vec<String>> {
        let py = given.py();
        let Spec { name, labelnames, .. } = &*self.spec;
        self.children(py)?;
        let wrong = |what: &str, label: &str| {
            invalid_value(
                py,
                format!("metric {name:?}: {what} label {label:?}, expected labels {labelnames:?}"),
            )
        };
        if let Some((unknown, _)) =
            given.iter().find(|(key, _)| !key.extract::<String>().is_ok_and(|key| labelnames.contains(&key)))
        {
            return Err(wrong("found", &unknown.str()?.to_string_lossy()));
        }
        let value = |label: &String| match given.get_item(label)? {
            Some(value) => label_value(&value, name),
            None => Err(wrong("found no", label)),
        };
        labelnames.iter().map(value).collect()
    }
}

/// An argument of `labels()`, `None` only where there is none.
struct Given<'a, 'py>(Option<Borrowed<'a, 'py, PyAny>>);

const ABSENT: Given<'_, '_> = Given(None);

impl<'a, 'py> FromPyObject<'a, 'py> for Given<'a, 'py> {
    type Error = Infallible;

    #[inline]
    fn extract(object: Borrowed<'a, 'py, PyAny>) -> Result<Self, Infallible> {
        Ok(Self(Some(object)))
    }
}

#[pymethods]
impl Metric {
    /// The series with these label values. See the stub.
    #[pyo3(signature = (a=ABSENT, b=ABSENT, c=ABSENT, d=ABSENT, /, *rest, **labels), text_signature = "($self, *values, **labels)")]
    fn labels<'py>(
        &self,
        py: Python<'py>,
        a: Given<'_, 'py>,
        b: Given<'_, 'py>,
        c: Given<'_, 'py>,
        d: Given<'_, 'py>,
        rest: &Bound<'py, PyTuple>,
        labels: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let given = [a.0, b.0, c.0, d.0];
        if let Some(children) = &self.children
            && let Some(child) = children.by_identity.get(&given)
            && labels.is_none()
            && (d.0.is_none() || rest.is_empty())
        {
            return Ok(child.clone_ref(py));
        }
        self.labels_by_value(py, &given, rest, labels)
    }
}

impl Metric {
    #[cold]
    fn labels_by_value<'py>(
        &self,
        py: Python<'py>,
        given: &[Option<Borrowed<'_, 'py, PyAny>>; MOST],
        rest: &Bound<'py, PyTuple>,
        labels: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let name = self.name();
        let count = given.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        if let Some(labels) = labels {
            if count > 0 {
                let text = format!(
                    "metric {name:?}: found label values by position and by name, expected one of them"
                );
                return Err(invalid_value(py, text));
            }
            return Ok(self.child(py, self.by_keyword(labels)?)?.object.clone_ref(py));
        }
        let mut values = Vec::with_capacity(count);
        for object in given[..count].iter().flatten() {
            values.push(label_value(object, name)?);
        }
        for object in rest {
            values.push(label_value(&object, name)?);
        }
        let child = self.child(py, values)?;
        let is_plain =
            given[..count].iter().flatten().all(|object| object.is_exact_instance_of::<PyString>());
        if is_plain && rest.is_empty() && child.aliases.fetch_add(1, Ordering::Relaxed) < MOST_ALIASES {
            let children = self.children(py)?;
            children.by_identity.put(given, child.object.bind(py));
        }
        Ok(child.object.clone_ref(py))
    }
}
