//! One collection: reads every segment, encodes what it holds, logs what changed.

use std::time::Instant;

use dyn_metrics_reader::{Collector, Report, SegmentReport, SegmentState, Statistic};

use crate::Config;
use crate::buffers::Buffers;
use crate::callbacks::SharedAsker;
use crate::gzip::Gzip;
use crate::page::{Found, Page};
use crate::self_metrics::{self, Counts};
use crate::watch::Watch;

/// Follows the segments from collection to collection.
pub(crate) struct Segments {
    patterns: Vec<String>,
    allow_uids: Vec<u32>,
    max_level: u8,
    asker: SharedAsker,
    collector: Option<Collector>,
    watch: Watch,
    counts: Counts,
    texts: Buffers,
    gzip: Gzip,
}

/// What logs and the landing page tell about one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentView {
    /// Its path as self-metrics name it; unique.
    pub(crate) label: String,
    pub(crate) state: State,
    /// Tells a replaced file from the same one.
    pub(crate) id: [u64; 2],
    pub(crate) families: usize,
    pub(crate) series: u64,
    pub(crate) processes_alive: usize,
    pub(crate) bytes_used: u64,
    pub(crate) bytes_free: u64,
    /// Registrations, gauges and blocks that found no space.
    pub(crate) without_space: u64,
    /// The first parts of it that were ever skipped, each in words.
    pub(crate) skipped: Vec<String>,
    /// How many parts of it were ever skipped.
    pub(crate) skipped_total: u64,
}

/// What became of a segment in a collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Mapped and read.
    Mapped,
    /// Read as well; a newer file has its name.
    Superseded,
    /// Read as well; nothing has its name any more.
    Unlinked,
    /// There, sound, and not read: a copy of the segment at this path.
    Copy(String),
    /// Not there, or not there any more.
    Missing,
    /// There, and skipped, for this reason.
    Bad(String),
}

impl State {
    /// Whether the segment's series are on the page.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self, Self::Mapped | Self::Superseded | Self::Unlinked)
    }
}

impl Segments {
    /// The pages tell `counts`.
    pub(crate) fn new(config: &Config, counts: Counts) -> Self {
        let (watch, texts, gzip) = Default::default();
        let Config { shm, allow_uids, max_level, callback_timeout, .. } = config.clone();
        let asker = SharedAsker::new(callback_timeout, &allow_uids, counts.callbacks.clone());
        Self { patterns: shm, allow_uids, max_level, asker, collector: None, watch, counts, texts, gzip }
    }

    /// Reads and encodes families up to `level`, and up to the configured one; blocking.
    ///
    /// The collector is put back only at the end: one that panicked is dropped, and the next call starts anew.
    pub(crate) fn collect(&mut self, level: u8) -> Page {
        let started = Instant::now();
        let new = || self.asker.attach(Collector::new(&self.patterns).allow_uids(&self.allow_uids));
        let mut collector = self.collector.take().unwrap_or_else(new);
        collector.set_max_level(level.min(self.max_level));
        let mut text = self.texts.take();
        let found = found(collector.render(&mut text));
        self.collector = Some(collector);
        self.watch.log(&found);
        self_metrics::append(started.elapsed(), &self.counts, &mut text);
        Page::new(self.texts.share(text), found, self.gzip.clone())
    }
}

fn found(report: Report) -> Found {
    let Report { segments, patterns, left_out, stats } = report;
    let mut segments: Vec<_> = segments.iter().map(SegmentView::from).collect();
    for segment in &mut segments {
        let of = stats.skipped.iter().filter(|skipped| skipped.segment == segment.label);
        // Also those that aren't described one by one.
        segment.skipped_total = of.map(|skipped| skipped.count).sum();
    }
    let unmatched = patterns.into_iter().filter(|pattern| pattern.is_search && pattern.files == 0);
    Found { segments, unmatched: unmatched.map(|pattern| pattern.pattern).collect(), left_out }
}

impl From<&SegmentReport> for SegmentView {
    fn from(report: &SegmentReport) -> Self {
        Self {
            label: report.label.clone(),
            state: State::from(&report.state),
            id: report.segment_id,
            families: report.families.len(),
            series: report.families.iter().map(|family| family.series).sum(),
            processes_alive: report.processes_alive(),
            bytes_used: report.bytes_used,
            bytes_free: report.bytes_free,
            without_space: without_space(report),
            skipped: report.skipped.iter().map(ToString::to_string).collect(),
            skipped_total: 0,
        }
    }
}

fn without_space(report: &SegmentReport) -> u64 {
    const COUNTED: [Statistic; 3] = [Statistic::RefusedFull, Statistic::PrivateFull, Statistic::BlockFailed];
    let counted = report.statistics.iter().filter(|(statistic, _)| COUNTED.contains(statistic));
    counted.fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

impl From<&SegmentState> for State {
    fn from(state: &SegmentState) -> Self {
        match state {
            SegmentState::Superseded => Self::Superseded,
            SegmentState::Unlinked => Self::Unlinked,
            SegmentState::Missing => Self::Missing,
            SegmentState::Copy(of) => Self::Copy(of.to_string_lossy().into_owned()),
            SegmentState::Unreadable(error) => Self::Bad(error.to_string()),
            served if served.is_served() => Self::Mapped,
            other => Self::Bad(other.name().to_owned()),
        }
    }
}

#[cfg(test)]
impl SegmentView {
    /// A mapped segment for the tests of this crate.
    pub(crate) fn example(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            state: State::Mapped,
            id: [1, 2],
            families: 3,
            series: 4,
            processes_alive: 5,
            bytes_used: 65_536,
            bytes_free: 1_507_328,
            without_space: 0,
            skipped: Vec::new(),
            skipped_total: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use std::time::Duration;

    use super::*;

    #[test]
    fn memory_of_pages_that_nobody_reads_is_used_again() {
        let config = Config {
            shm: vec!["/nonexistent/segment".to_owned()],
            callback_timeout: Duration::ZERO,
            ..Config::default()
        };
        let mut segments = Segments::new(&config, Counts::default());
        let mut text = || Arc::new(segments.collect(u8::MAX)).text();
        let (first, second) = (text(), text());
        assert_ne!(first.as_ptr(), second.as_ptr(), "the first is still there");
        let free = first.as_ptr();
        drop(first);
        for _ in 0..3 {
            assert_eq!(text().as_ptr(), free);
        }
        assert!(second.starts_with(b"# HELP dyn_metrics_info "));
    }
}
