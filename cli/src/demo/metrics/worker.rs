//! The metrics of a worker: Dynamo's work handler, vLLM's scheduler, and the state of the engine.

use std::time::Duration;

use dyn_metrics::{
    Counter, DurationCounter, DurationGauge, Error, Family, FloatGauge, Gauge, GaugeMode, Histogram,
    Registry, StateSet,
};

use super::Declaration;
use crate::demo::engine::{End, Step, Timing};
use crate::demo::models::{BLOCK_TOKENS, Model};

/// vLLM's buckets of request latencies, in seconds, up to two minutes.
const LATENCY_SECONDS: [f64; 16] =
    [0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0];
/// Prometheus' default buckets, which Dynamo's work handler uses, in seconds.
const HANDLER_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// vLLM's buckets of tokens in one step.
const STEP_TOKENS: [f64; 13] =
    [1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0];

/// A worker's metrics.
pub struct WorkerMetrics {
    handler: HandlerMetrics,
    scheduler: SchedulerMetrics,
    engine: EngineMetrics,
}

/// What Dynamo's work handler counts; shared by all workers of a model.
struct HandlerMetrics {
    requests: Counter,
    request_bytes: Counter,
    response_bytes: Counter,
    inflight: Gauge,
    duration: Histogram,
    errors: Counter,
}

/// What vLLM's scheduler counts; shared by all workers of a model.
struct SchedulerMetrics {
    finished: Family<Counter>,
    running: Gauge,
    waiting: Gauge,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    preemptions: Counter,
    prefix_queries: Counter,
    prefix_hits: Counter,
    step_tokens: Histogram,
    queue_time: Histogram,
    prefill_time: Histogram,
    decode_time: Histogram,
}

/// The state of one engine.
struct EngineMetrics {
    state: StateSet,
    busy: DurationCounter,
    uptime: DurationGauge,
    load_time: DurationGauge,
    active_blocks: Gauge,
    usage: FloatGauge,
    peak: FloatGauge,
    highest: f64,
    total_blocks: u32,
}

/// Labels that Dynamo puts on everything a component exposes, then the model's, then the worker's.
struct Labels<'a>([(&'a str, &'a str); 6]);

impl<'a> Labels<'a> {
    fn new(model: &'a Model, worker_id: &'a str) -> Self {
        Self([
            ("dynamo_namespace", "demo"),
            ("dynamo_component", "backend"),
            ("dynamo_endpoint", "generate"),
            ("model", model.name),
            ("worker_id", worker_id),
            ("dp_rank", "0"),
        ])
    }

    fn shared(&self) -> &[(&'a str, &'a str)] {
        &self.0[..4]
    }

    fn own(&self) -> &[(&'a str, &'a str)] {
        &self.0
    }
}

impl WorkerMetrics {
    /// Declares them for worker `worker`, which serves `model`.
    pub fn register(registry: &Registry, worker: u32, model: &Model) -> Result<Self, Error> {
        let worker_id = worker.to_string();
        let labels = Labels::new(model, &worker_id);
        publish_cache_config(registry, model)?;
        Ok(Self {
            handler: HandlerMetrics::register(registry, &labels)?,
            scheduler: SchedulerMetrics::register(registry, &labels)?,
            engine: EngineMetrics::register(registry, &labels, model)?,
        })
    }

    /// Shows where the engine is in its life: `starting`, `ready` or `draining`.
    pub fn state(&self, state: &str) {
        self.engine.state.set(state);
    }

    /// Shows how long the model took to load.
    pub fn loaded(&self, elapsed: Duration) {
        self.engine.load_time.set(elapsed);
    }

    /// Counts a request that came in `bytes` bytes.
    pub fn received(&self, bytes: usize) {
        self.handler.requests.inc();
        self.handler.request_bytes.inc_by(bytes as u64);
        self.handler.inflight.inc();
    }

    /// Counts `bytes` bytes sent to the front end.
    pub fn sent(&self, bytes: usize) {
        self.handler.response_bytes.inc_by(bytes as u64);
    }

    /// Counts one step of the engine, which took `elapsed` and gave `generated` tokens.
    pub fn stepped(&self, step: &Step, generated: u32, elapsed: Duration) {
        let scheduler = &self.scheduler;
        scheduler.prompt_tokens.inc_by(u64::from(step.prefill_tokens));
        scheduler.generation_tokens.inc_by(u64::from(generated));
        scheduler.preemptions.inc_by(u64::from(step.preemptions));
        scheduler.prefix_queries.inc_by(u64::from(step.prefix_queries));
        scheduler.prefix_hits.inc_by(u64::from(step.prefix_hits));
        scheduler.step_tokens.observe(f64::from(step.prefill_tokens + step.decode_tokens));
        self.engine.busy.inc_by(elapsed);
    }

    /// Counts a request that is over.
    pub fn finished(&self, end: End, timing: &Timing) {
        self.handler.inflight.dec();
        self.handler.duration.observe((timing.queue + timing.prefill + timing.decode).as_secs_f64());
        let reason = match end {
            End::Stop => "stop",
            End::Length => "length",
            End::Error => return self.handler.errors.inc(),
        };
        self.scheduler.finished.with(&[reason]).inc();
        self.scheduler.queue_time.observe(timing.queue.as_secs_f64());
        self.scheduler.prefill_time.observe(timing.prefill.as_secs_f64());
        self.scheduler.decode_time.observe(timing.decode.as_secs_f64());
    }

    /// Counts a request that its client gave up.
    pub fn aborted(&self) {
        self.handler.inflight.dec();
        self.scheduler.finished.with(&["abort"]).inc();
    }

    /// Shows how full the engine is.
    pub fn load(&mut self, running: usize, waiting: usize, active_blocks: u32, uptime: Duration) {
        self.scheduler.running.set(running as i64);
        self.scheduler.waiting.set(waiting as i64);
        let engine = &mut self.engine;
        engine.active_blocks.set(i64::from(active_blocks));
        engine.uptime.set(uptime);
        let usage = f64::from(active_blocks) / f64::from(engine.total_blocks);
        engine.usage.set(usage);
        engine.highest = engine.highest.max(usage);
        engine.peak.set(engine.highest);
    }
}

impl HandlerMetrics {
    fn register(registry: &Registry, labels: &Labels<'_>) -> Result<Self, Error> {
        let declare = |name, help| component(registry, name, help, labels.shared());
        Ok(Self {
            requests: declare("requests_total", "Requests received").create()?,
            request_bytes: declare("request_bytes_total", "Bytes of requests").unit("bytes").create()?,
            response_bytes: declare("response_bytes_total", "Bytes of responses").unit("bytes").create()?,
            inflight: declare("inflight_requests", "Requests being processed").create()?,
            duration: declare("request_duration_seconds", "Time spent processing requests")
                .unit("seconds")
                .histogram(&HANDLER_SECONDS)?,
            errors: declare("errors_total", "Requests that failed")
                .labels(&[("error_type", "generate")])
                .create()?,
        })
    }
}

impl SchedulerMetrics {
    fn register(registry: &Registry, labels: &Labels<'_>) -> Result<Self, Error> {
        let declare = |name, help| component(registry, name, help, labels.shared());
        let phase = |name, help| declare(name, help).unit("seconds").histogram(&LATENCY_SECONDS);
        Ok(Self {
            finished: declare("request_success_total", "Requests finished, by reason")
                .family(&["finished_reason"])?,
            running: declare("num_requests_running", "Requests in execution batches").create()?,
            waiting: declare("num_requests_waiting", "Requests waiting for admission").create()?,
            prompt_tokens: declare("prompt_tokens_total", "Prefill tokens processed").create()?,
            generation_tokens: declare("generation_tokens_total", "Generation tokens processed").create()?,
            preemptions: declare("num_preemptions_total", "Requests preempted for want of blocks")
                .create()?,
            prefix_queries: declare("prefix_cache_queries_total", "Tokens looked up in the prefix cache")
                .create()?,
            prefix_hits: declare("prefix_cache_hits_total", "Tokens found in the prefix cache").create()?,
            step_tokens: declare("iteration_tokens", "Tokens of one engine step").histogram(&STEP_TOKENS)?,
            queue_time: phase("request_queue_time_seconds", "Time of requests in the waiting phase")?,
            prefill_time: phase("request_prefill_time_seconds", "Time of requests in the prefill phase")?,
            decode_time: phase("request_decode_time_seconds", "Time of requests in the decode phase")?,
        })
    }
}

impl EngineMetrics {
    fn register(registry: &Registry, labels: &Labels<'_>, model: &Model) -> Result<Self, Error> {
        let declare = |name, help| component(registry, name, help, labels.own());
        let shared = |name, help| component(registry, name, help, labels.shared());
        let total: Gauge =
            declare("kvstats_total_blocks", "KV cache blocks of the worker").unit("blocks").create()?;
        total.set(i64::from(model.total_blocks));
        Ok(Self {
            state: declare("engine_state", "Where the engine is in its life").states(&STATES)?,
            busy: shared("engine_busy_seconds_total", "Time spent in engine steps")
                .unit("seconds")
                .create()?,
            uptime: declare("uptime_seconds", "Time since the worker started").unit("seconds").create()?,
            load_time: declare("model_load_time_seconds", "Time that loading the model took")
                .unit("seconds")
                .mode(GaugeMode::MostRecent)
                .create()?,
            active_blocks: declare("kvstats_active_blocks", "KV cache blocks in use")
                .unit("blocks")
                .create()?,
            usage: declare("kv_cache_usage_perc", "KV cache usage, 1 is full").create()?,
            peak: shared("kv_cache_peak_usage_perc", "Highest KV cache usage of any worker so far")
                .mode(GaugeMode::Max)
                .create()?,
            highest: 0.0,
            total_blocks: model.total_blocks,
        })
    }
}

const STATES: [&str; 3] = ["starting", "ready", "draining"];

fn component<'a>(registry: &'a Registry, name: &str, help: &str, labels: &[(&str, &str)]) -> Declaration<'a> {
    Declaration::new(registry, &format!("dynamo_component_{name}"), help).labels(labels)
}

/// vLLM's description of an engine's cache.
fn publish_cache_config(registry: &Registry, model: &Model) -> Result<(), Error> {
    let (block_size, blocks) = (BLOCK_TOKENS.to_string(), model.total_blocks.to_string());
    let labels = [
        ("model", model.name),
        ("block_size", &block_size),
        ("cache_dtype", "auto"),
        ("enable_prefix_caching", "True"),
        ("gpu_memory_utilization", "0.9"),
        ("num_gpu_blocks", &blocks),
    ];
    let help = "Configuration of the engine's KV cache";
    registry.info("dynamo_component_cache_config_info", help, &labels).map(drop)
}
