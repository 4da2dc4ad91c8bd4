//! Looking values up in a snapshot.

use std::path::Path;

use dyn_metrics_reader::{SegmentReport, SeriesSnapshot, Snapshot, Statistic, Value};

/// The series of a family with exactly these labels.
#[must_use]
pub fn series<'s>(
    snapshot: &'s Snapshot,
    family: &str,
    labels: &[(&str, &str)],
) -> Option<&'s SeriesSnapshot> {
    let family = snapshot.families.iter().find(|found| found.name == family)?;
    let same = |series: &&SeriesSnapshot| {
        series.labels.len() == labels.len() && labels.iter().all(|(n, v)| series.labels.value(n) == Some(*v))
    };
    family.series.iter().find(same)
}

/// How many series a family has; 0 when there is no such family.
#[must_use]
pub fn series_count(snapshot: &Snapshot, family: &str) -> usize {
    snapshot.families.iter().find(|found| found.name == family).map_or(0, |family| family.series.len())
}

/// The number of a counter or gauge without labels.
#[must_use]
pub fn number(snapshot: &Snapshot, family: &str) -> Option<f64> {
    labelled(snapshot, family, &[])
}

/// The number of a counter or gauge with these labels.
#[must_use]
pub fn labelled(snapshot: &Snapshot, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
    match &series(snapshot, family, labels)?.value {
        Value::Counter(number) | Value::Gauge(number) => Some(number.as_f64()),
        _ => None,
    }
}

/// Values of a gauge by its `pid` label, sorted.
#[must_use]
pub fn by_pid(snapshot: &Snapshot, family: &str) -> Vec<(String, f64)> {
    let Some(family) = snapshot.families.iter().find(|found| found.name == family) else { return Vec::new() };
    let pair = |series: &SeriesSnapshot| match &series.value {
        Value::Gauge(number) => Some((series.labels.value("pid")?.to_owned(), number.as_f64())),
        _ => None,
    };
    let mut pairs: Vec<_> = family.series.iter().filter_map(pair).collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

/// Sum of all series of a family of counters or gauges.
#[must_use]
pub fn total(snapshot: &Snapshot, family: &str) -> f64 {
    let Some(family) = snapshot.families.iter().find(|found| found.name == family) else { return 0.0 };
    let number = |series: &SeriesSnapshot| match &series.value {
        Value::Counter(number) | Value::Gauge(number) => number.as_f64(),
        _ => 0.0,
    };
    family.series.iter().map(number).sum()
}

/// The first segment that was served.
///
/// # Panics
/// When none was.
#[must_use]
pub fn segment(snapshot: &Snapshot) -> &SegmentReport {
    let served = snapshot.segments.iter().find(|segment| segment.state.is_served());
    served.unwrap_or_else(|| panic!("no segment was served: {:?}", snapshot.segments))
}

/// What the segment counts as refused or lost.
#[must_use]
pub fn statistic(snapshot: &Snapshot, statistic: Statistic) -> u64 {
    let found = segment(snapshot).statistics.iter().find(|(known, _)| *known == statistic);
    found.map_or(0, |(_, count)| *count)
}

/// Fails when the reader had to skip anything.
///
/// # Panics
/// When it had.
pub fn assert_whole(snapshot: &Snapshot) {
    for segment in &snapshot.segments {
        assert!(segment.skipped.is_empty(), "{}: {:?}", segment.path.display(), segment.skipped);
    }
    assert!(snapshot.stats.skipped.is_empty(), "{:?}", snapshot.stats.skipped);
}

/// Fails when a thorough check of the segment finds a fault.
///
/// # Panics
/// When it does.
pub fn assert_sound(path: &Path) {
    let report = dyn_metrics_reader::check::check(path).expect("a segment that can be checked");
    assert!(report.is_sound(), "{}: {:?}", path.display(), report.faults);
}
