//! What the exporter says about itself, behind the families of the segments.

#![allow(clippy::disallowed_types, reason = "process-local counts, never in a segment")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dyn_metrics_layout::FORMAT_VERSION;

/// A number of events in this process. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Appends the exporter's own families in text 0.0.4.
///
/// `took` is the collection that made this page, `scrapes` the requests for `/metrics` until it began.
pub(crate) fn append(took: Duration, scrapes: u64, page: &mut Vec<u8>) {
    let seconds = took.as_secs_f64();
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "# HELP dyn_metrics_exporter_build_info Version of the exporter, and of the segment format it reads.\n\
         # TYPE dyn_metrics_exporter_build_info gauge\n\
         dyn_metrics_exporter_build_info{{version=\"{version}\",format=\"{FORMAT_VERSION}\"}} 1\n\
         # HELP dyn_metrics_exporter_scrape_duration_seconds Time that collecting and encoding this page took.\n\
         # TYPE dyn_metrics_exporter_scrape_duration_seconds gauge\n\
         dyn_metrics_exporter_scrape_duration_seconds {seconds}\n\
         # HELP dyn_metrics_exporter_scrapes_total Requests for /metrics, those included that share this page.\n\
         # TYPE dyn_metrics_exporter_scrapes_total counter\n\
         dyn_metrics_exporter_scrapes_total {scrapes}\n"
    );
    page.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_help_type_and_one_sample() {
        let mut page = b"up 1\n".to_vec();
        append(Duration::from_micros(1500), 7, &mut page);
        let text = String::from_utf8(page).expect("UTF-8");
        assert!(text.starts_with("up 1\n# HELP dyn_metrics_exporter_build_info "));
        assert!(text.contains("\ndyn_metrics_exporter_scrape_duration_seconds 0.0015\n"));
        assert!(text.ends_with("\ndyn_metrics_exporter_scrapes_total 7\n"));
        assert!(text.contains(&format!(",format=\"{FORMAT_VERSION}\"}} 1\n")));
        for prefix in ["# HELP ", "# TYPE ", "dyn_metrics_exporter_"] {
            assert_eq!(text.lines().filter(|line| line.starts_with(prefix)).count(), 3, "{prefix}");
        }
    }
}
