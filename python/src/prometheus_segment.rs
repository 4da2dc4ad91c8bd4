//! The segment as prometheus_client's collectors see it: families with their samples.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use dyn_metrics_reader::{Collector, FamilySnapshot, Kind, SegmentState, SeriesSnapshot, Value};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// A sample: its name, its labels, its number.
type Sample<'py> = (String, Bound<'py, PyDict>, f64);
/// A family: its name, help, type and unit as OpenMetrics has them, and its samples.
type Family<'py> = (String, String, &'static str, String, Vec<Sample<'py>>);
/// A process that lives: its pid and that one's namespace.
type Process = (u32, u64);

/// Reads a segment again and again.
///
/// Threads: one collection at a time. The GIL stays held, so that no thread forks in the middle of one.
#[pyclass(frozen, module = "dyn_metrics._native")]
pub(crate) struct SegmentReader {
    collector: Mutex<Collector>,
}

impl SegmentReader {
    pub(crate) fn new(path: &Path) -> Self {
        let pattern = path.to_string_lossy().into_owned();
        Self { collector: Mutex::new(Collector::new(&[pattern])) }
    }
}

#[pymethods]
impl SegmentReader {
    /// Families that have series, and pid and pid namespace of the living processes that hold a slot. `spell` makes
    /// the text of a bucket's bound.
    fn collect<'py>(
        &self,
        py: Python<'py>,
        spell: &Bound<'py, PyAny>,
    ) -> PyResult<(Vec<Family<'py>>, Vec<Process>)> {
        // Unlocked before Python runs again.
        let snapshot = self.collector.lock().unwrap_or_else(PoisonError::into_inner).collect();
        let with_series = snapshot.families.iter().filter(|family| !family.series.is_empty());
        let families = with_series.map(|family| exposed(py, family, spell)).collect::<PyResult<_>>()?;
        let served = snapshot.segments.iter().filter(|segment| matches!(segment.state, SegmentState::Ok));
        let processes = served.flat_map(|segment| &segment.processes).filter(|process| process.alive);
        let pids = processes.map(|process| (process.pid, process.pid_namespace)).collect();
        Ok((families, pids))
    }
}

/// The name and the type that OpenMetrics has for the family.
fn named(family: &FamilySnapshot) -> (&str, &'static str) {
    let name = family.name.as_str();
    match family.kind {
        Kind::Counter => name.strip_suffix("_total").map_or((name, "unknown"), |stem| (stem, "counter")),
        Kind::Info => name.strip_suffix("_info").map_or((name, "gauge"), |stem| (stem, "info")),
        kind => (name, kind.name()),
    }
}

fn exposed<'py>(
    py: Python<'py>,
    family: &FamilySnapshot,
    spell: &Bound<'py, PyAny>,
) -> PyResult<Family<'py>> {
    let (name, kind) = named(family);
    let mut samples = Samples { py, family: &family.name, list: Vec::new() };
    // Of one family, all series have the same bounds.
    let mut bounds = Vec::new();
    for series in &family.series {
        if let Value::Histogram { bounds: of_series, .. } = &series.value
            && bounds.is_empty()
        {
            let infinite = std::iter::once(&f64::INFINITY);
            let spelled = of_series.iter().chain(infinite).map(|bound| spell.call1((*bound,))?.extract());
            bounds = spelled.collect::<PyResult<Vec<String>>>()?;
        }
        samples.add(series, &bounds)?;
    }
    Ok((name.to_owned(), family.help.clone(), kind, family.unit.clone(), samples.list))
}

/// The samples of a family.
struct Samples<'py, 'f> {
    py: Python<'py>,
    family: &'f str,
    list: Vec<Sample<'py>>,
}

impl<'py> Samples<'py, '_> {
    fn push(&mut self, suffix: &str, labels: Bound<'py, PyDict>, number: f64) {
        self.list.push((format!("{}{suffix}", self.family), labels, number));
    }

    /// Adds a series' samples, in the order in which prometheus_client's multiprocess mode has them.
    fn add(&mut self, series: &SeriesSnapshot, bounds: &[String]) -> PyResult<()> {
        let labels = PyDict::new(self.py);
        for (name, value) in &series.labels {
            labels.set_item(name, value)?;
        }
        match &series.value {
            Value::Counter(number) | Value::Gauge(number) => self.push("", labels, number.as_f64()),
            Value::Info => self.push("", labels, 1.0),
            Value::Tally { count, sum } => {
                self.push("_count", labels.copy()?, *count as f64);
                self.push("_sum", labels, *sum);
            }
            Value::Histogram { buckets, sum, .. } => {
                self.push("_sum", labels.copy()?, *sum);
                let mut count = 0_u64;
                for (bucket, bound) in buckets.iter().zip(bounds) {
                    count = count.wrapping_add(*bucket);
                    self.push("_bucket", with(&labels, "le", bound)?, count as f64);
                }
                self.push("_count", labels, count as f64);
            }
            Value::StateSet { states, bits } => {
                for (bit, state) in states.iter().enumerate() {
                    let on = (bits >> bit & 1) as f64;
                    self.push("", with(&labels, self.family, state)?, on);
                }
            }
        }
        Ok(())
    }
}

/// A copy of `labels` and one more.
fn with<'py>(labels: &Bound<'py, PyDict>, name: &str, value: &str) -> PyResult<Bound<'py, PyDict>> {
    let copy = labels.copy()?;
    copy.set_item(name, value)?;
    Ok(copy)
}
