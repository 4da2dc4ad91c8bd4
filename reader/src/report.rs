//! Reports about segments, beside their families.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::collector::{Failure, Followed, Place};
use crate::left_out::LeftOut;
use crate::segment::Segment;
use crate::skip::Reason;
use crate::snapshot::{FamilyReport, PatternReport, Report, SegmentReport, SegmentState, Skipped, Stats};

/// A report, and how much was skipped for each reason.
type Counted = (SegmentReport, Vec<(Reason, u64)>);

/// Puts a report together: segments in the order of patterns and names, of each name first what was served;
/// `series` is the number of samples that were read.
pub(crate) fn report(
    series: usize,
    followed: &[Followed],
    failures: Vec<Failure>,
    patterns: Vec<PatternReport>,
    left_out: LeftOut,
) -> Report {
    let served = followed.iter().map(|followed| (followed.rank(), served(followed)));
    let failed = failures.into_iter().map(|failure| (failure.rank, failed(failure)));
    let mut ranked: Vec<(usize, Counted)> = served.chain(failed).collect();
    ranked.sort_by_key(|(rank, _)| *rank); // Stable: served ones stay before those that failed.
    let mut stats = Stats { segments: followed.len(), series, skipped: Vec::new() };
    let mut labels = HashSet::new();
    let mut segments = Vec::with_capacity(ranked.len());
    for (_, (mut report, counts)) in ranked {
        report.label = unique_label(&report, &mut labels);
        let skipped = |(reason, count)| Skipped { segment: report.label.clone(), reason, count };
        stats.skipped.extend(counts.into_iter().map(skipped));
        segments.push(report);
    }
    Report { segments, patterns, left_out, stats }
}

/// The path; a second report of the same path says in which way it is another.
fn unique_label(report: &SegmentReport, taken: &mut HashSet<String>) -> String {
    let path = report.path.display();
    let mut label = path.to_string();
    let mut number = 1;
    while !taken.insert(label.clone()) {
        number += 1;
        label = format!("{path} ({} {number})", report.state.name());
    }
    label
}

fn served(followed: &Followed) -> Counted {
    let segment = &followed.segment;
    let header = segment.file.header();
    let used = segment.bytes_used();
    let state = match followed.place {
        Place::Unlinked => SegmentState::Unlinked,
        Place::Superseded => SegmentState::Superseded,
        Place::Named if segment.is_marked_superseded() => SegmentState::Superseded,
        Place::Named => SegmentState::Ok,
    };
    let report = SegmentReport {
        path: segment.file.path().to_owned(),
        label: String::new(),
        state,
        bytes_file: segment.bytes_file(),
        bytes_used: used,
        bytes_free: free(segment, header.max_bytes - used),
        created_unix_ns: header.created_unix_ns,
        segment_id: header.segment_id,
        processes: segment.processes.reports().cloned().collect(),
        statistics: segment.statistics(),
        families: family_reports(followed),
        skipped: segment.log.details().to_vec(),
    };
    (report, segment.log.counts().collect())
}

/// What can still be reserved of `limit`: what was allocated for the file already, and what its filesystem has left.
fn free(segment: &Segment, limit: u64) -> u64 {
    let allocated = segment.bytes_file().saturating_sub(segment.bytes_used());
    let left = segment.file.filesystem_free();
    limit.min(left.map_or(u64::MAX, |left| allocated.saturating_add(left)))
}

fn failed(failure: Failure) -> Counted {
    // A name that can't be served shows by itself; of superseded files the number shows.
    let counts = if failure.is_superseded { vec![(Reason::Segment, 1)] } else { Vec::new() };
    let report = SegmentReport {
        path: failure.path,
        label: String::new(),
        state: failure.state,
        bytes_file: 0,
        bytes_used: 0,
        bytes_free: 0,
        created_unix_ns: 0,
        segment_id: [0; 2],
        processes: Vec::new(),
        statistics: Vec::new(),
        families: Vec::new(),
        skipped: Vec::new(),
    };
    (report, counts)
}

fn family_reports(followed: &Followed) -> Vec<FamilyReport> {
    let segment = &followed.segment;
    let mut reports: BTreeMap<&Arc<str>, (u64, u64)> = BTreeMap::new();
    for family in &segment.catalog.families {
        let report = reports.entry(&family.name).or_default();
        report.0 += family.series;
        report.1 = report.1.wrapping_add(segment.refused(family.offset));
    }
    let report =
        |(name, (series, refused)): (&Arc<str>, _)| FamilyReport { name: name.clone(), series, refused };
    reports.into_iter().map(report).collect()
}
