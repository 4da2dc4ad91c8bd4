//! Files that a directory or a glob leads to and that are not served, though nothing is wrong with a segment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most files that are named for each reason.
const MAX_NAMED: usize = 8;

/// Why a file that was found, not named, is left out.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeftOutReason {
    /// It is no segment: other things may live in the same place.
    NoSegment,
    /// It, or the directory in which to look, can't be read.
    PermissionDenied,
    /// It belongs to a user who is not trusted, see [`crate::Collector::allow_uids`].
    Owner,
}

impl LeftOutReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::NoSegment, Self::PermissionDenied, Self::Owner];

    /// Its name in self-metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSegment => "no_segment",
            Self::PermissionDenied => "permission_denied",
            Self::Owner => "owner",
        }
    }
}

/// Files left out of a collection: how many for each reason, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    reasons: BTreeMap<LeftOutReason, (usize, Vec<PathBuf>)>,
}

impl LeftOut {
    /// How many files were left out for this reason.
    #[must_use]
    pub fn count(&self, reason: LeftOutReason) -> usize {
        self.reasons.get(&reason).map_or(0, |(count, _)| *count)
    }

    /// The first files that were left out for this reason, at most eight.
    #[must_use]
    pub fn files(&self, reason: LeftOutReason) -> &[PathBuf] {
        self.reasons.get(&reason).map_or(&[], |(_, files)| files)
    }

    pub(crate) fn add(&mut self, path: &Path, reason: LeftOutReason) {
        let (count, files) = self.reasons.entry(reason).or_default();
        *count += 1;
        if files.len() < MAX_NAMED {
            files.push(path.to_owned());
        }
    }
}
