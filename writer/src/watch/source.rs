//! Series of a family, as they are looked at again and again.

use std::path::Path;

use dyn_metrics_reader::{Collector, Labels, Value};

/// A family of a segment, open for reading.
pub(super) struct Source {
    collector: Collector,
    family: String,
    series: Vec<(u64, Labels)>,
}

impl Source {
    /// Of the segment at `path`. Neither needs to exist yet.
    pub(super) fn new(path: &Path, family: &str) -> Self {
        let collector = Collector::new(&[path.to_string_lossy().into_owned()]);
        Self { collector, family: family.to_owned(), series: Vec::new() }
    }

    /// Tells each series that there is: its number, which stays its own, its labels and its value.
    pub(super) fn read(&mut self, mut tell: impl FnMut(u64, &Labels, Option<f64>)) {
        let snapshot = self.collector.collect();
        let Some(family) = snapshot.families.iter().find(|family| family.name == self.family) else { return };
        for series in &family.series {
            let known = self.series.iter().find(|(_, labels)| *labels == series.labels).map(|(id, _)| *id);
            let id = known.unwrap_or_else(|| {
                self.series.push((self.series.len() as u64, series.labels.clone()));
                self.series.len() as u64 - 1
            });
            tell(id, &series.labels, Some(as_number(&series.value)));
        }
    }
}

/// What of a value is compared.
fn as_number(value: &Value) -> f64 {
    match value {
        Value::Counter(number) | Value::Gauge(number) => number.as_f64(),
        Value::Tally { count, .. } => *count as f64,
        Value::Histogram { buckets, .. } => {
            buckets.iter().fold(0, |all: u64, bucket| all.wrapping_add(*bucket)) as f64
        }
        Value::Info => 1.0,
        Value::StateSet { bits, .. } => *bits as f64,
    }
}
