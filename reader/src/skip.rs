//! What was skipped, and why: a damaged part never stops the rest.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Most skipped parts that a report describes one by one.
pub const MAX_DETAILS: usize = 64;

/// Most places that are remembered, so that each counts once.
const MAX_PLACES: usize = 1 << 16;

/// Why a part of a segment was skipped.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A damaged index table or a slot that leads nowhere.
    Index,
    /// A family or series record that fails its checks.
    Record,
    /// A series whose family is missing or damaged.
    Orphan,
    /// A series with a label that the exposition itself adds.
    ReservedLabel,
    /// A family with a name that is kept for metrics about dyn-metrics itself.
    ReservedName,
    /// A kind of family that this version doesn't read.
    UnknownKind,
    /// A family that another segment has with another type, unit, bounds, states or mode.
    Disagree,
    /// A family whose samples would have the names of another family's.
    Clash,
    /// A link to cells, an extent or a block that fails its checks.
    Cells,
    /// A gauge cell, or a list of them, that fails its checks.
    Gauge,
    /// A sample that another one already has the labels of.
    Duplicate,
    /// Common labels of a segment that fail their checks.
    CommonLabels,
    /// A superseded file that can't be read.
    Segment,
    /// The end of a file that somebody truncated.
    Truncated,
    /// Bytes that somebody took out of a file in use.
    Hole,
}

impl Reason {
    /// Its name in self-metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Record => "record",
            Self::Orphan => "orphan",
            Self::ReservedLabel => "reserved_label",
            Self::ReservedName => "reserved_name",
            Self::UnknownKind => "unknown_kind",
            Self::Disagree => "disagree",
            Self::Clash => "clash",
            Self::Cells => "cells",
            Self::Gauge => "gauge",
            Self::Duplicate => "duplicate",
            Self::CommonLabels => "common_labels",
            Self::Segment => "segment",
            Self::Truncated => "truncated",
            Self::Hole => "hole",
        }
    }
}

/// One skipped part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Why.
    pub reason: Reason,
    /// Where it lies, in bytes from the start of the file.
    pub offset: u64,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at offset {}: {}", self.reason.name(), self.offset, self.what)
    }
}

/// What a segment made a collector skip so far.
#[derive(Debug, Default)]
pub(crate) struct SkipLog {
    places: HashSet<(Reason, u64)>,
    counts: BTreeMap<Reason, u64>,
    details: Vec<Skip>,
}

impl SkipLog {
    /// Notes a skipped part; a place that is known already costs nothing.
    ///
    /// Beyond [`MAX_PLACES`] nothing more is counted, so that a hostile file can't fill the memory.
    pub(crate) fn note(&mut self, reason: Reason, offset: u64, what: impl fmt::Display) {
        if self.places.len() >= MAX_PLACES || !self.places.insert((reason, offset)) {
            return;
        }
        *self.counts.entry(reason).or_default() += 1;
        if self.details.len() < MAX_DETAILS {
            self.details.push(Skip { reason, offset, what: what.to_string() });
        }
    }

    /// How much was skipped for each reason.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.counts.iter().map(|(reason, count)| (*reason, *count))
    }

    /// The first skipped parts.
    pub(crate) fn details(&self) -> &[Skip] {
        &self.details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_once_and_memory_is_bounded() {
        let mut log = SkipLog::default();
        for _ in 0..3 {
            log.note(Reason::Record, 64, "bad checksum");
        }
        assert_eq!(log.counts().collect::<Vec<_>>(), [(Reason::Record, 1)]);
        for offset in 0..2 * MAX_PLACES as u64 {
            log.note(Reason::Gauge, offset, "");
        }
        assert_eq!(log.places.len(), MAX_PLACES);
        assert_eq!(log.details().len(), MAX_DETAILS);
        assert_eq!(log.details()[0].to_string(), "record at offset 64: bad checksum");
    }
}
