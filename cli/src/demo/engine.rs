//! An inference engine with continuous batching, as vLLM's scheduler does it, without the inference.
//!
//! Pure: time comes in as an argument and a step's duration goes out as a number, so the caller decides whether to
//! sleep. In each step every running sequence yields one token and prompts are prefilled in chunks with what is left
//! of the token budget. A sequence holds KV-cache blocks for all its tokens; when none is free the youngest one
//! is preempted and starts over later.

use std::collections::VecDeque;
use std::time::Duration;

use super::arrivals::{MAX_OUTPUT_TOKENS, Prefix};
use super::models::{BLOCK_TOKENS, Model};

/// Prompt prefixes that stay in the cache.
const CACHED_PREFIXES: usize = 16;

/// What the front end asks an engine for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// The request's number.
    pub id: u64,
    /// Prompt length.
    pub prompt_tokens: u32,
    /// Answer length.
    pub output_tokens: u32,
    /// Beginning of the prompt that may be cached.
    pub prefix: Option<Prefix>,
    /// The engine fails on it after so many tokens.
    pub fail_after: Option<u32>,
}

/// Why a sequence is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The model said stop.
    Stop,
    /// The client's limit was reached.
    Length,
    /// The engine failed on it.
    Error,
}

/// Where a finished sequence's time went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Waiting for admission.
    pub queue: Duration,
    /// From admission to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
}

/// What one step gave one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emission {
    /// The request's number.
    pub id: u64,
    /// New tokens: 1, or 0 where the engine failed.
    pub tokens: u32,
    /// Prompt tokens that the prefix cache had.
    pub cached_tokens: u32,
    /// Set on the last one.
    pub end: Option<(End, Timing)>,
}

/// A step that has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// How long it takes.
    pub duration: Duration,
    /// Prompt tokens computed in it.
    pub prefill_tokens: u32,
    /// Sequences that decode one token in it.
    pub decode_tokens: u32,
    /// Sequences that had to give up their blocks for it.
    pub preemptions: u32,
    /// Prompt tokens that were looked up in the prefix cache, and found.
    pub prefix_queries: u32,
    /// See `prefix_queries`.
    pub prefix_hits: u32,
}

#[derive(Debug)]
struct Sequence {
    job: Job,
    arrived: Duration,
    admitted: Option<Duration>,
    first_token: Option<Duration>,
    /// Tokens to compute before the next token can come: the prompt, and after preemption what was produced.
    needed: u32,
    /// Tokens whose keys and values are in the cache.
    computed: u32,
    /// Prompt tokens of the step under way.
    chunk: u32,
    produced: u32,
    cached: u32,
    blocks: u32,
}

impl Sequence {
    fn new(job: Job, now: Duration) -> Self {
        Self {
            job,
            arrived: now,
            admitted: None,
            first_token: None,
            needed: job.prompt_tokens,
            computed: 0,
            chunk: 0,
            produced: 0,
            cached: 0,
            blocks: 0,
        }
    }

    fn decodes(&self) -> bool {
        self.computed >= self.needed
    }

    fn blocks_for_next_token(&self) -> u32 {
        (self.computed.max(self.needed) + 1).div_ceil(BLOCK_TOKENS)
    }

    fn timing(&self, now: Duration) -> Timing {
        let admitted = self.admitted.unwrap_or(now);
        let first = self.first_token.unwrap_or(now);
        Timing { queue: admitted - self.arrived, prefill: first - admitted, decode: now - first }
    }

    /// Ends a step: `None` while the prompt is not done.
    fn advance(&mut self, now: Duration) -> Option<Emission> {
        let was_decoding = self.decodes();
        self.computed += if was_decoding { 1 } else { self.chunk };
        self.chunk = 0;
        if !self.decodes() {
            return None;
        }
        if self.job.fail_after.is_some_and(|limit| self.produced >= limit) {
            return Some(self.emission(0, Some((End::Error, self.timing(now)))));
        }
        self.produced += 1;
        self.first_token.get_or_insert(now);
        let end = (self.produced >= self.job.output_tokens).then(|| {
            let end = if self.job.output_tokens >= MAX_OUTPUT_TOKENS { End::Length } else { End::Stop };
            (end, self.timing(now))
        });
        Some(self.emission(1, end))
    }

    fn emission(&self, tokens: u32, end: Option<(End, Timing)>) -> Emission {
        Emission { id: self.job.id, tokens, cached_tokens: self.cached, end }
    }
}

/// The scheduler and its KV cache.
#[derive(Debug)]
pub struct Engine {
    model: &'static Model,
    waiting: VecDeque<Sequence>,
    /// In order of admission.
    running: Vec<Sequence>,
    free_blocks: u32,
    /// Most recently used first.
    prefixes: VecDeque<u32>,
}

impl Engine {
    /// An idle engine with an empty cache.
    #[must_use]
    pub fn new(model: &'static Model) -> Self {
        Self {
            model,
            waiting: VecDeque::new(),
            running: Vec::new(),
            free_blocks: model.total_blocks,
            prefixes: VecDeque::new(),
        }
    }

    /// Requests admitted to the batch.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Requests that wait for admission.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// KV-cache blocks in use.
    #[must_use]
    pub fn active_blocks(&self) -> u32 {
        self.model.total_blocks - self.free_blocks
    }

    /// Queues a request. It must fit into the model's context, else it waits for ever.
    pub fn submit(&mut self, job: Job, now: Duration) {
        self.waiting.push_back(Sequence::new(job, now));
    }

    /// Drops a request wherever it is; says whether it was there.
    pub fn cancel(&mut self, id: u64) -> bool {
        if let Some(index) = self.running.iter().position(|sequence| sequence.job.id == id) {
            self.free_blocks += self.running.remove(index).blocks;
            return true;
        }
        let before = self.waiting.len();
        self.waiting.retain(|sequence| sequence.job.id != id);
        self.waiting.len() < before
    }

    /// Begins a step, or says that there is nothing to do.
    pub fn begin_step(&mut self, now: Duration) -> Option<Step> {
        let mut step = Step { preemptions: self.make_room(), ..Step::default() };
        if step.preemptions == 0 {
            self.admit(now, &mut step);
        }
        if self.running.is_empty() {
            return None;
        }
        step.decode_tokens = self.running.iter().filter(|sequence| sequence.decodes()).count() as u32;
        step.prefill_tokens =
            self.plan_prefill(self.model.max_batched_tokens.saturating_sub(step.decode_tokens));
        step.duration = self.model.step_time(step.decode_tokens, step.prefill_tokens);
        Some(step)
    }

    /// Ends the step that was begun: one emission for each sequence that got a token or is over.
    pub fn end_step(&mut self, now: Duration) -> Vec<Emission> {
        let mut emissions = Vec::with_capacity(self.running.len());
        let mut freed = 0;
        self.running.retain_mut(|sequence| {
            let Some(emission) = sequence.advance(now) else { return true };
            emissions.push(emission);
            if emission.end.is_some() {
                freed += sequence.blocks;
            }
            emission.end.is_none()
        });
        self.free_blocks += freed;
        emissions
    }

    /// Gives every decoding sequence room for its next token, the oldest first; returns how many were preempted.
    fn make_room(&mut self) -> u32 {
        let mut preempted = 0;
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            if sequence.blocks >= sequence.blocks_for_next_token() {
                index += 1;
            } else if self.free_blocks > 0 {
                self.free_blocks -= 1;
                sequence.blocks += 1;
            } else if let Some(youngest) = self.running.pop() {
                self.requeue(youngest);
                preempted += 1;
            }
        }
        preempted
    }

    /// Sends a running sequence back to the head of the queue, to be computed again.
    fn requeue(&mut self, mut sequence: Sequence) {
        self.free_blocks += sequence.blocks;
        sequence.blocks = 0;
        sequence.computed = 0;
        sequence.needed = sequence.job.prompt_tokens + sequence.produced;
        self.waiting.push_front(sequence);
    }

    /// Admits waiting requests in order while the batch and the cache have room for them.
    fn admit(&mut self, now: Duration, step: &mut Step) {
        while self.running.len() < self.model.max_num_seqs as usize {
            let Some(mut sequence) = self.waiting.pop_front() else { return };
            let blocks = sequence.blocks_for_next_token();
            if blocks + self.watermark() > self.free_blocks {
                self.waiting.push_front(sequence);
                return;
            }
            self.free_blocks -= blocks;
            sequence.blocks = blocks;
            sequence.admitted.get_or_insert(now);
            sequence.computed = self.look_up(sequence.job.prefix);
            sequence.cached = sequence.computed;
            step.prefix_queries += sequence.job.prompt_tokens;
            step.prefix_hits += sequence.cached;
            self.running.push(sequence);
        }
    }

    /// Blocks kept free for those that run already: 1 %, as in vLLM; none when nothing runs.
    fn watermark(&self) -> u32 {
        if self.running.is_empty() { 0 } else { self.model.total_blocks / 100 }
    }

    /// How many tokens of the prefix are cached; it is cached from now on.
    fn look_up(&mut self, prefix: Option<Prefix>) -> u32 {
        let Some(prefix) = prefix else { return 0 };
        let known = self.prefixes.iter().position(|id| *id == prefix.id);
        if let Some(index) = known {
            self.prefixes.remove(index);
        }
        self.prefixes.push_front(prefix.id);
        self.prefixes.truncate(CACHED_PREFIXES);
        if known.is_some() { prefix.tokens } else { 0 }
    }

    /// Spends `budget` tokens on prompts, in order of admission; returns what was spent.
    fn plan_prefill(&mut self, budget: u32) -> u32 {
        let mut left = budget;
        for sequence in self.running.iter_mut().filter(|sequence| !sequence.decodes()) {
            sequence.chunk = (sequence.needed - sequence.computed).min(left);
            left -= sequence.chunk;
        }
        budget - left
    }
}

#[cfg(test)]
mod tests;
