//! What callbacks are told.

use std::sync::Arc;
use std::time::SystemTime;

use dyn_metrics_reader::Labels;

/// A change, or a threshold that was crossed.
#[derive(Clone, Debug)]
pub struct Event {
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    pub(super) old: Option<f64>,
    pub(super) new: Option<f64>,
    pub(super) time: SystemTime,
}

impl Event {
    /// The family's exposed name, or what a computed value was called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The series' labels, sorted by name, the segment's common ones included; none of a computed value.
    #[must_use]
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.value(name)
    }

    /// The value before; none where there was no such series. After events that were left out because the callback was
    /// busy, what it was told of last.
    #[must_use]
    pub const fn old(&self) -> Option<f64> {
        self.old
    }

    /// The value now; none where the series is gone, or nobody who lives has set it.
    #[must_use]
    pub const fn value(&self) -> Option<f64> {
        self.new
    }

    /// When it was seen.
    #[must_use]
    pub const fn time(&self) -> SystemTime {
        self.time
    }
}
