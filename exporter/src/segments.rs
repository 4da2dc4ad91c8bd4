//! One collection: reads every segment, encodes what it holds, logs what changed.

use std::time::Instant;

use bytes::Bytes;
use dyn_metrics_reader::{Collector, SegmentReport, SegmentState};

use crate::page::Page;
use crate::self_metrics::{self, Count};
use crate::watch::Watch;

/// Most texts that are kept to be written over: one that is being sent, and one for the next collection.
const KEPT: usize = 2;

/// Follows the segments from collection to collection.
pub(crate) struct Segments {
    patterns: Vec<String>,
    collector: Option<Collector>,
    watch: Watch,
    scrapes: Count,
    /// The newest texts, newest last; one that no page and no client has any more is used again.
    texts: Vec<Bytes>,
    /// Length of the last one.
    length: usize,
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
    /// The first parts of it that were ever skipped, each in words.
    pub(crate) skipped: Vec<String>,
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
    /// `scrapes` counts the requests for `/metrics`, which the pages tell.
    pub(crate) fn new(patterns: Vec<String>, scrapes: Count) -> Self {
        Self { patterns, collector: None, watch: Watch::default(), scrapes, texts: Vec::new(), length: 0 }
    }

    /// Reads and encodes everything; blocking.
    ///
    /// The collector is put back only at the end: one that panicked is dropped, and the next call starts anew.
    pub(crate) fn collect(&mut self) -> Page {
        let started = Instant::now();
        let scrapes = self.scrapes.value();
        let mut collector = self.collector.take().unwrap_or_else(|| Collector::new(&self.patterns));
        let mut text = self.buffer();
        let report = collector.render(&mut text);
        let segments: Vec<_> = report.segments.iter().map(SegmentView::from).collect();
        self.collector = Some(collector);
        self.watch.log(&segments);
        self_metrics::append(started.elapsed(), scrapes, &mut text);
        self.length = text.len();
        Page::new(self.keep(text), segments)
    }

    /// Memory for a page: that of an earlier one, where nobody reads it any more and it is large enough, but not
    /// much too large.
    fn buffer(&mut self) -> Vec<u8> {
        if let Some(free) = self.texts.iter().position(Bytes::is_unique) {
            let mut text = Vec::from(self.texts.remove(free));
            text.clear();
            if (self.length..=4 * self.length).contains(&text.capacity()) {
                return text;
            }
        }
        // This page will be about as long as the last: room for it at once, and an eighth to grow.
        Vec::with_capacity(self.length + self.length / 8)
    }

    /// Shares a text, and remembers it for a later page.
    fn keep(&mut self, text: Vec<u8>) -> Bytes {
        let text = Bytes::from(text);
        if self.texts.len() == KEPT {
            self.texts.remove(0);
        }
        self.texts.push(text.clone());
        text
    }
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
            skipped: report.skipped.iter().map(ToString::to_string).collect(),
        }
    }
}

impl From<&SegmentState> for State {
    fn from(state: &SegmentState) -> Self {
        match state {
            SegmentState::Superseded => Self::Superseded,
            SegmentState::Unlinked => Self::Unlinked,
            SegmentState::Missing => Self::Missing,
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
            skipped: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_pages_that_nobody_reads_is_used_again() {
        let mut segments = Segments::new(vec!["/nonexistent/segment".to_owned()], Count::default());
        let place = |page: &Page| page.text().as_ptr();
        let first = segments.collect();
        let second = segments.collect();
        assert_ne!(place(&first), place(&second), "the first is still there");
        let free = place(&first);
        drop(first);
        for _ in 0..3 {
            assert_eq!(place(&segments.collect()), free);
        }
        // A client that takes its time keeps its page, and no more are kept than two.
        let slow: Vec<_> = (0..4).map(|_| segments.collect()).collect();
        assert!(slow.iter().all(|page| page.text().starts_with(b"# HELP dyn_metrics_info ")));
        assert_eq!(segments.texts.len(), KEPT);
        assert!(second.text().starts_with(b"# HELP dyn_metrics_info "));
    }

    #[test]
    fn memory_that_became_much_too_large_is_let_go() {
        let mut segments = Segments::new(vec!["/nonexistent/segment".to_owned()], Count::default());
        let large = segments.keep(Vec::with_capacity(1 << 20));
        drop(large);
        segments.length = 1000;
        assert!(segments.buffer().capacity() < 4000);
        assert_eq!(segments.texts.len(), 0);
    }
}
