//! `dyn_metrics._native`: what the Python package `dyn_metrics` is made of. The stubs beside it,
//! `python/dyn_metrics/_native.pyi`, are its documentation for type checkers.
//!
//! | module | what |
//! | --- | --- |
//! | `errors` | exceptions for what goes wrong |
//! | `args` | texts, names and numbers from Python, checked |
//! | `registry` | `Registry`: a segment, attached at the first metric, or what is used instead of one |
//! | `hierarchy` | runtime, namespace, component, endpoint: registries that add labels |
//! | `spec` | what constructors have in common: names, labels, options |
//! | `metric` | `Metric`, the classes' base: `labels()`, construction, pickling |
//! | `identity` | the cache in front of `labels()` |
//! | `counter`, `gauge`, `histogram`, `info` | the classes |
//! | `composite` | one number of many series |
//! | `timing` | context managers and decorators |
//! | `prometheus` | what stands behind prometheus_client's metric objects |
//! | `prometheus_segment` | the segment as prometheus_client's collectors see it |
//! | `system` | the process's own server |
//! | `system_checks`, `system_calls` | its checks, and how those in Python are called |
//! | `bare` | calls that do nothing, for benches |
//! | `calls` | calls of Python's functions by threads of ours, and their end |
//! | `on_scrape` | values that are computed when somebody asks |
//! | `snapshot` | reading a segment back |
//! | `watch` | callbacks on changes and thresholds |
//! | `lane` | short ways into the methods that count |
//! | `interpreter` | refuses sub-interpreters |
//!
//! Every class is frozen, and what changes in it is an atomic or is set once: nothing here relies on the
//! interpreter's lock, and nothing waits for another thread while it holds one.

mod args;
mod bare;
mod calls;
mod composite;
mod counter;
mod errors;
mod gauge;
mod hierarchy;
mod histogram;
mod identity;
mod info;
mod interpreter;
mod lane;
mod metric;
mod on_scrape;
mod prometheus;
mod prometheus_segment;
mod registry;
mod snapshot;
mod spec;
mod system;
mod system_calls;
mod system_checks;
mod timing;
mod watch;

use pyo3::prelude::*;

/// The native part of dyn_metrics. Not for applications: import dyn_metrics.
#[pymodule(gil_used = false)]
mod _native {
    use super::*;

    // Not by pymodule_export, which would make the classes before the interpreter is known.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        interpreter::check(module.py())?;
        classes(module)?;
        prometheus::classes(module)?;
        lanes(module.py())?;
        module.add("REGISTRY", registry::Registry::root(module.py())?)?;
        module.add_function(wrap_pyfunction!(metric::rebuild, module)?)?;
        module.add_function(wrap_pyfunction!(registry::rebuild_below, module)?)?;
        let end = wrap_pyfunction!(watch::end_watching, module)?;
        module.py().import("atexit")?.call_method1("register", (end,))?;
        module.add_function(wrap_pyfunction!(registry::rebuild_registry, module)?)
    }
}

fn classes(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<metric::Metric>()?;
    module.add_class::<registry::Registry>()?;
    hierarchy::classes(module)?;
    module.add_class::<counter::Counter>()?;
    module.add_class::<counter::IntCounter>()?;
    module.add_class::<counter::DurationCounter>()?;
    module.add_class::<gauge::Gauge>()?;
    module.add_class::<gauge::IntGauge>()?;
    module.add_class::<gauge::DurationGauge>()?;
    module.add_class::<histogram::Histogram>()?;
    module.add_class::<histogram::Summary>()?;
    module.add_class::<info::Info>()?;
    module.add_class::<info::Enum>()?;
    module.add_class::<composite::Composite>()?;
    module.add_class::<composite::Reading>()?;
    module.add_class::<timing::Timer>()?;
    module.add_class::<timing::ExceptionCounter>()?;
    module.add_class::<timing::InprogressTracker>()?;
    module.add_class::<system::System>()?;
    module.add_class::<system_calls::SystemCall>()?;
    module.add_class::<system_calls::SystemCalls>()?;
    module.add_class::<system_checks::SystemBeat>()?;
    module.add_class::<system_checks::SystemCheck>()?;
    module.add_class::<on_scrape::OnScrape>()?;
    module.add_class::<watch::Event>()?;
    module.add_class::<watch::Subscription>()?;
    module.add_class::<bare::Bare>()
}

fn lanes(py: Python<'_>) -> PyResult<()> {
    lane::open::<metric::Labels>(py)?;
    lane::open::<counter::CounterInc>(py)?;
    lane::open::<counter::IntCounterInc>(py)?;
    lane::open::<counter::DurationCounterInc>(py)?;
    lane::open::<gauge::GaugeSet>(py)?;
    lane::open::<gauge::GaugeInc>(py)?;
    lane::open::<gauge::GaugeDec>(py)?;
    lane::open::<gauge::IntGaugeSet>(py)?;
    lane::open::<gauge::IntGaugeInc>(py)?;
    lane::open::<gauge::IntGaugeDec>(py)?;
    lane::open::<histogram::HistogramObserve>(py)?;
    lane::open::<histogram::SummaryObserve>(py)
}
