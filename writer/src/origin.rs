//! Which series a handle belongs to: beside its cells, off the hot path.

use std::fmt;

use dyn_metrics_layout::Representation;
use dyn_metrics_layout::record::{self, Series};

use crate::family::FamilyCore;
use crate::foreign::ForeignSeries;
use crate::local::AtomicUsize;
use crate::segment::Granted;

/// The family and the record of a series; one for each series and kind of cells, never released.
pub(crate) struct Origin {
    pub(crate) family: &'static FamilyCore,
    pub(crate) series: u64,
    /// For each representation a word where a binding keeps its own object: 0 until it has one.
    pub(crate) attachments: [AtomicUsize; Representation::COUNT],
}

/// The series of a handle.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Identity {
    Segment(&'static Origin),
    Foreign(&'static ForeignSeries),
}

impl Identity {
    /// Name and help of the family.
    pub(crate) fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Segment(origin) => (&origin.family.name, &origin.family.help),
            Self::Foreign(series) => (&series.family.name, &series.family.help),
        }
    }

    /// Whether it was removed, or is about to be.
    pub(crate) fn is_gone(self) -> bool {
        match self {
            Self::Segment(origin) => origin.is_gone(),
            Self::Foreign(series) => series.is_gone(),
        }
    }

    /// See [`Origin::attachments`].
    pub(crate) const fn attachments(self) -> &'static [AtomicUsize; Representation::COUNT] {
        match self {
            Self::Segment(origin) => &origin.attachments,
            Self::Foreign(series) => &series.attachments,
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("family", self.family)
            .field("series", &self.series)
            .finish_non_exhaustive()
    }
}

impl Origin {
    pub(crate) fn new(family: &'static FamilyCore, series: u64) -> Self {
        Self { family, series, attachments: std::array::from_fn(|_| AtomicUsize::new(0)) }
    }

    /// The labels in the series' record, sorted by name; without the segment's common ones.
    pub(crate) fn labels(&self) -> Granted<Vec<(String, String)>> {
        let segment = self.family.segment;
        let record = segment.read_record(self.series)?;
        let series = Series::decode(&record, self.series, segment.header.hash_seed)?;
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Ok(record::labels(series.labels).map(owned).collect())
    }
}
