//! What a snapshot says about segments and about itself: families named `dyn_metrics_*`.

use dyn_metrics_layout::{FORMAT_VERSION, Kind};

use super::text::{announce, sample};
use crate::labels::Labels;
use crate::left_out::LeftOutReason;
use crate::snapshot::{Number, PatternReport, SegmentReport, Snapshot};
use dyn_metrics_layout::header::Statistic;

/// Appends the self-metrics of `snapshot`. No family of a segment has such a name: the catalog leaves them out.
pub(super) fn encode(snapshot: &Snapshot, out: &mut Vec<u8>) {
    let families = [
        format(),
        segments(snapshot),
        patterns(snapshot),
        left_out(snapshot),
        up(snapshot),
        bytes(snapshot),
        processes(snapshot),
        series(snapshot),
        series_refused(snapshot),
        registrations_refused(snapshot),
        updates_dropped(snapshot),
        events(snapshot),
        skipped(snapshot),
    ];
    for family in families {
        announce(family.name, family.help, family.kind.name(), out);
        for (labels, value) in family.samples {
            sample([family.name, ""], labels.text(), "", Number::Unsigned(value), out);
        }
    }
}

struct SelfMetric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Labels, u64)>,
}

fn gauge(name: &'static str, help: &'static str, samples: Vec<(Labels, u64)>) -> SelfMetric {
    SelfMetric { name, help, kind: Kind::Gauge, samples }
}

fn counter(name: &'static str, help: &'static str, samples: Vec<(Labels, u64)>) -> SelfMetric {
    SelfMetric { name, help, kind: Kind::Counter, samples }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn served(snapshot: &Snapshot) -> impl Iterator<Item = &SegmentReport> {
    snapshot.segments.iter().filter(|segment| segment.state.is_served())
}

fn format() -> SelfMetric {
    let samples = vec![(labels(&[("format_version", &FORMAT_VERSION.to_string())]), 1)];
    gauge("dyn_metrics_info", "Format version that this reader understands.", samples)
}

fn segments(snapshot: &Snapshot) -> SelfMetric {
    let samples = vec![(Labels::default(), snapshot.stats.segments as u64)];
    gauge("dyn_metrics_segments", "Segments whose series are on this page.", samples)
}

fn patterns(snapshot: &Snapshot) -> SelfMetric {
    let files = |p: &PatternReport| (labels(&[("pattern", &p.pattern)]), p.files as u64);
    let mut samples: Vec<_> = snapshot.patterns.iter().map(files).collect();
    samples.sort();
    samples.dedup();
    gauge("dyn_metrics_pattern_files", "Files that a pattern leads to, served or not.", samples)
}

fn left_out(snapshot: &Snapshot) -> SelfMetric {
    let count = |reason: LeftOutReason| {
        (labels(&[("reason", reason.name())]), snapshot.left_out.count(reason) as u64)
    };
    let help = "Files in directories and globs that are left out.";
    gauge("dyn_metrics_files_left_out", help, LeftOutReason::ALL.map(count).into())
}

fn up(snapshot: &Snapshot) -> SelfMetric {
    let up = |s: &SegmentReport| (labels(&[("segment", &s.label)]), u64::from(s.state.is_served()));
    let help = "1 when the segment was read, 0 when it is missing, a copy of another, or can't be read.";
    gauge("dyn_metrics_segment_up", help, snapshot.segments.iter().map(up).collect())
}

fn bytes(snapshot: &Snapshot) -> SelfMetric {
    let each = |s: &SegmentReport| {
        let sample = |state, bytes| (labels(&[("segment", &s.label), ("state", state)]), bytes);
        [sample("free", s.bytes_free), sample("used", s.bytes_used)]
    };
    let help = "Bytes reserved so far, and bytes that may still be: by the segment's limit and the filesystem's free space.";
    gauge("dyn_metrics_segment_bytes", help, served(snapshot).flat_map(each).collect())
}

fn processes(snapshot: &Snapshot) -> SelfMetric {
    let alive = |s: &SegmentReport| (labels(&[("segment", &s.label)]), s.processes_alive() as u64);
    gauge("dyn_metrics_processes", "Processes attached and alive.", served(snapshot).map(alive).collect())
}

fn series(snapshot: &Snapshot) -> SelfMetric {
    let samples = by_family(snapshot, |family| family.series);
    gauge("dyn_metrics_series", "Series of the family in the segment.", samples)
}

fn series_refused(snapshot: &Snapshot) -> SelfMetric {
    let help = "Label sets that got the overflow series because the family was at its limit.";
    let samples = by_family(snapshot, |family| family.refused);
    counter("dyn_metrics_family_series_refused_total", help, samples)
}

fn by_family(
    snapshot: &Snapshot,
    value: impl Fn(&crate::snapshot::FamilyReport) -> u64 + Copy,
) -> Vec<(Labels, u64)> {
    let each = |s: &'_ SegmentReport| -> Vec<(Labels, u64)> {
        let sample = |f| (labels(&[("family", family_name(f)), ("segment", &s.label)]), value(f));
        s.families.iter().map(sample).collect()
    };
    served(snapshot).flat_map(each).collect()
}

fn family_name(family: &crate::snapshot::FamilyReport) -> &str {
    &family.name
}

fn registrations_refused(snapshot: &Snapshot) -> SelfMetric {
    let samples = statistics(snapshot, "reason", Group::Registrations);
    counter("dyn_metrics_registrations_refused_total", "Registrations refused.", samples)
}

fn updates_dropped(snapshot: &Snapshot) -> SelfMetric {
    let samples = statistics(snapshot, "reason", Group::Updates);
    let help = "Updates dropped, or kept private to their process, and so not on this page.";
    counter("dyn_metrics_updates_dropped_total", help, samples)
}

fn events(snapshot: &Snapshot) -> SelfMetric {
    let samples = statistics(snapshot, "event", Group::Events);
    counter("dyn_metrics_segment_events_total", "Other events that writers count.", samples)
}

fn skipped(snapshot: &Snapshot) -> SelfMetric {
    let sample = |s: &crate::snapshot::Skipped| {
        (labels(&[("reason", s.reason.name()), ("segment", &s.segment)]), s.count)
    };
    let help = "Damaged or contradicting parts of a segment that this reader left out.";
    counter("dyn_metrics_records_skipped_total", help, snapshot.stats.skipped.iter().map(sample).collect())
}

/// The self-metric that a statistic of the header belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Registrations,
    Updates,
    Events,
}

const fn group(statistic: Statistic) -> Group {
    match statistic {
        Statistic::RefusedInvalid
        | Statistic::RefusedConflict
        | Statistic::RefusedClash
        | Statistic::RefusedFull
        | Statistic::RefusedSeriesLimit => Group::Registrations,
        Statistic::DroppedNan
        | Statistic::DroppedNegative
        | Statistic::DroppedBusy
        | Statistic::PrivateNoSlot
        | Statistic::PrivateFull => Group::Updates,
        Statistic::BlockFailed
        | Statistic::HelpDiffers
        | Statistic::LevelDiffers
        | Statistic::ProcessesWithoutRseq
        | Statistic::GaugeTakeovers
        | Statistic::InfiniteObservations
        | Statistic::ProcessesAttached => Group::Events,
    }
}

fn statistics(snapshot: &Snapshot, label: &'static str, wanted: Group) -> Vec<(Labels, u64)> {
    let name = |statistic| Statistic::ALL.iter().find(|(s, _)| *s == statistic).map_or("", |(_, name)| name);
    let each = |s: &'_ SegmentReport| -> Vec<(Labels, u64)> {
        let ours = s.statistics.iter().filter(|(statistic, _)| group(*statistic) == wanted);
        let sample = |(statistic, value): &(Statistic, u64)| {
            (labels(&[(label, name(*statistic)), ("segment", &s.label)]), *value)
        };
        ours.map(sample).collect()
    };
    served(snapshot).flat_map(each).collect()
}
