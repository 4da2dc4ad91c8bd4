//! What became of exports: counted, and logged once for each time that they begin to fail.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;

use super::locked;

/// What became of the exports of an [`OpenTelemetry`](super::OpenTelemetry) so far.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exports {
    /// Exports that the endpoint took.
    pub succeeded: u64,
    /// Exports that it did not take, after the retries of each: no connection, no answer in time, a status other than
    /// 2xx, or an answer that is none. Totals are sent again by the next one; deltas are lost.
    pub failed: u64,
    /// Points that it refused in exports that it took.
    pub rejected_points: u64,
    /// Why the last one failed, or why points were refused.
    pub last_error: Option<String>,
    /// Observations that the SDK was not told of: infinite ones, and what one call made more than 10 000 times.
    pub left_out: u64,
}

/// What an export's answers said, for who counts them.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Why the last attempt failed: the exporter says less.
    pub(super) error: Option<String>,
    /// The answer's status was fine, and its body was none.
    pub(super) is_garbage: bool,
    pub(super) rejected: u64,
}

/// What exporter, client and owner share.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    pub(super) told: Mutex<Told>,
    counted: Mutex<Exports>,
}

impl Outcomes {
    pub(super) fn so_far(&self) -> Exports {
        locked(&self.counted).clone()
    }

    /// Counts an export that has ended.
    fn count(&self, result: OTelSdkResult) -> OTelSdkResult {
        let told = std::mem::take(&mut *locked(&self.told));
        let error = match &result {
            Err(error) => Some(told.error.unwrap_or_else(|| error.to_string())),
            Ok(()) if told.is_garbage => told.error,
            Ok(()) => None,
        };
        let mut counted = locked(&self.counted);
        let was_failing = counted.last_error.is_some();
        counted.rejected_points = counted.rejected_points.saturating_add(told.rejected);
        let Some(error) = error else {
            counted.succeeded += 1;
            counted.last_error =
                (told.rejected > 0).then(|| format!("{} points were rejected", told.rejected));
            match (was_failing, &counted.last_error) {
                (false, Some(error)) => log::warn!("otel: {error}"),
                (true, None) => log::info!("otel: exports succeed again"),
                _ => (),
            }
            return result;
        };
        counted.failed += 1;
        if !was_failing {
            log::warn!("otel: exports fail: {error}");
        }
        counted.last_error = Some(error.clone());
        Err(OTelSdkError::InternalFailure(error))
    }
}

/// The SDK's exporter, counted.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) exporter: MetricExporter,
    pub(super) outcomes: Arc<Outcomes>,
}

impl PushMetricExporter for Counted {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        self.outcomes.count(result)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
