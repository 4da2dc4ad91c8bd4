//! The metrics of the front end: Dynamo's HTTP service.

use dyn_metrics::{Counter, Error, Family, FloatGauge, Gauge, GaugeMode, Histogram, Registry, Tally};

use super::{
    Declaration, INFLIGHT_REQUESTS, OUTPUT_TOKENS_TOTAL, REQUESTS_TOTAL, TIME_TO_FIRST_TOKEN, log_buckets,
};
use crate::demo::arrivals::Request;
use crate::demo::models::{BLOCK_TOKENS, MODELS, Model};

/// The front end's metrics.
pub struct FrontendMetrics {
    started: Family<Counter>,
    requests: Family<Counter>,
    cancellations: Family<Counter>,
    migrations: Family<Counter>,
    last_ttft: Family<FloatGauge>,
    active_blocks: Family<Gauge>,
    /// Time to hand a request to a worker's socket, in seconds.
    pub send_seconds: Tally,
    /// One for each of [`MODELS`].
    pub models: Vec<ModelMetrics>,
}

/// The front end's metrics of one model.
pub struct ModelMetrics {
    /// Requests between arrival and end.
    pub inflight: Gauge,
    /// Requests between arrival and first token.
    pub queued: Gauge,
    /// Answer tokens so far.
    pub output_tokens_total: Counter,
    /// Arrival to end, in seconds.
    pub duration: Histogram,
    /// Arrival to first token, in seconds.
    pub time_to_first_token: Histogram,
    /// Between two tokens of one request, in seconds.
    pub inter_token_latency: Histogram,
    /// Prompt lengths.
    pub input_tokens: Histogram,
    /// Answer lengths.
    pub output_tokens: Histogram,
    /// Prompt tokens found in a prefix cache.
    pub cached_tokens: Histogram,
}

/// Labels of what is counted by request.
const REQUEST: [&str; 3] = ["model", "endpoint", "request_type"];
/// Labels of what is shown of a worker.
const WORKER: [&str; 3] = ["worker_id", "dp_rank", "worker_type"];

impl FrontendMetrics {
    /// Declares them for all models.
    pub fn register(registry: &Registry) -> Result<Self, Error> {
        let declare = |name, help| Declaration::new(registry, name, help);
        let last_ttft = "dynamo_frontend_worker_last_time_to_first_token_seconds";
        let blocks = "dynamo_frontend_worker_active_decode_blocks";
        MODELS.iter().try_for_each(|model| publish_model_card(registry, model))?;
        Ok(Self {
            started: declare("dynamo_frontend_requests_started_total", "LLM requests accepted")
                .family(&REQUEST)?,
            requests: declare(REQUESTS_TOTAL, "LLM requests processed")
                .family(&[&REQUEST[..], &["status", "error_type"]].concat())?,
            cancellations: declare(
                "dynamo_frontend_model_cancellation_total",
                "Requests cancelled by clients",
            )
            .family(&REQUEST)?,
            migrations: declare("dynamo_frontend_model_migration_total", "Requests moved from a lost worker")
                .family(&["model", "migration_type"])?,
            last_ttft: declare(last_ttft, "Last time to first token per worker")
                .unit("seconds")
                .mode(GaugeMode::MostRecent)
                .family(&WORKER)?,
            active_blocks: declare(blocks, "KV cache blocks in use per worker")
                .unit("blocks")
                .family(&WORKER)?,
            send_seconds: declare("dynamo_request_plane_send_seconds", "Time to hand a request to a worker")
                .unit("seconds")
                .create()?,
            models: MODELS
                .iter()
                .map(|model| ModelMetrics::register(registry, model))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Counts an accepted request.
    pub fn started(&self, request: &Request) {
        let name = MODELS[request.model].name;
        self.started.with(&[name, request.endpoint.as_str(), request.kind()]).inc();
    }

    /// Counts a request that is over; `error_type` is empty for success, as Dynamo has it.
    pub fn finished(&self, request: &Request, error_type: &str) {
        let status = if error_type.is_empty() { "success" } else { "error" };
        let (name, endpoint) = (MODELS[request.model].name, request.endpoint.as_str());
        self.requests.with(&[name, endpoint, request.kind(), status, error_type]).inc();
        if error_type == "cancelled" {
            self.cancellations.with(&[name, endpoint, request.kind()]).inc();
        }
    }

    /// Counts a request that is sent to another worker before it got a token.
    pub fn migrated(&self, model: usize) {
        self.migrations.with(&[MODELS[model].name, "new_request"]).inc();
    }

    /// Shows a worker's latest time to first token.
    pub fn worker_ttft(&self, worker: u32, seconds: f64) {
        self.last_ttft.with(&[&worker.to_string(), "0", "decode"]).set(seconds);
    }

    /// The gauge of a worker's blocks in use.
    #[must_use]
    pub fn worker_blocks(&self, worker: u32) -> Gauge {
        self.active_blocks.with(&[&worker.to_string(), "0", "decode"])
    }
}

impl ModelMetrics {
    fn register(registry: &Registry, model: &Model) -> Result<Self, Error> {
        let declare = |name, help| Declaration::new(registry, name, help).labels(&[("model", model.name)]);
        let seconds = |name, help, bounds: &[f64]| declare(name, help).unit("seconds").histogram(bounds);
        let tokens = |name, help, bounds: &[f64]| declare(name, help).unit("tokens").histogram(bounds);
        let prompt = log_buckets(50.0, 128_000.0, 12);
        let answer = log_buckets(50.0, 32_000.0, 10);
        let (itl, ttft) = (log_buckets(0.001, 2.0, 13), log_buckets(0.001, 480.0, 18));
        Ok(Self {
            inflight: declare(INFLIGHT_REQUESTS, "Requests between arrival and end").create()?,
            queued: declare("dynamo_frontend_queued_requests", "Requests that wait for their first token")
                .create()?,
            output_tokens_total: declare(OUTPUT_TOKENS_TOTAL, "Output tokens, as they come").create()?,
            duration: seconds(
                "dynamo_frontend_request_duration_seconds",
                "Duration of LLM requests",
                &log_buckets(1.0, 512.0, 10),
            )?,
            time_to_first_token: seconds(TIME_TO_FIRST_TOKEN, "Time to first token", &ttft)?,
            inter_token_latency: seconds(
                "dynamo_frontend_inter_token_latency_seconds",
                "Time between two tokens of a request",
                &itl,
            )?,
            input_tokens: tokens("dynamo_frontend_input_sequence_tokens", "Input sequence length", &prompt)?,
            output_tokens: tokens(
                "dynamo_frontend_output_sequence_tokens",
                "Output sequence length",
                &answer,
            )?,
            cached_tokens: tokens(
                "dynamo_frontend_cached_tokens",
                "Prompt tokens found in the cache",
                &prompt,
            )?,
        })
    }
}

/// What Dynamo exposes of a model's configuration.
fn publish_model_card(registry: &Registry, model: &Model) -> Result<(), Error> {
    let facts = [
        ("model_total_kv_blocks", "KV cache blocks of one worker", model.total_blocks),
        ("model_max_num_seqs", "Most sequences in one batch", model.max_num_seqs),
        ("model_max_num_batched_tokens", "Most tokens in one step", model.max_batched_tokens),
        ("model_context_length", "Longest prompt plus answer in tokens", model.context_length),
        ("model_kv_cache_block_size", "Tokens in one KV cache block", BLOCK_TOKENS),
    ];
    for (name, help, value) in facts {
        let gauge: Gauge = Declaration::new(registry, &format!("dynamo_frontend_{name}"), help)
            .labels(&[("model", model.name)])
            .mode(GaugeMode::MostRecent)
            .create()?;
        gauge.set(i64::from(value));
    }
    Ok(())
}
