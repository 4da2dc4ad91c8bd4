//! What a collection says about segments and about itself: families named `dyn_metrics_*`.

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::{FORMAT_VERSION, Kind};

use super::number;
use super::text::announce;
use crate::labels::escape_value;
use crate::left_out::{LeftOut, LeftOutReason};
use crate::snapshot::{FamilyReport, PatternReport, Report, SegmentReport, Snapshot, Stats};

/// Appends the self-metrics. No family of a segment has such a name: the catalog leaves them out.
pub(crate) fn encode(found: Found<'_>, out: &mut Vec<u8>) {
    let mut label = String::new();
    for SelfMetric { name, help, kind, samples } in METRICS {
        announce(name, help, kind.name(), out);
        samples(found, &mut Samples { name, label: &mut label, out });
    }
}

/// What there is to tell.
#[derive(Clone, Copy)]
pub(crate) struct Found<'f> {
    segments: &'f [SegmentReport],
    patterns: &'f [PatternReport],
    left_out: &'f LeftOut,
    stats: &'f Stats,
}

impl<'f> From<&'f Report> for Found<'f> {
    fn from(report: &'f Report) -> Self {
        let Report { segments, patterns, left_out, stats } = report;
        Self { segments, patterns, left_out, stats }
    }
}

impl<'f> From<&'f Snapshot> for Found<'f> {
    fn from(snapshot: &'f Snapshot) -> Self {
        let Snapshot { segments, patterns, left_out, stats, .. } = snapshot;
        Self { segments, patterns, left_out, stats }
    }
}

impl<'f> Found<'f> {
    fn served(self) -> impl Iterator<Item = &'f SegmentReport> {
        self.segments.iter().filter(|segment| segment.state.is_served())
    }
}

struct SelfMetric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: fn(Found<'_>, &mut Samples<'_>),
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    samples: fn(Found<'_>, &mut Samples<'_>),
) -> SelfMetric {
    SelfMetric { name, help, kind: Kind::Gauge, samples }
}

const fn counter(
    name: &'static str,
    help: &'static str,
    samples: fn(Found<'_>, &mut Samples<'_>),
) -> SelfMetric {
    SelfMetric { name, help, kind: Kind::Counter, samples }
}

const METRICS: &[SelfMetric] = &[
    gauge("dyn_metrics_info", "Format version that this reader understands.", |_, samples| {
        samples.add(&[("format_version", &FORMAT_VERSION.to_string())], 1);
    }),
    gauge("dyn_metrics_segments", "Segments whose series are on this page.", |found, samples| {
        samples.add(&[], found.stats.segments as u64);
    }),
    gauge("dyn_metrics_pattern_files", "Files that a pattern leads to, served or not.", pattern_files),
    gauge(
        "dyn_metrics_files_left_out",
        "Files in directories and globs that are left out.",
        |found, samples| {
            for reason in LeftOutReason::ALL {
                samples.add(&[("reason", reason.name())], found.left_out.count(reason) as u64);
            }
        },
    ),
    gauge(
        "dyn_metrics_segment_up",
        "1 when the segment was read, 0 when it is missing, a copy of another, or can't be read.",
        |found, samples| {
            for s in found.segments {
                samples.add(&[("segment", &s.label)], u64::from(s.state.is_served()));
            }
        },
    ),
    gauge(
        "dyn_metrics_segment_bytes",
        "Bytes reserved so far, and bytes that may still be: by the segment's limit and the filesystem's free space.",
        |found, samples| {
            for s in found.served() {
                samples.add(&[("segment", &s.label), ("state", "free")], s.bytes_free);
                samples.add(&[("segment", &s.label), ("state", "used")], s.bytes_used);
            }
        },
    ),
    gauge("dyn_metrics_processes", "Processes attached and alive.", |found, samples| {
        for s in found.served() {
            samples.add(&[("segment", &s.label)], s.processes_alive() as u64);
        }
    }),
    gauge("dyn_metrics_series", "Series of the family in the segment.", |found, samples| {
        by_family(found, samples, |family| family.series);
    }),
    counter(
        "dyn_metrics_family_series_refused_total",
        "Look-ups that got the overflow series because the family was at its limit.",
        |found, samples| by_family(found, samples, |family| family.refused),
    ),
    counter("dyn_metrics_registrations_refused_total", "Registrations refused.", |found, samples| {
        statistics(found, samples, "reason", Group::Registrations);
    }),
    counter(
        "dyn_metrics_updates_dropped_total",
        "Updates dropped, or kept private to their process, and so not on this page.",
        |found, samples| statistics(found, samples, "reason", Group::Updates),
    ),
    counter(
        "dyn_metrics_update_path_processes_total",
        "Processes attached since creation, by the path that their updates take and why.",
        update_paths,
    ),
    counter("dyn_metrics_segment_events_total", "Other events that writers count.", |found, samples| {
        statistics(found, samples, "event", Group::Events);
    }),
    counter(
        "dyn_metrics_records_skipped_total",
        "Damaged or contradicting parts of a segment that this reader left out.",
        |found, samples| {
            for s in &found.stats.skipped {
                samples.add(&[("reason", s.reason.name()), ("segment", &s.segment)], s.count);
            }
        },
    ),
];

/// Takes the samples of one self-metric.
struct Samples<'o> {
    name: &'static str,
    /// Used again for each label.
    label: &'o mut String,
    out: &'o mut Vec<u8>,
}

impl Samples<'_> {
    /// Appends a sample; `labels` are sorted by name.
    fn add(&mut self, labels: &[(&str, &str)], value: u64) {
        self.out.extend_from_slice(self.name.as_bytes());
        for (number, (name, value)) in labels.iter().enumerate() {
            self.out.push(if number == 0 { b'{' } else { b',' });
            self.out.extend_from_slice(name.as_bytes());
            self.label.clear();
            self.label.push_str("=\"");
            escape_value(value, self.label);
            self.label.push('"');
            self.out.extend_from_slice(self.label.as_bytes());
        }
        self.out.extend_from_slice(if labels.is_empty() { b" " } else { b"} " });
        number::push_unsigned(value, self.out);
        self.out.push(b'\n');
    }
}

/// A pattern that is given twice shows once.
fn pattern_files(found: Found<'_>, samples: &mut Samples<'_>) {
    let mut files: Vec<_> = found.patterns.iter().map(|p| (&p.pattern, p.files)).collect();
    files.sort();
    files.dedup();
    for (pattern, files) in files {
        samples.add(&[("pattern", pattern)], files as u64);
    }
}

fn update_paths(found: Found<'_>, samples: &mut Samples<'_>) {
    for s in found.served() {
        let count = |wanted| s.statistics.iter().find(|(seen, _)| *seen == wanted).map_or(0, |(_, n)| *n);
        let mut add = |path, reason, n| {
            samples.add(&[("path", path), ("reason", reason), ("segment", &s.label)], n);
        };
        let attached = count(Statistic::ProcessesAttached);
        add("rseq", "", attached.saturating_sub(count(Statistic::ProcessesWithoutRseq)));
        for (statistic, name) in Statistic::ALL {
            if group(statistic) == Group::Path {
                add("shared", name, count(statistic));
            }
        }
    }
}

fn by_family(found: Found<'_>, samples: &mut Samples<'_>, value: impl Fn(&FamilyReport) -> u64) {
    for segment in found.served() {
        for family in &segment.families {
            samples.add(&[("family", &family.name), ("segment", &segment.label)], value(family));
        }
    }
}

/// The self-metric that a statistic of the header belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Registrations,
    Updates,
    Path,
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
        Statistic::SharedOff
        | Statistic::SharedUnregistered
        | Statistic::SharedLibrary
        | Statistic::SharedKernel
        | Statistic::SharedArchitecture
        | Statistic::SharedReboot => Group::Path,
        Statistic::BlockFailed
        | Statistic::RseqLost
        | Statistic::HelpDiffers
        | Statistic::LevelDiffers
        | Statistic::ProcessesWithoutRseq
        | Statistic::GaugeTakeovers
        | Statistic::InfiniteObservations
        | Statistic::ProcessesAttached => Group::Events,
    }
}

fn statistics(found: Found<'_>, samples: &mut Samples<'_>, label: &str, wanted: Group) {
    for segment in found.served() {
        for (statistic, value) in segment.statistics.iter().filter(|(s, _)| group(*s) == wanted) {
            let name = Statistic::ALL.iter().find(|(s, _)| s == statistic).map_or("", |(_, name)| name);
            samples.add(&[(label, name), ("segment", &segment.label)], *value);
        }
    }
}
