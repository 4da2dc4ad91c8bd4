//! Every metric of the demo, declared here and in the two files below.
//!
//! Names, labels and buckets are those of NVIDIA Dynamo's front end (`dynamo_frontend_*`) and work handler
//! (`dynamo_component_*`), and of vLLM's scheduler behind it; where they disagree, units follow Prometheus' rules.
//! All workers share the series of their model; only what belongs to one worker has a `worker_id`.

mod frontend;
mod worker;

use dyn_metrics::{Counter, Error, Family, GaugeMode, Histogram, Metric, Opts, Registry, StateSet};

pub use frontend::FrontendMetrics;
pub use worker::WorkerMetrics;

/// Info family that marks a segment as made by the demo.
pub const DEMO_INFO: &str = "dynamo_demo_info";
/// Requests that are over, by outcome.
pub const REQUESTS_TOTAL: &str = "dynamo_frontend_requests_total";
/// Requests between arrival and end.
pub const INFLIGHT_REQUESTS: &str = "dynamo_frontend_inflight_requests";
/// Answer tokens that reached the front end.
pub const OUTPUT_TOKENS_TOTAL: &str = "dynamo_frontend_output_tokens_total";
/// Time from a request's arrival to its first token.
pub const TIME_TO_FIRST_TOKEN: &str = "dynamo_frontend_time_to_first_token_seconds";

/// What the orchestrator itself counts.
pub struct SupervisorMetrics {
    restarts: Family<Counter>,
}

impl SupervisorMetrics {
    /// Declares them, and marks the segment as the demo's.
    pub fn register(registry: &Registry, seed: u64, workers: u32) -> Result<Self, Error> {
        let (seed, workers) = (seed.to_string(), workers.to_string());
        let parameters = [("seed", seed.as_str()), ("workers", workers.as_str())];
        registry.info(DEMO_INFO, "Parameters of this run of the demo", &parameters)?;
        let help = "Times a worker was started again";
        let restarts = Declaration::new(registry, "dynamo_supervisor_worker_restarts_total", help);
        Ok(Self { restarts: restarts.family(&["worker_id"])? })
    }

    /// Counts one more start of `worker` after its first.
    pub fn restarted(&self, worker: u32) {
        self.restarts.with(&[&worker.to_string()]).inc();
    }
}

/// A metric on its way to being registered.
struct Declaration<'a> {
    registry: &'a Registry,
    opts: Opts,
}

impl<'a> Declaration<'a> {
    fn new(registry: &'a Registry, name: &str, help: &str) -> Self {
        Self { registry, opts: Opts::new(name, help) }
    }

    fn labels(mut self, labels: &[(&str, &str)]) -> Self {
        self.opts = labels.iter().fold(self.opts, |opts, (name, value)| opts.label(name, value));
        self
    }

    fn unit(mut self, unit: &str) -> Self {
        self.opts = self.opts.unit(unit);
        self
    }

    fn mode(mut self, mode: GaugeMode) -> Self {
        self.opts = self.opts.mode(mode);
        self
    }

    fn create<M: Metric>(self) -> Result<M, Error> {
        self.registry.create(&self.opts)
    }

    fn family<M: Metric>(self, labels: &[&str]) -> Result<Family<M>, Error> {
        self.registry.family(&self.opts, labels)
    }

    fn histogram(mut self, bounds: &[f64]) -> Result<Histogram, Error> {
        self.opts = self.opts.bounds(bounds);
        self.create()
    }

    fn states(mut self, states: &[&str]) -> Result<StateSet, Error> {
        self.opts = self.opts.states(states);
        self.create()
    }
}

/// Dynamo's buckets: 0 and then logarithmic steps to `max`, two significant digits each.
fn log_buckets(min: f64, max: f64, count: u32) -> Vec<f64> {
    let step = (max / min).powf(1.0 / f64::from(count - 1));
    let rounded = (1..count).map(|index| two_digits(min * step.powf(f64::from(index))));
    std::iter::once(0.0).chain(rounded).collect()
}

fn two_digits(value: f64) -> f64 {
    let places = 1 - value.log10().floor() as i32;
    // Dividing by a power of ten gives the double nearest to the decimal number; multiplying by 0.01 may not.
    let scale = 10f64.powi(places.abs());
    if places >= 0 { (value * scale).round() / scale } else { (value / scale).round() * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_that_dynamo_serves() {
        assert_eq!(log_buckets(1.0, 512.0, 10), [0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 130.0, 260.0, 510.0]);
        let ttft = log_buckets(0.001, 480.0, 18);
        assert_eq!(ttft.len(), 18);
        assert_eq!(ttft[..4], [0.0, 0.0022, 0.0047, 0.01]);
        assert_eq!(ttft[17], 480.0);
        assert!(ttft.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn two_digits_are_exact_decimals() {
        assert_eq!([0.012_34, 1.96, 127_999.0].map(two_digits), [0.012, 2.0, 130_000.0]);
    }
}
