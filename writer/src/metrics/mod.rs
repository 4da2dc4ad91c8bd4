//! The handles: what applications hold and update.

mod buckets;
mod counter;
mod gauge;
mod histogram;
mod info;
mod tally;
mod timer;

pub(crate) use buckets::Buckets;
pub use counter::{Counter, DurationCounter, FloatCounter};
pub use gauge::{DurationGauge, FloatGauge, Gauge, StateSet};
pub(crate) use gauge::{add, set, value};
pub use histogram::Histogram;
pub use info::Info;
pub use tally::Tally;
pub use timer::Timer;

use dyn_metrics_layout::Representation;

use crate::cells::Cells;
use crate::error::Result;
use crate::family::FamilyCore;

/// The cells of a series of `core`, in one representation.
fn cells(core: &'static FamilyCore, series: u64, representation: Representation) -> Result<Cells> {
    let segment = core.segment;
    let reached = segment.series_cells(core, series, representation);
    reached.map_err(|refusal| segment.refused(segment.error("the cells of a series", refusal)))
}

/// Nanoseconds of a duration, saturating at 2^64 - 1 (584 years).
fn nanoseconds(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
