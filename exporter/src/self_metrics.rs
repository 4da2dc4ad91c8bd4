//! What the exporter says about itself, behind the families of the segments and written by the same encoder.
//!
//! All names begin with `dyn_metrics_exporter_`, which no family of a segment may: one page never has two of a name.

#![allow(clippy::disallowed_types, reason = "process-local counts, never in a segment")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dyn_metrics_layout::FORMAT_VERSION;
use dyn_metrics_reader::encode::text;
use dyn_metrics_reader::{FamilySnapshot, GaugeMode, Kind, Labels, Number, SeriesSnapshot, Value};

/// A number of events in this process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the pages tell of the requests that they answer. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// Requests for `/metrics`.
    pub(crate) scrapes: Count,
    /// Requests of any kind that got an older page, because too many pages were on their way to slow clients.
    pub(crate) older_pages: Count,
    /// On-scrape callbacks.
    pub(crate) callbacks: CallbackCounts,
}

/// What became of the processes that were asked to run their on-scrape callbacks. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallbackCounts {
    /// Processes asked.
    pub(crate) asked: Count,
    /// Processes that had not answered in time, and callbacks that those who had say were late.
    pub(crate) late: Count,
    /// Processes that could not be asked, and callbacks that failed.
    pub(crate) failed: Count,
    /// How long the last asking took, in nanoseconds.
    pub(crate) took: Count,
}

/// Appends the exporter's own families; `took` is the collection that made this page.
pub(crate) fn append(took: Duration, counts: &Counts, page: &mut Vec<u8>) {
    let version = [("version", env!("CARGO_PKG_VERSION")), ("format", &FORMAT_VERSION.to_string())];
    let families = [
        gauge(
            "dyn_metrics_exporter_build_info",
            "Version of the exporter, and of the segment format it reads.",
            version.into_iter().collect(),
            Number::Unsigned(1),
        ),
        gauge(
            "dyn_metrics_exporter_callback_duration_seconds",
            "Time that processes were waited for, for this page, to run their on-scrape callbacks.",
            Labels::default(),
            Number::Float(Duration::from_nanos(counts.callbacks.took.value()).as_secs_f64()),
        ),
        counter(
            "dyn_metrics_exporter_callbacks_asked_total",
            "Processes asked to run their on-scrape callbacks.",
            &counts.callbacks.asked,
        ),
        counter(
            "dyn_metrics_exporter_callbacks_failed_total",
            "On-scrape callbacks that failed, and processes that could not be asked for theirs.",
            &counts.callbacks.failed,
        ),
        counter(
            "dyn_metrics_exporter_callbacks_late_total",
            "On-scrape callbacks, and processes with such, that were not done in time: their last values were served.",
            &counts.callbacks.late,
        ),
        counter(
            "dyn_metrics_exporter_older_pages_total",
            "Requests answered with an older page because slow clients held too many.",
            &counts.older_pages,
        ),
        gauge(
            "dyn_metrics_exporter_scrape_duration_seconds",
            "Time that collecting and encoding this page took.",
            Labels::default(),
            Number::Float(took.as_secs_f64()),
        ),
        counter(
            "dyn_metrics_exporter_scrapes_total",
            "Requests for /metrics, those included that share this page.",
            &counts.scrapes,
        ),
    ];
    text::encode_families(&families, page);
}

fn gauge(name: &str, help: &str, labels: Labels, value: Number) -> FamilySnapshot {
    family(name, help, Kind::Gauge, SeriesSnapshot { labels, value: Value::Gauge(value) })
}

fn counter(name: &str, help: &str, count: &Count) -> FamilySnapshot {
    let value = Value::Counter(Number::Unsigned(count.value()));
    family(name, help, Kind::Counter, SeriesSnapshot { labels: Labels::default(), value })
}

fn family(name: &str, help: &str, kind: Kind, series: SeriesSnapshot) -> FamilySnapshot {
    FamilySnapshot {
        name: name.to_owned(),
        help: help.to_owned(),
        unit: String::new(),
        kind,
        mode: GaugeMode::LiveSum,
        level: 0,
        registrant: String::new(),
        series: vec![series],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_help_type_and_one_sample() {
        let mut page = b"up 1\n".to_vec();
        let counts = Counts::default();
        (0..7).for_each(|_| counts.scrapes.inc());
        append(Duration::from_micros(1500), &counts, &mut page);
        let text = String::from_utf8(page).expect("UTF-8");
        assert!(text.starts_with("up 1\n# HELP dyn_metrics_exporter_build_info "));
        assert!(text.contains("\ndyn_metrics_exporter_scrape_duration_seconds 0.0015\n"));
        assert!(text.contains("\ndyn_metrics_exporter_older_pages_total 0\n"));
        assert!(text.ends_with("\ndyn_metrics_exporter_scrapes_total 7\n"));
        assert!(text.contains(&format!("{{format=\"{FORMAT_VERSION}\",version=\"")), "{text}");
        for prefix in ["# HELP ", "# TYPE ", "dyn_metrics_exporter_"] {
            assert_eq!(text.lines().filter(|line| line.starts_with(prefix)).count(), 8, "{prefix}");
        }
    }
}
