//! The metrics proposal's struct, registered by a derive: `http_metrics.rs` without the code that does it.
//!
//! `cargo run -p dyn-metrics --example derived_metrics` counts and shows the page; with `--declared` it writes what the struct
//! declares, for `dyn-metrics describe --declared -`.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use dyn_metrics::{
    DistributedRuntime, MetricCounter, MetricGauge, MetricHistogram, Metrics, MetricsRegistry,
};

/// What the service counts.
#[derive(Metrics)]
#[metrics(prefix = "service_", labels(service = "registry"))]
pub struct ExampleHTTPMetrics {
    #[metric(registry)]
    registry: Arc<dyn MetricsRegistry>,
    /// Total number of requests processed
    #[metric(name = "requests_total")]
    pub request_counter: Box<dyn MetricCounter>,
    /// Number of requests currently being processed
    #[metric(name = "active_requests")]
    pub active_requests_gauge: Box<dyn MetricGauge>,
    /// Request duration in seconds
    #[metric(name = "request_duration_seconds", level = 1)]
    pub request_duration_histogram: Box<dyn MetricHistogram>,
}

impl ExampleHTTPMetrics {
    /// Answers a request: its characters, one by one.
    pub fn generate(&self, input: &str) -> Vec<String> {
        let start_time = Instant::now();
        self.request_counter.inc();
        self.active_requests_gauge.inc(1.0);
        let chars = input.chars().map(|c| c.to_string()).collect();
        self.active_requests_gauge.dec(1.0);
        self.request_duration_histogram.observe(start_time.elapsed().as_secs_f64());
        chars
    }
}

/// Serves two requests at an endpoint, and says what was counted.
pub fn backend(runtime: &DistributedRuntime) -> Result<String, Box<dyn Error + Send + Sync>> {
    let endpoint = runtime.namespace("dynamo")?.component("registry")?.endpoint("generate")?;
    let metrics = ExampleHTTPMetrics::new(&endpoint)?;
    for request in ["hello", "world"] {
        metrics.generate(request);
    }
    Ok(metrics.registry.prometheus_format_str()?)
}

#[cfg_attr(test, allow(dead_code, reason = "what a test includes is the rest"))]
fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    if std::env::args().any(|argument| argument == "--declared") {
        print!("{}", ExampleHTTPMetrics::declared_json());
    } else {
        print!("{}", backend(&DistributedRuntime::new()?)?);
    }
    Ok(())
}
