//! `dyn_metrics._native`: what the Python package `dyn_metrics` is made of. The stubs beside it,
//! `python/dyn_metrics/_native.pyi`, are its documentation for type checkers.
//!
//! | module | what |
//! | --- | --- |
//! | `errors` | exceptions for what goes wrong |
//! | `args` | texts, names and numbers from Python, checked |
//! | `registry` | `Registry`: a segment, attached at the first metric |
//! | `spec` | what constructors have in common: names, labels, options |
//! | `metric` | `Metric`, the classes' base: `labels()` |
//! | `identity` | the cache in front of `labels()` |
//! | `counter` | the classes |
//! | `prometheus` | what stands behind prometheus_client's metric objects |
//! | `prometheus_segment` | the segment as prometheus_client's collectors see it |
//! | `value` | words of series, for code that brings its own metric classes |
//!
//! Every class is frozen, and what changes in it is an atomic or is set once: nothing here relies on the
//! interpreter's lock, and nothing waits for another thread while it holds one.

mod args;
mod counter;
mod errors;
mod identity;
mod metric;
mod prometheus;
mod prometheus_segment;
mod registry;
mod spec;
mod value;

use pyo3::prelude::*;

/// The native part of dyn_metrics. Not for applications: import dyn_metrics.
#[pymodule(gil_used = false)]
mod _native {
    #[pymodule_export]
    use crate::counter::Counter;
    #[pymodule_export]
    use crate::metric::Metric;
    #[pymodule_export]
    use crate::prometheus::{PrometheusBinder, PrometheusStates, PrometheusValue};
    #[pymodule_export]
    use crate::prometheus_segment::SegmentReader;
    #[pymodule_export]
    use crate::registry::Registry;
    #[pymodule_export]
    use crate::value::Value;
    #[pymodule_export]
    use crate::value::values;
}
