//! Snapshots as bytes: Prometheus text 0.0.4 and JSON.

pub mod json;
mod number;
mod self_metrics;
pub mod text;
