//! A service's struct of metrics behind trait objects, as the Dynamo metrics proposal has it: it knows the interface,
//! and not what keeps its numbers.
//!
//! `cargo run -p dyn-metrics --example http_metrics`; with `DYN_METRICS_REGISTRY=null` nothing is counted, and no line
//! of this changes. What the proposal takes from Dynamo's runtime (`async`, streams, ingress) is left out.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use dyn_metrics::{DistributedRuntime, MetricCounter, MetricGauge, MetricHistogram, MetricsRegistry};

/// What the service counts.
pub struct ExampleHTTPMetrics {
    registry: Arc<dyn MetricsRegistry>,
    /// Requests processed.
    pub request_counter: Box<dyn MetricCounter>,
    /// Requests in progress.
    pub active_requests_gauge: Box<dyn MetricGauge>,
    /// Seconds that requests took.
    pub request_duration_histogram: Box<dyn MetricHistogram>,
}

impl ExampleHTTPMetrics {
    /// Registers the service's metrics.
    pub fn new(registry: Arc<dyn MetricsRegistry>) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let request_counter = registry.create_counter(
            "service_requests_total",
            "Total number of requests processed",
            &[("service", "registry")],
        )?;

        let active_requests_gauge = registry.create_gauge(
            "service_active_requests",
            "Number of requests currently being processed",
            &[("service", "registry")],
        )?;

        let request_duration_histogram = registry.create_histogram(
            "service_request_duration_seconds",
            "Request duration in seconds",
            &[("service", "registry")],
            None,
        )?;

        Ok(ExampleHTTPMetrics {
            registry,
            request_counter: request_counter.into(),
            active_requests_gauge: active_requests_gauge.into(),
            request_duration_histogram: request_duration_histogram.into(),
        })
    }

    /// What they are registered in.
    pub fn registry(&self) -> &Arc<dyn MetricsRegistry> {
        &self.registry
    }
}

/// Answers requests, and counts them.
pub struct RequestHandler {
    metrics: Arc<ExampleHTTPMetrics>,
}

impl RequestHandler {
    /// One that counts in `metrics`.
    pub fn new(metrics: Arc<ExampleHTTPMetrics>) -> Arc<Self> {
        Arc::new(Self { metrics })
    }

    /// Answers a request: its characters, one by one.
    pub fn generate(&self, input: &str) -> Vec<String> {
        let start_time = Instant::now();

        self.metrics.request_counter.inc();
        self.metrics.active_requests_gauge.inc(1.0);

        let chars = input.chars().map(|c| c.to_string()).collect::<Vec<_>>();

        let duration = start_time.elapsed().as_secs_f64();

        self.metrics.active_requests_gauge.dec(1.0);
        self.metrics.request_duration_histogram.observe(duration);

        chars
    }
}

/// Serves two requests at an endpoint, and says what was counted.
pub fn backend(runtime: &DistributedRuntime) -> Result<String, Box<dyn Error + Send + Sync>> {
    let endpoint = runtime.namespace("dynamo")?.component("registry")?.endpoint("generate")?;
    let metrics = Arc::new(ExampleHTTPMetrics::new(endpoint.metrics_registry())?);
    let handler = RequestHandler::new(metrics.clone());
    for request in ["hello", "world"] {
        handler.generate(request);
    }
    Ok(metrics.registry().prometheus_format_str()?)
}

#[cfg_attr(test, allow(dead_code, reason = "what a test includes is the rest"))]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    print!("{}", backend(&DistributedRuntime::new()?)?);
    Ok(())
}
