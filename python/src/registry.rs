//! Registries: a segment, attached at the first metric, or what is used instead of one.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use dyn_metrics::{Builder, DEFAULT_PATH, Error};
use dyn_metrics_layout::name::{check_label_name, check_metric_name};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyInt, PyIterator, PyString, PyTuple};

use crate::args::{label_pairs, shown, text};
use crate::errors::{invalid_type, invalid_value, raise};
use crate::on_scrape::{self, OnScrape};
use crate::snapshot;
use crate::watch;

/// A segment, and what is put before the names and on the series of the metrics that are registered through it.
///
/// Attached at the first metric or by `open()`: created when there is none. Every registry of one path, in all
/// processes and languages, has the same series. What concerns the file counts for the process that creates it;
/// role and process_labels for the first registry of a path in a process.
///
/// path: the file; by default the environment's DYN_METRICS_SHM, else /dev/shm/dynamo, looked up when it is attached.
/// max_bytes: limit of the file's length. max_series_per_family: 10 000 unless given. processes: most that may be
/// attached at once, 512 unless given. mode: permission bits of a new file, 0o600 unless given. group: number of its
/// group. role: of this process, shown to people. process_labels: the same, a dict. common_labels: a dict that
/// the exporter adds to every sample. allowed_uids: users whose segment is accepted. fresh: starts from zero;
/// refused while processes hold the segment unless force is given.
///
/// Errors: InvalidTypeError and InvalidValueError for options; what concerns the file is raised when it is attached.
///
/// >>> registry = Registry(path=segment, role="worker")
/// >>> registry.counter("doc_registry_requests", "Requests").inc()
#[pyclass(frozen, subclass, module = "dyn_metrics")]
pub(crate) struct Registry {
    home: Arc<Home>,
    /// All of it, with that of the home.
    prefix: String,
    labels: Vec<(String, String)>,
    attached: OnceLock<dyn_metrics::Registry>,
    /// What it came from: an object, a method of that and its arguments; none where the home and its children suffice.
    below: Option<Below>,
}

/// An object, a method of it and its arguments.
pub(crate) type Below = (Py<PyAny>, &'static str, Py<PyTuple>);

/// How a registry is opened, and the one that was.
struct Home {
    source: Source,
    opened: OnceLock<dyn_metrics::Registry>,
}

/// What a registry is opened from.
enum Source {
    Segment {
        path: Option<PathBuf>,
        set: Vec<Set>,
        /// The options as they were given.
        options: Option<Py<PyDict>>,
    },
    /// The process's own: `DYN_METRICS_REGISTRY` says what it is.
    Root,
    /// As `DYN_METRICS_REGISTRY` would name it.
    Kind(String),
    /// It was open before.
    Given,
}

/// One option, put into a builder.
type Set = Box<dyn Fn(Builder) -> Builder + Send + Sync>;

const OPTIONS: [&str; 12] = [
    "path",
    "max_bytes",
    "max_series_per_family",
    "processes",
    "mode",
    "group",
    "role",
    "process_labels",
    "common_labels",
    "allowed_uids",
    "fresh",
    "force",
];

/// What the option `name` does with `value`.
fn option(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Set> {
    let py = value.py();
    let metric = "Registry()";
    let found = || format!("Registry(): option {name}: found {}", shown(value));
    let number = |most: u64| {
        if !value.is_instance_of::<PyInt>() {
            return Err(invalid_type(py, format!("{}, expected an int", found())));
        }
        let given: Option<u64> = value.extract().ok();
        let range = || invalid_value(py, format!("{}, expected 0 to {most}", found()));
        given.filter(|given| *given <= most).ok_or_else(range)
    };
    let small = || number(u32::MAX.into()).map(|value| value as u32);
    let flag =
        || value.extract::<bool>().map_err(|_| invalid_type(py, format!("{}, expected a bool", found())));
    Ok(match name {
        "max_bytes" => number(u64::MAX).map(|bytes| set(move |b| b.max_bytes(bytes)))?,
        "max_series_per_family" => small().map(|series| set(move |b| b.max_series_per_family(series)))?,
        "processes" => small().map(|slots| set(move |b| b.processes(slots)))?,
        "mode" => small().map(|mode| set(move |b| b.mode(mode)))?,
        "group" => small().map(|gid| set(move |b| b.group(gid)))?,
        "fresh" => flag().map(|fresh| set(move |b| b.fresh(fresh)))?,
        "force" => flag().map(|force| set(move |b| b.force(force)))?,
        "role" => text(value, "role", metric).map(|role| set(move |b| b.role(&role)))?,
        "process_labels" => {
            let pairs = label_pairs(value, "process_labels", metric)?;
            set(move |b| pairs.iter().fold(b, |b, (name, value)| b.process_label(name, value)))
        }
        "common_labels" => {
            let pairs = label_pairs(value, "common_labels", metric)?;
            set(move |b| pairs.iter().fold(b, |b, (name, value)| b.common_label(name, value)))
        }
        "allowed_uids" => {
            let wrong = |_| invalid_type(py, format!("{}, expected a list of int", found()));
            let uids: Vec<u32> = value.extract().map_err(wrong)?;
            set(move |b| uids.iter().fold(b, |b, uid| b.allow_uid(*uid)))
        }
        _ => return Err(invalid_type(py, format!("Registry() got an unexpected keyword argument '{name}'"))),
    })
}

fn set(option: impl Fn(Builder) -> Builder + Send + Sync + 'static) -> Set {
    Box::new(option)
}

fn path_of(value: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    let wrong =
        |_| invalid_type(value.py(), format!("Registry(): path: found {}, expected a path", shown(value)));
    value.extract().map_err(wrong)
}

impl Registry {
    fn with(source: Source) -> Self {
        let home = Arc::new(Home { source, opened: OnceLock::new() });
        Self { home, prefix: String::new(), labels: Vec::new(), attached: OnceLock::new(), below: None }
    }

    /// One that is open, and came about by `below`.
    pub(crate) fn given(registry: dyn_metrics::Registry, below: Below) -> Self {
        Self {
            prefix: registry.prefix().to_owned(),
            labels: registry.labels().to_vec(),
            home: Arc::new(Home { source: Source::Given, opened: OnceLock::from(registry.clone()) }),
            attached: OnceLock::from(registry),
            below: Some(below),
        }
    }

    /// The registry that metrics without one belong to.
    pub(crate) fn root(py: Python<'_>) -> PyResult<&Py<Self>> {
        static ROOT: PyOnceLock<Py<Registry>> = PyOnceLock::new();
        ROOT.get_or_try_init(py, || Py::new(py, Self::with(Source::Root)))
    }

    /// What it came from, if that is another object.
    pub(crate) fn below(&self) -> Option<&Below> {
        self.below.as_ref()
    }

    /// What stands before every name.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The segment, attached by the first call, on behalf of `metric`.
    pub(crate) fn attached(&self, py: Python<'_>, metric: Option<&str>) -> PyResult<&dyn_metrics::Registry> {
        if let Some(attached) = self.attached.get() {
            return Ok(attached);
        }
        let refused = |error| raise(py, &error, metric);
        let home = self.home.opened(py).map_err(refused)?;
        let labels: Vec<_> =
            self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let own = match self.prefix.is_empty() && labels.is_empty() {
            true => home.clone(),
            false => home.child(&self.prefix, &labels).map_err(refused)?,
        };
        Ok(self.attached.get_or_init(|| own))
    }

    /// What to write into a pickle: nothing of the root, which every process has.
    pub(crate) fn reduced(this: &Py<Self>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        if this.is(Self::root(py)?) { Ok(py.None()) } else { Ok(this.clone_ref(py).into_any()) }
    }

    /// A metric of a class, registered here.
    fn make<'py>(
        slf: &Bound<'py, Self>,
        class: &str,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let all = keywords.map_or_else(|| Ok(PyDict::new(py)), |keywords| keywords.copy())?;
        all.set_item("registry", slf)?;
        py.import("dyn_metrics._native")?.getattr(class)?.call(args, Some(&all))
    }
}

/// Refuses what no metric could have.
fn check_scope(prefix: &str, labels: &[(String, String)]) -> dyn_metrics::Result<()> {
    let name = |what, name: &str, reason| Error::Name { what, name: name.to_owned(), reason };
    // With the shortest name behind it.
    check_metric_name(&format!("{prefix}x")).map_err(|reason| name("prefix", prefix, reason))?;
    for (at, (label, _)) in labels.iter().enumerate() {
        check_label_name(label).map_err(|reason| name("label name", label, reason))?;
        if labels[..at].iter().any(|(known, _)| known == label) {
            return Err(Error::DuplicateLabel { metric: format!("{prefix}*"), label: label.clone() });
        }
    }
    Ok(())
}

/// Where a segment is when nothing names it.
fn default_path() -> PathBuf {
    let path = std::env::var_os("DYN_METRICS_SHM").filter(|path| !path.is_empty());
    path.map_or_else(|| PathBuf::from(DEFAULT_PATH), PathBuf::from)
}

impl Home {
    /// The segment; where nothing is there yet, other threads of Python go on while it is made.
    fn opened(&self, py: Python<'_>) -> dyn_metrics::Result<&dyn_metrics::Registry> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = py.detach(|| match &self.source {
            Source::Root | Source::Given => dyn_metrics::Registry::root(),
            Source::Kind(kind) => dyn_metrics::Registry::of_kind(kind),
            Source::Segment { path, set, .. } => {
                let builder = Builder::default();
                let builder = path.iter().fold(builder, |builder, path| builder.path(path));
                set.iter().fold(builder, |builder, set| set(builder)).open()
            }
        })?;
        // Of two threads one's: both lead to one segment.
        Ok(self.opened.get_or_init(|| opened))
    }
}

#[pymethods]
impl Registry {
    #[new]
    #[pyo3(signature = (path=None, **options), text_signature = "(path=None, *, max_bytes=None, max_series_per_family=None, processes=None, mode=None, group=None, role=None, process_labels=None, common_labels=None, allowed_uids=None, fresh=False, force=False)")]
    fn py_new(path: Option<&Bound<'_, PyAny>>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let path = path.map(path_of).transpose()?;
        let mut set = Vec::new();
        for (name, value) in options.into_iter().flatten() {
            let name: String = name.extract()?;
            if !value.is_none() || !OPTIONS.contains(&name.as_str()) {
                set.push(option(&name, &value)?);
            }
        }
        let options = options.map(|options| options.clone().unbind());
        Ok(Self::with(Source::Segment { path, set, options }))
    }

    /// A registry of the kind that DYN_METRICS_REGISTRY would name: "shm", "prometheus", "null", ...
    ///
    /// Metrics are made and updated in it as in any other. Errors: InvalidValueError for a kind that this build
    /// doesn't have; as open().
    ///
    /// >>> nowhere = Registry.of_kind("null")
    /// >>> nowhere.counter("doc_nowhere", "Counted by nobody").inc()
    /// >>> nowhere.generate_latest()
    /// b''
    #[staticmethod]
    fn of_kind<'py>(py: Python<'py>, kind: &str) -> PyResult<Bound<'py, Self>> {
        Self::open(Bound::new(py, Self::with(Source::Kind(kind.to_owned())))?)
    }

    /// A registry whose updates go nowhere: names are checked, and nothing is counted.
    ///
    /// >>> Registry.null().gauge("doc_unseen", "Seen by nobody").set(1)
    #[staticmethod]
    fn null(py: Python<'_>) -> PyResult<Bound<'_, Self>> {
        Self::of_kind(py, "null")
    }

    /// What keeps the numbers: "shm" is a segment; see DYN_METRICS_REGISTRY. Attaches the process's own registry.
    ///
    /// Errors: as open().
    #[getter]
    fn kind(&self, py: Python<'_>) -> PyResult<String> {
        match &self.home.source {
            Source::Segment { .. } => Ok("shm".to_owned()),
            _ => Ok(self.attached(py, None)?.kind().to_owned()),
        }
    }

    /// Itself: what MetricsRegistry asks for.
    #[getter(registry)]
    fn itself(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    /// The same registry, of which only families up to this priority level, 0 (most important) to 255, are shown.
    ///
    /// Everything goes on being counted; the numbers of other families are not read. Errors: as open().
    ///
    /// >>> all_of_it = Registry(path=segment)
    /// >>> all_of_it.counter("doc_retries", "Retries", level=2).inc()
    /// >>> "doc_retries_total" in all_of_it.with_max_level(1).snapshot()
    /// False
    fn with_max_level(slf: &Bound<'_, Self>, level: u8) -> PyResult<Self> {
        let py = slf.py();
        let view = slf.get().attached(py, None)?.with_max_level(level);
        let args = PyTuple::new(py, [level])?.unbind();
        Ok(Self::given(view, (slf.clone().into_any().unbind(), "with_max_level", args)))
    }

    /// What is registered here and below as Prometheus text 0.0.4: names with the prefix, series with the labels.
    ///
    /// Other threads of Python go on meanwhile. Errors: InvalidValueError where a registry shows nothing; as open().
    fn prometheus_format_str(&self, py: Python<'_>) -> PyResult<String> {
        let attached = self.attached(py, None)?;
        py.detach(|| attached.render()).map_err(|error| raise(py, &error, None))
    }

    /// As prometheus_format_str().
    fn prometheus_metrics_fmt(&self, py: Python<'_>) -> PyResult<String> {
        self.prometheus_format_str(py)
    }

    /// Attaches now instead of at the first metric; returns the registry itself.
    ///
    /// Errors: SegmentError (an OSError) and its subclasses; what is at the path is unchanged then.
    fn open<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, Self>> {
        slf.get().attached(slf.py(), None)?;
        Ok(slf)
    }

    /// A registry of the same segment that puts `prefix` before every name and `labels` on every series.
    ///
    /// The prefix stands in the name as it is ("dynamo_"); a child of a child has both prefixes and the labels of
    /// both. Errors: InvalidValueError.
    ///
    /// >>> router = Registry(path=segment).child("dynamo_", {"component": "router"})
    /// >>> router.counter("doc_routed", "Requests routed").name
    /// 'dynamo_doc_routed_total'
    #[pyo3(signature = (prefix="", labels=None))]
    fn child(slf: &Bound<'_, Self>, prefix: &str, labels: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let (this, py) = (slf.get(), slf.py());
        let full = this.prefix.clone() + prefix;
        let own = labels.map(|labels| label_pairs(labels, "labels", &format!("{full}*"))).transpose()?;
        let own = own.unwrap_or_default();
        if matches!(this.home.source, Source::Given) {
            // It knows which labels are not for users.
            let pairs: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let made = this.attached(py, None)?.child(prefix, &pairs);
            let args = (prefix, labels.map(|labels| labels.clone().unbind())).into_pyobject(py)?.unbind();
            let below = (slf.clone().into_any().unbind(), "child", args);
            return Ok(Self::given(made.map_err(|error| raise(py, &error, None))?, below));
        }
        let all = this.labels.iter().cloned().chain(own).collect::<Vec<_>>();
        check_scope(&full, &all).map_err(|error| raise(py, &error, None))?;
        let home = Arc::clone(&this.home);
        Ok(Self { home, prefix: full, labels: all, attached: OnceLock::new(), below: None })
    }

    /// Removes the series with this name, as it is exposed but for the prefix, and exactly these labels, beside the
    /// registry's own; whether there was one. See `remove()` of metrics.
    ///
    /// Errors: InvalidValueError; SegmentError (an OSError); DynMetricsError where a registry can't remove.
    ///
    /// >>> registry = Registry(path=segment)
    /// >>> registry.counter("doc_gone", "Jobs").inc()
    /// >>> registry.remove("doc_gone_total")
    /// True
    #[pyo3(signature = (name, labels=None))]
    fn remove(&self, py: Python<'_>, name: &str, labels: Option<&Bound<'_, PyAny>>) -> PyResult<bool> {
        let own = labels.map(|labels| label_pairs(labels, "labels", name)).transpose()?.unwrap_or_default();
        let pairs: Vec<_> = own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.attached(py, Some(name))?.remove(name, &pairs).map_err(|error| raise(py, &error, Some(name)))
    }

    /// What stands before every name.
    #[getter(prefix)]
    fn py_prefix(&self) -> &str {
        &self.prefix
    }

    /// The labels that every series gets.
    #[getter]
    fn labels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let labels = PyDict::new(py);
        self.labels.iter().try_for_each(|(name, value)| labels.set_item(name, value))?;
        Ok(labels)
    }

    /// The segment's path, absolute once it is attached; empty where there is no segment.
    #[getter]
    fn path(&self) -> PathBuf {
        match self.home.opened.get() {
            Some(opened) => opened.path().to_owned(),
            None => match &self.home.source {
                Source::Segment { path, .. } => path.clone().unwrap_or_else(default_path),
                Source::Root if is_shm(std::env::var_os("DYN_METRICS_REGISTRY")) => default_path(),
                _ => PathBuf::new(),
            },
        }
    }

    /// A `Counter` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, level=0, max_series=None, shared=False)")]
    fn counter<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Counter", args, keywords)
    }

    /// An `IntCounter` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, level=0, max_series=None, shared=False)")]
    fn int_counter<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "IntCounter", args, keywords)
    }

    /// A `DurationCounter` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, level=0, max_series=None, shared=False)")]
    fn duration_counter<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "DurationCounter", args, keywords)
    }

    /// A `Gauge` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, multiprocess_mode='livesum', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn gauge<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Gauge", args, keywords)
    }

    /// An `IntGauge` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, multiprocess_mode='livesum', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn int_gauge<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "IntGauge", args, keywords)
    }

    /// A `DurationGauge` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, multiprocess_mode='livesum', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn duration_gauge<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "DurationGauge", args, keywords)
    }

    /// A `Histogram` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, buckets=None, level=0, max_series=None, shared=False)")]
    fn histogram<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Histogram", args, keywords)
    }

    /// A `Summary` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, level=0, max_series=None, shared=False)")]
    fn summary<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Summary", args, keywords)
    }

    /// An `Info` in this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, level=0, max_series=None, shared=False)")]
    fn info<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Info", args, keywords)
    }

    /// An `Enum` in this registry; takes its arguments.
    #[pyo3(name = "enum", signature = (*args, **keywords), text_signature = "($self, name, documentation, labelnames=(), namespace='', subsystem='', unit='', *, states=(), multiprocess_mode='livemostrecent', keep_dead=0, level=0, max_series=None, shared=False)")]
    fn enum_<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Enum", args, keywords)
    }

    /// A `Composite` of this registry; takes its arguments.
    #[pyo3(signature = (*args, **keywords), text_signature = "($self, operation, name, *, matching=None, not_matching=None, having=(), q=None, over_processes=False, window=None)")]
    fn composite<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::make(slf, "Composite", args, keywords)
    }

    /// Has `callback` run whenever somebody asks for values, before they are read: when the exporter is scraped, when this
    /// process's own server is, and in generate_latest() and snapshot(). It sets metrics, and what it gives is ignored.
    ///
    /// It runs on a thread of the library's until cancel() of what this gives, or the end of the process. Who asks waits for a
    /// short time (100 ms unless the exporter is told otherwise), then reads what is there. One that still runs is not
    /// started again and keeps no other from running; what it raises goes to sys.unraisablehook. A forked child has none of
    /// its parent's. Errors: InvalidTypeError; those of open().
    ///
    /// >>> registry = Registry(path=segment)
    /// >>> used = registry.gauge("doc_used_bytes", "Bytes in use")
    /// >>> callback = registry.on_scrape(lambda: used.set(4096))
    /// >>> registry.snapshot()["doc_used_bytes"]["series"]
    /// [{'labels': {}, 'value': 4096.0}]
    /// >>> callback.cancel()
    /// True
    fn on_scrape(&self, py: Python<'_>, callback: &Bound<'_, PyAny>) -> PyResult<OnScrape> {
        on_scrape::on_scrape(self.attached(py, None)?, callback)
    }

    /// Calls callback(event) whenever a value of what is watched has changed, whichever process has set it.
    ///
    /// watched: a metric, the exposed name of a family in this registry, or a callable that gives a number or None. labels:
    /// of a family only series with these. callback: called on a thread of the library, or in an asyncio loop if one is given; a
    /// coroutine function runs in the loop that runs now unless one is given. The next call begins when it has ended, with
    /// the latest value of each series. What it raises goes to sys.unraisablehook. Keep what is returned: the
    /// subscription ends with it. Errors: SegmentError, InvalidTypeError, InvalidValueError.
    ///
    /// >>> import threading
    /// >>> depth, seen = Gauge("doc_depth", "Requests that wait"), threading.Event()
    /// >>> with REGISTRY.on_change(depth, lambda event: seen.set()):
    /// ...     depth.set(3)
    /// ...     seen.wait(60)
    /// True
    #[pyo3(signature = (watched, callback, *, labels=None, r#loop=None))]
    fn on_change(
        slf: &Bound<'_, Self>,
        watched: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        labels: Option<&Bound<'_, PyAny>>,
        r#loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<watch::Subscription> {
        watch::on_change(slf, watched, callback, labels, r#loop)
    }

    /// Calls callback(event) whenever a value of what is watched goes above, or below, a limit: at once if it is there
    /// already, and again only after it has come back behind the limit by the hysteresis. Otherwise as on_change().
    #[pyo3(signature = (watched, callback, *, above=None, below=None, hysteresis=0.0, labels=None, r#loop=None))]
    #[allow(clippy::too_many_arguments, reason = "keywords, in Python")]
    fn on_threshold(
        slf: &Bound<'_, Self>,
        watched: &Bound<'_, PyAny>,
        callback: &Bound<'_, PyAny>,
        above: Option<f64>,
        below: Option<f64>,
        hysteresis: f64,
        labels: Option<&Bound<'_, PyAny>>,
        r#loop: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<watch::Subscription> {
        watch::on_threshold(slf, watched, callback, (above, below, hysteresis), labels, r#loop)
    }

    /// The segment as Prometheus text 0.0.4, as the exporter would serve it: all of it, whatever the prefix. Of another
    /// registry what that shows.
    fn generate_latest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let attached = self.attached(py, None)?;
        on_scrape::run(py, attached);
        if attached.kind() == "shm" {
            return snapshot::page(py, attached.path(), attached.max_level());
        }
        let home = self.home.opened(py).map_err(|error| raise(py, &error, None))?;
        let text = py.detach(|| home.render()).map_err(|error| raise(py, &error, None))?;
        Ok(PyBytes::new(py, text.as_bytes()))
    }

    /// The segment as plain dicts: all of it, whatever the prefix. See `dyn_metrics.snapshot`.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let attached = self.attached(py, None)?;
        if attached.kind() != "shm" {
            let text = format!("registry {}: it has no snapshot, only a segment has one", attached.kind());
            return Err(invalid_value(py, text));
        }
        on_scrape::run(py, attached);
        snapshot::families(py, attached.path(), attached.max_level())
    }

    /// The families of `snapshot()`, one after the other.
    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        self.snapshot(py)?.values().try_iter()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let path = PyString::new(py, &self.path().to_string_lossy()).repr()?.to_string_lossy().into_owned();
        let Self { prefix, labels, .. } = self;
        let home = match self.home.opened.get().map(dyn_metrics::Registry::kind) {
            Some("shm") | None => format!("Registry({path})"),
            Some(kind) => format!("Registry.of_kind({kind:?})"),
        };
        if prefix.is_empty() && labels.is_empty() {
            return Ok(home);
        }
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name:?}: {value:?}")).collect();
        Ok(format!("{home}.child({prefix:?}, {{{}}})", labels.join(", ")))
    }

    /// So that a registry may be handed to a process that was spawned: there it is opened again.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let native = py.import("dyn_metrics._native")?;
        if let Some((parent, method, args)) = &self.below {
            let args = (parent.clone_ref(py), *method, args.clone_ref(py)).into_pyobject(py)?;
            return Ok((native.getattr("rebuild_below")?, args));
        }
        let (path, options, kind) = match &self.home.source {
            Source::Segment { path, options, .. } => (path.clone(), options.as_ref(), None),
            Source::Kind(kind) => (None, None, Some(kind.as_str())),
            Source::Root | Source::Given => (None, None, Some("")),
        };
        let options = match options {
            Some(options) => options.bind(py).copy()?,
            None => PyDict::new(py),
        };
        // Who made it anew did so once.
        let _ = options.del_item("fresh");
        let args = (path, options, &self.prefix, self.labels(py)?, kind).into_pyobject(py)?;
        Ok((native.getattr("rebuild_registry")?, args))
    }
}

/// Whether `DYN_METRICS_REGISTRY` says that the process's own registry is a segment.
fn is_shm(kind: Option<std::ffi::OsString>) -> bool {
    kind.is_none_or(|kind| kind.is_empty() || kind == "shm")
}

/// Makes a registry anew that came from another object; what pickled ones call.
#[pyfunction]
pub(crate) fn rebuild_below<'py>(
    parent: &Bound<'py, PyAny>,
    method: &str,
    args: &Bound<'py, PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    parent.call_method1(method, args)
}

/// Makes a registry anew; what pickled ones call.
#[pyfunction]
#[pyo3(signature = (path, options, prefix, labels, kind=None))]
pub(crate) fn rebuild_registry<'py>(
    py: Python<'py>,
    path: Option<&Bound<'py, PyAny>>,
    options: &Bound<'py, PyDict>,
    prefix: &str,
    labels: &Bound<'py, PyDict>,
    kind: Option<&str>,
) -> PyResult<Registry> {
    let home = match kind {
        None => Bound::new(py, Registry::py_new(path, Some(options))?)?,
        Some("") => Registry::root(py)?.clone_ref(py).into_bound(py),
        Some(kind) => Registry::of_kind(py, kind)?,
    };
    Registry::child(&home, prefix, Some(labels.as_any()))
}
