//! What a metric is registered as: the arguments that all constructors have in common.

use dyn_metrics::{Kind, Opts};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::args::{Arguments, shown, text, texts, wrong_type};
use crate::errors::invalid_value;
use crate::registry::Registry;

/// What a metric is registered as; its series share it.
pub(crate) struct Spec {
    pub(crate) class: &'static str,
    /// Exposed name, with the registry's prefix.
    pub(crate) name: String,
    pub(crate) documentation: String,
    pub(crate) unit: String,
    pub(crate) labelnames: Vec<String>,
    pub(crate) registry: Py<Registry>,
    /// Options that were given by name: what another process needs to make the same.
    pub(crate) options: Py<PyDict>,
    /// Description of the family, without the registry's prefix and labels.
    pub(crate) opts: Opts,
}

impl Spec {
    /// What `arguments` say; `more` adds what the class has beside.
    pub(crate) fn new(
        kind: Kind,
        arguments: &Arguments<'_>,
        more: impl FnOnce(Opts, &str) -> PyResult<Opts>,
    ) -> PyResult<Self> {
        let py = arguments.py();
        let registry = registry(arguments)?;
        let class = format!("{}()", arguments.class());
        let parts = ["namespace", "subsystem", "name"].map(|part| arguments.text(part, &class));
        let [namespace, subsystem, name] = parts;
        let name = name?;
        if name.is_empty() {
            return Err(invalid_value(py, format!("{class}: name: found an empty one, expected a name")));
        }
        let unit = arguments.text("unit", &name)?;
        let own_name = full_name(kind, [&namespace?, &subsystem?], &name, &unit);
        let full = registry.get().prefix().to_owned() + &own_name;
        let documentation = arguments.text("documentation", &full)?;
        let labelnames = match arguments.get("labelnames") {
            Some(names) => texts(names, "labelnames", &full)?,
            None => Vec::new(),
        };
        let mut opts = Opts::new(&own_name, &documentation).unit(&unit);
        if let Some(level) = arguments.option("level", &full, "0 to 255")? {
            opts = opts.level(level);
        }
        if let Some(most) = arguments.option("max_series", &full, "1 to 4294967295")? {
            opts = opts.max_series(most);
        }
        if let Some(shared) = arguments.option("shared", &full, "a bool")? {
            opts = opts.shared(shared);
        }
        let opts = more(opts, &full)?;
        let options = arguments.options()?;
        let class = arguments.class();
        Ok(Self { class, name: full, documentation, unit, labelnames, registry, options, opts })
    }

    /// The name that a constructor with the same registry wants.
    pub(crate) fn own_name(&self) -> &str {
        self.name.strip_prefix(self.registry.get().prefix()).unwrap_or(&self.name)
    }
}

fn registry(arguments: &Arguments<'_>) -> PyResult<Py<Registry>> {
    let py = arguments.py();
    let Some(given) = arguments.get("registry") else { return Ok(Registry::root(py)?.clone_ref(py)) };
    match given.cast::<Registry>() {
        Ok(registry) => Ok(registry.clone().unbind()),
        Err(_) => {
            let name = arguments
                .get("name")
                .map_or_else(String::new, |name| text(name, "name", "").unwrap_or_else(|_| shown(name)));
            Err(wrong_type(&name, "registry", given, "dyn_metrics.Registry"))
        }
    }
}

/// `namespace_subsystem_name_unit`, with the ending that the kind's samples have.
fn full_name(kind: Kind, spaces: [&str; 2], name: &str, unit: &str) -> String {
    let suffix = match kind {
        Kind::Counter => "_total",
        Kind::Info => "_info",
        _ => "",
    };
    let mut full = String::new();
    for space in spaces.into_iter().filter(|space| !space.is_empty()) {
        full.push_str(space);
        full.push('_');
    }
    full.push_str(name.strip_suffix(suffix).unwrap_or(name));
    if !unit.is_empty() && full.strip_suffix(unit).is_none_or(|rest| !rest.ends_with('_')) {
        full.push('_');
        full.push_str(unit);
    }
    full.push_str(suffix);
    full
}
