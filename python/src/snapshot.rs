//! What a segment holds: as text and as plain dicts, through the reader, as any other program would see it.

use std::path::Path;

use dyn_metrics_reader::{Collector, FamilySnapshot, Number, SeriesSnapshot, Value};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::errors;

fn collector(path: &Path, max_level: u8) -> Collector {
    Collector::new(&[path.to_string_lossy().into_owned()]).max_level(max_level)
}

fn served(py: Python<'_>, segments: usize, path: &Path) -> PyResult<()> {
    if segments > 0 {
        return Ok(());
    }
    let path = path.display();
    let expected = "expected the one that was opened; see dyn-metrics check";
    Err(errors::segment_not_found(py, format!("{path}: found no readable segment, {expected}")))
}

/// The segment as Prometheus text. Other threads of Python go on meanwhile.
pub(crate) fn page<'py>(py: Python<'py>, path: &Path, max_level: u8) -> PyResult<Bound<'py, PyBytes>> {
    let mut page = Vec::new();
    let report = py.detach(|| collector(path, max_level).render(&mut page));
    served(py, report.stats.segments, path)?;
    Ok(PyBytes::new(py, &page))
}

/// The segment as dicts: from each family's name to what it is. Other threads of Python go on while it is read.
pub(crate) fn families<'py>(py: Python<'py>, path: &Path, max_level: u8) -> PyResult<Bound<'py, PyDict>> {
    let snapshot = py.detach(|| collector(path, max_level).collect());
    served(py, snapshot.stats.segments, path)?;
    let families = PyDict::new(py);
    for found in &snapshot.families {
        families.set_item(&found.name, family(py, found)?)?;
    }
    Ok(families)
}

fn family<'py>(py: Python<'py>, found: &FamilySnapshot) -> PyResult<Bound<'py, PyDict>> {
    let family = PyDict::new(py);
    family.set_item("name", &found.name)?;
    family.set_item("type", found.kind.name())?;
    family.set_item("documentation", &found.help)?;
    family.set_item("unit", &found.unit)?;
    family.set_item("level", found.level)?;
    if found.kind.is_per_process() {
        family.set_item("multiprocess_mode", found.mode.name())?;
    }
    let all = found.series.iter().map(|found| series(py, found));
    family.set_item("series", PyList::new(py, all.collect::<PyResult<Vec<_>>>()?)?)?;
    Ok(family)
}

fn series<'py>(py: Python<'py>, found: &SeriesSnapshot) -> PyResult<Bound<'py, PyDict>> {
    let series = PyDict::new(py);
    let labels = PyDict::new(py);
    found.labels.iter().try_for_each(|(name, value)| labels.set_item(name, value))?;
    series.set_item("labels", labels)?;
    match &found.value {
        Value::Counter(value) | Value::Gauge(value) => series.set_item("value", number(py, *value)?)?,
        Value::Tally { count, sum } => {
            series.set_item("count", count)?;
            series.set_item("sum", sum)?;
        }
        Value::Histogram { bounds, buckets, sum } => {
            series.set_item("count", buckets.iter().fold(0, |all: u64, bucket| all.wrapping_add(*bucket)))?;
            series.set_item("sum", sum)?;
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            let counts = PyDict::new(py);
            bounds.zip(buckets).try_for_each(|(bound, count)| counts.set_item(bound, count))?;
            series.set_item("buckets", counts)?;
        }
        Value::Info => series.set_item("value", 1)?,
        Value::StateSet { states, bits } => {
            let set = PyDict::new(py);
            let is_on = |at| bits >> at & 1 == 1;
            states.iter().enumerate().try_for_each(|(at, state)| set.set_item(state, is_on(at)))?;
            series.set_item("states", set)?;
        }
    }
    Ok(series)
}

/// An int where the segment counts in whole numbers.
fn number(py: Python<'_>, number: Number) -> PyResult<Bound<'_, PyAny>> {
    Ok(match number {
        Number::Unsigned(whole) => whole.into_pyobject(py)?.into_any(),
        Number::Signed(whole) => whole.into_pyobject(py)?.into_any(),
        Number::Float(value) => value.into_pyobject(py)?.into_any(),
    })
}
