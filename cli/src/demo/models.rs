//! The models that the demo pretends to serve: names, limits and speeds, shared by all its processes.

use std::time::Duration;

/// Tokens in one KV-cache block, as vLLM's default.
pub const BLOCK_TOKENS: u32 = 16;

/// What an engine needs to know about the model it serves.
#[derive(Debug)]
pub struct Model {
    /// Name as clients send it.
    pub name: &'static str,
    /// Longest prompt plus answer, in tokens.
    pub context_length: u32,
    /// KV-cache blocks of one worker.
    pub total_blocks: u32,
    /// Most sequences in one batch.
    pub max_num_seqs: u32,
    /// Most tokens, prompt and answer together, in one step.
    pub max_batched_tokens: u32,
    /// Time of a step before anything is in it.
    pub step_base: Duration,
    /// Added for each sequence that decodes one token.
    pub step_per_sequence: Duration,
    /// Added for each prompt token that is prefilled.
    pub step_per_prefill_token: Duration,
    /// Time to load the weights.
    pub load_time: Duration,
}

/// All models; a request and a worker name theirs by index.
pub const MODELS: [Model; 2] = [
    Model {
        name: "meta-llama/Llama-3.1-8B-Instruct",
        context_length: 8192,
        total_blocks: 1536,
        max_num_seqs: 48,
        max_batched_tokens: 2048,
        step_base: Duration::from_micros(12_000),
        step_per_sequence: Duration::from_micros(200),
        step_per_prefill_token: Duration::from_micros(40),
        load_time: Duration::from_millis(600),
    },
    Model {
        name: "Qwen/Qwen3-0.6B",
        context_length: 8192,
        total_blocks: 2048,
        max_num_seqs: 64,
        max_batched_tokens: 4096,
        step_base: Duration::from_micros(6_000),
        step_per_sequence: Duration::from_micros(100),
        step_per_prefill_token: Duration::from_micros(10),
        load_time: Duration::from_millis(300),
    },
];

impl Model {
    /// The index of the model that worker `worker` serves: every third one has the small model.
    #[must_use]
    pub fn of_worker(worker: u32) -> usize {
        usize::from(worker % 3 == 2)
    }

    /// How long a step takes that decodes `sequences` tokens and prefills `prefill_tokens`.
    #[must_use]
    pub fn step_time(&self, sequences: u32, prefill_tokens: u32) -> Duration {
        self.step_base + self.step_per_sequence * sequences + self.step_per_prefill_token * prefill_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_can_hold_its_longest_request() {
        for model in &MODELS {
            assert!(model.context_length < model.total_blocks * BLOCK_TOKENS, "{}", model.name);
        }
    }

    #[test]
    fn steps_grow_with_batch_and_prompt() {
        let model = &MODELS[0];
        assert_eq!(model.step_time(10, 0), Duration::from_millis(14));
        assert_eq!(model.step_time(10, 1000), Duration::from_millis(54));
    }

    #[test]
    fn three_workers_serve_both_models() {
        assert_eq!([0, 1, 2].map(Model::of_worker), [0, 0, 1]);
        assert_eq!(Model::of_worker(63), 0);
    }
}
