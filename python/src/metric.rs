//! The base of all metric classes: what a metric is called, and `labels()`.
#![allow(clippy::disallowed_types, reason = "words of this process, never in the segment")]

use std::collections::HashMap;
use std::ffi::CStr;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dyn_metrics::watch::Watched;
use dyn_metrics::{Family, Kind, Opts, raw};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};
use pyo3::{Borrowed, PyClass};

use crate::args::{Arguments, label_value, wrong_type};
use crate::errors::{invalid_value, raise, shortened};
use crate::identity::{Given, Identities};
use crate::lane::Lane;
use crate::registry::Registry;
use crate::spec::Spec;

/// Most label objects that are remembered for one child: who makes new texts for every call fills no memory.
const MOST_ALIASES: u32 = 8;

/// A metric class: what stands behind one series of it.
pub(crate) trait Class: PyClass<BaseType = Metric, Frozen = True> + Sync {
    /// Type of its families.
    const KIND: Kind;

    /// What makes the series of a family from their labels' values.
    fn family(
        registry: &dyn_metrics::Registry,
        opts: &Opts,
        names: &[&str],
    ) -> dyn_metrics::Result<impl Fn(&[&str]) -> dyn_metrics::Result<Made<Self>> + Send + Sync + 'static>;

    /// What stands behind a metric with labels: nothing.
    fn without_series() -> Self;
}

/// Says that a class is what stands behind one series of a kind: a handle, none where there are labels.
macro_rules! class_of {
    ($Class:ident, $KIND:ident) => {
        impl $crate::metric::Class for $Class {
            const KIND: dyn_metrics::Kind = dyn_metrics::Kind::$KIND;

            fn family(
                registry: &dyn_metrics::Registry,
                opts: &dyn_metrics::Opts,
                names: &[&str],
            ) -> dyn_metrics::Result<
                impl Fn(&[&str]) -> dyn_metrics::Result<$crate::metric::Made<Self>> + Send + Sync + 'static,
            > {
                let family = registry.family(opts, names)?;
                Ok(move |values: &[&str]| {
                    $crate::metric::Made::of(&family, values, |handle| Self(Some(handle)))
                })
            }

            fn without_series() -> Self {
                Self(None)
            }
        }
    };
}
pub(crate) use class_of;

/// What stands behind one series, and whether it is the one that was asked for: one beyond the family's limit
/// stands for any number of them, and is not kept.
pub(crate) struct Made<T> {
    pub(crate) own: T,
    /// 0: it is not to be kept. Otherwise that of its segment, higher than before when that was replaced.
    pub(crate) number: u64,
    pub(crate) origin: Origin,
}

/// What tells whether a series was removed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Origin {
    /// Grows before one of its family's series is gone; that of the segment with the number.
    removals: Option<&'static raw::SharedWord>,
    series: Option<raw::Series>,
}

impl<T> Made<T> {
    /// From the handle of the series with these values.
    pub(crate) fn of<M: dyn_metrics::Metric>(
        family: &Family<M>,
        values: &[&str],
        own: impl FnOnce(M) -> T,
    ) -> dyn_metrics::Result<Self> {
        let (handle, number) = raw::look_up(family, values)?;
        let removals = raw::removals(family, number);
        let origin = Origin { removals, series: raw::Series::of(&handle) };
        Ok(Self { own: own(handle), number: if removals.is_some() { number } else { 0 }, origin })
    }
}

/// What makes the child of a series.
type Maker = dyn Fn(Python<'_>, &Arc<Spec>, Vec<String>) -> PyResult<Made<Py<PyAny>>> + Send + Sync;

/// The children of a metric with labels.
struct Children {
    make: Box<Maker>,
    by_identity: Identities,
    /// Number of the segment that the children are in.
    segment: AtomicUsize,
    /// Of the children's family, in that segment.
    removals: raw::Removals,
    /// Held for a look or an insertion, in which no Python code runs.
    by_values: RwLock<HashMap<Box<[String]>, Arc<Child>>>,
}

struct Child {
    object: Py<PyAny>,
    aliases: AtomicU32,
    origin: Origin,
}

impl Child {
    fn is_removed(&self) -> bool {
        self.origin.series.is_some_and(raw::Series::is_removed)
    }
}

/// The base of all metric classes.
///
/// Cannot be called; call one of the others.
#[pyclass(frozen, subclass, module = "dyn_metrics")]
pub(crate) struct Metric {
    spec: Arc<Spec>,
    /// Values of the labels, of a child.
    values: Vec<String>,
    children: Option<Box<Children>>,
}

/// What a constructor of `S` does.
pub(crate) fn construct<S: Class>(
    arguments: &Arguments<'_>,
    more: impl FnOnce(Opts, &str) -> PyResult<Opts>,
) -> PyResult<PyClassInitializer<S>> {
    let py = arguments.py();
    let spec = Arc::new(Spec::new(S::KIND, arguments, more)?);
    let registry = spec.registry.get().attached(py, Some(&spec.name))?;
    let names: Vec<&str> = spec.labelnames.iter().map(String::as_str).collect();
    let refused = |error| raise(py, &error, Some(&spec.name));
    let series = S::family(registry, &spec.opts, &names).map_err(refused)?;
    if names.is_empty() {
        let Made { own, .. } = series(&[]).map_err(refused)?;
        let metric = Metric { spec: Arc::clone(&spec), values: Vec::new(), children: None };
        return Ok(PyClassInitializer::from(metric).add_subclass(own));
    }
    let make = move |py: Python<'_>, spec: &Arc<Spec>, values: Vec<String>| {
        let given: Vec<&str> = values.iter().map(String::as_str).collect();
        let made = series(&given).map_err(|error| raise(py, &error, Some(&spec.name)))?;
        let Made { own, number, origin } = made;
        let metric = Metric { spec: Arc::clone(spec), values, children: None };
        let own = Py::new(py, PyClassInitializer::from(metric).add_subclass(own))?.into_any();
        Ok(Made { own, number, origin })
    };
    let children = Children {
        make: Box::new(make),
        by_identity: Identities::new(),
        segment: AtomicUsize::new(0),
        removals: raw::Removals::default(),
        by_values: RwLock::default(),
    };
    let metric = Metric { spec: Arc::clone(&spec), values: Vec::new(), children: Some(Box::new(children)) };
    Ok(PyClassInitializer::from(metric).add_subclass(S::without_series()))
}

impl Metric {
    /// Exposed name.
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The error for an update of a metric that has labels.
    #[cold]
    pub(crate) fn has_labels(&self, py: Python<'_>) -> PyErr {
        let Spec { name, labelnames, .. } = &*self.spec;
        let text =
            format!("metric {name:?}: has labels {labelnames:?}, expected labels() to be called first");
        invalid_value(py, text)
    }

    fn children(&self, py: Python<'_>) -> PyResult<&Children> {
        let no_labels = || {
            let found = if self.values.is_empty() { "it has no labels" } else { "its labels have values" };
            let text = format!("metric {:?}: found a call of labels(), but {found}", self.name());
            invalid_value(py, text)
        };
        self.children.as_deref().ok_or_else(no_labels)
    }

    /// The child with these values.
    fn child(&self, py: Python<'_>, values: Vec<String>) -> PyResult<Arc<Child>> {
        let children = self.children(py)?;
        let (found, expected) = (values.len(), self.spec.labelnames.len());
        if found != expected {
            return Err(self.wrong_count(py, found, expected));
        }
        children.sweep();
        let read = children.by_values.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(&*values) {
            return Ok(Arc::clone(known));
        }
        drop(read);
        let Made { own: object, number, origin } = (children.make)(py, &self.spec, values.clone())?;
        let made = Arc::new(Child { object, aliases: AtomicU32::new(0), origin });
        if number == 0 {
            return Ok(made);
        }
        let number = number as usize;
        let mut write = children.by_values.write().unwrap_or_else(PoisonError::into_inner);
        let before = children.segment.fetch_max(number, Ordering::Relaxed);
        if before > number {
            return Ok(made); // another thread has found the segment that replaced this one's
        }
        let others = if before < number { std::mem::take(&mut *write) } else { HashMap::new() };
        if let Some(word) = origin.removals.filter(|_| before < number) {
            children.removals.follow(word);
        }
        if made.is_removed() {
            return Ok(made); // since it was made; sweep() may have been here
        }
        let child = Arc::clone(write.entry(values.into()).or_insert(Arc::clone(&made)));
        drop(write); // before `made` and `others`, which may be objects that nobody has
        drop(others);
        Ok(child)
    }

    /// The values of keyword arguments, in the order of the label names.
    fn by_name(&self, given: &Bound<'_, PyDict>) -> PyResult<Vec<String>> {
        let py = given.py();
        let Spec { name, labelnames, .. } = &*self.spec;
        self.children(py)?;
        let wrong = |what: &str, label: &str| {
            let label = shortened(label);
            let text = format!("metric {name:?}: {what} label {label:?}, expected labels {labelnames:?}");
            invalid_value(py, text)
        };
        for (label, _) in given {
            let known = label.extract::<String>().is_ok_and(|label| labelnames.contains(&label));
            if !known {
                return Err(wrong("found", &label.str()?.to_string_lossy()));
            }
        }
        let value = |label: &String| match given.get_item(label)? {
            Some(value) => label_value(&value, name),
            None => Err(wrong("found no", label)),
        };
        labelnames.iter().map(value).collect()
    }

    /// The values of arguments.
    fn values_of(
        &self,
        values: &Bound<'_, PyTuple>,
        labels: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Vec<String>> {
        match labels {
            None => self.by_position(values),
            Some(labels) if values.is_empty() => self.by_name(labels),
            Some(_) => {
                let text = "found label values by position and by name, expected one of both";
                Err(invalid_value(values.py(), format!("metric {:?}: {text}", self.name())))
            }
        }
    }

    #[cold]
    fn wrong_count(&self, py: Python<'_>, found: usize, expected: usize) -> PyErr {
        let name = self.name();
        invalid_value(py, format!("metric {name:?}: found {found} label values, expected {expected}"))
    }

    /// The values of positional arguments.
    fn by_position(&self, given: &Bound<'_, PyTuple>) -> PyResult<Vec<String>> {
        given.iter().map(|object| label_value(&object, self.name())).collect()
    }
}

#[pymethods]
impl Metric {
    /// The series with these label values, by position or by name; found or made.
    ///
    /// Values are texts; numbers and other objects that can be hashed are taken as `str()` shows them, bytes and
    /// None are refused. Equal values give the same object. What is beyond the family's limit of series goes to
    /// one whose values are `__overflow__`, by an object for each call. Cost: when the same text objects were given before, such as literals,
    /// two comparisons; else a search by what they say; else a registration, with system calls.
    ///
    /// Errors: InvalidValueError (a ValueError) when number or names of labels don't match, or a text has
    /// surrogates; InvalidTypeError (a TypeError); SegmentError (an OSError).
    ///
    /// >>> requests = Counter("doc_requests", "Requests answered", ["model", "status"])
    /// >>> requests.labels("llama", "ok").inc()
    /// >>> requests.labels(status="ok", model="llama").value()
    /// 1.0
    #[pyo3(signature = (*values, **labels))]
    fn labels<'py>(
        &self,
        values: &Bound<'py, PyTuple>,
        labels: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Py<PyAny>> {
        let py = values.py();
        Ok(self.child(py, self.values_of(values, labels)?)?.object.clone_ref(py))
    }

    /// Removes the series with these label values, by position or by name; whether there was one.
    ///
    /// It is shown in no process any more, and `labels()` with these values, in all processes, gives a new series
    /// that begins at 0. What was given before stays valid, and what it counts is lost. Its space in the segment is not
    /// used again.
    ///
    /// Errors: as `labels()`; SegmentError (an OSError); RegistrationError where a registry can't remove.
    ///
    /// >>> jobs = Counter("doc_removed_jobs", "Jobs", ["worker"])
    /// >>> jobs.labels("7").inc()
    /// >>> jobs.remove("7"), jobs.remove("7")
    /// (True, False)
    /// >>> jobs.labels("7").value()
    /// 0.0
    #[pyo3(signature = (*values, **labels))]
    fn remove(&self, values: &Bound<'_, PyTuple>, labels: Option<&Bound<'_, PyDict>>) -> PyResult<bool> {
        let py = values.py();
        let values = self.values_of(values, labels)?;
        self.children(py)?;
        let (found, expected) = (values.len(), self.spec.labelnames.len());
        if found != expected {
            return Err(self.wrong_count(py, found, expected));
        }
        let Spec { registry, opts, labelnames, name, .. } = &*self.spec;
        let given = labelnames.iter().zip(&values).map(|(name, value)| (name.as_str(), value.as_str()));
        let removed = registry.get().attached(py, Some(name))?.remove_of(opts, given);
        removed.map_err(|error| raise(py, &error, Some(name)))
    }

    /// As labels(), with the values in a list: the spelling of prometheus clients in other languages.
    ///
    /// >>> Counter("doc_listed", "Listed", ["model"]).with_label_values(["llama"]).inc()
    fn with_label_values(&self, values: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = values.py();
        if values.is_instance_of::<PyString>() {
            return Err(wrong_type(self.name(), "label values", values, "a list of label values"));
        }
        let values = values.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        self.labels(&PyTuple::new(py, values)?, None)
    }

    /// The exposed name, with prefix, namespace, unit and ending.
    #[getter(name)]
    fn py_name(&self) -> &str {
        &self.spec.name
    }

    /// The help text.
    #[getter]
    fn documentation(&self) -> &str {
        &self.spec.documentation
    }

    /// The unit; may be empty.
    #[getter]
    fn unit(&self) -> &str {
        &self.spec.unit
    }

    /// Names of the labels.
    #[getter]
    fn labelnames<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.spec.labelnames)
    }

    /// Values of the labels, of what `labels()` gives; otherwise empty.
    #[getter]
    fn labelvalues<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, &self.values)
    }

    fn __repr__(&self) -> String {
        let Spec { class, name, labelnames, .. } = &*self.spec;
        let pairs = labelnames.iter().zip(&self.values).map(|(name, value)| format!("{name}={value:?}"));
        let pairs: Vec<_> = pairs.collect();
        if pairs.is_empty() {
            format!("{class}({name:?})")
        } else {
            format!("{class}({name:?}, {})", pairs.join(", "))
        }
    }

    /// So that a metric may be handed to a process that was spawned: there it is registered again.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let spec = &*self.spec;
        let class = py.import("dyn_metrics")?.getattr(spec.class)?;
        let registry = Registry::reduced(&spec.registry, py)?;
        let labelnames = self.labelnames(py)?;
        let args = (spec.own_name(), &spec.documentation, labelnames, "", "", &spec.unit, registry);
        let rebuild = py.import("dyn_metrics._native")?.getattr("rebuild")?;
        Ok((rebuild, (class, args, spec.options.bind(py), self.labelvalues(py)?).into_pyobject(py)?))
    }
}

impl Metric {
    /// Its registry, and its series: one, or those of a family.
    pub(crate) fn watched(&self, py: Python<'_>) -> PyResult<(&dyn_metrics::Registry, Watched)> {
        let Spec { registry, labelnames, .. } = &*self.spec;
        let registry = registry.get().attached(py, Some(self.name()))?;
        let name = self.spec.own_name();
        let pairs: Vec<_> =
            labelnames.iter().zip(&self.values).map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let is_family = self.children.is_some();
        Ok((registry, if is_family { Watched::family(name) } else { Watched::series(name, &pairs) }))
    }
}

/// Makes a metric anew; what pickled ones call.
#[pyfunction]
pub(crate) fn rebuild<'py>(
    class_: &Bound<'py, PyType>,
    args: &Bound<'py, PyTuple>,
    options: &Bound<'py, PyDict>,
    labelvalues: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let metric = class_.call(args, Some(options))?;
    if labelvalues.is_empty() { Ok(metric) } else { metric.call_method1("labels", labelvalues) }
}

/// The lane of `labels()`: for text objects that were given before, and for texts that lead to children.
pub(crate) struct Labels;

impl Labels {
    /// The child whose values these texts are, given by position; remembered by the objects from now on.
    #[cold]
    fn by_text<'py>(this: &Metric, given: Given<'_, 'py>, py: Python<'py>) -> Option<Py<PyAny>> {
        let children = this.children.as_deref()?;
        if given.names.is_some() || given.objects.len() != this.spec.labelnames.len() {
            return None;
        }
        let mut values = Vec::with_capacity(given.objects.len());
        for object in given.objects {
            values.push(object.cast_exact::<PyString>().ok()?.to_str().ok()?.to_owned());
        }
        let known = children.by_values.read().unwrap_or_else(PoisonError::into_inner);
        let child = Arc::clone(known.get(&*values)?);
        drop(known);
        children.note(given, &child, py);
        Some(child.object.clone_ref(py))
    }
}

impl Children {
    /// Forgets the children whose series were removed, if one was since the last time.
    fn sweep(&self) {
        if self.removals.is_swept() {
            return;
        }
        let mut gone = Vec::new();
        let mut write = self.by_values.write().unwrap_or_else(PoisonError::into_inner);
        let removals = self.removals.begin_sweep();
        write.retain(|_, child| {
            let stays = !child.is_removed();
            if !stays {
                gone.push(Arc::clone(child));
            }
            stays
        });
        self.by_identity.forget(gone.iter().map(|child| &child.object));
        self.removals.end_sweep(removals);
        drop(write); // before `gone`, which may be objects that nobody has
    }

    /// Remembers what `child` was found by.
    fn note(&self, given: Given<'_, '_>, child: &Child, py: Python<'_>) {
        let is_plain = given.objects.iter().all(|object| object.is_exact_instance_of::<PyString>());
        if is_plain && child.aliases.fetch_add(1, Ordering::Relaxed) < MOST_ALIASES {
            self.by_identity.put(given, child.object.clone_ref(py));
            // Behind a fence: either this or sweep() sees what the other did.
            if child.is_removed() {
                self.by_identity.forget([&child.object]);
            }
        }
    }
}

impl Lane for Labels {
    type Class = Metric;
    const NAME: &'static CStr = c"labels";
    const MOSTLY: Option<usize> = None;
    const KEYWORDS: bool = true;

    #[inline(always)]
    fn take<'py>(
        this: &Metric,
        objects: &[Borrowed<'_, 'py, PyAny>],
        names: Option<Borrowed<'_, 'py, PyAny>>,
        py: Python<'py>,
    ) -> Option<Py<PyAny>> {
        let children = this.children.as_deref()?;
        if !children.removals.is_swept() {
            return None;
        }
        let given = Given { objects, names, segment: children.segment.load(Ordering::Relaxed) };
        match children.by_identity.get(given) {
            Some(child) => Some(child.clone_ref(py)),
            None => Self::by_text(this, given, py),
        }
    }

    fn remember(
        this: &Metric,
        objects: &[Borrowed<'_, '_, PyAny>],
        names: Option<Borrowed<'_, '_, PyAny>>,
        answer: &Bound<'_, PyAny>,
    ) {
        let (Some(children), Ok(child)) = (this.children.as_deref(), answer.cast::<Metric>()) else { return };
        let segment = children.segment.load(Ordering::Relaxed); // before the look
        let known = children.by_values.read().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(&*child.get().values).cloned();
        drop(known);
        if let Some(found) = found {
            children.note(Given { objects, names, segment }, &found, answer.py());
        }
    }

    fn usual() -> &'static PyOnceLock<Py<PyAny>> {
        static USUAL: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        &USUAL
    }
}
