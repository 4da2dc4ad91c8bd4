//! Structs of metrics, and the list of what they declare.

use std::fmt::Write;

use dyn_metrics_layout::{GaugeMode, Kind};

use crate::error::Result;
use crate::metrics_registry::MetricsRegistry;
use crate::opts::Opts;

/// A struct whose fields are metrics; made by `#[derive(Metrics)]`.
///
/// ```
/// use dyn_metrics::{Counter, Family, Gauge, GaugeMode, Histogram, Metrics, Registry};
///
/// #[derive(Metrics)]
/// #[metrics(prefix = "router_", labels(zone = "a"))]
/// struct Router {
///     /// Requests routed
///     #[metric(label_names = ["model", "status"])]
///     requests_total: Family<Counter>,
///     /// Requests in the longest queue of any process
///     #[metric(mode = LiveMax, level = 1)]
///     queue_requests: Gauge,
///     /// Time to route a request
///     #[metric(name = "duration_seconds", unit = "seconds", buckets = [0.001, 0.01, 0.1, 1])]
///     duration: Histogram,
///     #[metric(nested, prefix = "cache_")]
///     cache: Cache,
/// }
///
/// #[derive(Metrics)]
/// struct Cache {
///     /// Look-ups that found what they looked for
///     hits_total: Counter,
/// }
///
/// let router = Router::new(&Registry::null())?;
/// router.requests_total.with(&["llama", "ok"]).inc();
/// router.cache.hits_total.inc();
/// let names: Vec<_> = Router::declared().into_iter().map(|declared| declared.name).collect();
/// assert_eq!(names[1..], ["router_queue_requests", "router_duration_seconds", "router_cache_hits_total"]);
/// # Ok::<(), dyn_metrics::Error>(())
/// ```
///
/// # Fields
///
/// A field is a handle, a [`crate::Family`] of one, or a `Box<dyn MetricCounter>` and the like, behind which is a
/// [`crate::FloatCounter`], [`crate::FloatGauge`] or [`crate::Histogram`] unless `handle` names another. An update costs
/// what it costs through such a handle: the struct adds nothing.
///
/// | `#[metric(..)]` | says | default |
/// | --- | --- | --- |
/// | `name = ".."` | the name, after the prefix | the field's |
/// | `help = ".."` | what it counts | the first paragraph of the field's doc comment |
/// | `unit = ".."` | its unit, in which the name ends | none |
/// | `labels(name = "..", ..)` | labels of each of its series | none |
/// | `label_names = ["..", ..]` | labels that the series of a family differ in | |
/// | `buckets = [..]`, `buckets = CONST` | a histogram's upper bounds | [`crate::DEFAULT_BOUNDS`] |
/// | `states = ["..", ..]` | a state set's states | |
/// | `mode = LiveMax` | how processes' values combine: a variant of [`GaugeMode`] | as [`Opts::mode`] |
/// | `level`, `max_series`, `keep_dead`, `shared` | as in [`Opts`] | as there |
/// | `handle = Counter` | the handle behind a box | |
/// | `nested`, `nested, prefix = "..", labels(..)` | a struct of metrics, with what it adds | |
/// | `registry` | no metric: a [`crate::Registry`] or `Arc<dyn MetricsRegistry>`, the one given to `new` | |
/// | `skip` | no metric: gets its `Default` | |
///
/// `#[metrics(prefix = "..", labels(..))]` on a struct is for all its fields; `crate = path` there names this crate where
/// it has another name.
///
/// # What the compiler checks
///
/// Names, labels, units, help, order of buckets, states, limits, whether an option suits the field's type, and that no two
/// fields are the same series. What depends on the registry (its prefix, its labels, what others have registered) shows
/// in [`Metrics::new`], whose error names the field.
pub trait Metrics: Sized {
    /// Registers every metric.
    ///
    /// # Errors
    /// [`crate::Error::Field`], which names the field and says why; what was registered before it stays.
    fn new(registry: &dyn MetricsRegistry) -> Result<Self>;

    /// What it registers, in the order of its fields; without a registry, and so without what that adds.
    #[must_use]
    fn declared() -> Vec<Declaration>;

    /// The same as JSON, for `dyn-metrics describe --declared`, which makes a table of it.
    #[must_use]
    fn declared_json() -> String {
        json(&Self::declared())
    }
}

/// A metric that a struct declares.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Declaration {
    /// The field, with those it is nested in before it: `cache.hits_total`.
    pub field: String,
    /// Name, with the struct's prefix and without the registry's.
    pub name: String,
    /// Type.
    pub kind: Kind,
    /// Help.
    pub help: String,
    /// Unit; may be empty.
    pub unit: String,
    /// Labels of each series, sorted by name; without the registry's.
    pub labels: Vec<(String, String)>,
    /// Names of the labels that series differ in; empty of what is no family.
    pub label_names: Vec<String>,
    /// Upper bounds of a histogram, without `+Inf`; empty of others.
    pub buckets: Vec<f64>,
    /// States of a state set; empty of others.
    pub states: Vec<String>,
    /// How the values of several processes combine; none of what belongs to no process.
    pub mode: Option<GaugeMode>,
    /// Priority level.
    pub level: u8,
}

impl Declaration {
    pub(crate) fn new(field: &str, kind: Kind, opts: &Opts, label_names: &[&str]) -> Self {
        Self {
            field: field.to_owned(),
            name: opts.name.clone(),
            kind,
            help: opts.help.clone(),
            unit: opts.unit.clone(),
            labels: opts.labels.clone(),
            label_names: label_names.iter().map(|&name| name.to_owned()).collect(),
            buckets: opts.bounds_for(kind).to_vec(),
            states: opts.states.clone(),
            mode: kind.is_per_process().then(|| opts.mode_for(kind)),
            level: opts.level,
        }
    }

    /// Puts what a struct, or the field that it is in, adds before what is here.
    pub(crate) fn put_below(&mut self, field: &str, prefix: &str, labels: &[(&str, &str)]) {
        if !field.is_empty() {
            self.field.insert(0, '.');
            self.field.insert_str(0, field);
        }
        self.name.insert_str(0, prefix);
        self.labels.extend(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.labels.sort();
    }

    fn write_json(&self, out: &mut String) {
        let Self { field, name, kind, help, unit, labels, label_names, buckets, states, mode, level } = self;
        out.push('{');
        for (key, value) in [("field", field), ("name", name), ("help", help), ("unit", unit)] {
            let _ = write!(out, "\"{key}\":{},", quoted(value));
        }
        let labels = labels.iter().map(|(name, value)| format!("{}:{}", quoted(name), quoted(value)));
        let list = |texts: &[String]| texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(",");
        // A bound is finite, and `{:?}` of such a number is one in JSON, too.
        let buckets = buckets.iter().map(|bound| format!("{bound:?}")).collect::<Vec<_>>().join(",");
        let mode = mode.map_or_else(|| "null".to_owned(), |mode| quoted(mode.name()));
        let _ = write!(
            out,
            "\"type\":{},\"labels\":{{{}}},\"label_names\":[{}],\"buckets\":[{buckets}],\"states\":[{}],\"mode\":{mode},\
             \"level\":{level}}}",
            quoted(kind.name()),
            labels.collect::<Vec<_>>().join(","),
            list(label_names),
            list(states),
        );
    }
}

/// Declarations as JSON: an object whose `metrics` are a list.
fn json(declared: &[Declaration]) -> String {
    let mut out = "{\"metrics\":[".to_owned();
    for (number, declaration) in declared.iter().enumerate() {
        out.push_str(if number > 0 { ",\n" } else { "\n" });
        declaration.write_json(&mut out);
    }
    out.push_str("\n]}\n");
    out
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    let mut out = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_it_must() {
        assert_eq!(quoted("a\"b\\c\n\u{7f}é模"), "\"a\\\"b\\\\c\\u000a\\u007fé模\"");
    }

    #[test]
    fn nothing_declared_is_an_empty_list() {
        assert_eq!(json(&[]), "{\"metrics\":[\n]}\n");
    }
}
