//! What a collection found.

use std::path::PathBuf;
use std::sync::Arc;

use dyn_metrics_layout::header::Statistic;
use dyn_metrics_layout::{GaugeMode, Kind};

use crate::catalog::FamilyEntry;
use crate::error::Error;
use crate::labels::Labels;
use crate::left_out::LeftOut;
use crate::merge::LabelSets;
use crate::skip::Skip;
use crate::values::{Samples, Sink};

/// Everything that one collection found, merged over all segments.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Families sorted by name; those without series too.
    pub families: Vec<FamilySnapshot>,
    /// One report for each segment, in the order of patterns and names.
    pub segments: Vec<SegmentReport>,
    /// What each pattern leads to.
    pub patterns: Vec<PatternReport>,
    /// Files that were found and are not served, though no segment is damaged.
    pub left_out: LeftOut,
    /// Numbers about the collection as a whole.
    pub stats: Stats,
}

/// What a collection found beside the values.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One report for each segment, in the order of patterns and names.
    pub segments: Vec<SegmentReport>,
    /// What each pattern leads to.
    pub patterns: Vec<PatternReport>,
    /// Files that were found and are not served, though no segment is damaged.
    pub left_out: LeftOut,
    /// Numbers about the collection as a whole.
    pub stats: Stats,
}

/// What a pattern leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternReport {
    /// As it was given.
    pub pattern: String,
    /// Whether it is a directory or a glob, and no file's name.
    pub is_search: bool,
    /// Names that it leads to, served or not.
    pub files: usize,
}

/// One family with its series.
#[derive(Clone, Debug)]
pub struct FamilySnapshot {
    /// Exposed name.
    pub name: String,
    /// Help text; the first segment's.
    pub help: String,
    /// Unit; may be empty.
    pub unit: String,
    /// Type.
    pub kind: Kind,
    /// How the gauge cells of several processes combine.
    pub mode: GaugeMode,
    /// Priority level; 0 is the most important.
    pub level: u8,
    /// Who registered it.
    pub registrant: String,
    /// Series sorted by labels; no two have the same.
    pub series: Vec<SeriesSnapshot>,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesSnapshot {
    /// Labels, the segment's common ones included.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Monotone total.
    Counter(Number),
    /// Current value.
    Gauge(Number),
    /// Count and sum.
    Tally {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
    },
    /// Counts by upper bound.
    Histogram {
        /// Upper bounds, ascending, without `+Inf`.
        bounds: Arc<[f64]>,
        /// Observations in each bucket, not cumulative; one more than bounds, the last is `+Inf`'s.
        buckets: Vec<u64>,
        /// Sum of the finite observations.
        sum: f64,
    },
    /// The value is 1; the labels say it all.
    Info,
    /// Named booleans.
    StateSet {
        /// Names of the states.
        states: Arc<[String]>,
        /// Bit `i` is the state `states[i]`.
        bits: u64,
    },
}

/// The value of a series, looked at where it lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'v> {
    /// Monotone total.
    Counter(Number),
    /// Current value.
    Gauge(Number),
    /// Count and sum.
    Tally {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
    },
    /// Counts by upper bound.
    Histogram {
        /// Upper bounds, ascending, without `+Inf`.
        bounds: &'v Arc<[f64]>,
        /// Observations in each bucket, not cumulative; one more than bounds, the last is `+Inf`'s.
        buckets: &'v [u64],
        /// Sum of the finite observations.
        sum: f64,
    },
    /// The value is 1; the labels say it all.
    Info,
    /// Named booleans.
    StateSet {
        /// Names of the states.
        states: &'v Arc<[String]>,
        /// Bit `i` is the state `states[i]`.
        bits: u64,
    },
}

impl<'v> From<&'v Value> for ValueRef<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Counter(number) => Self::Counter(*number),
            Value::Gauge(number) => Self::Gauge(*number),
            Value::Tally { count, sum } => Self::Tally { count: *count, sum: *sum },
            Value::Histogram { bounds, buckets, sum } => Self::Histogram { bounds, buckets, sum: *sum },
            Value::Info => Self::Info,
            Value::StateSet { states, bits } => Self::StateSet { states, bits: *bits },
        }
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Counter(number) => Self::Counter(number),
            ValueRef::Gauge(number) => Self::Gauge(number),
            ValueRef::Tally { count, sum } => Self::Tally { count, sum },
            ValueRef::Histogram { bounds, buckets, sum } => {
                Self::Histogram { bounds: bounds.clone(), buckets: buckets.to_vec(), sum }
            }
            ValueRef::Info => Self::Info,
            ValueRef::StateSet { states, bits } => Self::StateSet { states: states.clone(), bits },
        }
    }
}

/// An exposed number; integers stay exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Sum of unsigned integers.
    Unsigned(u64),
    /// Signed integer.
    Signed(i64),
    /// Double; durations are in seconds.
    Float(f64),
}

impl Number {
    /// The nearest double.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Unsigned(number) => number as f64,
            Self::Signed(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

/// What a segment is, and what was wrong with it.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    /// Where it was found; of an unlinked segment, where it had been.
    pub path: PathBuf,
    /// The path as self-metrics name the segment: unique among the reports of a snapshot.
    pub label: String,
    /// Whether it was served, and why not.
    pub state: SegmentState,
    /// Bytes of the file; 0 when it was not served, as all that follows.
    pub bytes_file: u64,
    /// Bytes reserved so far.
    pub bytes_used: u64,
    /// Bytes that may still be reserved, under the segment's limit and with what the filesystem has left.
    pub bytes_free: u64,
    /// Creation time, nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Random identity.
    pub segment_id: [u64; 2],
    /// Processes that hold a slot or held one, in the order of slots.
    pub processes: Vec<ProcessReport>,
    /// What was refused or lost, as the segment counts it.
    pub statistics: Vec<(Statistic, u64)>,
    /// Its families.
    pub families: Vec<FamilyReport>,
    /// What was skipped, as far as it fits: at most [`crate::MAX_DETAILS`] entries.
    pub skipped: Vec<Skip>,
}

impl SegmentReport {
    /// Processes alive.
    #[must_use]
    pub fn processes_alive(&self) -> usize {
        self.processes.iter().filter(|process| process.alive).count()
    }
}

/// State of a segment.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum SegmentState {
    /// Served.
    Ok,
    /// Served; another one has its name.
    Superseded,
    /// Served although nothing has its name any more, until the last of its processes ends.
    Unlinked,
    /// Nothing is there yet.
    Missing,
    /// Not served: it is a copy of the segment at this path, which is.
    Copy(PathBuf),
    /// It can't be read; the rest was served.
    Unreadable(Error),
}

impl SegmentState {
    /// Whether the segment's series are in the snapshot.
    #[must_use]
    pub const fn is_served(&self) -> bool {
        matches!(self, Self::Ok | Self::Superseded | Self::Unlinked)
    }

    /// Its name in tables: `ok`, `superseded`, `unlinked`, `missing`, `copy` or `unreadable`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Superseded => "superseded",
            Self::Unlinked => "unlinked",
            Self::Missing => "missing",
            Self::Copy(_) => "copy",
            Self::Unreadable(_) => "unreadable",
        }
    }
}

/// A family as one segment has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FamilyReport {
    /// Exposed name.
    pub name: Arc<str>,
    /// Series that are not removed.
    pub series: u64,
    /// Label sets refused at the family's limit.
    pub refused: u64,
}

/// A process that holds a slot, or held it last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessReport {
    /// Slot in the process table.
    pub slot: u32,
    /// Whether it holds the slot's lock: whether it lives.
    pub alive: bool,
    /// Generation of the slot.
    pub generation: u64,
    /// Identity: milliseconds since 1970 in the upper 40 bits, random below.
    pub process_id: u64,
    /// Pid in its own namespace.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Inode of its pid namespace.
    pub pid_namespace: u64,
    /// Time of the claim, nanoseconds since 1970.
    pub claimed_unix_ns: u64,
    /// Command name.
    pub command: String,
    /// Role given by the application; may be empty.
    pub role: String,
    /// Labels of the process.
    pub labels: Vec<(String, String)>,
    /// Port of its own server; 0 none.
    pub http_port: u16,
}

/// Numbers about a collection as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments served.
    pub segments: usize,
    /// Series in the snapshot.
    pub series: usize,
    /// What was skipped since the collector began, by segment and reason; each place counts once.
    pub skipped: Vec<Skipped>,
}

/// How much of a segment was skipped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The segment's [`SegmentReport::label`].
    pub segment: String,
    /// Why.
    pub reason: crate::skip::Reason,
    /// How often.
    pub count: u64,
}

/// Families of a snapshot, as they are read.
impl Sink for Vec<FamilySnapshot> {
    type Family<'f> = SnapshotSamples<'f>;

    fn restart(&mut self) {
        self.clear();
    }

    fn family<'f>(&'f mut self, family: &'f FamilyEntry, labels: &'f LabelSets) -> SnapshotSamples<'f> {
        self.push(FamilySnapshot {
            name: family.name.to_string(),
            help: family.help.clone(),
            unit: family.unit.clone(),
            kind: family.kind,
            mode: family.mode,
            level: family.level,
            registrant: family.registrant.clone(),
            series: Vec::with_capacity(labels.list.len()),
        });
        SnapshotSamples { labels: &labels.list, series: self.last_mut().map(|family| &mut family.series) }
    }
}

/// Series of a snapshot, as they are read.
pub(crate) struct SnapshotSamples<'f> {
    labels: &'f [Labels],
    series: Option<&'f mut Vec<SeriesSnapshot>>,
}

impl Samples for SnapshotSamples<'_> {
    fn sample(&mut self, number: usize, value: ValueRef<'_>) {
        if let Some(series) = &mut self.series {
            series.push(SeriesSnapshot { labels: self.labels[number].clone(), value: value.into() });
        }
    }
}
