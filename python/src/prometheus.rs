//! What `dyn_metrics.prometheus` puts behind prometheus_client's metric objects.
//!
//! A [`Value`] is one number of one object, as prometheus_client's own value classes are: it reads back what was
//! done to this object in this process. Bound to a series, it does the same to the series' cells in the
//! segment. Binding may fail, and the value is then this process's alone; updates never do.
#![allow(clippy::disallowed_types, reason = "a number of this process, never in the segment")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use dyn_metrics::raw::{self, Statistic};
use dyn_metrics::{FloatCounter, FloatGauge, GaugeMode, Histogram, Info, Metric, Opts, StateSet, Tally};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::errors::raise;
use crate::on_scrape;
use crate::prometheus_segment::SegmentReader;
use crate::registry::Registry;

/// Samples of dead processes that a gauge of mode `all` keeps, as prometheus_client's files keep all of them.
const KEEP_DEAD: u32 = 64;

/// The cells behind a value.
enum Cell {
    Counter(FloatCounter),
    Gauge(FloatGauge),
    /// Count of a summary.
    Count(Tally),
    /// Sum of a summary.
    Sum(Tally),
    /// One bucket of a histogram.
    Bucket(Histogram, usize),
    /// Sum of a histogram.
    HistogramSum(Histogram),
}

impl Cell {
    /// What all processes have added; of a gauge, what this one has set.
    fn shared(&self) -> f64 {
        match self {
            Self::Counter(counter) => counter.value(),
            Self::Gauge(gauge) => gauge.value(),
            Self::Count(tally) => tally.count() as f64,
            Self::Sum(tally) => tally.sum(),
            Self::Bucket(histogram, index) => raw::sum_u64(histogram, *index) as f64,
            Self::HistogramSum(histogram) => histogram.sum(),
        }
    }

    fn add(&self, amount: f64) {
        match self {
            Self::Counter(counter) => counter.inc_by(amount),
            Self::Gauge(gauge) => gauge.add(amount),
            Self::Count(tally) => add_whole(tally, 0, amount),
            Self::Bucket(histogram, index) => add_whole(histogram, *index, amount),
            Self::Sum(tally) => add_finite(tally, 1, amount),
            Self::HistogramSum(histogram) => add_finite(histogram, histogram.bounds().len() + 1, amount),
        }
    }

    /// Follows an object that was set from `before` to `after`. A total that falls began anew, so that all of
    /// `after` is new: what a reset counter means to Prometheus.
    fn set(&self, before: f64, after: f64) {
        match self {
            Self::Gauge(gauge) => gauge.set(after),
            _ if after >= before => self.add(after - before),
            _ => self.add(after),
        }
    }
}

/// Adds to a word that counts; what is no whole number of events is dropped and counted.
fn add_whole<M: Metric>(handle: &M, index: usize, amount: f64) {
    if amount >= 0.0 && amount.fract() == 0.0 && amount < u64::MAX as f64 {
        raw::add_u64(handle, index, amount as u64);
    } else {
        raw::count(handle, if amount < 0.0 { Statistic::DroppedNegative } else { Statistic::DroppedNan });
    }
}

/// Adds to a sum; infinite amounts and NaN would spoil it for ever, and are left out and counted.
fn add_finite<M: Metric>(handle: &M, index: usize, amount: f64) {
    if amount.is_finite() {
        raw::add_f64(handle, index, amount);
    } else {
        let infinite = amount.is_infinite();
        raw::count(handle, if infinite { Statistic::InfiniteObservations } else { Statistic::DroppedNan });
    }
}

/// One number of one metric object.
///
/// Threads: any; updates take no lock. After a fork the child's objects go on from the parent's numbers, as every
/// Python object does; a gauge's cell in the segment is the child's own and begins at 0.
#[pyclass(frozen, subclass, module = "dyn_metrics._native")]
pub(crate) struct PrometheusValue {
    /// Bits of a double.
    local: AtomicU64,
    cell: OnceLock<Cell>,
    exemplar: Mutex<Option<Py<PyAny>>>,
}

impl PrometheusValue {
    fn bind(&self, cell: Cell) {
        // A value is bound once, right after it was made.
        let _ = self.cell.set(cell);
    }
}

#[pymethods]
impl PrometheusValue {
    #[new]
    fn new() -> Self {
        Self { local: AtomicU64::new(0), cell: OnceLock::new(), exemplar: Mutex::new(None) }
    }

    fn inc(&self, amount: f64) {
        let add = |bits| Some((f64::from_bits(bits) + amount).to_bits());
        // Err would mean that `add` gave up, which it never does.
        let _ = self.local.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if let Some(cell) = self.cell.get() {
            cell.add(amount);
        }
    }

    #[pyo3(signature = (value, timestamp = None))]
    fn set(&self, value: f64, timestamp: Option<&Bound<'_, PyAny>>) {
        // Gauges that need a time take the kernel's, which all processes share.
        let _ = timestamp;
        let before = f64::from_bits(self.local.swap(value.to_bits(), Ordering::Relaxed));
        if let Some(cell) = self.cell.get() {
            cell.set(before, value);
        }
    }

    /// Has the gauge in the segment computed by `function` when somebody asks; None ends that. Other values have none.
    fn compute(&self, function: &Bound<'_, PyAny>) -> PyResult<()> {
        match self.cell.get() {
            Some(Cell::Gauge(gauge)) => on_scrape::set_function(gauge, function),
            _ => Ok(()),
        }
    }

    fn get(&self) -> f64 {
        f64::from_bits(self.local.load(Ordering::Relaxed))
    }

    fn set_exemplar(&self, exemplar: Py<PyAny>) {
        let before = self.exemplar.lock().unwrap_or_else(PoisonError::into_inner).replace(exemplar);
        drop(before); // Not under the lock: it may run Python.
    }

    fn get_exemplar(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let exemplar = self.exemplar.lock().unwrap_or_else(PoisonError::into_inner);
        exemplar.as_ref().map(|exemplar| exemplar.clone_ref(py))
    }

    /// As `get`; by this name it was an attribute of prometheus_client's class.
    #[getter]
    fn _value(&self) -> f64 {
        self.get()
    }

    /// What the segment holds: all processes' total, or this process's gauge; None of an unbound value.
    fn shared(&self) -> Option<f64> {
        self.cell.get().map(Cell::shared)
    }
}

/// Pairs of label names and values.
type Labels = Vec<(String, String)>;

fn described(name: &str, help: &str, labels: &Labels) -> Opts {
    let opts = Opts::new(name, help);
    labels.iter().fold(opts, |opts, (name, value)| opts.label(name, value))
}

/// Where values are bound: a registry, attached at the first value.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct PrometheusBinder {
    registry: Option<Py<Registry>>,
}

impl PrometheusBinder {
    fn registry<'py>(
        &'py self,
        py: Python<'py>,
        metric: Option<&str>,
    ) -> PyResult<&'py dyn_metrics::Registry> {
        match &self.registry {
            Some(registry) => registry.get().attached(py, metric),
            None => Registry::root(py)?.get().attached(py, metric),
        }
    }

    fn create<M: Metric>(&self, py: Python<'_>, opts: &Opts, name: &str) -> PyResult<M> {
        let created = self.registry(py, Some(name))?.create(opts);
        created.map_err(|error| raise(py, &error, Some(name)))
    }
}

/// Every method raises what registering a metric of dyn_metrics raises.
#[pymethods]
impl PrometheusBinder {
    /// Binds to `registry`, or to the default one.
    #[new]
    #[pyo3(signature = (registry = None))]
    const fn new(registry: Option<Py<Registry>>) -> Self {
        Self { registry }
    }

    /// A reader of this segment.
    fn reader(&self, py: Python<'_>) -> PyResult<SegmentReader> {
        Ok(SegmentReader::new(self.registry(py, None)?.path()))
    }

    fn counter(
        &self,
        value: &Bound<'_, PrometheusValue>,
        name: &str,
        help: &str,
        labels: Labels,
    ) -> PyResult<()> {
        let opts = described(name, help, &labels);
        value.get().bind(Cell::Counter(self.create(value.py(), &opts, name)?));
        Ok(())
    }

    /// The process's cell begins at 0, as prometheus_client's does, unless the most recent one counts: nothing was set yet.
    fn gauge(
        &self,
        value: &Bound<'_, PrometheusValue>,
        name: &str,
        help: &str,
        labels: Labels,
        mode: &str,
    ) -> PyResult<()> {
        let mode = mode_named(mode)?;
        let opts = described(name, help, &labels).mode(mode);
        let opts = if mode.is_all() { opts.keep_dead(KEEP_DEAD) } else { opts };
        let gauge: FloatGauge = self.create(value.py(), &opts, name)?;
        if !mode.is_stamped() {
            gauge.set(0.0);
        }
        value.get().bind(Cell::Gauge(gauge));
        Ok(())
    }

    /// Binds the count and the sum of a summary, either of which may be None.
    fn summary(
        &self,
        count: Option<&Bound<'_, PrometheusValue>>,
        sum: Option<&Bound<'_, PrometheusValue>>,
        name: &str,
        help: &str,
        labels: Labels,
    ) -> PyResult<()> {
        let Some(py) = count.or(sum).map(|value| value.py()) else { return Ok(()) };
        let tally: Tally = self.create(py, &described(name, help, &labels), name)?;
        if let Some(count) = count {
            count.get().bind(Cell::Count(tally.clone()));
        }
        if let Some(sum) = sum {
            sum.get().bind(Cell::Sum(tally));
        }
        Ok(())
    }

    /// Binds a histogram's sum and its buckets; the last bucket is that of `+Inf`, which has no bound here.
    fn histogram(
        &self,
        sum: &Bound<'_, PrometheusValue>,
        buckets: Vec<Bound<'_, PrometheusValue>>,
        bounds: Vec<f64>,
        name: &str,
        help: &str,
        labels: Labels,
    ) -> PyResult<()> {
        let opts = described(name, help, &labels).bounds(&bounds);
        let histogram: Histogram = self.create(sum.py(), &opts, name)?;
        for (index, bucket) in buckets.iter().enumerate() {
            bucket.get().bind(Cell::Bucket(histogram.clone(), index));
        }
        sum.get().bind(Cell::HistogramSum(histogram));
        Ok(())
    }

    /// Registers facts: labels of a series whose value is 1.
    fn info(&self, py: Python<'_>, name: &str, help: &str, labels: Labels) -> PyResult<()> {
        self.create::<Info>(py, &described(name, help, &labels), name).map(drop)
    }

    /// The states of one Enum in this process.
    fn states(
        &self,
        py: Python<'_>,
        name: &str,
        help: &str,
        labels: Labels,
        states: Vec<String>,
    ) -> PyResult<PrometheusStates> {
        let states: Vec<&str> = states.iter().map(String::as_str).collect();
        let opts = described(name, help, &labels).states(&states).mode(GaugeMode::LiveAll);
        Ok(PrometheusStates { states: self.create(py, &opts, name)? })
    }
}

fn mode_named(name: &str) -> PyResult<GaugeMode> {
    let found = GaugeMode::EVERY.into_iter().find(|mode| mode.name() == name);
    found.ok_or_else(|| PyValueError::new_err(format!("no gauge mode is named {name:?}")))
}

/// The states of one Enum in this process.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct PrometheusStates {
    states: StateSet,
}

#[pymethods]
impl PrometheusStates {
    /// Switches `state` on and all others off.
    fn set(&self, state: &str) {
        self.states.set(state);
    }
}

/// Adds what `dyn_metrics.prometheus` needs to the module.
pub(crate) fn classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PrometheusValue>()?;
    module.add_class::<PrometheusBinder>()?;
    module.add_class::<PrometheusStates>()?;
    module.add_class::<SegmentReader>()
}
