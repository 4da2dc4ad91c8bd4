//! What constructors have in common: names, labels, options.

use dyn_metrics::{Kind, Opts};
use pyo3::prelude::*;

use crate::args::{text, texts};
use crate::errors::invalid_value;

/// What every constructor takes.
pub(crate) struct Spec {
    /// Exposed name, without a registry's prefix.
    pub(crate) name: String,
    pub(crate) documentation: String,
    pub(crate) unit: String,
    pub(crate) labelnames: Vec<String>,
}

/// The parts of a name, as constructors get them.
pub(crate) struct Parts<'a, 'py> {
    pub(crate) name: &'a Bound<'py, PyAny>,
    pub(crate) documentation: &'a Bound<'py, PyAny>,
    pub(crate) labelnames: Option<&'a Bound<'py, PyAny>>,
    pub(crate) namespace: &'a str,
    pub(crate) subsystem: &'a str,
    pub(crate) unit: &'a str,
}

impl Spec {
    pub(crate) fn new(kind: Kind, parts: &Parts<'_, '_>) -> PyResult<Self> {
        let py = parts.name.py();
        let name = text(parts.name, "name", "")?;
        if name.is_empty() {
            return Err(invalid_value(py, "metric \"\": found an empty name, expected one"));
        }
        let full = full_name(kind, &name, parts);
        let documentation = text(parts.documentation, "documentation", &full)?;
        let labelnames =
            parts.labelnames.map(|names| texts(names, "labelnames", &full)).transpose()?.unwrap_or_default();
        Ok(Self { name: full, documentation, unit: parts.unit.to_owned(), labelnames })
    }

    /// Options of the family.
    pub(crate) fn opts(&self) -> Opts {
        Opts::new(&self.name, &self.documentation).unit(&self.unit)
    }
}

/// `namespace_subsystem_name_unit`, with the ending that the kind's samples have.
fn full_name(kind: Kind, name: &str, parts: &Parts<'_, '_>) -> String {
    let suffix = match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        _ => "",
    };
    let mut full = String::new();
    for part in [parts.namespace, parts.subsystem].into_iter().filter(|part| !part.is_empty()) {
        full.push_str(part);
        full.push('_');
    }
    full.push_str(name.strip_suffix(suffix).unwrap_or(name));
    let unit = parts.unit;
    if !unit.is_empty() && full.strip_suffix(unit).is_none_or(|rest| !rest.ends_with('_')) {
        full.push('_');
        full.push_str(unit);
    }
    full.push_str(suffix);
    full
}
