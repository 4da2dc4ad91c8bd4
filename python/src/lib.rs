//! `dyn_metrics._native`: what the Python package `dyn_metrics` is made of. The stubs beside it,
//! `python/dyn_metrics/_native.pyi`, are its documentation for type checkers.
//!
//! | module | what |
//! | --- | --- |
//! | `errors` | exceptions for what goes wrong |
//! | `args` | texts, names and numbers from Python, checked |
//! | `registry` | `Registry`: a segment, attached at the first metric |
//! | `spec` | what constructors have in common: names, labels, options |
//! | `metric` | `Metric`, the classes' base: `labels()`, construction, pickling |
//! | `identity` | the cache in front of `labels()` |
//! | `counter`, `gauge`, `histogram`, `info` | the classes |
//! | `timing` | context managers and decorators |
//! | `prometheus` | what stands behind prometheus_client's metric objects |
//! | `prometheus_segment` | the segment as prometheus_client's collectors see it |
//! | `value` | words of series, for code that brings its own metric classes |
//! | `snapshot` | reading a segment back |
//! | `lane` | short ways into the methods that count; the only unsafe code |
//!
//! Every class is frozen, and what changes in it is an atomic or is set once: nothing here relies on the
//! interpreter's lock, and nothing waits for another thread while it holds one.

mod args;
mod counter;
mod errors;
mod gauge;
mod histogram;
mod identity;
mod info;
mod lane;
mod metric;
mod prometheus;
mod prometheus_segment;
mod registry;
mod snapshot;
mod spec;
mod timing;
mod value;

use pyo3::prelude::*;

/// The native part of dyn_metrics. Not for applications: import dyn_metrics.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::counter::{Counter, DurationCounter, IntCounter};
    #[pymodule_export]
    use crate::gauge::{DurationGauge, Gauge, IntGauge};
    #[pymodule_export]
    use crate::histogram::{Histogram, Summary};
    #[pymodule_export]
    use crate::info::{Enum, Info};
    #[pymodule_export]
    use crate::metric::{Metric, rebuild};
    #[pymodule_export]
    use crate::prometheus::{PrometheusBinder, PrometheusStates, PrometheusValue};
    #[pymodule_export]
    use crate::prometheus_segment::SegmentReader;
    #[pymodule_export]
    use crate::registry::{Registry, rebuild_registry};
    #[pymodule_export]
    use crate::timing::{ExceptionCounter, InprogressTracker, Timer};
    #[pymodule_export]
    use crate::value::{Value, values};

    use crate::lane;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("REGISTRY", Registry::root(py)?)?;
        lane::open::<crate::metric::Labels>(py)?;
        lane::open::<crate::counter::CounterInc>(py)?;
        lane::open::<crate::counter::IntCounterInc>(py)?;
        lane::open::<crate::counter::DurationCounterInc>(py)?;
        lane::open::<crate::gauge::GaugeSet>(py)?;
        lane::open::<crate::gauge::GaugeInc>(py)?;
        lane::open::<crate::gauge::GaugeDec>(py)?;
        lane::open::<crate::gauge::IntGaugeSet>(py)?;
        lane::open::<crate::gauge::IntGaugeInc>(py)?;
        lane::open::<crate::gauge::IntGaugeDec>(py)?;
        lane::open::<crate::histogram::HistogramObserve>(py)?;
        lane::open::<crate::histogram::SummaryObserve>(py)?;
        lane::open::<crate::value::ValueInc>(py)?;
        lane::open::<crate::value::ValueSet>(py)
    }
}
