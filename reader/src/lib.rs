//! Reads dyn-metrics segments: follows files, merges them, encodes what they hold, verifies them.
//!
//! A segment is a file that many processes map and count in (`dyn-metrics-layout` says how its bytes lie).
//! This crate knows nothing of those processes but the bytes: it maps read-only, believes nothing that it
//! has not checked, and never waits for a writer.
//!
//! ```no_run
//! use dyn_metrics_reader::{Collector, encode};
//!
//! let mut collector = Collector::new(&["/dev/shm/dynamo".to_owned()]);
//! let snapshot = collector.collect();
//! for family in &snapshot.families {
//!     println!("{} {}: {} series", family.kind.name(), family.name, family.series.len());
//! }
//! let mut page = Vec::new();
//! encode::text::encode(&snapshot, &mut page);
//! ```
//!
//! # Concepts
//!
//! - A [`Collector`] follows files, directories and globs from one collection to the next. What never changes,
//!   descriptions above all, is read once; a collection looks for new files, records and blocks, and reads
//!   the numbers.
//! - A [`Snapshot`] is what a collection found: families with their series, merged over all segments, and a
//!   [`SegmentReport`] for each file. Nothing in a file makes a collection fail; what is damaged or contradicts
//!   is skipped, counted ([`Stats::skipped`]) and named ([`SegmentReport::skipped`]).
//! - The same series in several segments is one series: totals add up, gauges combine by their family's
//!   [`GaugeMode`], as between processes. Where families disagree, the file that has the name wins over
//!   superseded ones, of those that one directory or glob leads to the oldest, and an earlier pattern over a later one.
//! - Of copies of one segment only one is served. What a directory or a glob leads to is served only if it
//!   belongs to this process's user, to root, or to a user whom [`Collector::allow_uids`] names; what is left out is
//!   counted in [`Snapshot::left_out`].
//! - [`Collector::render`] collects and writes Prometheus text at once: what an exporter wants, and much faster.
//! - A [`select::Selection`] reads some series again and again, without the rest and without a scrape.
//! - [`encode`] turns a snapshot into Prometheus text 0.0.4 or JSON, [`check`] verifies one file and lists every
//!   fault, [`raw`] shows its structures.
//! - [`guard`] lets a program survive a file that somebody truncates. Only programs install it.
//!
//! # What is not guaranteed
//!
//! - A snapshot is no point in time: each word is read once, whole, but at its own moment. Totals never fall
//!   from one collection to the next while the files stay; a histogram's sum may trail its buckets by what is
//!   in flight.
//! - Whether a process lives is asked of the kernel at most once a second.
//! - A segment whose file was removed is served only as long as a process holds one of its slots. A process
//!   that has touched no gauge holds none.
//! - A process that set the same gauge in a superseded file and in its successor counts with the newer; if its
//!   cell in the newer was taken over since, mode `sum` counts both.
//!
//! # Where to look
//!
//! | question | module |
//! | --- | --- |
//! | which files? | `discover`, `left_out`, `file`, `map`, [`guard`] |
//! | what does a segment describe? | `catalog`, `tables`, `segment` |
//! | where are its numbers? | `cells`, `sums`, `gauges`, `processes` |
//! | how are single series read? | [`select`] |
//! | what comes out of several? | `merge`, `combine`, `values`, `collector`, `report` |
//! | what is wrong with it? | [`check`], `inspect`, [`raw`] |

mod catalog;
mod cells;
mod collector;
mod combine;
mod discover;
mod error;
mod file;
mod gauges;
mod inspect;
mod labels;
mod left_out;
mod map;
mod merge;
mod permission;
mod printable;
mod processes;
mod ranges;
mod report;
mod segment;
mod skip;
mod snapshot;
mod sums;
mod tables;
#[cfg(test)]
mod testing;
mod values;

pub mod check;
pub mod encode;
pub mod guard;
pub mod heap;
pub mod raw;
pub mod select;

pub use collector::{Clock, Collector};
pub use dyn_metrics_layout::file::SUPERSEDED_INFIX;
pub use dyn_metrics_layout::header::Statistic;
pub use dyn_metrics_layout::{FORMAT_VERSION, GaugeMode, Kind};
pub use error::{Error, Result};
pub use labels::Labels;
pub use left_out::{LeftOut, LeftOutReason};
pub use permission::{FilePermissions, Permissions};
pub use printable::{escaped, printable};
pub use skip::{MAX_DETAILS, Reason, Skip};
pub use snapshot::{
    FamilyReport, FamilySnapshot, Number, PatternReport, ProcessReport, Report, SegmentReport, SegmentState,
    SeriesSnapshot, Skipped, Snapshot, Stats, Value, ValueRef,
};
