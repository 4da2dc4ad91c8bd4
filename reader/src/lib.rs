//! Reads dyn-metrics segments: snapshot, merge, encode, check.

mod catalog;
mod cells;
mod collector;
mod combine;
mod discover;
mod error;
mod file;
mod gauges;
mod labels;
mod map;
mod merge;
mod permission;
mod processes;
mod ranges;
mod report;
mod segment;
mod skip;
mod snapshot;
#[cfg(test)]
mod testing;
mod values;

pub mod check;
pub mod encode;
pub mod guard;
pub mod raw;

pub use collector::{Clock, Collector};
pub use dyn_metrics_layout::header::Statistic;
pub use dyn_metrics_layout::{FORMAT_VERSION, GaugeMode, Kind};
pub use discover::SUPERSEDED_INFIX;
pub use error::{Error, Result};
pub use labels::Labels;
pub use permission::{FilePermissions, Permissions};
pub use skip::{MAX_DETAILS, Reason, Skip};
pub use snapshot::{
    FamilyReport, FamilySnapshot, Number, ProcessReport, SegmentReport, SegmentState, SeriesSnapshot, Skipped,
    Snapshot, Stats, Value,
};
