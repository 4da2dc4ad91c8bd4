//! Snapshots as bytes: Prometheus text 0.0.4 and JSON.

pub mod json;
pub(crate) mod lines;
mod number;
pub(crate) mod self_metrics;
pub mod text;
